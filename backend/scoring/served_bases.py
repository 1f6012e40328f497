"""The bases of the versions that are served, which a server's master loads before it forks its workers: they share them in memory.

Nothing is computed: a forward pass starts threads of libgomp, which a forked process has not, and for which it would wait for ever. For the
same reason the master has one thread. What cannot be loaded so is loaded by each worker.
Covered: a version that is damaged; DEVICE that is a GPU, which must not be touched before a fork; an id of Hugging Face that is not in the cache,
or the embedded model that is not converted yet, which would keep people waiting.
Not covered: a base that is first served after the server's start, which takes memory in each worker until a restart.
"""

import logging
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

import torch
from huggingface_hub import constants

from preference.models.device import may_have_gpu
from preference.models.files import title
from preference.models.number_formats import ComputedIn
from preference.models.out_of_memory import return_freed_memory
from preference.models.pretrained import is_here, quiet_transformers
from preference.projects.folder import known_projects
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors, process_extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.model import Description, read_description
from preference.reward_model.shared_base import BaseRecipe
from preference.settings import Settings

logger = logging.getLogger("pairloop.scoring")
_PATIENCE = 30.0  # seconds, for what takes some milliseconds


def load_served_bases(settings: Settings) -> None:
    """Loads them for all processes that are forked from this one, which has one thread then as before."""
    if settings.device != "cpu" and (settings.device != "auto" or may_have_gpu()):
        return
    torch.set_num_threads(1)
    quiet_transformers()  # its bars are drawn by a thread
    extractors = process_extractors(settings.model_dir, torch.device("cpu"), settings.training.reward_dtype)
    if settings.training.reward_dtype not in ("float32", "bfloat16"):
        found = _found_by_a_child(lambda: extractors.feature_dtype)  # it may be measured
        if not found:
            return
        extractors.feature_dtype = cast("ComputedIn", found)
    _load(extractors, settings)


def _load(extractors: Extractors, settings: Settings) -> None:
    with _offline():
        for recipe in dict.fromkeys(_served_recipes(settings)):
            with suppress(Exception):  # a worker logs why it cannot be loaded
                if is_here(recipe.base, settings.model_dir):
                    extractors.keep(recipe)
                    logger.info("loaded the base %s once for all workers", title(recipe.base))
    return_freed_memory()


def _found_by_a_child(compute: Callable[[], str]) -> str:
    """What a forked process computes; "" if it failed, or took longer than a start may wait."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writer, compute().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:  # noqa: PTH123 - a pipe
        is_found, _, _ = select.select([file], [], [], _PATIENCE)
        if not is_found:
            os.kill(child, signal.SIGKILL)
        found = file.read()
    with suppress(ChildProcessError):  # gunicorn's master waits for any child
        os.waitpid(child, 0)
    return found


def _served_recipes(settings: Settings) -> Iterator[FeatureRecipe | BaseRecipe]:
    for folder in known_projects(settings.model_dir):
        with suppress(Exception):
            versions = Versions(folder)
            if champion := versions.champion():
                versions.card(champion)  # what reads cards is made once, at the first
                recipe = _recipe_of(read_description(versions.weights(champion)))
                if recipe is not None:
                    yield recipe


def _recipe_of(description: Description) -> FeatureRecipe | BaseRecipe | None:
    """What a version shares with others; None if that is nothing, or if to load it is to compute."""
    if description.kind == "frozen":
        return description.feature_recipe
    return description.base_recipe if description.kind != "sequence" and description.dtype != "nf4" else None


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing is asked of Hugging Face in here, which may take long; HF_HUB_OFFLINE is for the whole of a process."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
