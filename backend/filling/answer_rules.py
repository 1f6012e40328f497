"""Which answers a task gets: sampled until two differ, chosen, put on random sides, with a record of their origin."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backend.filling.pair_strategies import STRATEGIES, WITH_REWARDS, Candidates, different_pairs, similarity
from backend.generators.jobs import Generator, WrittenAnswers
from backend.scoring.candidate_scores import Score
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt, transcript, turns_of
from preference.settings import Settings
from preference.studio.task import Task, entry_of

META_KEY = "pairloop"
_REFUSED_SECONDS = 86400.0  # then a prompt that could not be answered is asked again
_SAMPLES = ("left_sample", "right_sample")  # in the record: which of the samples each field holds


@dataclass(frozen=True)
class Draft:
    """What is to be stored for one task."""

    task: Task  # as it was read
    answers: dict[str, str]  # a text for each answer field that was empty; none if the prompt was refused
    record: dict[str, Any]  # for meta


@dataclass(frozen=True)
class Attempt:
    """One request to the model for a task's answers."""

    task: Task
    number: int = 0

    @property
    def key(self) -> object:
        """What decides the task's seeds and sides: its id, or the prompt's text if it is not in Label Studio yet."""
        return self.task.get("id") or self.task["key"]


class AnswerRules:
    """The rules for the tasks of one project."""

    def __init__(self, layout: LabelingLayout, settings: Settings, generator: Callable[[], Generator]) -> None:
        """`generator`: gives what writes the answers, for the record; called only when there are answers."""
        self._layout, self._settings, self._generator = layout, settings, generator
        self._model = f"{settings.generator.engine} {settings.generator.model}"
        self.num_answers = settings.filling.num_candidates  # to ask for, for each task

    def problem(self, task: Task) -> str:
        """Why this task cannot be answered; empty if it can."""
        data = task["data"]
        if problem := self._layout.prompt_problem(data):
            return problem
        if turns_of(self.prompt(task))[-1].role != "user":
            return "conversation that does not end with the user's turn"
        if not self._layout.has_room(data):
            return "an answer field holds no text"  # and must not be replaced
        record = entry_of(task, META_KEY)
        refused, at = record.get("refused"), record.get("at")
        if (record.get("model"), record.get("prompt")) != (self._model, self._digest(task)):
            return ""
        is_recent = isinstance(at, int | float) and at > time.time() - _REFUSED_SECONDS
        return refused if is_recent and isinstance(refused, str) else ""

    def prompt(self, task: Task) -> Prompt:
        """The task's prompt."""
        return self._layout.prompt(task["data"]) or ""

    def seed(self, attempt: Attempt) -> int:
        """The generator's seed, 0..2**48 - 1."""
        return _digest("answer", self._settings.seed, attempt.key, attempt.number) % 2**48

    def next_step(self, attempt: Attempt, written: WrittenAnswers, *, score: Score | None) -> Draft | Attempt:
        """What to store; or the next attempt, if no two answers are different enough. There are at most MAX_RESAMPLES of these.

        Answers that stay alike are kept and marked; a prompt that the model cannot answer is marked too. `score` gives the
        served model's rewards; without it, strategies that need rewards take any pair.
        """
        settings, task = self._settings, attempt.task
        held = dict(zip(self._layout.answer_fields, self._layout.answers(task["data"]), strict=True))
        present = [text for text in held.values() if text is not None]
        texts = [*present, *written.answers]
        pairs = self._pairs(present, texts)
        if not pairs and not written.refused and attempt.number < settings.filling.max_resamples:
            return Attempt(task, attempt.number + 1)
        full = [place for place, text in enumerate(texts) if text.strip()]
        if len(full) < 2:
            reason = written.refused or "the model wrote nothing"
            marks = {"refused": reason, "model": self._model, "prompt": self._digest(task), "at": int(time.time())}
            return Draft(task, {}, marks)
        generator = self._generator()
        record: dict[str, Any] = {"generator": generator.name, "sampling": generator.sampling, "seed": self.seed(attempt)}
        if written.num_cut:
            record["prompt_tokens_cut"] = written.num_cut
        if pairs:
            chosen = self._choose(task, texts, pairs, record, score=score, seed=self.seed(attempt))
        else:
            chosen = (full[0], full[1])
            record["similarity"] = round(similarity(texts[full[0]], texts[full[1]]), 3)
        return self._place(attempt, chosen, texts, present, held, record)

    def fitted(self, draft: Draft, now: Task) -> Draft | None:
        """The draft without the fields that a person filled meanwhile; None if the task needs none of it any more."""
        layout, fields = self._layout, self._layout.answer_fields
        empty = [field for field, text in zip(fields, layout.answers(now["data"]), strict=True) if text is None]
        answers = {field: text for field, text in draft.answers.items() if field in empty}
        is_other = self.prompt(now) != self.prompt(draft.task) or not layout.has_room(now["data"])
        if is_other or not empty or (draft.answers and not answers):
            return None
        if answers == draft.answers:
            return Draft(now, answers, draft.record)
        answered = {name for name, field in zip(_SAMPLES, fields, strict=True) if field not in answers}
        record = {key: value for key, value in draft.record.items() if key not in answered}
        return Draft(now, answers, {**record, "filled": sorted(answers)})

    def _pairs(self, present: Sequence[str], texts: Sequence[str]) -> list[tuple[int, int]]:
        """The pairs that may be shown; an answer that the task holds already belongs to each of them."""
        pairs = different_pairs(texts, self._settings.filling.max_similarity)
        return [pair for pair in pairs if pair[0] == 0] if present else pairs

    def _choose(
        self, task: Task, texts: Sequence[str], pairs: Sequence[tuple[int, int]], record: dict[str, Any], *,
        score: Score | None, seed: int,
    ) -> tuple[int, int]:  # fmt: skip
        if self._settings.filling.num_candidates == 2:
            return pairs[0]
        strategy = self._settings.filling.pair_strategy
        rewards = None if score is None else list(score(self.prompt(task), texts))
        record["candidates"] = len(texts)
        record["strategy"] = "random" if rewards is None and strategy in WITH_REWARDS else strategy
        if rewards is not None:
            record["rewards"] = [round(reward, 4) for reward in rewards]
        return STRATEGIES[strategy](Candidates(texts, rewards, pairs, seed))

    def _place(
        self, attempt: Attempt, chosen: tuple[int, int], texts: Sequence[str], present: Sequence[str],
        held: dict[str, str | None], record: dict[str, Any],
    ) -> Draft:  # fmt: skip
        """Puts the chosen pair on random sides; an answer that the task holds already stays on its side."""
        left, right = self._layout.answer_fields
        first = left_sample(self._settings.seed, attempt.key)
        samples = {left: chosen[first], right: chosen[1 - first]}
        if present:  # its place is 0
            samples = {field: chosen[1] for field, text in held.items() if text is None}
        for name, field in zip(_SAMPLES, (left, right), strict=True):
            if field in samples:
                record[name] = samples[field] - len(present)
        record["filled"] = sorted(samples)
        return Draft(attempt.task, {field: texts[place] for field, place in samples.items()}, record)

    def _digest(self, task: Task) -> str:
        return hashlib.sha256(transcript(self.prompt(task)).encode()).hexdigest()[:16]


def left_sample(seed: int, key: object) -> int:
    """Which of the two samples (0 or 1) goes left: a coin flip that the task's key decides."""
    return _digest("side", seed, key) % 2


def _digest(*parts: object) -> int:
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
