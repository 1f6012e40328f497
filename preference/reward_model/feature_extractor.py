"""What a frozen backbone sees in an answer, computed once per (backbone, text) and kept on disk.

The features of an answer: for each of some layers the mean of its output over the answer's tokens, read with the prompt
before it, times log(1 + number of its tokens), which a mean does not keep; then that logarithm, then the style of the text
(style_features.py). Which layers, and why the mean and not the last token: trainer/training/recipes.py.

The answers to one prompt share a row of a batch: the prompt is read once, and a mask keeps the answers from each other.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from preference.errors import ModelError
from preference.labelling.prompts import Prompt, Turn, as_prompt
from preference.models.chat_template import as_text
from preference.models.encoding import ENCODING_VERSION, EncodedAnswer, encode_answer
from preference.models.fingerprint import fingerprint, revision_of
from preference.models.number_formats import ComputedIn
from preference.models.out_of_memory import is_out_of_memory, release_memory
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.reward_model.feature_cache import FeatureCache
from preference.reward_model.style_features import NUM_STYLE, STYLE_VERSION, style
from preference.reward_model.turns import Turns

logger = logging.getLogger("pairloop.reward_model")
Array = NDArray[np.float32]
# Padded tokens of one forward pass. On a CPU small batches are a fifth faster than 2048 (less padding, and they fit its caches).
_BATCH_TOKENS = {"cpu": 512, "cuda": 8192, "mps": 8192}  # not measured on a GPU
_SAME: dict[ComputedIn, float] = {"float32": 1e-3, "bfloat16": 0.1}  # a mean's share, and that of the median mean
_ROW_ANSWERS = 8  # answers that share a row at most: its mask grows with the square of the row


@dataclass(frozen=True)
class FeatureRecipe:
    """Everything that decides what an answer's features are."""

    base: str
    layers: tuple[int, ...]  # the outputs of these layers, counted from 1, ascending
    max_tokens: int
    revision: str = ""  # the commit of a Hugging Face id; "" is the one that it has now, as for versions of build e08322f
    dtype: ComputedIn = "float32"  # in which the base computes here, whatever a version was made in

    def key(self, model_dir: Path | None = None) -> str:
        """A folder name that is the same only for the same features; `model_dir` makes it quicker to find.

        Raises:
            ModelError: the base is not there.
        """
        base = fingerprint(self.base, revision=self.revision, model_dir=model_dir)
        text = f"{base}|{self.layers}|{self.max_tokens}|{ENCODING_VERSION}|{STYLE_VERSION}|mean*log"
        if self.dtype != "float32":
            text += f"|{self.dtype}"  # not in the keys of earlier builds
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Row:
    """Answers to one prompt, read in one row of a batch."""

    prompt: list[int]
    answers: list[list[int]]
    places: list[int]  # which of the asked answers each is

    @property
    def length(self) -> int:
        return len(self.prompt) + sum(len(answer) for answer in self.answers)


class FeatureExtractor:
    """Computes features, or reads those that an earlier call kept. Safe to use from several threads."""

    def __init__(self, recipe: FeatureRecipe, *, model_dir: Path, device: torch.device) -> None:
        path = locate(recipe.base, model_dir)
        # The commit that is loaded, whatever the id moves on to meanwhile.
        self.recipe = recipe = replace(recipe, revision=recipe.revision or revision_of(recipe.base))
        key = recipe.key(model_dir)
        self.tokenizer = load_tokenizer(path, revision=recipe.revision)
        self._backbone = load_weights(
            AutoModel, path, revision=recipe.revision, dtype=getattr(torch, recipe.dtype), num_hidden_layers=recipe.layers[-1],
            device=device, is_shared=True,
        )  # fmt: skip
        self.key = recipe.key(model_dir)
        if self.key != key and not recipe.revision:
            raise ModelError(f"The model {recipe.base!r} was replaced while it was loaded; try again.")
        self._last_layer = _last_layer(self._backbone)
        self._device = device
        self._cache = FeatureCache(model_dir, self.key, size=self.size)
        self._computing = Turns()
        self._most_tokens = _BATCH_TOKENS[device.type]  # padded, of one forward pass; fewer once memory ran out
        self.num_cut = 0  # answers computed so far that were longer than max_tokens, with their prompts

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether this architecture computes for an answer beside another what it computes for it alone. Found by computing, at the first use."""
        with self._computing:
            return self._can_share_prompts()

    @property
    def hidden_size(self) -> int:
        """Numbers per answer and layer."""
        return int(self._backbone.config.get_text_config().hidden_size)

    @property
    def size(self) -> int:
        """Numbers per answer: the layers' means, the log of its tokens, its style."""
        return len(self.recipe.layers) * self.hidden_size + 1 + NUM_STYLE

    def knows(self, prompt: Prompt, answer: str) -> bool:
        """Whether some process has kept the features of this answer."""
        return self._cache.has(*self._read_as(prompt, answer))

    def features(self, prompts: Sequence[Prompt], answers: Sequence[str], *, is_afresh: bool = False) -> torch.Tensor:
        """(num_answers, size) float32 on the CPU, in order. `is_afresh`: all are computed, also those that were kept, and none is kept."""
        # Every row of it is read or computed. numpy asks for huge pages, which took two to four times as long in a virtual machine.
        features = torch.empty(len(prompts), self.size)
        rows = features.numpy()
        texts = [self._read_as(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
        firsts: dict[tuple[Prompt, str], int] = {}  # where each (prompt, answer) is first: every vote on a task asks anew
        first_of = [firsts.setdefault(text, i) for i, text in enumerate(texts)]
        asked = list(firsts.values())
        if not is_afresh:
            is_known = self._cache.read([texts[i] for i in asked], into=[rows[i] for i in asked])
            asked = [i for i, known in zip(asked, is_known.tolist(), strict=True) if not known]
        encoded = [encode_answer(self.tokenizer, *texts[i], max_tokens=self.recipe.max_tokens) for i in asked]
        self.num_cut += sum(e.num_cut > 0 for e in encoded)
        for batch, hidden in self._compute(encoded):
            computed = [asked[place] for place in batch]
            for i, seen in zip(computed, hidden, strict=True):
                rows[i] = np.concatenate([seen, style(prompts[i], answers[i])])
            if not is_afresh:
                self._cache.keep([texts[i] for i in computed], [rows[i] for i in computed])
        for i, first in enumerate(first_of):
            if i != first:
                rows[i] = rows[first]
        return features

    def _read_as(self, prompt: Prompt, answer: str) -> tuple[Prompt, str]:
        """The texts as the tokenizer reads them. An earlier build kept features of role markers that it read as control tokens."""
        if isinstance(prompt, str):
            read: Prompt = as_text(self.tokenizer, prompt)
        else:
            read = as_prompt(Turn(role, as_text(self.tokenizer, text)) for role, text in prompt)
        return read, as_text(self.tokenizer, answer.strip())

    def _compute(self, encoded: Sequence[EncodedAnswer]) -> Iterator[tuple[list[int], Array]]:
        """(places in `encoded`, what the backbone sees of each) as each batch is done, the longest first; callers take turns."""
        by_length = sorted(self._rows(encoded), key=lambda row: row.length)
        while by_length:
            longest = max(1, by_length[-1].length)
            count = max(1, min(len(by_length), self._most_tokens // longest))
            batch, by_length = by_length[-count:], by_length[:-count]
            hidden = None
            try:
                with self._computing:
                    hidden = self._forward(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            if hidden is None:  # not inside `except`: while the error is held, so is all that its frames hold
                by_length = sorted([*by_length, *self._made_smaller(batch)], key=lambda row: row.length)
                self._most_tokens = min(self._most_tokens, max(1, count * longest // 2))
                continue
            yield [place for row in batch for place in row.places], hidden

    def _made_smaller(self, batch: Sequence[_Row]) -> list[_Row]:
        """After the memory ran out: what can be read in its place, with half as many tokens at a time."""
        release_memory(self._device)
        if len(batch) == 1 and len(batch[0].answers) == 1:
            raise ModelError(f"{self.recipe.base} needs more memory for one answer than there is; take a smaller REWARD_BASE.")
        logger.warning("out of memory with %d prompts at a time; from now on features are computed for half as many", len(batch))
        if len(batch) > 1:
            return list(batch)
        row, half = batch[0], len(batch[0].answers) // 2
        return [_Row(row.prompt, row.answers[:half], row.places[:half]), _Row(row.prompt, row.answers[half:], row.places[half:])]

    def _rows(self, encoded: Sequence[EncodedAnswer]) -> list[_Row]:
        rows: dict[tuple[int, ...], list[_Row]] = {}
        for place, e in enumerate(encoded):
            prompt, answer = e.input_ids[: e.answer_start], e.input_ids[e.answer_start : -1]
            of_prompt = rows.setdefault(tuple(prompt), [])
            if self.shares_prompts and of_prompt and self._is_cheaper_together(of_prompt[-1], answer):
                of_prompt[-1].answers.append(answer)
                of_prompt[-1].places.append(place)
            else:
                of_prompt.append(_Row(prompt, [answer], [place]))
        return [row for of_prompt in rows.values() for row in of_prompt]

    def _is_cheaper_together(self, row: _Row, answer: list[int]) -> bool:
        """Whether a prompt read once saves more than a longer row costs: attention grows with the square of the row.

        Measured with a 135M model of hidden size 576: eight answers of 300 tokens to a prompt of 60 took 1.6 times as long in
        one row as in eight, eight answers of 60 to a prompt of 200 0.4 times.
        """
        if len(row.answers) == _ROW_ANSWERS:
            return False
        return (row.length - len(row.prompt)) * len(answer) <= 2 * self.hidden_size * len(row.prompt)

    @torch.inference_mode()
    def _forward(self, rows: Sequence[_Row]) -> Array:
        """(num_answers, layers * hidden_size + 1) for the answers of all rows, in order."""
        longest = max(row.length for row in rows)
        input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
        position_ids = torch.zeros_like(input_ids)
        part = torch.full((len(rows), longest), -1)  # 0 the prompt, 1 the first answer, ..., -1 padding
        for i, row in enumerate(rows):
            start = 0
            for number, ids in enumerate([row.prompt, *row.answers]):
                end = start + len(ids)
                first = 0 if number == 0 else len(row.prompt)
                input_ids[i, start:end] = torch.tensor(ids, dtype=torch.long)
                position_ids[i, start:end] = torch.arange(first, first + len(ids))
                part[i, start:end] = number
                start = end
        if any(len(row.answers) > 1 for row in rows):
            attention_mask = _mask_between(part, self._backbone.dtype).to(self._device)
        else:
            attention_mask = (part >= 0).long().to(self._device)
        last: list[Any] = []  # the layer's own output; `hidden_states` ends with the one prepared for a language head
        with self._last_layer.register_forward_hook(lambda layer, inputs, output: last.append(output)):
            hidden = [*self._backbone(
                input_ids=input_ids.to(self._device), position_ids=position_ids.to(self._device), attention_mask=attention_mask,
                use_cache=False, output_hidden_states=True,
            ).hidden_states]  # fmt: skip
        hidden[self.recipe.layers[-1]] = last[0] if isinstance(last[0], torch.Tensor) else last[0][0]
        of_answers = []
        layers = torch.stack([hidden[layer] for layer in self.recipe.layers], dim=1)  # (rows, layers, longest, hidden_size)
        for i, row in enumerate(rows):
            for number, answer in enumerate(row.answers, start=1):
                of_answer = layers[i][:, (part[i] == number).to(self._device)]  # (layers, answer's tokens, hidden_size)
                mean, long = of_answer.sum(1, dtype=torch.float32) / max(1, len(answer)), math.log1p(len(answer))
                of_answers.append(torch.cat([mean.flatten().cpu() * long, torch.tensor([long])]))
        return torch.stack(of_answers).numpy()

    def _can_share_prompts(self) -> bool:
        """Some architectures take no mask of ours."""
        config = self._backbone.config.get_text_config()
        window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
        if window and window < self.recipe.max_tokens:
            return False  # a mask of ours would take the place of the window
        if getattr(config, "window_size", None):
            return False  # of GPT-Neo: it counts places in a row, whatever the positions
        size = int(config.vocab_size)
        prompt, first, second, third = ([(7 * i + start) % size for i in range(5)] for start in (11, 23, 41, 57))
        try:
            apart = self._forward([_Row(prompt, [first], [0]), _Row(prompt, [second], [1])])
            together = self._forward([_Row(prompt, [first, second], [0, 1])])
            beside_another = self._forward([_Row(prompt, [third, second], [0, 1])])
        except Exception as error:  # an architecture raises whatever its own code runs into
            logger.info("%s reads a prompt once for each answer (%s)", self.recipe.base, type(error).__name__)
            return False
        # Rounding in bfloat16 hides what leaks from one answer to the next, but rows of one shape are rounded alike.
        return _are_alike(apart, together, within=_SAME[self.recipe.dtype]) and _are_alike(
            together[1], beside_another[1], within=1e-5
        )


def _are_alike(some: Array, others: Array, *, within: float) -> bool:
    means, of_others = (
        some[..., :-1],
        others[..., :-1],
    )  # without the log of the length, which is large beside what some layers say
    return bool(np.allclose(means, of_others, rtol=within, atol=within * float(np.median(np.abs(means)))))


def _last_layer(backbone: torch.nn.Module) -> torch.nn.Module:
    """The last of the backbone's layers, whatever their list is called (layers, h, blocks); the backbone if it has none."""
    lists = (module for module in backbone.modules() if isinstance(module, torch.nn.ModuleList))
    return next((layers[-1] for layers in lists), backbone)


def _mask_between(part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(rows, 1, longest, longest) 0 if a token sees another (an earlier one, of the prompt or of its own part), else -huge."""
    earlier = torch.ones(part.shape[1], part.shape[1], dtype=torch.bool).tril()
    of_prompt = (part == 0)[:, None, :]
    own = part[:, :, None] == part[:, None, :]
    sees = earlier & (of_prompt | own)
    return torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)[:, None]
