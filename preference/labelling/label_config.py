"""What a project's label config says: which task fields hold the prompt and the answers, and which tags judge them.

Covered: any config with one <Pairwise> over two <Text> or <HyperText> tags that read task data, and beside it, by name,
`reward1`, `reward2`, `verdict`, `strength` and `better_answer`. A config that declares a document type, and so any entity, is
refused by defusedxml; so is one that is longer than 1,000,000 characters or nests more than 100 deep.
Not covered: nested values such as `$answers[0].text`, and tags that load their text from a URL.
"""

import re
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from preference.errors import LayoutError
from preference.labelling.verdict import VerdictControl

_ANSWER_TAGS = ("Text", "HyperText")
_MOST_CHARACTERS = 1_000_000
_MOST_DEPTH = 100
_FIELD = re.compile(r"\$(\w[\w.-]*)")
_reading = threading.Lock()  # one config at a time: the four bytes of <a/> are some 400 while it is read
_DEFAULT_RATING = 5  # label-studio's docs, tags/rating: maxRating


@dataclass(frozen=True)
class Tag:
    """A control tag and the tag that it belongs to."""

    name: str
    to_name: str


@dataclass(frozen=True)
class Strength:
    """A <Rating>, or a <Choices> in order of growing strength, that says by how much the chosen answer is better."""

    name: str
    num_steps: int
    choices: tuple[frozenset[str], ...] = ()  # what results may hold for each step; () for a <Rating>


@dataclass(frozen=True)
class LabelingLayout:
    """Which task fields and tags of a project hold its prompt, its two answers and their comparison."""

    control: str  # the <Pairwise> tag's name
    answer_tags: tuple[str, str]  # names of the left and the right answer's tag
    answer_fields: tuple[str, str]  # their keys in task data
    prompt_field: str  # the prompt's key in task data
    reward_tags: tuple[Tag | None, Tag | None]  # <Number> tags `reward1`, `reward2`, if the config has them
    verdict: VerdictControl | None = None  # the <Choices> named `verdict`
    strength: Strength | None = None  # the <Rating> or the <Choices> named `strength`
    better_answer: str | None = None  # the name of the <TextArea> `better_answer`
    control_names: frozenset[str] = field(default=frozenset(), compare=False)  # every tag that results can come from

    @classmethod
    @lru_cache(maxsize=16)  # of a million characters each, at worst, of four bytes each
    def from_label_config(cls, label_config: str) -> Self:
        """The layout of one label config.

        Raises:
            LayoutError: one sentence that says what is missing.
        """
        with _reading:
            return cls._read(label_config)

    @classmethod
    def _read(cls, label_config: str) -> Self:
        tags = _tags(label_config)
        pairwise = [tag for tag in tags if tag.tag == "Pairwise"]
        if len(pairwise) != 1:
            raise LayoutError(
                f"The label config has {len(pairwise) or 'no'} <Pairwise> tags; Pairloop needs exactly one, "
                'such as <Pairwise name="comparison" toName="answer1,answer2"/>.'
            )
        control = pairwise[0].get("name", "")
        names = [name.strip() for name in pairwise[0].get("toName", "").split(",") if name.strip()]
        if not control or len(names) != 2 or names[0] == names[1]:
            raise LayoutError(
                f'<Pairwise name="{control}" toName="{pairwise[0].get("toName", "")}"> must have a name and '
                'compare exactly two tags, such as toName="answer1,answer2".'
            )
        left, right = (_answer_field(tags, control, name) for name in names)
        if left == right:
            raise LayoutError(f"Both answers read ${left}; give each answer a task field of its own.")
        return cls(
            control=control,
            answer_tags=(names[0], names[1]),
            answer_fields=(left, right),
            prompt_field=_prompt_field(tags, {left, right}),
            reward_tags=(_number(tags, "reward1"), _number(tags, "reward2")),
            verdict=_verdict(tags),
            strength=_strength(tags),
            better_answer="better_answer" if _named(tags, "better_answer", "TextArea") is not None else None,
            control_names=frozenset(tag.get("name", "") for tag in tags if tag.get("toName")),
        )

    def prompt(self, task_data: dict[str, object]) -> str | None:
        """The task's prompt, or None if it is missing, blank or not text."""
        return readable(task_data.get(self.prompt_field))

    def answers(self, task_data: dict[str, object]) -> tuple[str | None, str | None]:
        """The left and the right answer; None if one is missing, blank or not text."""
        left, right = self.answer_fields
        return readable(task_data.get(left)), readable(task_data.get(right))


def without_declaration(label_config: str) -> str:
    """The config without a line such as `<?xml version="1.0" encoding="UTF-8"?>`, at which label-studio 1.23.2 answers 500."""
    return re.sub(r"\A\s*<\?xml\b[^>]*\?>\s*", "", label_config)


def readable(value: object) -> str | None:
    """A text that every tokenizer takes, or None if it is missing, blank or not text."""
    if not isinstance(value, str) or not value.strip():
        return None
    # JSON may hold half of an emoji (a text cut by JavaScript), which neither UTF-8 nor a tokenizer takes.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _tags(label_config: str) -> list[Element]:
    """Every tag, in document order."""
    if len(label_config) > _MOST_CHARACTERS:
        raise LayoutError(
            f"The label config has {len(label_config):,} characters; Pairloop reads one of {_MOST_CHARACTERS:,} at most."
        )
    try:
        root = fromstring(label_config, forbid_dtd=True)
    except DefusedXmlException:
        raise LayoutError(
            "The label config declares a document type or an entity, which Pairloop does not read; remove <!DOCTYPE ...> from it."
        ) from None
    except (ParseError, ValueError) as error:
        raise LayoutError(f"The label config is not valid XML ({error}); open Settings > Labeling Interface.") from None
    level = [root]
    for _ in range(_MOST_DEPTH):
        level = [tag for outer in level for tag in outer]
    if level:
        raise LayoutError(f"The label config nests its tags more than {_MOST_DEPTH} deep; Pairloop reads no deeper one.")
    return list(root.iter())


def _answer_field(tags: list[Element], control: str, name: str) -> str:
    tag = next((tag for tag in tags if tag.get("name") == name), None)
    if tag is None or tag.tag not in _ANSWER_TAGS:
        instead = "is missing" if tag is None else f"is a <{tag.tag}>"
        raise LayoutError(
            f'<Pairwise name="{control}"> compares "{name}", which {instead}; it must be a <Text> or <HyperText> tag.'
        )
    field = _field(tag)
    if field is None or tag.get("valueType") == "url":
        raise LayoutError(f'<{tag.tag} name="{name}"> must read a task field, such as value="$answer1", and no URL.')
    return field


def _prompt_field(tags: list[Element], answer_fields: set[str]) -> str:
    """The remaining tag that shows task data, or among several the one named `prompt`."""
    displayed = [(tag.get("name") or f"<{tag.tag}>", field) for tag in tags if (field := _field(tag)) and not tag.get("toName")]
    remaining = [(name, field) for name, field in displayed if field not in answer_fields]
    fields = {field for _, field in remaining}
    if len(fields) == 1:
        return fields.pop()
    named = next((field for name, field in remaining if name == "prompt"), None)
    if named is not None:
        return named
    names = ", ".join(sorted(name for name, _ in remaining))
    reason = f"several tags could be it ({names}); name one of them prompt" if fields else "no tag shows it"
    raise LayoutError(f'The label config must show the prompt, such as <Text name="prompt" value="$prompt"/>: {reason}.')


def _field(tag: Element) -> str | None:
    match = _FIELD.fullmatch(tag.get("value", ""))
    return match.group(1) if match else None


def _number(tags: list[Element], name: str) -> Tag | None:
    tag = _named(tags, name, "Number")
    return None if tag is None else Tag(name, tag.get("toName", ""))


def _verdict(tags: list[Element]) -> VerdictControl | None:
    tag = _named(tags, "verdict", "Choices")
    if tag is None:
        return None
    return VerdictControl.of("verdict", ((choice.get("value"), choice.get("alias")) for choice in tag.iter("Choice")))


def _strength(tags: list[Element]) -> Strength | None:
    tag = _named(tags, "strength", "Rating", "Choices")
    if tag is None:
        return None
    if tag.tag == "Rating":
        most = tag.get("maxRating", "")
        return Strength("strength", int(most) if re.fullmatch(r"[1-9][0-9]{0,3}", most) else _DEFAULT_RATING)
    steps = tuple(frozenset(filter(None, (step.get("value"), step.get("alias")))) for step in tag.iter("Choice"))
    return Strength("strength", len(steps), steps)


def _named(tags: list[Element], name: str, *kinds: str) -> Element | None:
    return next((tag for tag in tags if tag.tag in kinds and tag.get("name") == name and tag.get("toName")), None)
