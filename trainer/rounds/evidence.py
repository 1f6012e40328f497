"""Whether a round could end with a verdict: enough pairs to learn from, and enough held-out comparisons to judge by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from preference.formatting import plural
from preference.labelling.holdout import MIN_HOLDOUT, MOST_HELD_OUT
from preference.labelling.pairs import PreferencePair, majority, num_comparisons
from preference.labelling.prompts import normalised


@dataclass(frozen=True)
class Evidence:
    """How much there is."""

    num_pairs: float  # in votes
    min_pairs: int  # MIN_PAIRS
    num_held_out: int  # comparisons
    num_prompts_missing: int  # about how many more prompts bring the held-out comparisons that are missing

    @classmethod
    def of(cls, pairs: Sequence[PreferencePair], *, num_held_out: int, min_pairs: int) -> Self:
        """That of all judgements, of which `num_held_out` comparisons can be held out."""
        missing = max(0, MIN_HOLDOUT - num_held_out)
        if missing:  # else there is no need to count among thousands
            prompts = {normalised(pair.question) for pair in pairs}
            of_a_prompt = num_comparisons(majority(pairs)) / len(prompts) if prompts else 0.0
            missing = math.ceil(missing / (MOST_HELD_OUT * (of_a_prompt or 1)))
        return cls(sum(pair.weight for pair in pairs), min_pairs, num_held_out, missing)

    @property
    def missing(self) -> str:
        """What is missing, in words; empty if nothing is."""
        parts = []
        if self.num_pairs < self.min_pairs:
            parts.append(f"{self.num_pairs:g} of {self.min_pairs} pairs (MIN_PAIRS)")
        if self.num_prompts_missing:
            parts.append(
                f"{self.num_held_out} of {MIN_HOLDOUT} held-out comparisons, about {self.num_prompts_missing} {plural(self.num_prompts_missing, 'more prompt', 'more prompts')}"
            )
        return "; ".join(parts)
