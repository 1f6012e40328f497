"""The figures of a report card, each computed from rewards or judgements; none is made up if there are too few data for it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, opening
from preference.report_card.card import ReportCard
from preference.report_card.figures import Bin, Followed, LaterAccuracy, LengthFigures, Reliability, VersionRow
from preference.report_card.shares import Share, wilson
from preference.reward_model.model import RewardModel
from trainer.evaluation.intervals import Array, share
from trainer.evaluation.pair_rewards import Rewards, once_each, score_pairs
from trainer.people.judgements import Judgement, with_suggestion

AT_LEAST = 8  # of what a figure is the mean of
_LEAST_IN_BINS, _PER_BIN = 20, 20
_MOST_BINS = 10
_MOST_POINTS = 400
_MATCHED = 0.1
_MOST_LATER = 2000  # judgements on which prequential accuracy is measured, the newest
_MOST_VERSIONS = 50


def reliability(confidence: Array, right: Array) -> Reliability | None:
    """Accuracy by confidence, and the expected calibration error; None below twenty pairs.

    `bins`: two to ten, of equally many pairs, by rising `confidence` (the mean in it, .5..1). `calibration_error`: the mean
    distance of accuracy and confidence over the pairs (Naeini et al. 2015, AAAI, there ECE). In few pairs it is above 0 for a
    perfect model too, since each bin's accuracy is noisy.
    """
    if len(right) < _LEAST_IN_BINS:
        return None
    num_bins = max(2, min(_MOST_BINS, len(right) // _PER_BIN))
    order = np.argsort(confidence, kind="stable")
    error, bins = 0.0, []
    for rows in np.array_split(order, num_bins):
        sure, accuracy = round(float(confidence[rows].mean()), 4), float(right[rows].mean())
        bins.append(Bin(sure, round(accuracy, 4), wilson(accuracy, len(rows)), len(rows)))
        error += len(rows) * abs(round(accuracy, 4) - sure) / len(right)
    return Reliability(round(error, 4), round(float(confidence.mean()), 4), tuple(bins))


def confidences(model: RewardModel, rewards: Rewards) -> Array:
    """(num_pairs,) how sure the model is of the side that it prefers, .5..1."""
    return np.array([model.confidence(float(a), float(b)) for a, b in zip(rewards.chosen, rewards.rejected, strict=True)])


def reward_and_length(pairs: Sequence[PreferencePair], rewards: Rewards) -> LengthFigures | None:
    """How reward goes with length in characters; None below eight pairs.

    `spearman`, `pearson`: of reward and log length over all answers; `spearman_within`: of the differences within each pair,
    taken both ways, which no difference between prompts blurs. `model_prefers_longer`, `people_prefer_longer`: among pairs of unequal length.
    `points`: [length, reward, 1 if chosen] of at most 400 answers, spread evenly over the pairs.
    """
    if len(pairs) < AT_LEAST or not np.isfinite(rewards.gaps).all():
        return None
    chosen, rejected = _lengths(pairs)
    length, reward = np.concatenate([chosen, rejected]), np.concatenate([rewards.chosen, rewards.rejected])
    longer, unequal = np.sign(chosen - rejected), chosen != rejected
    points = tuple(
        (int(pair_length), round(float(pair_reward), 4), is_chosen)
        for i in _spread(len(pairs), _MOST_POINTS // 2)
        for pair_length, pair_reward, is_chosen in (
            (chosen[i], rewards.chosen[i], 1),
            (rejected[i], rewards.rejected[i], 0),
        )
    )
    log_length = np.log1p(length)
    return LengthFigures(
        spearman=_correlation(spearmanr, log_length, reward),
        pearson=_correlation(pearsonr, log_length, reward),
        spearman_within=_correlation(spearmanr, *_both_ways(np.log1p(chosen) - np.log1p(rejected), rewards.gaps)),
        model_prefers_longer=_share_where(unequal, 0.5 + np.sign(rewards.gaps * longer) / 2, pairs),
        people_prefer_longer=_share_where(unequal, 0.5 + longer / 2, pairs),
        points=points,
    )


def length_matched(pairs: Sequence[PreferencePair], right: Array) -> Share:
    """Accuracy on pairs whose lengths differ by at most a tenth of the longer one, so that length cannot help."""
    chosen, rejected = _lengths(pairs)
    return _share_where(np.abs(chosen - rejected) <= _MATCHED * np.maximum(chosen, rejected), right, pairs)


def suggestions(judgements: Sequence[Judgement]) -> Followed | None:
    """How often people who saw a suggestion chose its side, in all and by version; None if nobody saw one.

    What they saw is known from the annotation's parent prediction. A tie is no agreement.
    """
    suggested = [made for made in with_suggestion(judgements) if made.outcome is not None]
    if not suggested:
        return None
    versions = sorted({made.suggested_version or "unknown" for made in suggested})
    return Followed(
        **vars(_agreeing(suggested)),
        num_without=sum(made.outcome is not None for made in judgements) - len(suggested),
        versions={
            name: _agreeing([made for made in suggested if (made.suggested_version or "unknown") == name]) for name in versions
        },
    )


def prequential(pairs: Sequence[PreferencePair], champion: RewardModel, card: ReportCard) -> LaterAccuracy | None:
    """How right the champion was on judgements that are newer than itself; None without any.

    Votes on prompts that had been judged before are not counted, since it may have trained on them.
    """
    known = prompts_known_to(card, pairs)
    later = [pair for pair in pairs if pair.kind in ("vote", "ranking") and normalised(opening(pair.question)) not in known]
    if not later:
        return None
    later = sorted(later, key=lambda pair: pair.annotation_id or 0)[-_MOST_LATER:]
    accuracy = share(once_each(score_pairs(champion, later).right, later), at_least=AT_LEAST)
    return LaterAccuracy(**vars(accuracy), version=card.version)


def prompts_known_to(card: ReportCard, pairs: Sequence[PreferencePair]) -> set[str]:
    """What prompts begin with, normalised, that somebody had judged when the version was trained and judged: it may know them.

    The card names the newest annotation that was read, since no two machines' clocks agree. A card of build e08322f does not, and
    what was judged after it was published counts as later; without that time, all prompts count as known.
    """
    return {normalised(opening(pair.question)) for pair in pairs if not _is_later(pair, card)}


def history(earlier: Sequence[ReportCard], newest: LaterAccuracy | None) -> tuple[VersionRow, ...]:
    """One row for each earlier version, oldest first, with what its card and later ones say of it.

    `newest`: the prequential accuracy of this round. Each round measured its champion anew, so the last word counts.
    """
    ordered = sorted(earlier, key=lambda card: card.created_at)[-_MOST_VERSIONS:]
    measured = {
        later.version: later
        for later in (*(card.report.prequential for card in ordered), newest)
        if later is not None and later.value is not None
    }
    return tuple(replace(card.row, prequential=measured.get(card.version)) for card in ordered)


def _moment_of(text: str | None) -> datetime | None:
    """A moment in ISO 8601, in UTC if it names no zone; None if it is none."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_later(pair: PreferencePair, card: ReportCard) -> bool:
    if card.newest_annotation is not None:
        return pair.annotation_id is not None and pair.annotation_id > max(card.newest_annotation, card.judged_until or 0)
    since, at = _moment_of(card.created_at), _moment_of(pair.judged_at)
    return since is not None and at is not None and at > since


def _agreeing(judgements: Sequence[Judgement]) -> Share:
    return share([float(made.outcome == made.suggested_side) for made in judgements])


def _share_where(rows: NDArray[np.bool_], values: Array, pairs: Sequence[PreferencePair]) -> Share:
    """The mean over those pairs, each ranked prompt counted once."""
    return share(once_each(values[rows], [pair for pair, is_in in zip(pairs, rows, strict=True) if is_in]), at_least=AT_LEAST)


def _lengths(pairs: Sequence[PreferencePair]) -> tuple[Array, Array]:
    return np.array([len(pair.chosen) for pair in pairs], float), np.array([len(pair.rejected) for pair in pairs], float)


def _both_ways(*differences: Array) -> list[Array]:
    return [np.concatenate([difference, -difference]) for difference in differences]


def _spread(count: int, most: int) -> list[int]:
    return list(range(count)) if count <= most else [int(i) for i in np.linspace(0, count - 1, most)]


def _correlation(of: Any, first: Array, second: Array) -> float | None:
    """None if either never changes."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return round(float(of(first, second).statistic), 4)
