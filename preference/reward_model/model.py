"""A reward model: a number for each answer to a prompt, higher for the answer that people would prefer.

Two kinds stand behind one class: `frozen` (a small head over the features of feature_extractor.py) and `sequence` (any Hugging
Face AutoModelForSequenceClassification with one label). Weights are safetensors; both read text through encoding.py.
"""

import json
import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from preference.errors import ModelError
from preference.labelling.prompts import Prompt
from preference.models.encoding import encode_answer
from preference.models.files import cannot_be_loaded
from preference.models.out_of_memory import is_out_of_memory, release_memory
from preference.models.pretrained import load_tokenizer, load_weights
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe

logger = logging.getLogger("pairloop.reward_model")
_DESCRIPTION, _WEIGHTS = "reward_model.json", "model.safetensors"
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Description:
    """What a version's weights are, so that they can be loaded again; one JSON file in its folder."""

    kind: Literal["frozen", "sequence"]
    base: str
    max_tokens: int
    layers: tuple[int, ...] = ()  # `frozen` only
    center: float = 0.0  # `sequence`: reward = (the network's output - center) / scale, so that versions compare
    scale: float = 1.0  # a frozen head folds both into its weights
    temperature: float = 1.0  # confidence = sigmoid(|r1 - r2| / temperature)
    revision: str = ""  # `frozen` only: the commit of the base, if that is a Hugging Face id

    @property
    def feature_recipe(self) -> FeatureRecipe:
        """What a `frozen` model's head is over."""
        return FeatureRecipe(self.base, self.layers, self.max_tokens, self.revision)


class FindsExtractor(Protocol):
    """Gives the extractor of a recipe, loaded once for all versions that share it."""

    def __call__(self, recipe: FeatureRecipe, /) -> FeatureExtractor:
        """The extractor of that recipe."""
        ...


class RewardModel(ABC):
    """What scores answers. Immutable once loaded; safe to use from several threads."""

    def __init__(self, description: Description, tokenizer: PreTrainedTokenizerBase) -> None:
        self.description = description
        self.tokenizer = tokenizer

    @abstractmethod
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) float32 rewards on the CPU, unbounded, in order: one for each (prompt, answer)."""

    def score_afresh(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """As `score`, from nothing that was kept, and keeping nothing: what the loaded weights say."""
        return self.score(prompts, answers)

    def knows(self, prompt: Prompt, answer: str) -> bool:
        """Whether scoring this answer takes no network; False if that is not known."""
        return False

    @abstractmethod
    def _save_weights(self, folder: Path) -> None: ...

    def confidence(self, reward1: float, reward2: float) -> float:
        """How sure the model is of its side, 0.5..1: the Bradley-Terry probability of the better answer."""
        return 1 / (1 + math.exp(-min(abs(reward1 - reward2) / self.description.temperature, 700)))

    def save(self, folder: Path) -> None:
        """Writes weights, tokenizer and description into an existing folder."""
        self._save_weights(folder)
        self.tokenizer.save_pretrained(folder)
        (folder / _DESCRIPTION).write_text(json.dumps(asdict(self.description), indent=1), encoding="utf-8")


@dataclass(frozen=True)
class RewardHead:
    """A linear reward over features. The mean answer of the training set has reward 0."""

    weight: torch.Tensor  # (feature_size,)
    mean: torch.Tensor  # (feature_size,) of the training set

    def rewards(self, features: torch.Tensor) -> torch.Tensor:
        """(num_answers,) of features (num_answers, feature_size)."""
        rewards: torch.Tensor = (features - self.mean) @ self.weight
        return rewards

    def save(self, folder: Path) -> None:
        """Writes the weights into an existing folder."""
        save_file({"weight": self.weight, "mean": self.mean}, folder / _WEIGHTS, metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            ModelError: the file is missing, truncated, or holds something else.
        """
        try:
            tensors = load_file(folder / _WEIGHTS)
            head = cls(tensors["weight"], tensors["mean"])
            if head.weight.dim() != 1 or head.weight.shape != head.mean.shape:
                raise ValueError("no vectors of one size")
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise cannot_be_loaded(str(folder), error) from error
        return head


class FrozenRewardModel(RewardModel):
    """A head over the cached features of a frozen backbone."""

    def __init__(self, description: Description, head: RewardHead, extractor: FeatureExtractor) -> None:
        super().__init__(description, extractor.tokenizer)
        self.head = head
        self._extractor = extractor

    @torch.inference_mode()
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) float32 rewards on the CPU, in order."""
        return self.head.rewards(self._extractor.features(prompts, answers))

    @torch.inference_mode()
    def score_afresh(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """As `score`, with features that are computed now and not kept."""
        return self.head.rewards(self._extractor.features(prompts, answers, is_afresh=True))

    def knows(self, prompt: Prompt, answer: str) -> bool:
        """Whether its features are on disk."""
        return self._extractor.knows(prompt, answer)

    def _save_weights(self, folder: Path) -> None:
        self.head.save(folder)


class SequenceRewardModel(RewardModel):
    """A transformers sequence classifier with one label, read at its last token."""

    def __init__(self, description: Description, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(description, tokenizer)
        self.network = network
        self.network.train(False)
        self.network.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        self._computing = threading.Lock()
        self._most_tokens = _BATCH_TOKENS  # fewer once memory ran out

    @torch.inference_mode()
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) float32 rewards on the CPU, in order."""
        return self.score_tokens([
            encode_answer(self.tokenizer, prompt, answer, max_tokens=self.description.max_tokens).input_ids
            for prompt, answer in zip(prompts, answers, strict=True)
        ])  # fmt: skip

    @torch.inference_mode()
    def score_tokens(self, encoded: Sequence[list[int]]) -> torch.Tensor:
        """The same for prompts with their answers that are tokens already."""
        rewards = torch.zeros(len(encoded))
        by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
        while by_length:
            longest = len(encoded[by_length[-1]])
            count = max(1, min(len(by_length), self._most_tokens // longest))
            batch = by_length[-count:]
            inputs = self.tokenizer.pad({"input_ids": [encoded[i] for i in batch]}, padding_side="right", return_tensors="pt")
            logits = None  # (num_answers, 1)
            try:
                with self._computing:
                    logits = self.network(**inputs.to(self.network.device), use_cache=False).logits
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if logits is None:  # not inside `except`: while the error is held, so is all that its frames hold
                release_memory(self.network.device)
                if count == 1:
                    raise ModelError("To score one answer takes more memory than there is; take a smaller REWARD_BASE.")
                logger.warning("out of memory with %d answers at a time; from now on half as many are scored", count)
                self._most_tokens = count * longest // 2
                continue
            by_length = by_length[:-count]
            rewards[batch] = logits.squeeze(-1).float().cpu()
        return (rewards - self.description.center) / self.description.scale

    def _save_weights(self, folder: Path) -> None:
        self.network.save_pretrained(folder)


def load_saved(folder: Path, *, extractor: FindsExtractor, device: torch.device) -> RewardModel:
    """The reward model that `save` wrote into `folder`.

    Raises:
        ModelError: a file is missing, truncated or of the wrong shape.
    """
    try:
        values = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        description = Description(**{**values, "layers": tuple(values["layers"])})
        if bool(description.layers) != (description.kind == "frozen"):
            raise ValueError("layers")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder / _DESCRIPTION} is missing or damaged ({type(error).__name__}).") from error
    if description.kind == "frozen":
        of_recipe = extractor(description.feature_recipe)
        head = RewardHead.load(folder)
        if len(head.weight) != of_recipe.size:
            raise ModelError(f"{folder} holds a head for another backbone than {description.base!r}.")
        return FrozenRewardModel(description, head, of_recipe)
    network = load_weights(AutoModelForSequenceClassification, str(folder), dtype=torch.float32, device=device)
    return SequenceRewardModel(description, network, load_tokenizer(str(folder)))
