"""A version and what was exported of it, on the same held-out comparisons: what the export costs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preference.labelling.pairs import PreferencePair
from preference.models.encoding import encode_closed
from preference.report_card.shares import Share
from trainer.classifiers.elsewhere import ReadElsewhere, tokens_elsewhere
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import Rewards, once_each


@dataclass(frozen=True)
class SideBySide:
    """Accuracies on the held-out comparisons, and how the rewards of their answers go together."""

    version: Share
    exported: Share
    agreement: Share  # of comparisons in which both prefer the same answer
    correlation: float | None  # Pearson's, of all answers' rewards; None if there are too few, or one side's are all the same
    num_answers: int
    num_read_otherwise: int  # answers that other programs read as other tokens than Pairloop does


def side_by_side(version: Rewards, exported: Rewards, pairs: Sequence[PreferencePair], model: ReadElsewhere) -> SideBySide:
    """The figures. `pairs`: one for each comparison; `model`: what the exported rewards are of."""
    exchanges = dict.fromkeys((pair.prompt, answer) for pair in pairs for answer in (pair.chosen, pair.rejected))
    read = model.description
    return SideBySide(
        share(once_each(version.right, pairs)),
        share(once_each(exported.right, pairs)),
        share(once_each((version.gaps > 0) == (exported.gaps > 0), pairs)),
        _correlation(version, exported),
        len(exchanges),
        sum(
            encode_closed(model.tokenizer, prompt, answer, max_tokens=read.max_tokens, closing=read.closing)[0]
            != tokens_elsewhere(model.tokenizer, prompt, answer)
            for prompt, answer in exchanges
        ),
    )


def figure_rows(figures: SideBySide) -> list[tuple[str, str]]:
    """(what, its value) as people read them; what is not known has no row."""
    rows = [
        ("held-out accuracy of the version in Pairloop", _accuracy(figures.version)),
        ("held-out accuracy of the exported model", _accuracy(figures.exported)),
        ("comparisons in which both prefer the same answer", _accuracy(figures.agreement)),
        ("correlation of their rewards", "" if figures.correlation is None else f"{figures.correlation:.3f}"),
    ]
    if figures.num_read_otherwise:
        read = f"{figures.num_read_otherwise} of {figures.num_answers}"
        rows.append(("answers that other programs read as other tokens than Pairloop", read))
    return [row for row in rows if row[1]]


def _accuracy(measured: Share) -> str:
    if measured.value is None or measured.interval is None:
        return ""
    low, high = measured.interval
    return f"{measured.value:.3f} ({low:.3f} to {high:.3f}, n = {measured.count})"


def _correlation(version: Rewards, exported: Rewards) -> float | None:
    ours, theirs = (np.concatenate([rewards.chosen, rewards.rejected]) for rewards in (version, exported))
    if len(ours) < 3 or not ours.std() or not theirs.std():
        return None
    return round(float(np.corrcoef(ours, theirs)[0, 1]), 4)
