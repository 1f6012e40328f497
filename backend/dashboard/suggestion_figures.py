"""What a card says of suggestions: how often they are followed, and how far they move people. Figures of any shape are shown."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field

from backend.dashboard.report_card import Count, Known, Number, Share

_MOST_ROWS, _MOST_DEPTH, _MOST_LETTERS = 60, 4, 80
_COMPARED = {"with_suggestion", "without", "moves"}
Difference = Annotated[float, Field(strict=True, ge=-1, le=1)]


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    return min(ends), max(ends)


class Median(BaseModel):
    """The middle of several figures."""

    value: Known[Number] = None


class Group(BaseModel):
    """Judgements that were all made with a suggestion, or all without."""

    num_judgements: Known[Count] = None
    model_side: Known[Share] = None
    majority: Known[Share] = None
    left_rate: Known[Share] = None
    lead_seconds: Known[Median] = None


class Moves(BaseModel):
    """How much more often people choose the side that is suggested than they would without."""

    value: Difference
    interval: Known[Annotated[tuple[Difference, Difference], AfterValidator(_rising)]] = None


class Effect(BaseModel):
    """Judgements with a suggestion beside those of the control group."""

    with_suggestion: Group
    without: Group
    moves: Known[Moves] = None


def effect_in(figures: Any) -> Effect | None:
    """The comparison with the control group, wherever it stands in the figures; None without one."""
    return next((effect for inner in _objects(figures) if (effect := _effect(inner)) is not None), None)


def warning_in(figures: Any) -> str:
    """The warning that the figures hold; empty without one."""
    said = (inner.get("warning") for inner in _objects(figures))
    return next((text[:600] for text in said if isinstance(text, str) and text), "")


def shares_in(figures: Any, *, name: str = "", depth: int = 0) -> Iterator[tuple[str, Share]]:
    """Every other share that the figures hold, and what it is called: the keys that lead to it."""
    if not isinstance(figures, dict) or depth > _MOST_DEPTH:
        return
    share = Share.model_validate(figures)
    if share.value is not None:
        yield name, share
    for key, inner in islice(figures.items(), _MOST_ROWS):
        if key not in _COMPARED:
            yield from shares_in(inner, name=f"{name}: {_words(key)}" if name else _words(key), depth=depth + 1)


def _objects(figures: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if isinstance(figures, dict) and depth <= _MOST_DEPTH:
        yield figures
        for inner in islice(figures.values(), _MOST_ROWS):
            yield from _objects(inner, depth + 1)


def _effect(figures: dict[str, Any]) -> Effect | None:
    if not all(isinstance(figures.get(name), dict) for name in ("with_suggestion", "without")):
        return None
    return Effect.model_validate(figures)


def _words(key: object) -> str:
    """A figure's key as people read it."""
    return "suggested by" if key == "versions" else str(key)[:_MOST_LETTERS].removeprefix("num_").replace("_", " ")
