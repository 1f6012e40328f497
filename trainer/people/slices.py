"""How accurate a version is on parts of the held-out comparisons: by the prompt's length, by a conversation's, and by fields of tasks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from preference.labelling.pairs import Comparison, PreferencePair, comparison_of
from preference.labelling.prompts import transcript, turns_of
from preference.report_card.figures import SliceFigures
from trainer.evaluation.intervals import Array, share
from trainer.evaluation.pair_rewards import once_each
from trainer.judgements.field_values import FieldValues

ENOUGH = 30  # held-out comparisons: the interval is some 34 points wide then
MOST_VALUES = 12  # of a field


def sliced_accuracy(
    holdout: Sequence[PreferencePair], right: Array, *, votes: Iterable[PreferencePair] = (), values: FieldValues | None = None
) -> tuple[SliceFigures, ...]:
    """A row for each slice that has a comparison; the accuracy is None below eight of them. `right`: (num_pairs,) as `holdout`.

    Prompts are cut into thirds by their length in characters, conversations by their turns, and both by each field of `values`, at most
    MOST_VALUES rows of it: the values with most comparisons, then all others. `votes`: those that `holdout` sums up, which know their
    tasks; of a comparison in several tasks, the value in the one with the lowest id counts. Nothing is cut that is all one.
    All pairs of a prompt that was ranked are one comparison.
    """
    lengths = np.array([len(transcript(pair.prompt)) for pair in holdout])
    rows: list[SliceFigures] = []
    if len(set(lengths)) > 2:
        low, high = (int(np.quantile(lengths, part)) for part in (1 / 3, 2 / 3))
        named = [
            f"prompts up to {low:,} characters" if length <= low
            else f"prompts of {low + 1:,} to {high:,} characters" if length <= high
            else f"prompts over {high:,} characters"
            for length in lengths
        ]  # fmt: skip
        rows += _rows(named, right, holdout, order=lengths)
    turns = [len(turns_of(pair.prompt)) for pair in holdout if pair.prompt]
    if len(turns) == len(holdout) and len(set(turns)) > 1:
        named = ["one turn" if number == 1 else "2 to 4 turns" if number < 5 else "5 turns or more" for number in turns]
        rows += _rows(named, right, holdout, order=turns)
    tasks: dict[Comparison, set[int]] = defaultdict(set)
    for vote in votes if values else ():
        tasks[comparison_of(vote)] |= {vote.task_id} if vote.task_id is not None else set()
    for field, of_task in (values or {}).items():
        held = [next((of_task[task] for task in sorted(tasks[comparison_of(pair)]) if task in of_task), None) for pair in holdout]
        if len(set(held)) > 1:
            places = _places(Counter(held), field)
            named = [places[value][1] for value in held]
            rows += _rows(named, right, holdout, order=[places[value][0] for value in held])
    return tuple(rows)


def _places(counts: Counter[str | None], field: str) -> dict[str | None, tuple[int, str]]:
    """Where each value's row stands, and its name: the most frequent first, then all others, then the tasks without one."""
    ranked = sorted((value for value in counts if value is not None), key=lambda value: (-counts[value], value))
    num_own = len(ranked) if len(counts) <= MOST_VALUES else MOST_VALUES - 1 - (None in counts)
    others = f"{len(ranked) - num_own} other values of {field}"
    places: dict[str | None, tuple[int, str]] = {
        value: (min(place, num_own), f"{field}: {value}" if place < num_own else others) for place, value in enumerate(ranked)
    }
    return {**places, None: (num_own + 1, f"without {field}")}


def _rows(
    named: Sequence[str], right: Array, holdout: Sequence[PreferencePair], *, order: Sequence[int] | Array
) -> list[SliceFigures]:
    slices: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(named)), key=lambda i: order[i]):
        slices[named[i]].append(i)
    shares = {name: share(once_each(right[rows], [holdout[i] for i in rows]), at_least=8) for name, rows in slices.items()}
    return [SliceFigures(name, figure, max(0, ENOUGH - (figure.count or 0)) or None) for name, figure in shares.items()]
