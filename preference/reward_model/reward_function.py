"""A version as scripts use it: it scores answers, and TRL's trainers take it as a reward function."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from preference.errors import ModelError, RegistryError
from preference.labelling.conversations import NoPrompt
from preference.labelling.prompts import Prompt
from preference.models.device import pick_device
from preference.models.files import EMBEDDED, check_model_files, title
from preference.projects.folder import ProjectFolder
from preference.projects.version_name import VersionName
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.exchanges import Messages, answer_of, exchange_of, prompt_of
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel, read_description
from preference.reward_model.probe import load_checked
from preference.settings import Settings

EXPORTED = "version"  # the folder of an exported model that holds the version itself, if the classifier beside it only comes near


class RewardFunction:
    """A reward model of people's judgements. Prompts are texts or lists of messages, answers texts.

    Safe to use from several threads. Nothing of what is scored is kept.
    """

    def __init__(self, model: RewardModel, version: str) -> None:
        self.version = version
        self.__name__ = f"pairloop-{version}"  # TRL logs its rewards under this name
        self._model = model

    def score(self, prompt: str | Messages, answers: Sequence[str]) -> list[float]:
        """One reward for each answer, in order: unbounded, higher for what people would prefer.

        Raises:
            NoPrompt: the prompt is empty, or no list of messages.
            ModelError: there is too little memory.
        """
        one = prompt_of(prompt)
        return self.score_all([(one, answer_of(answer)) for answer in answers])

    def score_all(self, exchanges: Sequence[tuple[Prompt, str]]) -> list[float]:
        """The same for a prompt with each answer, whichever belong together."""
        if not exchanges:
            return []
        prompts, answers = zip(*exchanges, strict=True)
        rewards: list[float] = self._model.score_afresh(prompts, answers).tolist()
        return rewards

    def confidence(self, reward1: float, reward2: float) -> float:
        """How probable it is that people prefer the answer with the higher reward, 0.5 to 1."""
        return self._model.confidence(reward1, reward2)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """The rewards of a batch, as TRL's GRPOTrainer and RLOOTrainer ask for them; further columns of the data set are not read."""
        return self.score_all([_exchange(prompt, done) for prompt, done in zip(prompts, completions, strict=True)])

    @property
    def concurrent(self) -> Callable[..., Awaitable[list[float]]]:
        """The same as a coroutine function: TRL's trainers wait for all of those together, an LLM's as judge among them, say."""

        async def rewards(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
            return await asyncio.to_thread(self, prompts, completions, **columns)

        rewards.__name__ = self.__name__
        return rewards


def load(version: str | Path, *, device: str = "auto", model_dir: Path | None = None) -> RewardFunction:
    """The version in a folder, which may be that of an exported model, or the one that a name means ("12", "12@v3") in `model_dir`, which is MODEL_DIR if it is not given.

    Raises:
        RegistryError: there is no such version.
        ModelError: it cannot be loaded. An exported version may name its base without a place; then REWARD_BASE says where it is.
    """
    folder = Path(version)
    if not folder.is_dir():
        folder = _folder_of(str(version), model_dir or Settings.from_environ().model_dir)
    base = None
    if (folder / EXPORTED / "card.json").is_file():
        folder = folder / EXPORTED
        base = _base_here(folder)
    card = ReportCard.read(folder / "card.json", promotions=())
    here = pick_device(device)
    with _quiet_transformers():
        extractors = Extractors(_model_dir_around(folder), here, "auto")
        model = load_checked(folder, card, extractor=extractors, device=here, base=base)
    return RewardFunction(model, card.version or folder.name)


def _exchange(prompt: str | Messages, completion: str | Messages) -> tuple[Prompt, str]:
    if isinstance(prompt, str) and isinstance(completion, str):
        return prompt_of(prompt), answer_of(completion)
    if isinstance(prompt, str) or isinstance(completion, str):
        raise NoPrompt("a prompt is a text and its completion a list of messages, or the other way round")
    return exchange_of([*prompt, *completion])


def _folder_of(text: str, model_dir: Path) -> Path:
    name = VersionName.of_text(text)
    if name is None:
        raise RegistryError(f"{text!r} is neither a folder nor a project's number, such as 12 or 12@v3; name a version's folder.")
    versions = Versions(ProjectFolder(model_dir, name.project))
    wanted = name.version or versions.champion()
    if wanted is None:
        raise RegistryError(
            f"Project {name.project} has no version in MODEL_DIR={model_dir} yet; `pairloop-trainer once` trains one."
        )
    return versions.weights(versions.find(wanted))


def _base_here(folder: Path) -> str | None:
    """REWARD_BASE, if an exported version names its base by nothing but the last part of that; None if it says enough itself.

    Raises:
        ModelError: what it names is not here.
    """
    base = read_description(folder).base
    if base == EMBEDDED or "/" in base:
        return None
    named = Settings.from_environ().training.reward_base
    if title(named) == base:
        return named
    try:
        check_model_files(base)
    except ModelError as error:
        raise ModelError(
            f"The version in {folder} needs its base {base!r}, a folder of the machine that it was exported on; "
            "set REWARD_BASE to a copy of that folder, with that name."
        ) from error
    return None


def _model_dir_around(folder: Path) -> Path:
    """The MODEL_DIR in which a version lies, where converted weights are; a cache folder of the user's if it was copied elsewhere."""
    parents = folder.resolve().parents
    is_inside = len(parents) > 3 and (parents[0].name, parents[2].name) == ("versions", "projects")
    return parents[3] if is_inside else Path.home() / ".cache" / "pairloop"


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without advice on each weight that a shortened model lacks; what a script has set comes back."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
