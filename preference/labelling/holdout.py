"""Which prompts are held out: no version of a project trains on them, and by them alone versions are judged.

The prompt's text alone decides, so it stays held out in every later round, whoever judges it. Of a conversation, that is its first
user's turn: what another conversation with the same beginning teaches is not asked of it. Without a prompt, the answers that were
compared decide. How the text is read is a rule, which each version's card keeps:

1. case and white space do not count (versions without a rule on their card, and the later ones of their project);
2. nothing that `normalised` removes counts.

A project keeps the rule of its first version. Another one would hold out prompts that its versions trained on.

A round needs MIN_HOLDOUT comparisons that are held out. If people judged few prompts, or many ties, HOLDOUT_FRACTION of them has
fewer: then `with_evidence` holds out more prompts, in the same order, so that none comes back to judge that was trained on.

Covered: a larger HOLDOUT_FRACTION than an earlier version had; versions of both rules in one folder; twins that rule 1 tells apart.
Judgements of such prompts are used neither for training nor for judging.
Not covered, without prompts: one answer in several comparisons, of which some are held out.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

from preference.labelling.pairs import PreferencePair, majority, num_comparisons
from preference.labelling.prompts import Prompt, normalised, opening

NEWEST_RULE = 2
MIN_HOLDOUT = 8  # comparisons; with fewer there is no verdict
MOST_HELD_OUT = 0.5  # of the prompts that people judged, if more than HOLDOUT_FRACTION are held out for the sake of a verdict
FEWEST_PROMPTS = int(MIN_HOLDOUT / MOST_HELD_OUT)  # of which all were decided, with a verdict
_STEPS = 10**6  # of a fraction that is raised


@dataclass(frozen=True)
class Holdout:
    """The prompts that one round holds out."""

    fraction: float  # of all prompts
    rule: int = NEWEST_RULE
    earlier: tuple["Holdout", ...] = ()  # what the project's versions held out when they were trained
    salt: str = ""  # another one holds out other prompts

    @classmethod
    def after(cls, earlier: Iterable["Holdout"], fraction: float) -> Self:
        """What the next round of a project holds out; `earlier`: what each of its versions did."""
        known = tuple(dict.fromkeys(earlier))
        return cls(fraction, min((holdout.rule for holdout in known), default=NEWEST_RULE), known)

    def with_served(self, served: "Holdout") -> Self:
        """This one, or one that holds out as many prompts as the served version did, if `with_evidence` gave that one more.

        A version that held out all prompts was trained on none and judged by none, and changes nothing.
        """
        return replace(self, fraction=served.fraction) if self.fraction < served.fraction < 1 else self

    def has(self, prompt: Prompt) -> bool:
        """Whether the round must not train on this prompt."""
        return self._place(prompt) < self.fraction

    def judges_by(self, prompt: Prompt) -> bool:
        """Whether versions may be judged by this prompt: the round and all versions before it hold it out."""
        return all(holdout.has(prompt) for holdout in (self, *self.earlier))

    def split(self, pairs: Sequence[PreferencePair]) -> tuple[list[PreferencePair], list[PreferencePair]]:
        """(what to train on, what to judge by), each in its order.

        Held-out pairs are not judged by if an earlier version did not hold them out, or if a twin of their prompt is trained on.
        """
        train, held_out = [], []
        for pair in pairs:
            if not self.has(pair.question):
                train.append(pair)
            if self.judges_by(pair.question):
                held_out.append(pair)
        trained_on = {normalised(opening(pair.question)) for pair in train}
        return train, [pair for pair in held_out if normalised(opening(pair.question)) not in trained_on]

    def with_evidence(self, pairs: Sequence[PreferencePair]) -> tuple[Self, int]:
        """This one, or one that holds out as few more prompts as bring MIN_HOLDOUT comparisons; and how many comparisons that has.

        If MOST_HELD_OUT of the prompts have not so many, it is this one, and the number is what they have.
        """
        held_out = self._num_comparisons(pairs)
        if held_out >= MIN_HOLDOUT:
            return self, held_out
        prompts = {pair.question: self._place(pair.question) for pair in pairs}
        decided = Counter(
            pair.question for pair in majority(pairs) if all(holdout.has(pair.question) for holdout in self.earlier)
        )
        places = sorted(place for prompt, place in prompts.items() if decided[prompt] and place >= self.fraction)
        for place in places:
            more = replace(self, fraction=(int(place * _STEPS) + 1) / _STEPS)
            if sum(each < more.fraction for each in prompts.values()) > MOST_HELD_OUT * len(prompts):
                break
            held_out = more._num_comparisons(pairs)
            if held_out >= MIN_HOLDOUT:
                return more, held_out
        return self, held_out

    def _num_comparisons(self, pairs: Sequence[PreferencePair]) -> int:
        return num_comparisons(majority(self.split(pairs)[1]))

    def _place(self, prompt: Prompt) -> float:
        return _place(prompt, self.rule, self.salt)


@lru_cache(maxsize=16)  # a round asks this of the same prompt for each version that there was
def _place(prompt: Prompt, rule: int, salt: str) -> float:
    """0 <= place < 1, from a hash of the prompt as the rule reads it."""
    begins = opening(prompt)
    text = normalised(begins) if rule > 1 else " ".join(begins.lower().split())
    digest = hashlib.sha256(f"{salt}{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
