"""How accurate a version is on parts of the held-out comparisons: short and long prompts, and conversations by their length."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import transcript, turns_of
from preference.report_card.figures import SliceFigures
from trainer.evaluation.intervals import Array, share
from trainer.evaluation.pair_rewards import once_each

ENOUGH = 30  # held-out comparisons: the interval is some 34 points wide then


def sliced_accuracy(holdout: Sequence[PreferencePair], right: Array) -> tuple[SliceFigures, ...]:
    """A row for each slice that has a comparison; the accuracy is None below eight of them. `right`: (num_pairs,) as `holdout`.

    Prompts are cut into thirds by their length in characters, and conversations by their turns; nothing is cut that is all one.
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
        rows += _rows(named, holdout, right, order=sorted(range(len(named)), key=lambda i: lengths[i]))
    turns = [len(turns_of(pair.prompt)) for pair in holdout if pair.prompt]
    if len(turns) == len(holdout) and len(set(turns)) > 1:
        named = ["one turn" if number == 1 else "2 to 4 turns" if number < 5 else "5 turns or more" for number in turns]
        rows += _rows(named, holdout, right, order=sorted(range(len(named)), key=lambda i: turns[i]))
    return tuple(rows)


def _rows(
    named: Sequence[str], holdout: Sequence[PreferencePair], right: Array, *, order: Sequence[int]
) -> list[SliceFigures]:  # fmt: skip
    slices: dict[str, list[int]] = defaultdict(list)
    for i in order:
        slices[named[i]].append(i)
    values = {name: once_each(right[those], [holdout[i] for i in those]) for name, those in slices.items()}
    return [SliceFigures(name, share(those, at_least=8), max(0, ENOUGH - len(those)) or None) for name, those in values.items()]
