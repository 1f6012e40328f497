"""Which answers a task gets: drawn until they differ, on random sides, with a record of where each came from."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backend.generators import Generator
from preference.layout import LabelingLayout
from preference.settings import Settings
from preference.studio import Task

META_KEY = "pairloop"


@dataclass(frozen=True)
class Draft:
    """What is to be stored for one task: a text for each answer field that was empty, and the record for `meta`."""

    task: Task  # as it was read
    answers: dict[str, str]
    record: dict[str, Any]


def draft_answers(
    tasks: Sequence[Task], layout: LabelingLayout, generator: Generator, settings: Settings, *, dropped: Counter[str]
) -> list[Draft]:
    """A draft for each task that can be answered; `dropped` counts the others by reason.

    Identical answers (but for white space and case) and empty ones are drawn again, at most MAX_RESAMPLES times.
    Answers that stay identical are kept and marked in the record; training leaves them out.
    """
    drafts: list[Draft] = []
    waiting = []
    for task in tasks:
        if layout.prompt(task["data"]) is None:
            dropped["prompt missing, empty or not text"] += 1
        elif _is_foreign(task["data"], layout):
            dropped["an answer field holds no text"] += 1
        else:
            waiting.append(task)
    for attempt in range(settings.max_resamples + 1):
        seeds = [answer_seed(settings.seed, task["id"], attempt) for task in waiting]
        prompts = [layout.prompt(task["data"]) or "" for task in waiting]
        writings = generator.generate(prompts, seeds=seeds) if waiting else []
        again = []
        for task, seed, writing in zip(waiting, seeds, writings, strict=True):
            answers = _place(task, layout, writing.answers, settings.seed)
            shown = [answers[field] if field in answers else task["data"][field] for field in layout.answer_fields]
            is_last = attempt == settings.max_resamples
            if not all(text.strip() for text in shown):
                if is_last:
                    dropped["the model wrote nothing"] += 1
                else:
                    again.append(task)
            elif _normal(shown[0]) == _normal(shown[1]) and not is_last:
                again.append(task)
            else:
                record = {
                    "generator": generator.name,
                    "sampling": generator.sampling,
                    "seed": seed,
                    "left_sample": left_sample(settings.seed, task["id"]),
                    "filled": sorted(answers),
                }
                if writing.num_cut:
                    record["prompt_tokens_cut"] = writing.num_cut
                if _normal(shown[0]) == _normal(shown[1]):
                    record["identical"] = True
                drafts.append(Draft(task, answers, record))
        waiting = again
    return drafts


def left_sample(seed: int, task_id: int) -> int:
    """Which of the two samples (0 or 1) goes left: a coin that the task's id decides."""
    return _digest("side", seed, task_id) % 2


def answer_seed(seed: int, task_id: int, attempt: int) -> int:
    """The generator's seed for one task, 0..2**48 - 1."""
    return _digest("answer", seed, task_id, attempt) % 2**48


def _place(task: Task, layout: LabelingLayout, samples: Sequence[str], seed: int) -> dict[str, str]:
    """The samples by the field they belong in; a field that already has a text is left out."""
    first = left_sample(seed, task["id"])
    sides = dict(zip(layout.answer_fields, (samples[first], samples[1 - first]), strict=True))
    present = dict(zip(layout.answer_fields, layout.answers(task["data"]), strict=True))
    return {field: sample for field, sample in sides.items() if present[field] is None}


def _is_foreign(data: dict[str, Any], layout: LabelingLayout) -> bool:
    """Whether an answer field holds something that is neither a text nor empty, which must not be replaced."""
    return any(data.get(field) is not None and not isinstance(data[field], str) for field in layout.answer_fields)


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()


def _digest(*parts: object) -> int:
    text = "|".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
