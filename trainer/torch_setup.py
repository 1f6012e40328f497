"""What a process sets up before it trains or scores."""

from typing import TYPE_CHECKING

import click

from preference.errors import PairloopError
from preference.heavy_imports import heavy_imports
from preference.settings import Settings

if TYPE_CHECKING:
    from preference.reward_model.extractors import Extractors


def extractors_of(settings: Settings) -> "Extractors":
    """What a process that trains works with, after torch was set up."""
    with heavy_imports():
        import torch

        from preference.models.device import pick_device
        from preference.models.pretrained import quiet_transformers
        from preference.reward_model.extractors import Extractors

    quiet_transformers()
    torch.set_num_threads(settings.num_torch_threads)
    try:
        device = pick_device(settings.device)
    except PairloopError as error:
        raise click.ClickException(str(error)) from None
    return Extractors(settings.model_dir, device, settings.training.reward_dtype)
