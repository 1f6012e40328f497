"""What a file's rows say, whatever the file: tasks as Label Studio imports them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from backend.prompt_files.comparisons import Comparison
from backend.prompt_files.conversations import as_list, is_conversation, turns
from backend.prompt_files.judgements import META_KEY, judgement
from backend.prompt_files.public_formats import belonging, reader_of
from backend.prompt_files.studio_export import exported_task, is_export, is_flat_export, joined_task
from preference.errors import PromptFileError
from preference.labelling.conversations import NoPrompt
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt, as_prompt, turns_of
from preference.labelling.task_data import value_at
from preference.studio.storable import storable
from preference.studio.task import Task

CHANGED = "characters or numbers that not every Label Studio stores (NUL, half of an emoji, infinity) were removed or replaced"
_SYSTEM = ("system", "system_prompt")  # columns


class Rows:
    """Reads rows for projects of one layout."""

    def __init__(self, layout: LabelingLayout, *, judged: bool) -> None:
        self.remarks: Counter[str] = Counter()  # what is passed over or left behind, by reason
        self._layout, self._judged = layout, judged
        # The fields without which there is no task.
        self.needed: Sequence[str] = layout.answer_fields if layout.prompt_field is None else (layout.prompt_field,)

    def has_columns(self, names: Sequence[str]) -> bool:
        """Whether rows with these columns can be read."""
        row = dict.fromkeys(names, "")
        return set(self.needed) <= row.keys() or is_flat_export(row) or reader_of(row, self._layout) is not None

    def tasks(self, rows: Iterable[tuple[int, Any]], *, where: Callable[[int], str]) -> Iterator[Task]:
        """The tasks of rows, each of which comes with its place; `where` names a place.

        Raises:
            PromptFileError: a row is not what it should be.
        """
        self.remarks.clear()
        for _, group in groupby(rows, key=lambda row: self._group_of(*row)):
            together = list(group)
            try:
                yield from self._read([self._storable(row) for _, row in together])
            except PromptFileError as error:
                raise PromptFileError(f"{where(together[0][0])}: {error}") from error

    def _storable(self, row: Any) -> Any:
        """The row as every Label Studio stores it: JavaScript cuts texts within an emoji, and a scanner's text may hold a NUL."""
        try:
            stored, num_changed = storable(row)
        except RecursionError:
            raise PromptFileError("lists or objects too deep inside each other; leave them out.") from None
        if num_changed:
            self.remarks[CHANGED] += num_changed
        return stored

    def _read(self, rows: Sequence[Any]) -> Iterator[Task]:
        if is_flat_export(rows[0]):
            yield self._checked(joined_task(rows, self._layout))
        elif reader := reader_of(rows[0], self._layout):
            for comparison in reader(rows):
                if isinstance(comparison, str):
                    self.remarks[f"passed over, {comparison}"] += 1
                else:
                    yield self._checked(self._compared(comparison))
        else:
            for row in rows:
                yield self._checked(self._plain(row))

    def _plain(self, row: Any) -> Task:
        if is_export(row, self._layout):
            return exported_task(row, self.remarks)
        if isinstance(row, str) or is_conversation(row):
            row = {self.needed[0]: row}
        return {"data": self._with_system(self._in_form(row))}

    def _compared(self, comparison: Comparison) -> Task:
        layout = self._layout
        data = self._with_system(self._with_prompt(comparison.other, comparison.prompt))
        task: Task = {"data": layout.with_answers(data, layout.answered(comparison.answers))}
        choice = comparison.choice
        made = judgement(self._layout, choice) if choice and self._judged else None
        if made is not None:
            task["annotations"] = [made]
        elif choice is not None:
            task["meta"] = {META_KEY: {"choice": choice}}
        if self._judged and made is None:
            reason = (
                "the row does not say which answer is better" if choice is None else f"the label config has no box for {choice}"
            )
            self.remarks[f"left unjudged, {reason}"] += 1
        return task

    def _checked(self, task: Task) -> Task:
        """The task, if it has a prompt, or without one its answers, with every field of an answer."""
        data, layout = self._in_form(task["data"]), self._layout
        if not isinstance(data, dict) or layout.prompt(data) is None:
            raise PromptFileError(f'no prompt; it should be a text, or an object whose "{self.needed[0]}" is a text.')
        if layout.prompt_field is None and not layout.comparable_answers(data):
            fields = " and ".join(f'"{name}"' for name in layout.answer_fields)
            raise PromptFileError(f"no two answers; the label config shows no prompt to answer, so {fields} must hold them.")
        try:
            return {**task, "data": layout.task_data(data)}
        except ValueError:
            raise PromptFileError(
                "an answer's field lies inside a text or a number; correct the row, or the fields in the label config."
            ) from None

    def _in_form(self, data: Any) -> Any:
        """The data with its prompt in the form that the label config shows, a text or a list of messages; as it is, if it has none."""
        layout = self._layout
        if not isinstance(data, dict) or layout.prompt(data) is not None:
            return data
        held = as_list(value_at(data, self.needed[0]))
        is_text = layout.message_keys is not None and isinstance(held, str)
        return self._with_prompt(data, as_prompt(turns(held, role="user"))) if is_text or is_conversation(held) else data

    def _with_system(self, data: Any) -> Any:
        """The data with a conversation that begins with the system prompt of the row's own column, unless it has one."""
        prompt = self._layout.prompt(data) if self._layout.message_keys is not None and isinstance(data, dict) else None
        if prompt is None:
            return data
        system = next((text.strip() for name in _SYSTEM if isinstance(text := data.get(name), str)), "")
        whole = turns_of(prompt, system=system)
        return data if whole == turns_of(prompt) else self._with_prompt(data, as_prompt(whole))

    def _with_prompt(self, data: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
        try:
            return self._layout.with_prompt(data, prompt)
        except NoPrompt as error:
            raise PromptFileError(f"{error}.") from error

    def _group_of(self, place: int, row: Any) -> object:
        """The same for neighbours that are read together."""
        if is_flat_export(row):
            names = ("id", *self.needed, *self._layout.answer_fields)
            return "task", [row.get(name) for name in names] if "id" in row else place
        return belonging(row) or place
