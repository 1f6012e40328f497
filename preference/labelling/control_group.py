"""The control group: tasks that never show a suggestion, so that what suggestions do to people can be measured.

`priority` is also the place of held-out tasks, by lot as well: served hardest first, they would make every version look worse than
it is. Those show their suggestion, unless SUGGEST_HELD_OUT is false, which puts them into the group.

Label Studio's uncertainty sampling serves the lowest score first, among tasks that hold a prediction of the shown version
(measured on label-studio 1.23.2; one with an empty result counts, is not asked for again, and is the `parent_prediction` of
the judgement made from it). A control task's score is therefore no confidence but a place in that order, which says nothing of
the task itself: judged early or late, control tasks are a fair sample of all.

Not covered: with a smaller CONTROL_PERCENT, tasks that leave the group get suggestions from the next version on.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from preference.labelling.holdout import Holdout
from preference.labelling.prompts import Prompt

_LOWEST, _HIGHEST = 0.5, 1.0  # of a confidence


def is_control(task_id: int | None, percent: float) -> bool:
    """Whether this task is in a control group of so many per cent; a larger percentage only adds tasks.

    The id alone decides, in every process and version. A task without one, which no Label Studio sends, is in none.
    """
    return task_id is not None and _fraction("group", task_id) < percent / 100


@dataclass(frozen=True)
class ControlGroup:
    """The tasks that show no suggestion."""

    percent: float
    held_out: Holdout | None = None  # whose tasks are in it, too (SUGGEST_HELD_OUT=false)

    def has(self, task_id: int | None, question: Prompt) -> bool:
        """Whether this task shows nothing; `question`: as PreferencePair has it."""
        return is_control(task_id, self.percent) or (self.held_out is not None and self.held_out.judges_by(question))


def priority(task_id: int | None, version: str, others: Sequence[float]) -> float:
    """The score of a task that gets its place by lot, .5..1, as likely in any place among the scores of others, before the first to after the last.

    Id and version decide the place. Between two neighbours, any value is as likely; without others, any in .5..1.
    """
    scores = [_LOWEST, *sorted(others), _HIGHEST]
    place = int(_fraction("place", version, task_id) * (len(scores) - 1))
    low, high = scores[place], scores[place + 1]
    return low + (high - low) * _fraction("between", version, task_id)


def _fraction(*parts: object) -> float:
    """0 <= f < 1, from a hash."""
    text = "|".join(["control", *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
