"""The domain that backend and trainer share. Scripts load a reward model from here: `from preference import load_reward_model`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preference.reward_model.reward_function import RewardFunction


def load_reward_model(version: str | Path, *, device: str = "auto", model_dir: Path | None = None) -> "RewardFunction":
    """The reward model of a version: of a folder, or by name, "12" for what project 12 serves and "12@v3" for one version of it.

    It scores answers (`.score(prompt, answers)`), and TRL's trainers take it (`reward_funcs=[model]`). A name is looked up in
    `model_dir`, which is the setting MODEL_DIR if it is not given. `device` is as the setting DEVICE.

    Raises:
        PairloopError: there is no such version, it cannot be loaded, or it is not what its card says.
    """
    from preference.reward_model.reward_function import load  # loads torch

    return load(version, device=device, model_dir=model_dir)
