"""A project whose tasks people judge in the order in which Label Studio serves them, and the rounds that a trainer runs on it.

Each task's vote is there beforehand, so that it does not depend on when it is cast. Scores, places by lot, training and verdicts are the
product's own.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from backend.scoring.champion import ServedVersion
from backend.scoring.predictions import predict_tasks
from demo.stack import REPOSITORY
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.reward_model.feature_extractor import FeatureExtractor
from preference.reward_model.model import RewardModel
from preference.settings import Settings
from trainer.evaluation.judge import LoadedChampion, Verdict, judge
from trainer.training.frozen_head import train_head
from trainer.training.recipes import FROZEN, Recipe

# "hardest first" is what an earlier build did: held-out tasks had no place by lot. "diverse": of the least certain, those furthest apart first.
Order = Literal["hardest first", "uncertain", "random", "diverse"]
_NEAREST = 200  # tasks that "diverse" chooses from
_LAYOUT = LabelingLayout.from_label_config((REPOSITORY / "label_config.xml").read_text(encoding="utf-8"))


class JudgedQueue:
    """Tasks with two answers each, people who judge them, and rounds."""

    def __init__(
        self, pairs: Sequence[PreferencePair], extractor: FeatureExtractor, recipe: Recipe = FROZEN, *,
        seed: int, order: Order, fraction: float, control_percent: float = 10,
    ) -> None:  # fmt: skip
        """`pairs`: what people choose; `seed`: of which prompts are held out, and in which order the tasks came; `fraction`: of the prompts."""
        chance = np.random.default_rng(seed)
        self.order, self.holdout = order, Holdout(fraction, salt=str(seed))
        self.champion: RewardModel | None = None
        self._extractor, self._recipe = extractor, recipe
        self._suggesting = Settings.of(control_percent=control_percent).suggesting
        self._open: dict[int, dict[str, Any]] = {}
        self._votes: dict[int, PreferencePair] = {}
        self._judged: list[int] = []
        for number, i in enumerate(chance.permutation(len(pairs)), start=1):
            pair, is_left = pairs[i], chance.uniform() < 0.5
            answers = (pair.chosen, pair.rejected) if is_left else (pair.rejected, pair.chosen)
            self._open[number] = {"id": number, "data": {"prompt": pair.prompt, "answer1": answers[0], "answer2": answers[1]}}
            self._votes[number] = pair

    @property
    def held_out(self) -> list[PreferencePair]:
        """All votes by which versions may be judged, cast or not."""
        return self.holdout.split(list(self._votes.values()))[1]

    @property
    def judged(self) -> list[PreferencePair]:
        """The votes that were cast, in their order."""
        return [self._votes[number] for number in self._judged]

    def judge(self, count: int) -> None:
        """People judge so many tasks, those with the lowest score first; without a champion, in the order in which they came."""
        scores = self._scores()
        for number in sorted(scores, key=scores.__getitem__)[:count]:
            del self._open[number]
            self._judged.append(number)

    def round(self) -> tuple[Verdict, RewardModel]:
        """A challenger and the verdict on it. It is served from then on if it is promoted."""
        train, held_out = self.holdout.split(self.judged)
        challenger = train_head(train, self._recipe, self._extractor).model
        champion = None if self.champion is None else LoadedChampion(self.champion, None)
        verdict = judge(challenger, champion, held_out, train=train)
        if verdict.promoted:
            self.champion = challenger
        return verdict, challenger

    def _scores(self) -> dict[int, float]:
        """Of each open task, as Label Studio has it."""
        scores = dict.fromkeys(self._open, 0.0)
        if self.champion is None or self.order == "random":  # the tasks came in no order
            return scores
        holdout = None if self.order == "hardest first" else self.holdout
        serving = ServedVersion(self.champion, f"v{len(self._judged)}", holdout=holdout)
        made: list[Any] = predict_tasks(list(self._open.values()), _LAYOUT, serving, suggesting=self._suggesting)
        scores.update((number, prediction["score"]) for number, prediction in zip(scores, made, strict=True) if prediction)
        if self.order == "diverse":
            is_control = {
                number for number, prediction in zip(scores, made, strict=True) if not (prediction and prediction["result"])
            }
            free = [n for n in scores if n not in is_control and not self.holdout.has(self._votes[n].question)]
            nearest = sorted(free, key=scores.__getitem__)[:_NEAREST]
            places = [scores[number] for number in nearest]
            scores.update(zip((nearest[i] for i in self._furthest_apart(nearest)), places, strict=True))
        return scores

    def _furthest_apart(self, numbers: Sequence[int]) -> list[int]:
        """Their places, each task after the first the one that is furthest from all before it (greedy k-center, Gonzalez 1985).

        A task is the difference of its answers' features, of which the sign means nothing.
        """
        votes = [self._votes[number] for number in numbers]
        prompts = [vote.prompt for vote in votes]
        features = self._extractor.features([*prompts, *prompts], [v.chosen for v in votes] + [v.rejected for v in votes])
        spread = features.std(0)
        gaps = (features[: len(votes)] - features[len(votes) :]) / torch.where(spread > 0, spread, torch.inf)
        return furthest_apart(gaps.double().numpy())


def furthest_apart(vectors: NDArray[np.float64]) -> list[int]:
    """The places of the rows, the first one first, then always the one furthest from all before it; v and -v are the same."""
    squares = (vectors**2).sum(1)
    places = [0]
    distance = np.full(len(vectors), np.inf)
    while len(places) < len(vectors):
        latest = places[-1]
        to_latest = squares + squares[latest] - 2 * np.abs(vectors @ vectors[latest])
        distance = np.minimum(distance, to_latest)
        distance[latest] = -np.inf
        places.append(int(distance.argmax()))
    return places
