"""The figures of a report card. What there are too few data for is None, or a share whose `value` is None beside its `count`.

The names of the fields are the keys of card.json. Each can be read from a file that anything may have written.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from preference.report_card.people_figures import CriterionFigures, GuidelinesFigures, KindFigures, People, WeightsEffect
from preference.report_card.shares import Median, Share, ShareDifference, wilson
from preference.tolerant import (
    Count,
    Difference,
    DifferenceInterval,
    Flag,
    Interval,
    Items,
    Known,
    Number,
    Part,
    Rows,
    Text,
    WebAddress,
    Words,
    otherwise,
)


@dataclass(frozen=True)
class Comparison:
    """How accuracy differs from another's on the same pairs; trainer/evaluation/intervals.py says how it is computed."""

    gain: Known[Difference] = None
    gain_interval: Known[DifferenceInterval] = None
    p_better: Known[Part] = None
    p_worse: Known[Part] = None


@dataclass(frozen=True)
class RuleFigures(Share, Comparison):
    """The accuracy of a rule without a model, and how the judged version compares with it."""

    train_accuracy: Known[Part] = None


@dataclass(frozen=True)
class HeldOutAccuracy:
    """The accuracy on the held-out comparisons, with its 95 % interval, and the accuracies of rules without a model."""

    accuracy: Known[Part] = None
    interval: Known[Interval] = None
    num_pairs: Known[Count] = None
    longer_wins: Known[Part] = None
    shorter_wins: Known[Part] = None
    style_only: Known[Part] = None

    @property
    def length_rule(self) -> float | None:
        """The accuracy of the better rule that goes by length."""
        return max((value for value in (self.longer_wins, self.shorter_wins) if value is not None), default=None)


@dataclass(frozen=True)
class JudgedFigures(HeldOutAccuracy, Comparison):
    """What the judge measured on the held-out comparisons; the comparison is the one with the champion."""

    champion: Known[Part] = None  # the accuracy of the champion at that time
    num_beside: Known[Count] = None  # comparisons that were judged beside the champion's suggestion; None if there was none
    pull: Known[Part] = None  # the share of people that it moves, by which the gain is corrected; None if it is not measured
    baseline: Known[Text] = None  # the name of the rule that is best on the training pairs
    baselines: Items[RuleFigures] = field(default_factory=dict)
    # The accuracy that promotions within noise gave away since the best version.
    accuracy_debt: Annotated[Number, otherwise(float), Field(alias="owed")] = 0.0


@dataclass(frozen=True)
class Bin:
    """Comparisons of which the model was about as sure."""

    confidence: Part  # the mean
    value: Part  # how often it was right
    interval: Known[Interval] = None
    count: Known[Count] = None


@dataclass(frozen=True)
class Reliability:
    """How far the model's confidence can be believed."""

    calibration_error: Known[Part] = None
    confidence: Known[Part] = None
    bins: Rows[Bin] = ()

    @property
    def beyond_chance_from(self) -> float | None:
        """The confidence from which on the model is right beyond chance: the lower end of its accuracy's 95 % interval is above .5.

        .5 if that holds at every confidence; None if at none, and if a count is unknown. Neighbouring bins are taken together as
        long as accuracy falls from one to the next, since a model that is surer is right more often (isotonic regression by
        pooling adjacent violators: Barlow et al. 1972, "Statistical inference under order restrictions"). So a bin that was
        unlucky raises nothing, and one that was lucky lowers nothing.
        """
        blocks: list[tuple[int, float, int]] = []  # the first bin, how often the model was right, of how many
        for number, each in enumerate(self.bins):
            if not each.count:
                return None
            blocks.append((number, each.value * each.count, each.count))
            while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
                (first, right, count), (_, more, others) = blocks[-2:]
                blocks[-2:] = [(first, right + more, count + others)]
        known = [number for number, right, count in blocks if wilson(right / count, count)[0] > 0.5]
        if not known:
            return None
        return (self.bins[known[0] - 1].confidence + self.bins[known[0]].confidence) / 2 if known[0] else 0.5


@dataclass(frozen=True)
class LengthFigures:
    """How reward goes with length."""

    spearman: Known[Number] = None
    pearson: Known[Number] = None
    spearman_within: Known[Number] = None
    model_prefers_longer: Known[Share] = None
    people_prefer_longer: Known[Share] = None
    points: Rows[tuple[Count, Number, Count]] = ()  # length in characters, reward, 1 if chosen


@dataclass(frozen=True)
class CurvePoint:
    """Held-out accuracy after training on so many pairs."""

    num_pairs: Count
    accuracy: Part
    interval: Known[Interval] = None


@dataclass(frozen=True)
class LaterAccuracy(Share):
    """How right a version was on judgements that are newer than itself."""

    version: Known[Text] = None


@dataclass(frozen=True, kw_only=True)
class VersionRow(HeldOutAccuracy):
    """What is known of a version beside others."""

    version: Text
    created_at: Words = ""
    promoted: Known[Flag] = None
    num_train_pairs: Known[Count] = None
    prequential: Known[LaterAccuracy] = None


@dataclass(frozen=True)
class SuspectLabel:
    """A label that is likely wrong."""

    task: Known[Count] = None
    annotation: Known[Count] = None
    annotator: Known[Count | Text] = None
    gap: Known[Number] = None  # the reward of the chosen answer less that of the rejected one
    probability: Known[Part] = None  # that the label is right
    link: Known[WebAddress] = None


def _unknown_if_null(value: Any) -> Any:
    return Share() if value is None else value


@dataclass(frozen=True)
class Followed(Share):
    """How often people who saw a suggestion chose its side."""

    num_without: Known[Count] = None  # judgements without a suggestion
    # By the version that suggested.
    versions: Items[Annotated[Share, BeforeValidator(_unknown_if_null)]] = field(default_factory=dict)


@dataclass(frozen=True)
class JudgementGroup:
    """Judgements that were all made with a suggestion, or all without."""

    num_judgements: Known[Count] = None
    model_side: Known[Share] = None  # how often the model's side was chosen
    majority: Known[Share] = None  # how often most of the others chose the same
    left_rate: Known[Share] = None
    lead_seconds: Known[Median] = None


@dataclass(frozen=True)
class SuggestionEffect:
    """Judgements with a suggestion beside those of the control group."""

    with_suggestion: Known[JudgementGroup] = None
    unlit: Known[JudgementGroup] = None  # of the same versions, on tasks of which they were not sure enough to light a side
    without: Known[JudgementGroup] = None  # the control group
    moves: Known[ShareDifference] = None  # how much more often people choose the model's side if it is suggested, -1..1
    warning: Known[Text] = None
    left_out: Items[Count] = field(default_factory=dict)  # judgements that are not compared, by reason


@dataclass(frozen=True)
class ControlAccuracy:
    """Accuracy on the comparisons of the control group, which saw no suggestion."""

    this: Known[Share] = None
    champion: Known[Share] = None


@dataclass(frozen=True)
class ServingOrder:
    """Held-out comparisons that were served because a version was unsure of them, as earlier builds did, beside those by lot."""

    num_by_confidence: Known[Count] = None
    by_lot: Known[Share] = None  # the accuracy on the others


@dataclass(frozen=True)
class SliceFigures:
    """The accuracy on a part of the held-out comparisons."""

    name: Words = ""
    accuracy: Known[Share] = None
    num_missing: Known[Count] = None  # comparisons, for the accuracy to say something; None if there are enough


@dataclass(frozen=True)
class ReportFigures:
    """All that a report card holds beyond what the judge measured."""

    people: Known[People] = None
    left_rate: Known[Share] = None
    guidelines: Rows[GuidelinesFigures] = ()  # in the order of their first judgements; empty if all were made under one
    suggestions: Known[Followed] = None
    suggestion_effect: Known[SuggestionEffect] = None
    control_accuracy: Known[ControlAccuracy] = None
    serving_order: Known[ServingOrder] = None  # None if none was served by confidence
    num_ties: Known[Count] = None
    num_rankings: Known[Count] = None
    dropped: Items[Count] = field(default_factory=dict)
    reliability: Known[Reliability] = None
    length: Known[LengthFigures] = None
    length_matched: Known[Share] = None
    learning_curve: Rows[CurvePoint] = ()
    prequential: Known[LaterAccuracy] = None
    versions: Rows[VersionRow] = ()
    suspects: Rows[SuspectLabel] = ()
    criteria: Rows[CriterionFigures] = ()
    weights: Known[WeightsEffect] = None  # None if all votes count alike
    kinds: Rows[KindFigures] = ()  # the surest first; only of a recipe that reads features
    slices: Rows[SliceFigures] = ()
