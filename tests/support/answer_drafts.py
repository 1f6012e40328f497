"""Answers to one task, by a generator that writes what a test scripts."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from backend.filling.answer_rules import AnswerRules, Attempt, Draft
from backend.scoring.candidate_scores import Score
from preference.generation.jobs import Jobs, WrittenAnswers, write_all
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import transcript
from preference.settings import Settings
from preference.studio.task import Task
from tests.support.studio_records import LABEL_CONFIG

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)


class Scripted:
    """A Generator whose answers a function of (prompt, how often it was asked) decides."""

    def __init__(self, write: Callable[[str, int], list[str]], *, num_cut: int = 0, refused: str = "") -> None:
        self.name, self.capacity = "scripted", 1
        self.sampling: dict[str, Any] = {"temperature": 0.7}
        self.asked: Counter[str] = Counter()
        self.seeds: list[int] = []
        self._write, self._num_cut, self._refused = write, num_cut, refused

    def run(self, jobs: Jobs) -> None:
        for job in jobs.take(1):
            asked = transcript(job.prompt)
            self.asked[asked] += 1
            self.seeds.append(job.seed)
            answers = [] if self._refused else self._write(asked, self.asked[asked])
            job.finish(WrittenAnswers(answers, self._num_cut, self._refused))


def task(task_id: int = 1, /, **data: Any) -> Task:
    return {"id": task_id, "data": {"prompt": "Why?", "answer1": "", "answer2": "", **data}, "meta": {}}


def draft(
    tasks: Sequence[Task], generator: Any, settings: Settings, *, score: Score | None = None, layout: LabelingLayout = LAYOUT
) -> tuple[list[Draft], Counter[str]]:
    """A draft for each task that can be answered, and how many cannot, by reason."""
    answering = AnswerRules(layout, settings, lambda: generator)
    drafts, dropped = [], Counter[str]()
    for one in tasks:
        if problem := answering.problem(one):
            dropped[problem] += 1
            continue
        outcome: Draft | Attempt = Attempt(one)
        while isinstance(outcome, Attempt):
            seed, num_answers = answering.seed(outcome), answering.num_answers(outcome)
            (writing,) = write_all(generator, [answering.prompt(one)], seeds=[seed], num_answers=num_answers)
            outcome = answering.next_step(outcome, writing, score=score)
        drafts.append(outcome)
    return drafts, dropped
