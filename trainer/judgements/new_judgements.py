"""Which judgements of a project no version has read, followed from look to look.

A judgement is new if it was made or edited after those that the latest version read. The trainer looks every few seconds: a look
lists only the tasks that were judged or edited since the one before, which is one request as a rule.

Covered: judgements and tasks that are deleted meanwhile; edits alone; a trainer that starts again; a trainer whose clock is wrong;
cards of earlier builds, which say when they were published and not how far they read.
Not covered until the next version: an edit whose transaction ended after a later one was read, and an edit while Label Studio's
clock is behind what it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from preference.labelling.controls.repeats import repeat_of
from preference.report_card.card import ReportCard
from preference.report_card.generator_card import GeneratorCard
from preference.studio.project import LabelStudioProject
from preference.studio.task import Annotation, Task
from trainer.judgements.cache_file import JudgedTask, moment, parsed

_EVER = "1970-01-01T00:00:00.000000Z"


@dataclass(frozen=True)
class Reach:
    """How far judgements were read, by Label Studio's ids and its clock, which may not be the trainer's."""

    newest_annotation: int | None = None  # the highest id
    newest_change: str | None = None  # when the last of them was made or edited, as `moment` writes it


_NOWHERE = Reach()


def reach_of(tasks: Iterable[JudgedTask | Task], *, before: Reach = _NOWHERE) -> Reach:
    """How far the judgements of these tasks reach, and what reached `before` them."""
    annotations = [annotation for task in tasks for annotation in task["annotations"]]
    newest = max((annotation["id"] or 0 for annotation in annotations), default=0)
    latest = max((moment(annotation["updated_at"]) for annotation in annotations), default="")
    return Reach(max(newest, before.newest_annotation or 0) or None, max(latest, before.newest_change or "") or None)


class NewJudgements:
    """The judgements of one project that were made or edited after a reading."""

    def __init__(self, num_read: int, reach: Reach) -> None:
        """`num_read`: the judgements of the project at that reading, as Label Studio counted them; `reach`: how far it went.

        If the time of the last change is not known, they are counted by the difference of totals alone.
        """
        self._num_read, self._newest_read = num_read, reach.newest_annotation
        self._since = self._listed_until = reach.newest_change or ""
        self._reach = reach  # with all that was listed
        self._num_new: dict[int, int] = {}  # by task id
        self._num_again: dict[int, int] = {}  # the same of repeats, of which no version reads any
        self._num_others = 0  # judgements of the project that are not new

    @classmethod
    def since(cls, card: ReportCard | GeneratorCard | None) -> Self:
        """Those that a version did not read; without one, all."""
        if card is None:
            return cls(0, Reach(newest_change=_EVER))
        return cls(card.num_annotations, Reach(card.newest_annotation, _read_at(card)))

    def count(self, project: LabelStudioProject, num_judgements: int) -> int:
        """How many there are now. `num_judgements`: of the project, as Label Studio counts them.

        Raises:
            StudioError: Label Studio does not answer, or refuses.
        """
        if self._since:
            since = self._listed_until
            self._list(project, since)
            if since != self._since and num_judgements - self._num_listed != self._num_others:  # new ones were deleted
                self._list(project, self._since)
            self._num_others = num_judgements - self._num_listed
        # What Label Studio counts beyond those that were read is new, even if its clock was set back and no list has it.
        return max(self._num_listed, num_judgements - self._num_read) - sum(self._num_again.values())

    def later(self, num_judgements: int) -> Self:
        """Those that come after all that were counted by now."""
        return type(self)(num_judgements, self._reach)

    @property
    def _num_listed(self) -> int:
        return sum(self._num_new.values()) + sum(self._num_again.values())

    def _list(self, project: LabelStudioProject, since: str) -> None:
        tasks = list(project.judged_since(parsed(since)))  # nothing is known of half a list
        if since == self._since:
            self._num_new.clear()
            self._num_again.clear()
        for task in tasks:
            counted = self._num_new if repeat_of(task) is None else self._num_again
            counted[task["id"]] = sum(map(self._is_new, task["annotations"]))
        self._listed_until = max([self._listed_until, *(moment(task["updated_at"]) for task in tasks)])
        self._reach = reach_of(tasks, before=self._reach)

    def _is_new(self, annotation: Annotation) -> bool:
        is_made_later = self._newest_read is not None and annotation["id"] > self._newest_read
        return not annotation["was_cancelled"] and (is_made_later or moment(annotation["updated_at"]) > self._since)


def _read_at(card: ReportCard | GeneratorCard) -> str | None:
    """When the last judgement that a version read was made or edited; of an earlier build's, when it was published."""
    try:
        read_at = moment(card.newest_change or card.created_at)
        parsed(read_at)
        return read_at
    except (ValueError, OverflowError):  # a damaged card
        return None
