"""The report card of a version: what is known of it, as its card.json holds it.

Covered: a card of another build, a damaged one and a hostile one: each value is what it should be or is missing, and `unreadable`
names what could not be read.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from preference.errors import RegistryError
from preference.labelling.holdout import Holdout
from preference.report_card.figures import HeldOutAccuracy, JudgedFigures, ReportFigures, VersionRow
from preference.tolerant import (
    Count,
    Flag,
    Items,
    Known,
    Number,
    Part,
    ReadingLog,
    Rows,
    Text,
    Words,
    adapter_of,
    otherwise,
    read_as,
)

_NAMED_PLACES = 8
_ELSEWHERE = frozenset({"promotions", "unreadable"})  # not in card.json


@dataclass(frozen=True)
class Promotion:
    """One line of a version's log: when it became the champion."""

    at: Known[Text] = None
    by: Known[Text] = None
    before: Known[Text] = None
    reason: Known[Text] = None


@dataclass(frozen=True)
class ReportCard:
    """What is known of one version. `probe` is a fixed text and its reward, recomputed before the version is served."""

    project_id: Annotated[Count, otherwise(int)] = 0
    recipe: Words = ""
    base: Words = ""
    num_annotations: int = 0  # of the project, when its judgements were read
    newest_annotation: Known[Count] = None  # the highest id among those that were read; cards of build e08322f do not name it
    judged_until: Known[Count] = (
        None  # the highest id among those that it was judged by: later ones, if a killed round was taken up
    )
    num_train_pairs: Known[Count] = None
    num_holdout_pairs: Known[Count] = None
    dropped: Items[Count] = field(default_factory=dict)
    fields: Items[Text] = field(
        default_factory=dict
    )  # of a task's data: "prompt", "left" and "right"; {} on earlier builds' cards
    metrics: Annotated[JudgedFigures, otherwise(JudgedFigures)] = field(default_factory=JudgedFigures)
    promoted: Known[Flag] = None  # the judge's verdict when this was published
    reason: Words = ""
    probe: Annotated[dict[str, Any], otherwise(dict)] = field(default_factory=dict)  # prompt, answer, reward
    seed: Known[Count] = None
    seconds: Items[Number] = field(default_factory=dict)
    version: Words = ""
    created_at: Words = ""
    holdout_fraction: Annotated[Part, otherwise(lambda: 1.0)] = 1.0  # the share of prompts that were held out
    holdout_rule: Annotated[Count, otherwise(lambda: 1)] = 1  # how they were chosen; cards of build e08322f do not name it
    compared_with: Known[Text] = None  # the champion at that time
    dtype: Words = ""  # the number format that it was trained in; empty on cards of earlier builds
    start: Words = "base"  # the weights that training started from: "base", or "champion"
    learnt_from: Words = ""  # the champion of an earlier project whose reward was one of its features
    libraries: Items[Text] = field(default_factory=dict)
    report: Annotated[ReportFigures, otherwise(ReportFigures)] = field(default_factory=ReportFigures)
    newest_change: Known[Text] = None  # when the last judgement that was read was made or edited, by Label Studio's clock
    judgements: Words = ""  # a digest of what they said (trainer/rounds/nothing_new.py); empty on cards of earlier builds
    base_fingerprint: Words = ""  # of the base's files, whatever they are called; empty on cards of earlier builds
    num_rated_pairs: Known[Count] = None  # that it also trained on: opinions of an LLM, with JUDGE_WEIGHT
    rater: Words = ""  # that LLM
    promotions: Rows[Promotion] = ()  # when it became the champion, from promotions.jsonl
    unreadable: tuple[str, ...] = ()  # the places in its file that could not be read

    @classmethod
    def read(cls, path: Path, **known: Any) -> Self:
        """The card in a file; what is `known` of it is not taken from the file.

        Raises:
            RegistryError: it is missing or not a card.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values.get("num_annotations"), int):  # by which new judgements are counted
                raise TypeError
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(
                f"{path} is not a model card ({type(error).__name__}); restore it or promote another version."
            ) from error
        return cls.from_values({**{key: value for key, value in values.items() if key not in _ELSEWHERE}, **known})

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """The card of these values, each of which may be missing or damaged."""
        log = ReadingLog()
        return dataclasses.replace(read_as(cls, values, log=log), unreadable=tuple(log.unreadable))

    def to_values(self) -> dict[str, Any]:
        """All of it as JSON can hold it, under the keys of card.json."""
        values: dict[str, Any] = adapter_of(type(self)).dump_python(self, by_alias=True)
        return values

    def to_json(self) -> str:
        """What its file holds: all but the promotions, which are logged beside it."""
        values = {name: value for name, value in self.to_values().items() if name not in _ELSEWHERE}
        return json.dumps(values, indent=1, ensure_ascii=False)

    def published(self, *, version: str, created_at: str) -> Self:
        """A copy that names these."""
        return dataclasses.replace(self, version=version, created_at=created_at)

    @property
    def damage(self) -> str:
        """A sentence that names what could not be read; empty if all could."""
        if not self.unreadable:
            return ""
        more = len(self.unreadable) - _NAMED_PLACES
        named = ", ".join(self.unreadable[:_NAMED_PLACES]) + (f" and {more} more" if more > 0 else "")
        return f"The card.json of {self.version} is damaged; it is shown without what cannot be read: {named}."

    @property
    def holdout(self) -> Holdout:
        """The prompts that it did not train on."""
        return Holdout(self.holdout_fraction, self.holdout_rule)

    @property
    def suggest_from(self) -> float | None:
        """The confidence from which on its side is suggested, unless SUGGEST_FROM is set; None if it knows too little for that.

        If there are too few held-out comparisons to tell confidences apart, all of them together decide.
        """
        if self.report.reliability is not None:
            return self.report.reliability.beyond_chance_from
        interval = self.metrics.interval
        return 0.5 if interval is not None and interval[0] > 0.5 else None

    @property
    def row(self) -> VersionRow:
        """This version as a row beside others."""
        accuracy = {known.name: getattr(self.metrics, known.name) for known in dataclasses.fields(HeldOutAccuracy)}
        return VersionRow(
            **accuracy,
            version=self.version,
            created_at=self.created_at,
            promoted=self.promoted,
            num_train_pairs=self.num_train_pairs,
        )
