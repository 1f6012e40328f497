"""Whether a language model wrote the same answers twice, as far as processors let it."""

from collections.abc import Sequence

from preference.generation.jobs import WrittenAnswers


def are_alike(first: Sequence[WrittenAnswers], second: Sequence[WrittenAnswers]) -> bool:
    """Whether the answers are the same but for one in twenty, or one in all; everything else must be the same.

    A batch of another size, or the same weights elsewhere in memory, rounds a sum otherwise on some processors. A draw that
    falls within such a rounding of the edge between two tokens takes the other one. In float32 that is one token in some
    hundred thousand, so a single answer may differ. An answer that another row or prompt disturbs differs much oftener.
    """
    pairs = list(zip(first, second, strict=True))
    if any((a.num_cut, a.refused, len(a.answers)) != (b.num_cut, b.refused, len(b.answers)) for a, b in pairs):
        return False
    differ = [a_text != b_text for a, b in pairs for a_text, b_text in zip(a.answers, b.answers, strict=True)]
    return sum(differ) <= max(1, len(differ) // 20)
