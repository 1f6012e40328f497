"""Label configs that collect demonstrations: answers that people write themselves, with nothing to compare.

Covered: a config without a comparison whose one control, or whose control named `instruction`, is a <TextArea> on a tag that shows a
text or a conversation of the task, as in Label Studio's templates `supervised-llm`, `text-summarization`, `machine-translation` and
`response-generation`.
Not covered: a <TextArea> for each region or item, or on a <Chat>; several answers to one prompt.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from preference.labelling.config_tags import ConfigTag, read_tags, reading
from preference.labelling.controls.criteria import criteria_text
from preference.labelling.conversations import MessageKeys, NoPrompt, read_prompt
from preference.labelling.prompts import Prompt
from preference.labelling.results import Region, shaped_regions, written_text
from preference.labelling.shown_tags import PROMPT_TAGS, message_keys, text_field
from preference.labelling.task_data import value_at

_COMPARING = ("Pairwise", "Ranker")
_ANSWER = "instruction"  # as Label Studio's template names it


@dataclass(frozen=True)
class DemonstrationLayout:
    """Which task field and which tag of a project hold a prompt and the answer that people write to it."""

    control: str  # the <TextArea>'s name
    prompt_tag: str  # the name of the tag that shows the prompt
    prompt_field: str  # where the prompt lies in task data
    message_keys: MessageKeys | None = None  # of each message, if the prompt is a conversation
    criteria: frozenset[str] = field(default=frozenset(), compare=False)  # the other controls

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, label_config: str) -> Self | None:
        """The layout of a label config; None if it collects no demonstrations.

        Raises:
            LayoutError: it would, and shows no text of the task; or it is none that is read.
        """
        with reading:
            return cls._read(read_tags(label_config))

    @classmethod
    def _read(cls, tags: Sequence[ConfigTag]) -> Self | None:
        controls = [tag for tag in tags if tag.get("toname")]
        areas = [
            tag for tag in controls if tag.tag == "TextArea" and tag.get("perregion") != "true" and tag.get("peritem") != "true"
        ]
        area = next((tag for tag in areas if len(controls) == 1 or tag.get("name") == _ANSWER), None)
        shown = next((tag for tag in tags if area is not None and tag.get("name") == area.get("toname")), None)
        if any(tag.tag in _COMPARING for tag in tags) or area is None or shown is None or not _shows_task(shown):
            return None
        name, names = area.get("name", ""), {tag.get("name", "") for tag in controls}
        asked = text_field(shown, such_as="$prompt")
        return cls(name, shown.get("name", ""), asked, message_keys(shown), frozenset(names - {name}))

    def prompt(self, task_data: Mapping[str, Any]) -> Prompt | None:
        """The task's prompt, as its tag shows it; None if there is none."""
        with suppress(NoPrompt):
            return read_prompt(value_at(task_data, self.prompt_field), self.message_keys)
        return None

    def prompt_problem(self, task_data: Mapping[str, Any]) -> str:
        """Why the task has no prompt; empty if it has one."""
        try:
            read_prompt(value_at(task_data, self.prompt_field), self.message_keys)
        except NoPrompt as error:
            return str(error)
        return ""

    def answers(self, task_data: Mapping[str, Any]) -> tuple[str | None, ...]:
        """None: the task itself holds no answer."""
        return ()

    def draft(self, text: str) -> list[Region]:
        """The regions that put this text into the annotator's box."""
        return [{"from_name": self.control, "to_name": self.prompt_tag, "type": "textarea", "value": {"text": [text]}}]

    def written(self, result: object) -> str | None:
        """The text in the annotator's box, or in that of a prediction; None without any."""
        return written_text(result, self.control)

    def said(self, result: object) -> str:
        """What else the annotator filled, as `criteria_text` has it."""
        return criteria_text(region for region in shaped_regions(result) if region[0] in self.criteria)


def _shows_task(tag: ConfigTag) -> bool:
    return tag.tag in PROMPT_TAGS and tag.tag != "Chat" and tag.get("value", "").startswith("$")
