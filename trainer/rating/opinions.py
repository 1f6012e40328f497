"""What a rater thinks of a comparison, from its replies in both orders."""

from dataclasses import dataclass

from preference.labelling.pairs import PreferencePair
from trainer.rating.replies import Replies


@dataclass(frozen=True)
class Opinion:
    """What a rater says of one pair: 1 that the chosen answer is better, 0 that the rejected one is, .5 a tie."""

    value: float | None  # None if it says nothing
    is_refused: bool = False
    first_wins: tuple[float, ...] = ()  # for each order in which it took a side, whether that was the answer that came first


def opinion_of(pair: PreferencePair, replies: Replies) -> Opinion:
    """What the replies say of a pair, which may be nothing."""
    chosen_first = replies.find(pair.prompt, pair.chosen, pair.rejected)
    rejected_first = replies.find(pair.prompt, pair.rejected, pair.chosen)
    both = (chosen_first, rejected_first)
    first_wins = tuple(float(one == "first") for one in both if one in ("first", "second"))
    if any(one in (None, "unreadable", "refused") for one in both):
        return Opinion(None, "refused" in both, first_wins)
    if both == ("first", "second"):
        return Opinion(1.0, first_wins=first_wins)
    return Opinion(0.0 if both == ("second", "first") else 0.5, first_wins=first_wins)
