"""Answers of letters that people prefer, and of others."""

import random

GOOD, BAD = "abcdefgh", "qrstuvwx"


def words(chance: random.Random, letters: str) -> str:
    """Some words of these letters; no run of words comes twice."""
    return " ".join("".join(chance.choices(letters, k=chance.randint(1, 3))) for _ in range(chance.randint(5, 9)))
