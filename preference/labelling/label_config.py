"""What a project's label config says: which task fields hold the prompt and the answers, and which tags judge them.

Covered: any config with one <Pairwise> over two <Text> or <HyperText> tags that read task data, or without one, with one <Ranker> over
a <List> of answers (controls/ranker.py); with or without a prompt. Beside it, by name, `reward1`, `reward2`, `verdict`, `strength`,
`better_answer` and `new_prompt`. A field may be a path into nested data (task_data.py). The prompt may be a conversation
(conversations.py), in a <Paragraphs>, or in a <Chat> of Label Studio Enterprise.
Not covered: tags that show something else of the task: a URL's content, a picture; <Repeater>.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from preference.errors import LayoutError
from preference.labelling.config_tags import ConfigTag, read_tags, reading
from preference.labelling.controls import named
from preference.labelling.controls.named import Strength, Tag
from preference.labelling.controls.ranker import Ranker, items_of
from preference.labelling.controls.verdict import VerdictControl
from preference.labelling.conversations import MessageKeys, NoPrompt, read_prompt, written_messages
from preference.labelling.markdown import formatted_fields, inert_html
from preference.labelling.prompts import Prompt, transcript
from preference.labelling.shown_tags import comparison, message_keys, prompt_tag, shown_fields, text_field
from preference.labelling.task_data import keys_of, readable, shown_text, value_at, with_value


@dataclass(frozen=True)
class LabelingLayout:
    """Which task fields and tags of a project hold its prompt, its answers and their comparison."""

    control: str  # the name of the <Pairwise>, or of the <Ranker>
    answer_tags: tuple[str, ...]  # names of the left and the right answer's tag, or that of the <List>
    answer_fields: tuple[str, ...]  # where they lie in task data: a field for each of two, or one for the list
    prompt_field: str | None  # where the prompt lies in task data; None if the config shows none, so that no task can be filled
    reward_tags: tuple[Tag | None, Tag | None]  # <Number> tags `reward1`, `reward2`, if the config has them
    verdict: VerdictControl | None = None  # the <Choices> named `verdict`
    strength: Strength | None = None  # the <Rating> or the <Choices> named `strength`
    better_answer: str | None = None  # the name of the <TextArea> `better_answer`
    message_keys: MessageKeys | None = None  # of each message, if the prompt is a conversation
    new_prompt: str | None = None  # the name of the <TextArea> `new_prompt`
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
        with reading:
            return cls._read(label_config)

    @classmethod
    def _read(cls, label_config: str) -> Self:
        tags = read_tags(label_config)
        control, answers = comparison(tags)
        is_list = control.tag == "Ranker"
        fields = tuple(text_field(tag, such_as="$items" if is_list else "$answer1") for tag in answers)
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
        asked = prompt_tag(tags, {*fields, *laid_out})
        prompt = text_field(asked, such_as="$prompt") if asked is not None else None
        return cls(
            control=control.get("name", ""),
            answer_tags=names,
            answer_fields=fields,
            prompt_field=prompt,
            message_keys=message_keys(asked) if asked is not None else None,
            reward_tags=(named.number(tags, "reward1"), named.number(tags, "reward2")),
            verdict=named.verdict(tags),
            strength=named.strength(tags),
            better_answer=named.text_area(tags, "better_answer"),
            new_prompt=named.text_area(tags, "new_prompt"),
            control_names=frozenset(tag.get("name", "") for tag in tags if tag.get("toname")),
            is_html=any(tag.tag == "HyperText" for tag in answers),
            is_chat=asked is not None and asked.tag == "Chat",
            controls={tag.get("name", ""): (tag.tag.lower(), _first_tag(tag)) for tag in tags if tag.get("toname")},
            context_fields=frozenset(shown_fields(tags)) - {prompt or "", *fields, *laid_out},
            unescaped=tuple(sorted({prompt or "", *fields} & set(shown_fields([tag for tag in tags if tag.tag == "Markdown"])))),
            formatted=formatted,
            ranker=Ranker.of(control, list_name=names[0], items_field=fields[0]) if is_list else None,
        )

    @property
    def criteria(self) -> frozenset[str]:
        """The controls that say nothing of which answer is better, by how much, and what would be better."""
        comparing = {tag.name for tag in (self.verdict, self.strength, *self.reward_tags) if tag is not None}
        return self.control_names - comparing - {self.control, self.better_answer, self.new_prompt}

    def prompt(self, task_data: Mapping[str, Any]) -> Prompt | None:
        """The task's prompt, as its tag shows it; None if it is missing, blank, or neither a text nor the conversation that it should be.

        It is "" if the config shows none.
        """
        if self.prompt_field is None:
            return ""
        with suppress(NoPrompt):
            return read_prompt(value_at(task_data, self.prompt_field), self.message_keys)
        return None

    def prompt_problem(self, task_data: Mapping[str, Any]) -> str:
        """Why the task has no prompt that could be answered; empty if it has one."""
        if self.prompt_field is None:
            return "the label config shows no prompt"
        try:
            read_prompt(value_at(task_data, self.prompt_field), self.message_keys)
        except NoPrompt as error:
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

    def exchanged(self, task_data: Mapping[str, Any]) -> dict[str, Any]:
        """The data of a task with its two answers in each other's place; all else as it is."""
        left, right = self.answer_fields
        return self.laid_out(self.with_answers(task_data, {left: value_at(task_data, right), right: value_at(task_data, left)}))

    def with_prompt(self, task_data: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
        """The task's data with this prompt, in the form that its tag shows; all else as it is.

        If the config shows none, it lies in `prompt`, where nobody is shown it.

        Raises:
            ValueError: its field lies inside a text or a number, or a turn is of another role than ours.
        """
        value = transcript(prompt) if self.message_keys is None else written_messages(prompt, self.message_keys)
        return with_value(task_data, self.prompt_field or "prompt", value)

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
            if field_ is not None and field_ in data and len(keys_of(field_)) > 1:
                data = with_value({name: value for name, value in data.items() if name != field_}, field_, data[field_])
        return self.with_answers(data, {field_: "" for field_ in self.answer_fields if value_at(data, field_) is None})


def _first_tag(control: ConfigTag) -> str:
    return control.get("toname", "").split(",")[0].strip()
