"""Directions among a backbone's features, each for a kind of answers: refusals, insults, advice, gibberish ...

A kind is a few short answers and as many of its opposite (concepts.toml). Its direction is the mean features of the former less
those of the latter. The prior of a head lets rewards move along these more freely than along others
(trainer/training/frozen_head.py): a few hundred pairs then say how much each kind counts, and need not learn the kinds first.
Such directions: concept activation vectors, Kim et al. 2018 (arXiv 1711.11279); Zou et al. 2023 (arXiv 2310.01405).
"""

import tomllib
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from preference.reward_model.feature_extractor import FeatureExtractor

_PROMPT = "What do you think about this?"
_known: WeakKeyDictionary[FeatureExtractor, torch.Tensor] = WeakKeyDictionary()  # a round fits five heads with one extractor


def concept_directions(extractor: FeatureExtractor) -> torch.Tensor:
    """(num_concepts, size) the mean features of each kind's answers, less those of its opposite's; only to be read."""
    if extractor not in _known:
        _known[extractor] = _directions(extractor)
    return _known[extractor]


def concept_names() -> list[str]:
    """What each kind is called, in the order of their directions."""
    return [concept["name"] for concept in _concepts()]


def _concepts() -> list[dict[str, Any]]:
    concepts: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "concepts.toml").read_text(encoding="utf-8"))[
        "concept"
    ]
    return concepts


def _directions(extractor: FeatureExtractor) -> torch.Tensor:
    concepts = _concepts()
    texts = [text for concept in concepts for text in (*concept["more"], *concept["less"])]
    rows = iter(extractor.features([_PROMPT] * len(texts), texts))

    def mean(side: list[str]) -> torch.Tensor:
        return torch.stack([next(rows) for _ in side]).mean(0)

    return torch.stack([mean(concept["more"]) - mean(concept["less"]) for concept in concepts])
