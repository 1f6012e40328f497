"""The card of a version: what is known of it, as its card.json holds it."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from preference.errors import RegistryError


@dataclass(frozen=True)
class ModelCard:
    """What is known of one version. `probe` is a fixed text and its reward, recomputed before the version is served."""

    project_id: int
    recipe: str
    base: str
    num_annotations: int  # of the project, when its judgements were read
    num_train_pairs: int
    num_holdout_pairs: int
    dropped: dict[str, int]
    metrics: dict[str, Any]
    promoted: bool  # what the judge said when this was published
    reason: str
    probe: dict[str, Any]  # prompt, answer, reward
    seed: int
    seconds: dict[str, float]
    version: str = ""
    created_at: str = ""
    holdout_fraction: float = 1.0  # the share of prompts that were held out
    compared_with: str | None = None  # the champion at that time
    start: str = "base"  # the weights that training started from: "base", or "champion"
    libraries: dict[str, str] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)  # the report card's figures; trainer/reporting/report.py says which
    promotions: tuple[dict[str, Any], ...] = ()  # when it became the champion, from promotions.jsonl; never in card.json

    @classmethod
    def read(cls, path: Path) -> Self:
        """The card in a file.

        Raises:
            RegistryError: it is missing or not a card.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            names = {f.name for f in dataclasses.fields(cls)}
            card = cls(**{key: value for key, value in values.items() if key in names})
            if not isinstance(card.num_annotations, int):  # by which new judgements are counted
                raise TypeError(card.num_annotations)
            return card
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise RegistryError(
                f"{path} is not a model card ({type(error).__name__}); restore it or promote another version."
            ) from error

    def to_json(self) -> str:
        """What its file holds: all but the promotions, which come later."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name != "promotions"}
        return json.dumps(values, indent=1, ensure_ascii=False)
