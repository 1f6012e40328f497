"""Both answers of a comparison in one text, each behind what it is: Chain of Hindsight (arXiv 2302.02676).

Who learnt such texts is asked to go on from GOOD. A marker ends with a line break and no space: an answer's first word has the same
tokens behind it as where an answer begins.
"""

from preference.labelling.pairs import PreferencePair

GOOD, WORSE = "A good answer:\n", "A worse answer:\n"
BETWEEN = "\n\n"  # the first answer and what follows
Marked = tuple[str, str]  # a marker, and the answer behind it


def in_hindsight(pair: PreferencePair) -> tuple[tuple[Marked, Marked], tuple[Marked, Marked]]:
    """The two answers, in both orders."""
    good, worse = (GOOD, pair.chosen), (WORSE, pair.rejected)
    return (good, worse), (worse, good)
