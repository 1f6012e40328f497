"""How a loaded version proves that it is the one that was published: a fixed text must get the reward on its card.

The reward is computed from the text: features that were kept would say nothing of the base that is loaded.
"""

from pathlib import Path
from typing import Any

import torch

from preference.errors import VersionRefused
from preference.projects.folder import ProjectFolder
from preference.projects.versions import SHELF, Versions
from preference.report_card.card import ReportCard
from preference.reward_model.model import FindsExtractor, RewardModel, load_saved

_PROMPT = "Which is larger, a lake or an ocean?"
_ANSWER = "An ocean is larger: the biggest lakes would be small bays of one."
# Rewards are of order 1; devices and library versions differ by about 1e-5. In bfloat16, in which nf4 computes, so may the rounding of every layer.
_TOLERANCE = {"float32": 0.01, "bfloat16": 0.1, "nf4": 0.1}


def take_probe(model: RewardModel) -> dict[str, Any]:
    """The `probe` of a card: prompt, answer, and this model's reward."""
    return {"prompt": _PROMPT, "answer": _ANSWER, "reward": float(model.score_afresh([_PROMPT], [_ANSWER])[0])}


def load_version(
    folder: ProjectFolder, version: str, *, extractor: FindsExtractor, device: torch.device, card: ReportCard | None = None
) -> RewardModel:  # fmt: skip
    """A version that proved itself. `card`: its own, if that was read before.

    Raises:
        PairloopError: it is not there, cannot be loaded, or its probe's reward is not what its card says.
    """
    published = Versions(folder).weights(version)
    return load_checked(published, card or Versions(folder).card(version), extractor=extractor, device=device)


def load_checked(
    folder: Path, card: ReportCard, *, extractor: FindsExtractor, device: torch.device, base: str | None = None
) -> RewardModel:  # fmt: skip
    """The version in a folder, wherever that lies, once it proved to be what its card says. `base`: as with `load_saved`.

    Raises:
        PairloopError: it cannot be loaded, or its probe's reward is another.
    """
    model = load_saved(folder, extractor=extractor, device=device, base=base)
    try:
        prompt, answer, expected = card.probe["prompt"], card.probe["answer"], float(card.probe["reward"])
    except (KeyError, TypeError, ValueError):
        raise VersionRefused("its card has no probe") from None
    reward = float(model.score_afresh([prompt], [answer])[0])
    tolerance = max(_TOLERANCE[model.description.dtype], _TOLERANCE[model.dtype])  # made in the one, loaded in the other
    if not abs(reward - expected) <= tolerance * max(1.0, abs(expected)):
        raise VersionRefused(f"its probe scores {reward:.4f}, its card says {expected:.4f}; {_advice(model)}")
    return model


def _advice(model: RewardModel) -> str:
    if model.description.kind == "sequence":
        return "restore its files from a backup, or install the libraries that its card names"
    if model.description.kind == SHELF:
        return f"put back the model {model.description.base!r} as it was, and install the libraries that its card names"
    return (
        f"put back the base {model.description.base!r} that it was trained on, or have a version trained on the one that is there, "
        "and install the libraries that its card names"
    )
