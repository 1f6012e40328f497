"""Pairs that every recipe learns to separate."""

from preference.labelling.pairs import PreferencePair

_NOUNS = ["cat", "dog", "sea", "moon", "house", "tree", "road", "boat", "river", "stone", "bird", "fish", "lamp", "door", "book"]


def separable_pairs(num_pairs: int, *, start: int = 0) -> list[PreferencePair]:
    """Pairs that differ in one thing which every base sees: kind words against noise. Either is as often the longer."""
    pairs = []
    for i in range(start, start + num_pairs):
        noun = _NOUNS[i % len(_NOUNS)]
        kind, noise = " and good" * (i % 2), "vzk vzk " * (i % 3)
        pairs.append(PreferencePair(f"Tell me of {noun} {i}.", f"The {noun} is kind{kind}.", f"Zzx {noun} qqw {noise}zx!"))
    return pairs
