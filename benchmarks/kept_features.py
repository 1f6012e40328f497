"""The default recipe's features, kept between runs: for benchmarks that measure nothing of their cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from demo.stack import REPOSITORY
from preference.labelling.prompts import Prompt
from preference.models.pretrained import locate
from preference.reward_model.feature_extractor import FeatureExtractor
from trainer.training.frozen_head import feature_recipe
from trainer.training.recipes import FROZEN


def kept_extractor(model_dir: Path) -> FeatureExtractor:
    """The extractor of a MODEL_DIR whose features lie in .cache/bench-features."""
    for name, kept in (("embedded", "bench-models/embedded"), ("features", "bench-features")):
        folder = REPOSITORY / ".cache" / kept
        folder.mkdir(parents=True, exist_ok=True)
        (model_dir / name).symlink_to(folder)
    recipe = feature_recipe(FROZEN, base="embedded", path=locate("embedded", model_dir))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return _RememberedFeatures(recipe, model_dir=model_dir, device=device)


class _RememberedFeatures(FeatureExtractor):
    """In memory, too: the same few thousand are asked for in every one of some thousand trainings."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._in_memory: dict[tuple[Prompt, str], torch.Tensor] = {}

    def features(self, prompts: Sequence[Prompt], answers: Sequence[str], *, is_afresh: bool = False) -> torch.Tensor:
        texts = list(zip(prompts, answers, strict=True))
        missing = [text for text in dict.fromkeys(texts) if text not in self._in_memory]
        read = super().features([prompt for prompt, _ in missing], [answer for _, answer in missing], is_afresh=is_afresh)
        self._in_memory.update(zip(missing, read, strict=True))
        return torch.stack([self._in_memory[text] for text in texts]) if texts else read
