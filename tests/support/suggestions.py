"""Simulated annotators of whom some follow the suggestion that they see."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from preference.errors import RegistryError
from preference.labelling.controls.verdict import Side
from preference.labelling.pairs import PreferencePair
from preference.report_card.figures import SuggestionEffect
from preference.reward_model.model import RewardModel
from preference.tolerant import read_as
from tests.support.cards import CARD
from tests.support.known_rewards import KnowsRewards
from trainer.reporting.suggestion_effect import suggestion_effect

BEFORE, AFTER = "2026-10-31T00:00:00Z", "2026-11-02T00:00:00Z"
VERSION = "v1-20261101-000000"


def raise_missing(version: str) -> RewardModel:
    raise RegistryError(f"there is no {version}")


class Annotators:
    """People, a model, and tasks of which one in `one_in` shows nothing."""

    def __init__(
        self,
        num_tasks: int,
        *,
        moved: float = 0.0,
        seed: int = 0,
        one_in: int = 5,
        least_sure_first: float = 1.0,
        judges: int = 1,
        slope: float = 1.0,
    ) -> None:
        """`slope`: by how much agreement rises with confidence; 1 if the model is right as often as it is sure. `moved`: the share of those who saw a suggestion and would have disagreed that agrees. `least_sure_first`: the share
        of tasks with a suggestion that is judged, by rising confidence.
        """
        chance = np.random.default_rng(seed)
        self.rewards: dict[str, float] = {}
        self.pairs: list[PreferencePair] = []
        gaps: list[float] = np.sort(np.abs(chance.normal(0, 1.5, num_tasks))).tolist()
        is_control: list[bool] = (chance.permutation(num_tasks) % one_in == 0).tolist()
        draws: Iterator[float] = iter(chance.uniform(size=num_tasks * (1 + 2 * judges)).tolist())  # one call is quicker than each
        for task, gap in enumerate(gaps):
            confidence = 1 / (1 + math.exp(-gap))
            side: Side = "left" if next(draws) < 0.5 else "right"
            left, right = f"left {task}", f"right {task}"
            self.rewards |= {left: gap if side == "left" else 0.0, right: gap if side == "right" else 0.0}
            if not is_control[task] and task > least_sure_first * num_tasks:
                continue
            for judge in range(judges):
                agrees = next(draws) < 0.5 + slope * (confidence - 0.5) or (not is_control[task] and next(draws) < moved)
                chosen: Side = side if agrees else "left" if side == "right" else "right"
                suggestion: dict[str, Any] = (
                    {"suggested_side": side, "suggested_confidence": confidence} if not is_control[task] else {"is_blind": True}
                )
                self.pairs.append(
                    PreferencePair(
                        f"prompt {task}",
                        *((left, right) if chosen == "left" else (right, left)),
                        chosen_side=chosen,
                        suggested_version=VERSION,
                        task_id=task,
                        annotation_id=task * judges + judge,
                        annotator_id=judge,
                        lead_seconds=12.0 if is_control[task] else 8.0,
                        judged_at=AFTER,
                        **suggestion,
                    )
                )

    def effect(self, **options: Any) -> Any:
        model = KnowsRewards(self.rewards)
        given: dict[str, Any] = {"cards": [CARD], "load": lambda version: model}
        effect = suggestion_effect(options.pop("pairs", self.pairs), **{**given, **options})
        assert effect is not None
        kept = read_as(SuggestionEffect, json.loads(json.dumps(dataclasses.asdict(effect), allow_nan=False)))
        assert kept == effect, "the card holds the same figures"
        return effect


def blind(pairs: Iterable[PreferencePair]) -> list[PreferencePair]:
    return [pair for pair in pairs if pair.is_blind]
