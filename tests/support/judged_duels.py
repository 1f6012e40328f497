"""Duels as Label Studio lists them, judged and open, and what writes their answers."""

import hashlib
import random
from collections.abc import Iterator
from typing import Any, cast

from preference.generation.jobs import Answer, Job, WrittenAnswers
from preference.projects.generators import BASE
from preference.studio.task import Task
from tests.support.annotations import TIE, vote, vote_with
from tests.support.filling_house import echo
from tests.support.lab import JudgedProject

VERSION, OTHER = "g1-20261121-062026", BASE


def by_version(job: Job) -> WrittenAnswers:
    """Answers that say which version wrote them, as the huggingface engine's do."""
    version = job.adapter.version if job.adapter else ""
    texts = [f"{version or BASE} of {hashlib.sha256((version + text).encode()).hexdigest()}" for text in echo(job).answers]
    return WrittenAnswers.of([Answer(text, "stop") for text in texts], version=version)


def without_names(job: Job) -> WrittenAnswers:
    """The same without the names."""
    written = by_version(job)
    return WrittenAnswers.of([Answer(text.partition(" of ")[2]) for text in written.answers], version=written.version)


def record(new_in: str, *, new: str = VERSION, other: str = OTHER) -> dict[str, Any]:
    """What a duel's record says of it."""
    return {"new": new, "other": other, "new_in": new_in}


def duels(
    wins: int, losses: int, *, ties: int = 0, num_open: int = 0, new: str = VERSION, other: str = OTHER, first_id: int = 1000
) -> list[dict[str, Any]]:
    """Tasks of which people preferred the new one's answer so often; the new one's are of good words more often than not if they did."""
    chance = random.Random(first_id)
    outcomes = [1.0] * wins + [0.0] * losses + [0.5] * ties
    chance.shuffle(outcomes)
    tasks = []
    for number, outcome in enumerate([*outcomes, *[None] * num_open]):
        task_id, is_left = first_id + number, bool(number % 2)
        would_win = chance.random() < wins / max(1, wins + losses) if outcome in (None, 0.5) else outcome == 1
        good, bad = (f"{word} {number} {chance.randrange(100)}" for word in ("yes indeed", "no never"))
        own, their = (good, bad) if would_win else (bad, good)
        data = {
            "prompt": f"Duel {first_id}: what of {number}?",
            "answer1": own if is_left else their,
            "answer2": their if is_left else own,
        }
        side = "left" if (outcome == 1) == is_left else "right"
        annotation = vote_with(TIE, id=task_id) if outcome == 0.5 else vote(side, id=task_id)
        tasks.append({
            "id": task_id, "data": data, "annotations": [] if outcome is None else [annotation], "predictions": [],
            "meta": {"pairloop": {"duel": record("answer1" if is_left else "answer2", new=new, other=other)}},
        })  # fmt: skip
    return tasks


class DuelProject(JudgedProject):
    """A project with duels, of which those without annotations wait to be judged."""

    def __init__(self, tasks: list[dict[str, Any]]) -> None:
        super().__init__([task for task in tasks if task["annotations"]])
        self._open = [task for task in tasks if not task["annotations"]]

    def open_tasks(self, *, above: int, most: int) -> Iterator[Task]:
        return (cast(Task, task) for task in self._open[:most] if task["id"] > above)
