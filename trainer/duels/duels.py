"""The duels of a project: those that people judged, and those that wait for them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from preference.duels.duel import KEY, DuelRecord
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, entry_of
from trainer.judgements.cache_file import JudgedTask


@dataclass(frozen=True)
class Duel:
    """Two answers to one prompt, of which each is one generator's."""

    task_id: int
    new: str  # a generator version, "base", or ENGINE:MODEL
    other: str
    prompt: Prompt
    new_answer: str
    other_answer: str
    outcome: float | None = (
        None  # 1 if people prefer the new one's answer, .5 if neither, 0 if the other's; None if nobody judged
    )

    @property
    def between(self) -> frozenset[str]:
        """The two generators."""
        return frozenset((self.new, self.other))

    def turned(self) -> Self:
        """The same with the two in each other's place."""
        outcome = None if self.outcome is None else 1 - self.outcome
        return replace(
            self, new=self.other, other=self.new, new_answer=self.other_answer, other_answer=self.new_answer, outcome=outcome
        )


def judged_duels(
    tasks: Iterable[JudgedTask], layout: LabelingLayout, pairs_of: Callable[[JudgedTask], Sequence[PreferencePair]]
) -> list[Duel]:
    """Those among judged tasks of which people said something. `pairs_of`: gives a task's pairs, with ties as half a vote each way."""
    judged = []
    for task in tasks:
        duel = _duel(task["id"], task["data"], task.get("duel"), layout)
        if duel is not None and (outcome := _outcome(pairs_of(task), duel.new_answer)) is not None:
            judged.append(replace(duel, outcome=outcome))
    return judged


def open_duels(project: LabelStudioProject, layout: LabelingLayout, *, above: int, most: int) -> Iterator[Duel]:
    """Those among the first `most` tasks above that id that nobody judged.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
    """
    for task in project.open_tasks(above=above, most=most):
        duel = _duel(task["id"], task["data"], entry_of(task, META_KEY).get(KEY), layout)
        if duel is not None:
            yield duel


def _duel(task_id: int, data: Mapping[str, Any], recorded: object, layout: LabelingLayout) -> Duel | None:
    record, prompt = DuelRecord.of(recorded), layout.prompt(data)
    if record is None or prompt is None:
        return None
    names = layout.answer_fields if layout.ranker is None else tuple(layout.ranker.texts(data))
    answers = dict(zip(names, layout.comparable_answers(data), strict=False))
    if len(answers) != 2 or record.new_in not in answers:  # somebody changed the task since
        return None
    new_answer = answers.pop(record.new_in)
    return Duel(task_id, record.new, record.other, prompt, new_answer, next(iter(answers.values())))


def _outcome(pairs: Iterable[PreferencePair], new_answer: str) -> float | None:
    """What most of the judgements say; None if none says anything of the two."""
    balance, is_judged = 0.0, False
    for pair in pairs:
        if pair.is_judged:
            is_judged = True
            balance += pair.weight if pair.chosen == new_answer else -pair.weight
    return (0.5 if balance == 0 else float(balance > 0)) if is_judged else None
