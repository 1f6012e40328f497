"""What a frozen backbone sees in an answer, computed once per (backbone, text) and kept on disk.

The features of an answer: the mean over its tokens of one middle layer's output, read with the prompt before it, and
log(1 + number of its tokens), which the mean loses. Which layer, and mean rather than last token: measured on human
pairs (Anthropic hh-rlhf), .652-.660 held-out accuracy at 300 pairs against .632 for the usual last-token head.

Covered: two processes write the same feature, a kill in the middle, a file that is damaged or deleted at any time.
Not covered: a bound on the folder's size; it is safe to delete whole.
"""

import hashlib
import logging
import math
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from preference.backbone import fingerprint, load_tokenizer, load_weights, locate
from preference.encoding import ENCODING_VERSION, EncodedAnswer, encode_answer

logger = logging.getLogger(__name__)
Array = NDArray[np.float32]
_BATCH_TOKENS = 2048  # padded tokens of one forward pass: about a second of one core for a 135M model


@dataclass(frozen=True)
class FeatureRecipe:
    """Everything that decides what an answer's features are."""

    base: str
    layer: int  # the output of this many of the backbone's layers
    max_tokens: int

    def key(self) -> str:
        """A folder name that is the same only for the same features."""
        text = f"{fingerprint(self.base)}|{self.layer}|{self.max_tokens}|{ENCODING_VERSION}|mean+log"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class FeatureExtractor:
    """Computes features, or finds them where an earlier call left them. Safe to use from several threads."""

    def __init__(self, recipe: FeatureRecipe, *, model_dir: Path, device: torch.device) -> None:
        path = locate(recipe.base, model_dir)
        self.recipe = recipe
        self.tokenizer = load_tokenizer(path)
        self._backbone = load_weights(AutoModel, path, dtype=torch.float32, num_hidden_layers=recipe.layer, device=device)
        if hasattr(self._backbone, "norm"):
            self._backbone.norm = torch.nn.Identity()  # the layer's own output, not the one prepared for a language head
        self._device = device
        self._folder = model_dir / "features" / recipe.key()
        self._computing = threading.Lock()

    @property
    def size(self) -> int:
        """Numbers per answer."""
        return int(self._backbone.config.hidden_size) + 1

    def features(self, prompts: Sequence[str], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers, size) float32 on the CPU, in order."""
        paths = [self._path(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        rows = [self._read(path) for path in paths]
        missing = [i for i, row in enumerate(rows) if row is None]
        if missing:
            encoded = [encode_answer(self.tokenizer, prompts[i], answers[i], max_tokens=self.recipe.max_tokens) for i in missing]
            for place, row in self._compute(encoded):
                rows[missing[place]] = row
                self._keep(paths[missing[place]], row)
        return torch.from_numpy(np.stack(rows)) if rows else torch.zeros(0, self.size)  # type: ignore[arg-type]

    def _compute(self, encoded: Sequence[EncodedAnswer]) -> Iterator[tuple[int, Array]]:
        """(place in `encoded`, features) as each batch is done, the longest first; callers take turns batch by batch."""
        by_length = sorted(range(len(encoded)), key=lambda i: len(encoded[i].input_ids))
        while by_length:
            longest = len(encoded[by_length[-1]].input_ids)
            count = max(1, min(len(by_length), _BATCH_TOKENS // longest))
            batch, by_length = by_length[-count:], by_length[:-count]
            with self._computing:
                rows = self._forward([encoded[i] for i in batch])
            yield from zip(batch, rows, strict=True)

    @torch.inference_mode()
    def _forward(self, encoded: Sequence[EncodedAnswer]) -> Array:
        longest = max(len(e.input_ids) for e in encoded)
        input_ids = torch.zeros(len(encoded), longest, dtype=torch.long)
        attention_mask = torch.zeros_like(input_ids)
        in_answer = torch.zeros(len(encoded), longest, 1)
        for row, e in enumerate(encoded):
            end = len(e.input_ids)
            input_ids[row, :end] = torch.tensor(e.input_ids)
            attention_mask[row, :end] = 1
            in_answer[row, e.answer_start : end - 1] = 1
        in_answer = in_answer.to(self._device)
        hidden = self._backbone(
            input_ids=input_ids.to(self._device), attention_mask=attention_mask.to(self._device), use_cache=False
        ).last_hidden_state  # (num_answers, longest, hidden_size)
        lengths = in_answer.sum(1)  # (num_answers, 1) tokens of each answer
        mean = (hidden * in_answer).sum(1) / lengths.clamp(min=1)
        return torch.cat([mean, torch.log1p(lengths)], dim=1).cpu().numpy()

    # The cache on disk

    def _path(self, prompt: str, answer: str) -> Path:
        digest = hashlib.sha256(f"{len(prompt)}|{prompt}|{answer.strip()}".encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest[2:]}.f32"

    def _read(self, path: Path) -> Array | None:
        try:
            row = np.frombuffer(path.read_bytes(), np.float32)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            row = np.empty(0, np.float32)
        if row.shape == (self.size,) and math.isfinite(float(row.sum())):
            return row
        logger.warning("the cached feature %s is damaged; computing it again", path.name)
        return None

    def _keep(self, path: Path, row: Array) -> None:
        temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}.f32")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(row.tobytes())  # no .npy: a damaged header makes numpy raise whatever Python's parser does
            temporary.replace(path)
        except OSError as error:  # a full disk costs speed, not the answer
            logger.warning("a feature could not be kept in %s (%s)", self._folder, error.strerror)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


class Extractors:
    """Gives the extractor of a recipe; versions that share a recipe share the backbone in memory."""

    def __init__(self, model_dir: Path, device: torch.device) -> None:
        self._model_dir, self._device = model_dir, device
        self._loaded: dict[FeatureRecipe, FeatureExtractor] = {}
        self._loading = threading.Lock()

    def __call__(self, recipe: FeatureRecipe) -> FeatureExtractor:
        """The extractor, loaded at the first call."""
        with self._loading:
            if recipe not in self._loaded:
                self._loaded[recipe] = FeatureExtractor(recipe, model_dir=self._model_dir, device=self._device)
            return self._loaded[recipe]
