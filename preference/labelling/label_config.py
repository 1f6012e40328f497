"""What a project's label config says: which task fields hold the prompt and the answers, and which tags judge them.

Covered: any config with one <Pairwise> over two <Text> or <HyperText> tags that read task data, or without one, with one <Ranker> over
a <List> of answers (ranker.py). Beside it, by name, `reward1`, `reward2`, `verdict`, `strength` and `better_answer`. A field may be a
path into nested data (task_data.py). The prompt may be a conversation (conversations.py), in a <Paragraphs>, or in a <Chat> of Label
Studio Enterprise.
Not covered: tags that show something else of the task: a URL's content, a picture; <Repeater>.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from preference.errors import LayoutError
from preference.labelling.config_tags import ConfigTag, read_tags
from preference.labelling.conversations import MessageKeys, NoConversation, read_messages, written_messages
from preference.labelling.markdown import formatted_fields, inert_html
from preference.labelling.prompts import Prompt, transcript
from preference.labelling.ranker import Ranker, items_of, list_tag
from preference.labelling.task_data import is_path, keys_of, readable, shown_text, value_at, with_value
from preference.labelling.verdict import VerdictControl

_ANSWER_TAGS = ("Text", "HyperText")
_CONVERSATION_TAGS = ("Paragraphs", "Chat")
_PROMPT_TAGS = (*_ANSWER_TAGS, "Header", "Markdown", *_CONVERSATION_TAGS)
_FIELD = re.compile(r"\$([^, ]+)")  # as label-studio-sdk 2.1 knows a value that is read from the task
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
    """Which task fields and tags of a project hold its prompt, its answers and their comparison."""

    control: str  # the name of the <Pairwise>, or of the <Ranker>
    answer_tags: tuple[str, ...]  # names of the left and the right answer's tag, or that of the <List>
    answer_fields: tuple[str, ...]  # where they lie in task data: a field for each of two, or one for the list
    prompt_field: str  # where the prompt lies in task data
    reward_tags: tuple[Tag | None, Tag | None]  # <Number> tags `reward1`, `reward2`, if the config has them
    verdict: VerdictControl | None = None  # the <Choices> named `verdict`
    strength: Strength | None = None  # the <Rating> or the <Choices> named `strength`
    better_answer: str | None = None  # the name of the <TextArea> `better_answer`
    message_keys: MessageKeys | None = None  # of each message, if the prompt is a conversation
    control_names: frozenset[str] = field(default=frozenset(), compare=False)  # every tag that results can come from
    is_html: bool = field(default=False, compare=False)  # whether a <HyperText> shows an answer, as HTML
    is_chat: bool = field(default=False, compare=False)  # whether a <Chat> shows the prompt
    controls: dict[str, tuple[str, str]] = field(
        default_factory=dict, compare=False
    )  # of each of them: its results' type, its tag
    context_fields: frozenset[str] = field(default=frozenset(), compare=False)  # what else is shown of a task
    ranker: Ranker | None = None  # what orders the answers, if it is no <Pairwise>
    unescaped: tuple[str, ...] = field(default=(), compare=False)  # prompt and answers that a <Markdown> shows with their HTML
    formatted: tuple[tuple[str, str], ...] = field(
        default=(), compare=False
    )  # (an answer's field, the one that shows it laid out)

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
        tags = read_tags(label_config)
        control, answers = _comparison(tags)
        is_list = control.tag == "Ranker"
        fields = tuple(_text_field(tag, such_as="$items" if is_list else "$answer1") for tag in answers)
        if by_underscores := next((field for field in fields if "__" in field), None):
            raise LayoutError(
                f'An answer reads "${by_underscores}", in which Label Studio\'s filters take __ for a path, so that no task would be '
                "found; rename the field."
            )
        if len(set(fields)) < len(fields):
            raise LayoutError(f"Both answers read ${fields[0]}; give each answer a task field of its own.")
        names = tuple(tag.get("name", "") for tag in answers)
        formatted = () if is_list else formatted_fields(tags, fields)
        laid_out = {field for _, field in formatted}
        prompt_tag = _prompt_tag(tags, {*fields, *laid_out})
        prompt = _text_field(prompt_tag, such_as="$prompt")
        return cls(
            control=control.get("name", ""),
            answer_tags=names,
            answer_fields=fields,
            prompt_field=prompt,
            message_keys=_message_keys(prompt_tag),
            reward_tags=(_number(tags, "reward1"), _number(tags, "reward2")),
            verdict=_verdict(tags),
            strength=_strength(tags),
            better_answer="better_answer" if _named(tags, "better_answer", "TextArea") is not None else None,
            control_names=frozenset(tag.get("name", "") for tag in tags if tag.get("toname")),
            is_html=any(tag.tag == "HyperText" for tag in answers),
            is_chat=prompt_tag.tag == "Chat",
            controls={tag.get("name", ""): (tag.tag.lower(), _first_tag(tag)) for tag in tags if tag.get("toname")},
            context_fields=frozenset(_shown_fields(tags)) - {prompt, *fields, *laid_out},
            unescaped=tuple(sorted({prompt, *fields} & set(_shown_fields([tag for tag in tags if tag.tag == "Markdown"])))),
            formatted=formatted,
            ranker=Ranker.of(control, list_name=names[0], items_field=fields[0]) if is_list else None,
        )

    def prompt(self, task_data: Mapping[str, Any]) -> Prompt | None:
        """The task's prompt, as its tag shows it; None if it is missing, blank, or neither a text nor the conversation that it should be."""
        value = value_at(task_data, self.prompt_field)
        if self.message_keys is None:
            return readable(shown_text(value))
        try:
            return read_messages(value, self.message_keys)
        except NoConversation:
            return None

    def prompt_problem(self, task_data: Mapping[str, Any]) -> str:
        """Why the task has no prompt; empty if it has one."""
        if self.message_keys is None:
            return "prompt missing, empty or not text" if self.prompt(task_data) is None else ""
        try:
            read_messages(value_at(task_data, self.prompt_field), self.message_keys)
        except NoConversation as error:
            return str(error)
        return ""

    def answers(self, task_data: Mapping[str, Any]) -> tuple[str | None, ...]:
        """The left and the right answer, as <Text> shows them, or all of a list; None if one is missing, blank or no text.

        An empty list is one answer that is missing.
        """
        if self.ranker is not None:
            return tuple(map(readable, self.ranker.texts(task_data).values())) or (None,)
        return tuple(readable(shown_text(value_at(task_data, field))) for field in self.answer_fields)

    def comparable_answers(self, task_data: Mapping[str, Any]) -> list[str]:
        """All answers, of which there are at least two; none if one is missing."""
        answers = self.answers(task_data)
        texts = [text for text in answers if text is not None]
        return texts if len(texts) == len(answers) > 1 else []

    def empty_fields(self, task_data: Mapping[str, Any]) -> list[str]:
        """The answer fields that hold nothing."""
        if self.ranker is not None:
            return list(self.answer_fields) if self.ranker.is_empty(task_data) else []
        return [field for field, text in zip(self.answer_fields, self.answers(task_data), strict=True) if text is None]

    def has_room(self, task_data: Mapping[str, Any]) -> bool:
        """Whether answers can be put into the task without anything of it being lost."""
        try:
            self.with_answers(task_data, dict.fromkeys(self.answer_fields, ""))
        except ValueError:
            return False
        if self.ranker is not None:
            return self.ranker.is_empty(task_data)
        return all(shown_text(value_at(task_data, field)) is not None for field in self.answer_fields)

    def answered(self, texts: Sequence[str]) -> dict[str, Any]:
        """What the answer fields hold if these are the answers: the left and the right one, or all of a list."""
        if self.ranker is not None:
            return {self.ranker.items_field: items_of([text for text in texts if text.strip()])}
        return dict(zip(self.answer_fields, texts, strict=True))

    def with_answers(self, task_data: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
        """The task's data with these answers, by their fields; all else as it is.

        Raises:
            ValueError: a field lies inside a text or a number.
        """
        data = dict(task_data)
        for field_, answer in answers.items():
            data = with_value(data, field_, answer)
        return data

    def with_prompt(self, task_data: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
        """The task's data with this prompt, in the form that its tag shows; all else as it is.

        Raises:
            ValueError: its field lies inside a text or a number, or a turn is of another role than ours.
        """
        value = transcript(prompt) if self.message_keys is None else written_messages(prompt, self.message_keys)
        return with_value(task_data, self.prompt_field, value)

    def laid_out(self, task_data: Mapping[str, Any]) -> dict[str, Any]:
        """The data as it is stored: with its answers laid out, if the label config shows that; all else as it is."""
        data = dict(task_data)
        for field_, shown in self.formatted:
            written = inert_html(readable(shown_text(value_at(data, field_))))
            if written or value_at(data, shown) is not None:
                with suppress(ValueError):  # there is no place for it; then the text itself is shown
                    data = with_value(data, shown, written)
        return data

    def task_data(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row of a file as Label Studio takes a task: a column lies where its path leads, and no answer is absent, or null.

        Raises:
            ValueError: a column's path leads into a text or a number.
        """
        data = dict(row)
        for field_ in (self.prompt_field, *self.answer_fields):
            if field_ in data and len(keys_of(field_)) > 1:
                data = with_value({name: value for name, value in data.items() if name != field_}, field_, data[field_])
        return self.with_answers(data, {field_: "" for field_ in self.answer_fields if value_at(data, field_) is None})


def _first_tag(control: ConfigTag) -> str:
    return control.get("toname", "").split(",")[0].strip()


def _shown_fields(tags: list[ConfigTag]) -> list[str]:
    """The fields that tags show, also amid other text."""
    return [name for tag in tags if not tag.get("toname") for name in re.findall(r"\$(\w[\w.]*)", tag.get("value", ""))]


def _comparison(tags: list[ConfigTag]) -> tuple[ConfigTag, list[ConfigTag]]:
    """The <Pairwise> and the tags of its two answers, or the <Ranker> and its <List>."""
    pairwise = [tag for tag in tags if tag.tag == "Pairwise"]
    rankers = [tag for tag in tags if tag.tag == "Ranker"]
    if not pairwise and len(rankers) == 1:
        return rankers[0], [list_tag(tags, rankers[0])]
    if len(pairwise) != 1:
        raise LayoutError(
            f"The label config has {len(pairwise) or 'no'} <Pairwise> tags; Pairloop needs exactly one, "
            'such as <Pairwise name="comparison" toName="answer1,answer2"/>.'
        )
    control = pairwise[0].get("name", "")
    names = [name.strip() for name in pairwise[0].get("toname", "").split(",") if name.strip()]
    if not control or len(names) != 2 or names[0] == names[1]:
        raise LayoutError(
            f'<Pairwise name="{control}" toName="{pairwise[0].get("toname", "")}"> must have a name and '
            'compare exactly two tags, such as toName="answer1,answer2".'
        )
    return pairwise[0], [_answer_tag(tags, control, name) for name in names]


def _answer_tag(tags: list[ConfigTag], control: str, name: str) -> ConfigTag:
    tag = next((tag for tag in tags if tag.get("name") == name), None)
    if tag is None or tag.tag not in _ANSWER_TAGS:
        instead = "is missing" if tag is None else f"is a <{tag.tag}>"
        raise LayoutError(
            f'<Pairwise name="{control}"> compares "{name}", which {instead}; it must be a <Text> or <HyperText> tag.'
        )
    return tag


def _prompt_tag(tags: list[ConfigTag], answer_fields: set[str]) -> ConfigTag:
    """The remaining tag that shows task data, or among several the one named `prompt`."""
    inside_controls = {id(inner) for tag in tags if tag.get("toname") for inner in tag.iter()}
    displayed = [(tag, field) for tag in tags if (field := _field(tag)) and field not in answer_fields]
    # Choices that stand round the answers may stand round the prompt, too.
    remaining = [(tag, field) for tag, field in displayed if id(tag) not in inside_controls] or [
        (tag, field) for tag, field in displayed if tag.tag in _ANSWER_TAGS and tag.get("name")
    ]
    fields = {field for _, field in remaining}
    named = [(tag, field) for tag, field in remaining if tag.get("name") == "prompt"]
    if len(fields) == 1 or named:
        # Of several tags on one field, one that shows its text will do.
        tag = max(
            (tag for tag, _ in named or remaining), key=lambda tag: tag.tag in _PROMPT_TAGS and not _shows_another_text(tag)
        )
        if tag.tag not in _PROMPT_TAGS:
            raise LayoutError(
                f"The prompt is in {_name(tag)}, a <{tag.tag}>, which shows no text: Pairloop answers a text and would fill no task; "
                'show the prompt as one text, such as <Text name="prompt" value="$prompt"/>.'
            )
        return tag
    names = ", ".join(sorted(_name(tag) for tag, _ in remaining))
    reason = f"several tags could be it ({names}); name one of them prompt" if fields else "no tag shows it"
    raise LayoutError(f'The label config must show the prompt, such as <Text name="prompt" value="$prompt"/>: {reason}.')


def _message_keys(tag: ConfigTag) -> MessageKeys | None:
    """As label-studio's docs have them, tags/paragraphs and tags/chat; None if the tag shows a text."""
    if tag.tag == "Paragraphs":
        return MessageKeys(tag.get("namekey", "author"), tag.get("textkey", "text"))
    return MessageKeys() if tag.tag == "Chat" else None


def _text_field(tag: ConfigTag, *, such_as: str) -> str:
    """The field whose text this tag shows.

    Raises:
        LayoutError: it shows none.
    """
    field = _field(tag)
    if field is None or _shows_another_text(tag):
        raise LayoutError(
            f'<{tag.tag} name="{tag.get("name", "")}"> must read a task field, such as value="{such_as}", and no URL.'
        )
    if not is_path(field):
        raise LayoutError(
            f'<{tag.tag} name="{tag.get("name", "")}"> reads "${field}", which Label Studio\'s editor cannot show; rename the field: '
            "letters a to z, digits and _, and for nested data a path such as $answers.left or $answers[0]."
        )
    return field


def _shows_another_text(tag: ConfigTag) -> bool:
    """Whether the tag shows something else than its field's text: what a URL leads to, what is encoded, or what stands inside it."""
    is_encoded = tag.get("encoding", "none") != "none" or bool(tag.get("resolver"))
    return tag.get("valuetype") == "url" or is_encoded or bool("".join(tag.itertext()).strip())


def _field(tag: ConfigTag) -> str | None:
    """What a tag reads of the task; that may be no field which Label Studio can show."""
    match = _FIELD.fullmatch(tag.get("value", ""))
    return match.group(1) if match else None


def _name(tag: ConfigTag) -> str:
    return tag.get("name") or f"<{tag.tag}>"


def _number(tags: list[ConfigTag], name: str) -> Tag | None:
    tag = _named(tags, name, "Number")
    return None if tag is None else Tag(name, tag.get("toname", ""))


def _verdict(tags: list[ConfigTag]) -> VerdictControl | None:
    tag = _named(tags, "verdict", "Choices")
    if tag is None:
        return None
    return VerdictControl.of("verdict", ((choice.get("value"), choice.get("alias")) for choice in tag.iter("Choice")))


def _strength(tags: list[ConfigTag]) -> Strength | None:
    tag = _named(tags, "strength", "Rating", "Choices")
    if tag is None:
        return None
    if tag.tag == "Rating":
        most = tag.get("maxrating", "")
        return Strength("strength", int(most) if re.fullmatch(r"[1-9][0-9]{0,3}", most) else _DEFAULT_RATING)
    steps = tuple(frozenset(filter(None, (step.get("value"), step.get("alias")))) for step in tag.iter("Choice"))
    return Strength("strength", len(steps), steps)


def _named(tags: list[ConfigTag], name: str, *kinds: str) -> ConfigTag | None:
    return next((tag for tag in tags if tag.tag in kinds and tag.get("name") == name and tag.get("toname")), None)
