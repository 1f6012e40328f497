"""A reward model: a number for each answer to a prompt, higher for the answer that people would prefer.

Four kinds stand behind one class: `frozen` (a small head over the features of feature_extractor.py), `sequence` (any Hugging Face
AutoModelForSequenceClassification with one label), `adapter` (one on a base that versions share, shared_base.py) and `shelf` (such a
base itself, which others trained). Weights are safetensors; all read text through encoding.py.
"""

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from preference.errors import ModelError
from preference.labelling.prompts import Prompt
from preference.models.encoding import Closing, encode_closed
from preference.models.low_rank import LowRankAdapter, read_low_rank
from preference.models.number_formats import COMPUTED_IN, NumberFormat
from preference.models.out_of_memory import is_out_of_memory, release_memory
from preference.models.pretrained import load_tokenizer, load_weights
from preference.models.reward_bases import DESCRIPTION
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.reward_model.reward_head import RewardHead
from preference.reward_model.shared_base import BaseRecipe, SharedBase
from preference.reward_model.turns import Turns

logger = logging.getLogger("pairloop.reward_model")
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Description:
    """What a version's weights are, so that they can be loaded again; one JSON file in its folder."""

    kind: Literal["frozen", "sequence", "adapter", "shelf"]
    base: str
    max_tokens: int
    layers: tuple[int, ...] = ()  # `frozen` only
    center: float = 0.0  # not `frozen`: reward = (the network's output - center) / scale, so that versions compare
    scale: float = 1.0  # a frozen head folds both into its weights
    temperature: float = 1.0  # confidence = sigmoid(|r1 - r2| / temperature)
    revision: str = ""  # not `sequence`, which needs no base: the commit of the base, if that is a Hugging Face id
    dtype: NumberFormat = (
        "float32"  # not `sequence`: the number format of the base, by which it was judged; `frozen` may be served in another
    )
    closing: Closing = "eos"  # not `frozen`: what closes an answer

    @property
    def feature_recipe(self) -> FeatureRecipe:
        """What a `frozen` model's head is over."""
        return FeatureRecipe(self.base, self.layers, self.max_tokens, self.revision)

    @property
    def base_recipe(self) -> BaseRecipe:
        """What an `adapter` is on, or a `shelf` model is."""
        return BaseRecipe(self.base, self.revision, self.dtype)


class FindsExtractor(Protocol):
    """Gives the extractor or the base of a recipe, loaded once for all versions that share it."""

    def __call__(self, recipe: FeatureRecipe, /) -> FeatureExtractor:
        """The extractor of that recipe."""
        ...

    def shared_base(self, recipe: BaseRecipe, /) -> SharedBase:
        """The base of that recipe."""
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

    @property
    def dtype(self) -> NumberFormat:
        """The number format that it computes in here."""
        return self.description.dtype

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
        self._save_description(folder)

    def _save_description(self, folder: Path) -> None:
        (folder / DESCRIPTION).write_text(json.dumps(asdict(self.description), indent=1), encoding="utf-8")


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

    @property
    def dtype(self) -> NumberFormat:
        """The number format of its features here, whatever it was made in."""
        return self._extractor.recipe.dtype

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
        self._computing = Turns()
        self._most_tokens = _BATCH_TOKENS  # fewer once memory ran out

    @torch.inference_mode()
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) float32 rewards on the CPU, in order."""
        return self.score_tokens([
            encode_closed(
                self.tokenizer, prompt, answer, max_tokens=self.description.max_tokens, closing=self.description.closing
            )[0]
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
                logits = self.logits(inputs.to(self.network.device))
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

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(num_answers, 1) the network's output for a batch; callers take turns."""
        with self._computing:
            logits: torch.Tensor = self.network(**inputs, use_cache=False).logits
            return logits

    def _save_weights(self, folder: Path) -> None:
        self.network.save_pretrained(folder)


class AdapterRewardModel(SequenceRewardModel):
    """An adapter and a score head on a base that other versions compute with, too."""

    def __init__(self, description: Description, adapter: LowRankAdapter, base: SharedBase) -> None:
        """Raises ModelError if the adapter is one of another base."""
        super().__init__(description, base.network, base.tokenizer)
        self.adapter, self.base = adapter, base
        self._placed = base.place(adapter)

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(num_answers, 1) the base's output with this adapter; all adapters on it take turns."""
        return self.base.logits(self._placed, inputs)

    def _save_weights(self, folder: Path) -> None:
        self.adapter.save(folder)


class ShelfRewardModel(SequenceRewardModel):
    """A base that others trained as a reward model, with the head that it came with."""

    def __init__(self, description: Description, base: SharedBase) -> None:
        super().__init__(description, base.network, base.tokenizer)
        self.base = base

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(num_answers, 1) the base's output without an adapter; all that compute with it take turns."""
        return self.base.logits(None, inputs)

    def save(self, folder: Path) -> None:
        """Writes the description, which names the model, into an existing folder."""
        self._save_description(folder)

    def _save_weights(self, folder: Path) -> None: ...


def read_description(folder: Path) -> Description:
    """What `save` wrote of the model in `folder`.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        values = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        description = Description(**{**values, "layers": tuple(values["layers"])})
        if bool(description.layers) != (description.kind == "frozen") or description.dtype not in COMPUTED_IN:
            raise ValueError("layers or dtype")
        if description.closing not in ("eos", "template"):
            raise ValueError("closing")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{folder / DESCRIPTION} is missing or damaged ({type(error).__name__}).") from error
    return description


def load_saved(folder: Path, *, extractor: FindsExtractor, device: torch.device, base: str | None = None) -> RewardModel:
    """The reward model that `save` wrote into `folder`. `base`: what its base is called here, if not as its description says.

    Raises:
        ModelError: a file is missing, truncated or of the wrong shape.
    """
    description = read_description(folder)
    if base is not None:
        description = replace(description, base=base)
    if description.kind == "frozen":
        of_recipe = extractor(description.feature_recipe)
        head = RewardHead.load(folder)
        if len(head.weight) != of_recipe.size:
            raise ModelError(f"{folder} holds a head for another backbone than {description.base!r}.")
        return FrozenRewardModel(description, head, of_recipe)
    if description.kind == "adapter":
        return AdapterRewardModel(description, read_low_rank(folder), extractor.shared_base(description.base_recipe))
    if description.kind == "shelf":
        return ShelfRewardModel(description, extractor.shared_base(description.base_recipe))
    network = load_weights(AutoModelForSequenceClassification, str(folder), dtype=torch.float32, device=device)
    return SequenceRewardModel(description, network, load_tokenizer(str(folder)))
