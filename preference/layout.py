"""What a project's label config says: which task fields hold the prompt and the answers, and which tag judges them.

Covered: any config with one <Pairwise> over two <Text> or <HyperText> tags that read task data; entity expansion
and external entities are refused by defusedxml.
Not covered: nested values such as `$answers[0].text`, and tags that load their text from a URL.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from preference.errors import LayoutError

_ANSWER_TAGS = ("Text", "HyperText")
_FIELD = re.compile(r"\$(\w[\w.-]*)")


@dataclass(frozen=True)
class Tag:
    """A control tag and the tag that it belongs to."""

    name: str
    to_name: str


@dataclass(frozen=True)
class LabelingLayout:
    """Where a project keeps its prompt, its two answers and their comparison."""

    control: str  # the <Pairwise> tag's name
    answer_tags: tuple[str, str]  # names of the left and the right answer's tag
    answer_fields: tuple[str, str]  # their keys in task data
    prompt_field: str  # the prompt's key in task data
    reward_tags: tuple[Tag | None, Tag | None]  # <Number> tags `reward1`, `reward2`, where the config has them

    @classmethod
    @lru_cache(maxsize=256)
    def from_label_config(cls, label_config: str) -> Self:
        """The layout of one label config.

        Raises:
            LayoutError: one sentence that says what is missing.
        """
        try:
            tags = list(fromstring(label_config).iter())
        except (ParseError, DefusedXmlException, ValueError) as error:
            raise LayoutError(f"The label config is not valid XML ({error}); open Settings > Labeling Interface.") from None
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
        )

    def prompt(self, task_data: dict[str, object]) -> str | None:
        """The task's prompt, or None where it is missing, blank or not text."""
        return _text(task_data.get(self.prompt_field))

    def answers(self, task_data: dict[str, object]) -> tuple[str | None, str | None]:
        """The left and the right answer; None where one is missing, blank or not text."""
        left, right = self.answer_fields
        return _text(task_data.get(left)), _text(task_data.get(right))


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    # JSON may hold half of an emoji (a text cut by JavaScript), which neither UTF-8 nor a tokenizer takes.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _answer_field(tags: list[Element], control: str, name: str) -> str:
    tag = next((tag for tag in tags if tag.get("name") == name), None)
    if tag is None or tag.tag not in _ANSWER_TAGS:
        found = "is missing" if tag is None else f"is a <{tag.tag}>"
        raise LayoutError(
            f'<Pairwise name="{control}"> compares "{name}", which {found}; it must be a <Text> or <HyperText> tag.'
        )
    field = _field(tag)
    if field is None or tag.get("valueType") == "url":
        raise LayoutError(f'<{tag.tag} name="{name}"> must read a task field, such as value="$answer1", and no URL.')
    return field


def _prompt_field(tags: list[Element], answer_fields: set[str]) -> str:
    """The remaining tag that shows task data, or among several the one named `prompt`."""
    shown = [(tag.get("name") or f"<{tag.tag}>", field) for tag in tags if (field := _field(tag)) and not tag.get("toName")]
    remaining = [(name, field) for name, field in shown if field not in answer_fields]
    fields = {field for _, field in remaining}
    if len(fields) == 1:
        return fields.pop()
    named = next((field for name, field in remaining if name == "prompt"), None)
    if named is not None:
        return named
    names = ", ".join(sorted(name for name, _ in remaining))
    found = f"several tags could be it ({names}); name one of them prompt" if fields else "no tag shows it"
    raise LayoutError(f'The label config must show the prompt, such as <Text name="prompt" value="$prompt"/>: {found}.')


def _field(tag: Element) -> str | None:
    match = _FIELD.fullmatch(tag.get("value", ""))
    return match.group(1) if match else None


def _number(tags: list[Element], name: str) -> Tag | None:
    found = next((tag for tag in tags if tag.tag == "Number" and tag.get("name") == name and tag.get("toName")), None)
    return None if found is None else Tag(name, found.get("toName", ""))
