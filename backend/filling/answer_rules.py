"""Which answers a task gets: sampled until two differ, chosen, put on random sides, with a record of their origin.

A list gets all that differ, in a random order.
"""

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.filling.pair_strategies import STRATEGIES, WITH_REWARDS, Candidates, all_different, different_pairs, similarity
from backend.scoring.candidate_scores import Score
from preference.duels.duel import KEY, DuelRecord
from preference.generation.jobs import CUT, Answer, Generator, WrittenAnswers
from preference.labelling.controls.ranker import MOST_WRITTEN, items_of
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import Layout
from preference.labelling.prompts import Prompt, transcript, turns_of
from preference.projects.generators import BASE
from preference.settings import Settings
from preference.studio.storable import storable
from preference.studio.task import META_KEY, Task, entry_of

UNSTORED = "Label Studio refused the answers"
_REFUSED_SECONDS = 86400.0  # then a prompt that could not be answered is asked again
_UNSTORED_SECONDS = 3600.0  # then answers that could not be stored are written again: perhaps Label Studio was out of order
_SAMPLES = ("left_sample", "right_sample")  # in the record: which of the samples each field holds
_BY_FIELD = (
    "seeds",
    "generator_versions",
    "finish_reasons",
    "thoughts",
)  # in the record: what it says of each field that was filled, or of each item
_Pair = tuple[int, int]  # places among samples, the smaller first
_Chosen = tuple[Sequence[int], dict[str, Any]]  # places among samples, and what the record says of the choice


@dataclass(frozen=True)
class Draft:
    """What is to be stored for one task."""

    task: Task  # as it was read
    answers: dict[str, Any]  # what each answer field that was empty gets; nothing if the prompt was refused
    record: dict[str, Any]  # for meta

    @property
    def num_cut(self) -> int:
        """How many of the answers were cut off in the middle."""
        return sum(reason in CUT for reason in self.record.get("finish_reasons", {}).values())


@dataclass(frozen=True)
class _Sample:
    """An answer that may be shown."""

    answer: Answer
    seed: int = 0
    place: int = 0  # among the answers that were written with that seed

    @property
    def text(self) -> str:
        return self.answer.text

    @property
    def is_cut(self) -> bool:
        return self.answer.finish_reason in CUT


@dataclass(frozen=True)
class Attempt:
    """One request to the model for a task's answers."""

    task: Task
    number: int = 0
    earlier: tuple[_Sample, ...] = ()  # what the requests before it brought
    lacks_one: bool = False  # two of these differ, but one was cut off and the other was not: any third goes with one of them

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

    def problem(self, task: Task, *, remembered: Mapping[str, Any] | None = None) -> str:
        """Why this task cannot be answered; empty if it can. `remembered`: the record of its refusal, if its meta holds none."""
        data = task["data"]
        if repeat_of(task) is not None:
            return "a repeat whose answers somebody removed"
        if problem := unanswerable(data, self._layout):
            return problem
        if not self._layout.has_room(data):
            return "an answer field holds no text"  # and must not be replaced
        record = entry_of(task, META_KEY) or remembered or {}
        refused, at = record.get("refused"), record.get("at")
        if (record.get("model"), record.get("prompt")) != (self._model, self._digest(task)):
            return ""
        rest_seconds = _UNSTORED_SECONDS if str(refused).startswith(UNSTORED) else _REFUSED_SECONDS
        is_recent = isinstance(at, int | float) and at > time.time() - rest_seconds
        return refused if is_recent and isinstance(refused, str) else ""

    def prompt(self, task: Task) -> Prompt:
        """The task's prompt."""
        return self._layout.prompt(task["data"]) or ""

    def num_answers(self, attempt: Attempt) -> int:
        """How many answers to ask for."""
        if attempt.lacks_one:
            return 1
        wanted = self._settings.filling.num_candidates
        return wanted if self._layout.ranker is None else min(wanted, MOST_WRITTEN)

    def seed(self, attempt: Attempt) -> int:
        """The generator's seed, 0..2**48 - 1."""
        return answer_seed(self._settings.seed, attempt.key, attempt.number)

    def next_step(self, attempt: Attempt, written: WrittenAnswers, *, score: Score | None) -> Draft | Attempt:
        """What to store; or the next attempt, if no two answers may stand beside each other. There are at most MAX_RESAMPLES of these.

        Two answers may, if they are different enough, and both are whole or both were cut off. After the last attempt one that
        was cut off may stand beside a whole one; answers that stay alike are kept and marked; a prompt that the model cannot
        answer is marked too. `score` gives the served model's rewards; without it, strategies that need rewards take any pair.
        """
        task, seed = attempt.task, self.seed(attempt)
        present = [_Sample(Answer(text)) for text in self._layout.answers(task["data"]) if text is not None]
        new = [_Sample(answer, seed, place) for place, answer in enumerate(written.each)]
        latest, every = [*present, *new], [*present, *attempt.earlier, *new]
        mixed: tuple[list[_Sample], list[_Pair]] | None = None
        for samples in (latest, every) if attempt.earlier else (latest,):
            pairs = self._pairs(samples, has_present=bool(present))
            if like := _of_a_kind(samples, pairs) if self._settings.filling.whole_answers else pairs:
                return self._draft(attempt, written, samples, self._choose(task, samples, like, score=score, seed=seed))
            mixed = mixed or ((samples, pairs) if pairs else None)
        if not written.refused and attempt.number < self._settings.filling.max_resamples:
            return Attempt(task, attempt.number + 1, (*attempt.earlier, *new), lacks_one=mixed is not None)
        if mixed is not None:
            samples, pairs = mixed
            return self._draft(attempt, written, samples, self._choose(task, samples, pairs, score=score, seed=seed))
        if alike := self._pairs(latest, has_present=bool(present), max_similarity=2):
            likeness = {pair: similarity(latest[pair[0]].text, latest[pair[1]].text) for pair in alike}
            pair = min(alike, key=lambda pair: likeness[pair])
            return self._draft(attempt, written, latest, (pair, {"similarity": round(likeness[pair], 3)}))
        reason = written.refused or "the model wrote nothing"
        if not written.refused and any(sample.is_cut and sample.answer.thought for sample in new):
            reason = "the model thought up to its limit and wrote nothing"
        return self.refusal(task, reason)

    def duel(self, task: Task, new: WrittenAnswers, other: WrittenAnswers) -> Draft | None:
        """What to store for a duel of two generators, whose answers name them as their `version`; None if they make none.

        They make none if one is empty or refused, or if they are too much alike. An answer that was cut off may stand beside a
        whole one here: people are to see what each generator writes.
        """
        if new.version == other.version:
            return None
        attempt = Attempt(task)
        samples = [_Sample(answer, self.seed(attempt)) for written in (new, other) for answer in written.each[:1]]
        if not self._pairs(samples, has_present=False):
            return None
        draft = self._draft(attempt, new, samples, ((0, 1), {}))
        new_in = next(field for field, name in draft.record["generator_versions"].items() if name == new.version)
        return replace(draft, record={**draft.record, KEY: DuelRecord(new.version, other.version, new_in).to_values()})

    def refusal(self, task: Task, reason: str) -> Draft:
        """A mark in the task that it cannot be answered, and why. For a while nobody tries again, unless prompt or model change."""
        record = {"refused": reason, "model": self._model, "prompt": self._digest(task), "at": int(time.time())}
        return Draft(task, {}, storable(record)[0])

    def fitted(self, draft: Draft, now: Task) -> Draft | None:
        """The draft without the fields that a person filled meanwhile; None if the task needs none of it any more."""
        layout, fields = self._layout, self._layout.answer_fields
        empty = layout.empty_fields(now["data"])
        answers = {field: text for field, text in draft.answers.items() if field in empty}
        is_other = self.prompt(now) != self.prompt(draft.task) or not layout.has_room(now["data"])
        if is_other or not empty or (draft.answers and not answers):
            return None
        if answers == draft.answers:
            return Draft(now, answers, draft.record)
        answered = {name for name, field in zip(_SAMPLES, fields, strict=False) if field not in answers}
        record = {key: value for key, value in draft.record.items() if key not in (*answered, KEY)}
        for name in record.keys() & set(_BY_FIELD):
            record[name] = {field: value for field, value in record[name].items() if field in answers}
        return Draft(now, answers, {**record, "filled": sorted(answers)})

    def _pairs(self, samples: Sequence[_Sample], *, has_present: bool, max_similarity: float | None = None) -> list[_Pair]:
        """The pairs that are different enough; an answer that the task holds already, the first, belongs to each of them."""
        most = self._settings.filling.max_similarity if max_similarity is None else max_similarity
        pairs = different_pairs([sample.text for sample in samples], most)
        return [pair for pair in pairs if pair[0] == 0] if has_present else pairs

    def _choose(
        self, task: Task, samples: Sequence[_Sample], pairs: Sequence[_Pair], *, score: Score | None, seed: int
    ) -> _Chosen:
        """The pair that is shown, or all that a list gets."""
        if self._layout.ranker is not None:
            places = sorted({place for pair in pairs for place in pair})
            different = all_different([samples[place].text for place in places], self._settings.filling.max_similarity)
            return [places[i] for i in different], {}
        if self._settings.filling.num_candidates == 2:
            return pairs[0], {}
        strategy, texts = self._settings.filling.pair_strategy, [sample.text for sample in samples]
        rewards = None if score is None else list(score(self.prompt(task), texts))
        marks: dict[str, Any] = {"candidates": len(texts)}
        marks["strategy"] = "random" if rewards is None and strategy in WITH_REWARDS else strategy
        if rewards is not None:
            marks["rewards"] = [round(reward, 4) for reward in rewards]
        return STRATEGIES[strategy](Candidates(texts, rewards, pairs, seed)), marks

    def _draft(self, attempt: Attempt, written: WrittenAnswers, samples: Sequence[_Sample], chosen: _Chosen) -> Draft:
        places, marks = chosen
        filled = self._placed(attempt, [samples[place] for place in places])
        generator, seeds = self._generator(), {field: sample.seed for field, sample in filled.items()}
        record: dict[str, Any] = {"generator": generator.name, "sampling": generator.sampling, "seed": next(iter(seeds.values()))}
        if len(set(seeds.values())) > 1:
            record["seeds"] = seeds
        versions = {field: sample.answer.version or BASE for field, sample in filled.items()}
        if set(versions.values()) != {BASE}:
            record["generator_version"] = next(iter(versions.values()))
        if len(set(versions.values())) > 1:
            record["generator_versions"] = versions
        if written.num_cut:
            record["prompt_tokens_cut"] = written.num_cut
        if written.num_changed:
            record["characters_changed"] = written.num_changed
        record |= marks
        texts = {field: sample.text for field, sample in filled.items()}
        if self._layout.ranker is not None:
            record["samples"] = [sample.place for sample in filled.values()]
            texts = self._layout.answered(list(texts.values()))
        for name, field in zip(_SAMPLES, self._layout.answer_fields, strict=False):
            if field in filled:
                record[name] = filled[field].place
        if reasons := {field: reason for field, sample in filled.items() if (reason := sample.answer.finish_reason)}:
            record["finish_reasons"] = reasons
        thoughts = {field: thought for field, sample in filled.items() if (thought := sample.answer.thought)}
        if thoughts and self._settings.filling.keep_thinking:
            record["thoughts"] = thoughts
        record["filled"] = sorted(texts)
        return Draft(attempt.task, texts, storable(record)[0])

    def _placed(self, attempt: Attempt, chosen: Sequence[_Sample]) -> dict[str, _Sample]:
        """Two by their fields, on random sides, only the second if the task holds the first; those of a list by their items' ids."""
        fields = self._layout.answer_fields
        if self._layout.ranker is not None:
            order = random.Random(self.seed(attempt)).sample(chosen, len(chosen))  # noqa: S311 - a coin, no secret
            return {item["id"]: sample for item, sample in zip(items_of([sample.text for sample in order]), order, strict=True)}
        empty = self._layout.empty_fields(attempt.task["data"])
        if len(empty) < len(fields):
            return dict.fromkeys(empty, chosen[1])
        first = left_sample(self._settings.seed, attempt.key)
        return {fields[0]: chosen[first], fields[1]: chosen[1 - first]}

    def _digest(self, task: Task) -> str:
        return hashlib.sha256(transcript(self.prompt(task)).encode()).hexdigest()[:16]


def unanswerable(task_data: Mapping[str, Any], layout: Layout) -> str:
    """Why the task's prompt cannot be answered; empty if it can."""
    if problem := layout.prompt_problem(task_data):
        return problem
    is_ours = turns_of(layout.prompt(task_data) or "")[-1].role == "user"
    return "" if is_ours else "conversation that does not end with the user's turn"


def answer_seed(seed: int, key: object, number: int) -> int:
    """The generator's seed for one request, 0..2**48 - 1: the task's key and the number of the request decide it."""
    return _digest("answer", seed, key, number) % 2**48


def left_sample(seed: int, key: object) -> int:
    """Which of the two samples (0 or 1) goes left: a coin flip that the task's key decides."""
    return _digest("side", seed, key) % 2


def _of_a_kind(samples: Sequence[_Sample], pairs: Sequence[_Pair]) -> list[_Pair]:
    """The pairs of two whole answers; if there are none, those of two that were cut off."""
    whole = [pair for pair in pairs if not any(samples[place].is_cut for place in pair)]
    return whole or [pair for pair in pairs if all(samples[place].is_cut for place in pair)]


def _digest(*parts: object) -> int:
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
