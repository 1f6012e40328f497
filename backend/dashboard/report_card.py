"""A version's card as a page can show it: whatever its file holds, each figure is of its type and in its range, or is not there.

Covered: figures of other types, numbers that are none, texts of any length, lists and objects of any number of entries.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, WrapValidator

from preference.report_card.card import ModelCard

_MOST_ROWS, _MOST_LETTERS = 400, 600
_T = TypeVar("_T")


def _known(value: Any, check: Callable[[Any], Any]) -> Any:
    """The value, or None where it is not what it should be."""
    with suppress(ValidationError):
        return check(value)
    return None


def _right_rows(value: Any, check: Callable[[Any], list[Any]]) -> list[Any]:
    """The entries of a list that are what they should be."""
    found: list[Any] = []
    for row in value[:_MOST_ROWS] if isinstance(value, list | tuple) else ():
        with suppress(ValidationError):
            found += check([row])
    return found


def _right_items(value: Any, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """The entries of an object that are what they should be."""
    found: dict[str, Any] = {}
    for key, inner in islice(value.items(), _MOST_ROWS) if isinstance(value, dict) else ():
        with suppress(ValidationError):
            found |= check({key: inner})
    return found


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ..."


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    return min(ends), max(ends)


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("no address that a browser opens without running code")
    return text


Known = Annotated[_T | None, WrapValidator(_known)]
Rows = Annotated[list[_T], WrapValidator(_right_rows)]
Items = Annotated[dict[str, _T], WrapValidator(_right_items)]
Text = Annotated[str, Field(strict=True), AfterValidator(_cut)]
Number = Annotated[float, Field(strict=True, ge=-1e15, le=1e15)]  # NaN is in no range
Part = Annotated[float, Field(strict=True, ge=0, le=1)]  # of a whole
Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
Interval = Annotated[tuple[Part, Part], AfterValidator(_rising)]


class Share(BaseModel):
    """A share, its 95 % interval, and of how many it is."""

    value: Known[Part] = None
    interval: Known[Interval] = None
    count: Known[Count] = None


class Baseline(Share):
    """A rule that knows nothing of what an answer says."""

    gain: Known[Number] = None


class Bin(BaseModel):
    """Comparisons of which the model was about as sure."""

    confidence: Part
    value: Part
    interval: Known[Interval] = None
    count: Known[Count] = None


class Reliability(BaseModel):
    """How far confidence can be believed."""

    calibration_error: Known[Part] = None
    confidence: Known[Part] = None
    bins: Rows[Bin] = []


class Length(BaseModel):
    """How reward goes with length."""

    spearman: Known[Number] = None
    spearman_within: Known[Number] = None
    model_prefers_longer: Known[Share] = None
    people_prefer_longer: Known[Share] = None
    points: Rows[tuple[Count, Number, Count]] = []


class CurvePoint(BaseModel):
    """Accuracy after training on so many pairs."""

    num_pairs: Count
    accuracy: Part
    interval: Known[Interval] = None


class Annotator(BaseModel):
    """What one annotator did."""

    annotator: Known[Count | Text] = None
    num_judgements: Known[Count] = None
    num_ties: Known[Count] = None
    left_rate: Known[Share] = None
    agreement: Known[Share] = None
    lead_seconds: Known[Number] = None
    flags: Rows[Text] = []


class People(BaseModel):
    """All annotators."""

    agreement: Known[Share] = None
    alpha: Known[Number] = None
    num_shared: Known[Count] = None
    annotators: Rows[Annotator] = []


class VersionRow(BaseModel):
    """What is known of a version beside others."""

    version: Text
    promoted: Known[bool] = None
    num_train_pairs: Known[Count] = None
    accuracy: Known[Part] = None
    interval: Known[Interval] = None
    longer_wins: Known[Part] = None
    shorter_wins: Known[Part] = None
    style_only: Known[Part] = None
    prequential: Known[Share] = None


class Suspect(BaseModel):
    """A label that is likely wrong."""

    task: Known[Count] = None
    annotator: Known[Count | Text] = None
    probability: Known[Part] = None
    link: Known[Annotated[Text, AfterValidator(_web_address)]] = None


class ControlAccuracy(BaseModel):
    """Accuracy on the comparisons of the control group, which saw no suggestion."""

    this: Known[Share] = None


class Report(BaseModel):
    """The figures of a report card."""

    people: Known[People] = None
    left_rate: Known[Share] = None
    num_ties: Known[Count] = None
    suggestions: Known[dict[str, Any]] = None
    suggestion_effect: Known[dict[str, Any]] = None
    control_accuracy: Known[ControlAccuracy] = None
    reliability: Known[Reliability] = None
    length: Known[Length] = None
    length_matched: Known[Share] = None
    learning_curve: Rows[CurvePoint] = []
    prequential: Known[Share] = None
    versions: Rows[VersionRow] = []
    suspects: Rows[Suspect] = []


class Metrics(BaseModel):
    """What the judge measured."""

    num_pairs: Known[Count] = None
    accuracy: Known[Part] = None
    interval: Known[Interval] = None
    champion: Known[Part] = None
    baseline: Known[Text] = None
    baselines: Items[Baseline] = {}
    longer_wins: Known[Part] = None
    shorter_wins: Known[Part] = None
    style_only: Known[Part] = None


class Promotion(BaseModel):
    """One line of a version's log."""

    at: Known[Text] = None
    by: Known[Text] = None
    reason: Known[Text] = None


def _or_empty(value: Any) -> Any:
    return value if isinstance(value, dict) else {}


class ReportCard(BaseModel):
    """A card, of which only the version's name is sure."""

    version: str
    created_at: Known[Text] = None
    recipe: Known[Text] = None
    base: Known[Text] = None
    start: Known[Text] = None
    num_annotations: Known[Count] = None
    num_train_pairs: Known[Count] = None
    num_holdout_pairs: Known[Count] = None
    dropped: Items[Count] = {}
    metrics: Annotated[Metrics, BeforeValidator(_or_empty)] = Metrics()
    promoted: Known[bool] = None
    reason: Known[Text] = None
    seconds: Items[Number] = {}
    compared_with: Known[Text] = None
    report: Annotated[Report, BeforeValidator(_or_empty)] = Report()
    promotions: Rows[Promotion] = []

    @property
    def row(self) -> VersionRow:
        """This version as a row beside others."""
        return VersionRow.model_validate({**self.metrics.model_dump(), **self.model_dump(include={"promoted", "num_train_pairs"}),
                                          "version": self.version})  # fmt: skip


def read_card(card: ModelCard, version: str) -> ReportCard:
    """The card of a version, as far as it can be shown."""
    return ReportCard.model_validate({**vars(card), "version": version})
