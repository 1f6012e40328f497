"""What a report card says of the people who judged: each of them, all together, and what they say and reward.

As in figures.py, the names of the fields are keys of card.json, and what is not known is None, or empty.
"""

from dataclasses import dataclass, field

from preference.report_card.shares import Share
from preference.tolerant import Count, Items, Known, Number, Rows, Text, Words


@dataclass(frozen=True)
class AnnotatorWeek:
    """What one annotator did in one week."""

    week: Known[Text] = None  # of ISO 8601, such as 2026-W48
    num_judgements: Known[Count] = None
    left_rate: Known[Share] = None
    agreement: Known[Share] = None
    lead_seconds: Known[Number] = None  # the median


@dataclass(frozen=True)
class AnnotatorFigures:
    """What one annotator did."""

    annotator: Known[Count | Text] = None
    num_judgements: Known[Count] = None
    num_ties: Known[Count] = None
    left_rate: Known[Share] = None
    agreement: Known[Share] = None
    lead_seconds: Known[Number] = None  # the median
    flags: Rows[Text] = ()
    with_self: Known[Share] = None  # of comparisons that came again, how often the same was said
    gold: Known[Share] = None  # of tasks with ground truth by another annotation, how often the same was said
    num_too_fast: Known[Count] = None  # judgements in less time than it takes to read both answers
    weeks: Rows[AnnotatorWeek] = ()  # if there are several, the latest last


@dataclass(frozen=True)
class People:
    """What all annotators did, the most active first."""

    num_annotators: Known[Count] = None
    num_shared: Known[Count] = None
    agreement: Known[Share] = None
    alpha: Known[Number] = None
    annotators: Rows[AnnotatorFigures] = ()


@dataclass(frozen=True)
class WeightsEffect:
    """What ANNOTATOR_WEIGHTS changes."""

    by_annotator: Items[Number] = field(default_factory=dict)  # of those who made judgements that are trained on
    weighted: Known[Share] = None  # the held-out accuracy
    unweighted: Known[Share] = None  # the same of a model for which all votes count alike; None if the recipe is too expensive


@dataclass(frozen=True)
class GuidelinesFigures:
    """Judgements that were made under one version of the guidelines."""

    version: Known[Text] = None  # None: before there were any
    since: Known[Text] = None  # when the first of them was made
    num_judgements: Known[Count] = None
    agreement: Known[Share] = None  # of two annotators of one comparison
    alpha: Known[Number] = None
    model: Known[Share] = None  # how often a held-out vote is for the side that this version prefers


@dataclass(frozen=True)
class CriterionFigures:
    """What annotators said of one thing beside the comparison."""

    name: Text
    num_judgements: Known[Count] = None
    agreement: Known[Share] = None  # how often two annotators of one comparison said the same
    accuracy: Known[Share] = None  # how often the version prefers the side that was named; None if no sides are named
    by_value: Items[Share] = field(default_factory=dict)  # how often it prefers the chosen answer, by what was said


@dataclass(frozen=True)
class KindFigures:
    """A kind of answers that people choose more often, or less often, than the other answer."""

    name: Words = ""
    people: Known[Share] = None  # how often the chosen answer is more of that kind than the rejected one
    by_annotator: Items[Share] = field(default_factory=dict)
