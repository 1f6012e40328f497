"""Judgements by which a version can be certified: blind, on tasks that were served by lot, and unknown to the version.

Such are judgements of the control group: their annotators saw no suggestion and no reward, and the place of the task in the order
says nothing of it. The version must not have learnt from them, nor have been chosen by them. Control tasks are trained on as others
are, and their held-out ones decide promotions: so only prompts count that nobody had judged when the version's judgements were read.

Of each prompt, the first such judgement counts. So votes are independent, and they say what the next person to judge would choose.
A tie, and both bad, count against the version. Skipped tasks, and those of which an annotator is unsure, do not count.
Not covered: judgements by which a person chose the version, who promoted it by hand after they were made.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import normalised, opening
from preference.reward_model.model import RewardModel
from trainer.evaluation.intervals import Array
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.figures import confidences


@dataclass(frozen=True, eq=False)
class BlindVotes:
    """Votes, one a prompt, in the order in which they were made."""

    pairs: Sequence[PreferencePair]
    confidence: Array  # (num_votes,) the version's, .5..1
    agrees: Array  # (num_votes,) 1 if its side was chosen, else 0

    def __len__(self) -> int:
        return len(self.confidence)

    def only(self, rows: NDArray[np.bool_]) -> "BlindVotes":
        """Those for which `rows` is true."""
        kept = [pair for pair, is_in in zip(self.pairs, rows, strict=True) if is_in]
        return BlindVotes(kept, self.confidence[rows], self.agrees[rows])

    def above(self, annotation_id: int) -> "BlindVotes":
        """Those made after that annotation."""
        return self.only(np.array([(pair.annotation_id or 0) > annotation_id for pair in self.pairs], bool))


def first_votes(pairs: Iterable[PreferencePair], *, known: Set[str], above: int = 0) -> list[PreferencePair]:
    """The first judgement of each prompt, in their order, of those made after the annotation of the id `above`.

    `known`: prompts, normalised, that do not count.
    """
    first: dict[str, PreferencePair] = {}
    for pair in sorted(pairs, key=lambda pair: pair.annotation_id or 0):
        first.setdefault(normalised(opening(pair.question)), pair)
    return [pair for prompt, pair in first.items() if prompt not in known and (pair.annotation_id or 0) > above]


def blind_votes(pairs: Sequence[PreferencePair], model: RewardModel) -> BlindVotes:
    """What a version says of these judgements, without those of which it gives no number."""
    rewards = score_pairs(model, pairs)
    is_vote = np.array([pair.kind == "vote" for pair in pairs], float)
    votes = BlindVotes(pairs, confidences(model, rewards), rewards.right * is_vote)
    return votes.only(np.isfinite(rewards.gaps))
