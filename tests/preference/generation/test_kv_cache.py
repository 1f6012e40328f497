import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BloomConfig,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MptConfig,
    OpenAIGPTConfig,
    PretrainedConfig,
    Qwen3NextConfig,
    RwkvConfig,
)
from transformers.cache_utils import DynamicCache

from preference.generation.kv_cache import RowCache, can_hold

LAYERS, HEADS, SIZES = 2, 2, (3, 4)  # keys and values may differ in size, as DeepSeek's do
KINDS = [(layer, kind) for layer in range(LAYERS) for kind in (0, 1)]
Row = list[torch.Tensor]  # one for each of KINDS, (HEADS, tokens, size)
NEVER_READ = 1e30


class Rows:
    """A RowCache, and beside it what each of its rows must hold."""

    def __init__(self, seed: int) -> None:
        self.random, self._numbers = random.Random(seed), torch.Generator().manual_seed(seed)
        self.cache = RowCache()
        self.rows: list[Row] = []
        self.addresses: set[int] = set()  # where the first layer's keys were

    @property
    def lengths(self) -> list[int]:
        return [row[0].shape[1] for row in self.rows]

    @property
    def buffer(self) -> torch.Tensor:
        layer: Any = self.cache.cache.layers[0]
        keys: torch.Tensor = layer.keys
        return keys

    def join(self, lengths: list[int], *, repeats: int = 1, row_capacity: int | None = None) -> None:
        prompts = [self._tokens(length) for length in lengths]
        prefilled, held = DynamicCache(), self._padded(prompts)
        for layer in range(LAYERS):
            prefilled.update(held[2 * layer], held[2 * layer + 1], layer)
        new = [list(prompt) for prompt in prompts for _ in range(repeats)]
        capacity = row_capacity or max(len(self.rows) + len(new), self.cache.row_capacity)
        self.cache.join(prefilled, lengths=lengths, repeats=repeats, row_capacity=capacity)
        self.rows += new

    def leave(self, row: int) -> None:
        last = self.rows.pop()
        if row < len(self.rows):
            self.rows[row] = last
        self.cache.leave(row, longest=max(self.lengths, default=0))

    def advance(self) -> None:
        """A token for every row, as a model adds it; what the model is given back must be what each row holds."""
        assert self.cache.cache.get_seq_length() == self.cache.width == max(self.lengths)
        new = [self._tokens(1) for _ in self.rows]
        self.rows = [
            [torch.cat(pair, 1) for pair in zip(row, token, strict=True)] for row, token in zip(self.rows, new, strict=True)
        ]
        expected, held = self._padded(self.rows), list[torch.Tensor]()
        for layer in range(LAYERS):
            keys, values = (torch.stack([token[2 * layer + kind] for token in new]) for kind in (0, 1))
            held += self.cache.cache.update(keys, values, layer)
        for given, wanted in zip(held, expected, strict=True):
            assert given.shape == wanted.shape
            # Copied, never computed: so the very same numbers on any processor.
            assert torch.equal(given[wanted != NEVER_READ], wanted[wanted != NEVER_READ])
            assert given.max() <= 1  # what a mask hides is silent
        self.addresses.add(held[0].untyped_storage().data_ptr())
        self.cache.advance()
        assert self.cache.num_rows == len(self.rows)
        assert self.cache.width == max(self.lengths)

    def _tokens(self, count: int) -> Row:
        return [torch.rand(HEADS, count, SIZES[kind], generator=self._numbers) for _, kind in KINDS]

    def _padded(self, rows: list[Row]) -> list[torch.Tensor]:
        """For each of KINDS (rows, HEADS, width, size)."""
        width = max(row[0].shape[1] for row in rows)
        return [
            torch.stack([torch.nn.functional.pad(row[k], (0, 0, width - row[k].shape[1], 0), value=NEVER_READ) for row in rows])
            for k in range(len(KINDS))
        ]


@pytest.mark.parametrize("seed", range(8))
def test_every_row_keeps_its_tokens_whoever_joins_and_leaves(seed: int) -> None:
    rows = Rows(seed)
    for _ in range(120):
        many = rows.random.random()
        if not rows.rows or many < 0.15:
            rows.join([rows.random.randint(1, 40) for _ in range(rows.random.randint(1, 3))], repeats=rows.random.randint(1, 3))
        elif many < 0.55:
            rows.leave(rows.random.randrange(len(rows.rows)))
        if rows.rows:
            rows.advance()

    assert len(rows.addresses) > 2  # the buffers did move


def test_a_longer_prompt_makes_room_at_the_left() -> None:
    rows = Rows(0)
    rows.join([3, 5])
    for _ in range(4):
        rows.advance()

    rows.join([100])
    rows.advance()

    assert rows.cache.width == 101
    rows.leave(2)
    assert rows.cache.width == 10
    rows.advance()


def test_long_answers_make_room_at_the_right() -> None:
    rows = Rows(1)
    rows.join([2, 9], repeats=2)
    for _ in range(400):
        rows.advance()

    assert rows.cache.width == 409
    assert 2 < len(rows.addresses) < 10  # moved now and then, not at every token


def test_a_row_that_goes_on_for_ever_among_short_ones_keeps_its_tokens() -> None:
    rows = Rows(2)
    rows.join([4])
    for _ in range(60):
        rows.join([2, 7])
        for _ in range(3):
            rows.advance()
        rows.leave(2)
        rows.leave(1)
    rows.advance()

    assert rows.cache.width == 4 + 3 * 60 + 1


def test_an_emptied_cache_is_used_again() -> None:
    rows = Rows(3)
    rows.join([30], repeats=3)
    for _ in range(5):
        rows.advance()
    for _ in range(3):
        rows.leave(0)
    assert (rows.cache.num_rows, rows.cache.width) == (0, 0)

    rows.join([2])
    rows.advance()
    assert rows.cache.width == 3


def test_its_memory_is_free_if_no_row_remains_or_nobody_holds_it() -> None:
    rows = Rows(5)
    rows.join([30])
    rows.advance()
    first = weakref.ref(rows.buffer)
    rows.leave(0)
    assert first() is None

    rows.join([30])
    rows.advance()
    second = weakref.ref(rows.buffer)
    gc.disable()  # Python's search for circles, which may come any time or never
    try:
        del rows
        assert second() is None
    finally:
        gc.enable()


def test_rows_are_made_room_for_as_asked() -> None:
    rows = Rows(4)
    assert rows.cache.row_capacity == 0
    rows.join([3], repeats=2, row_capacity=2)
    rows.advance()
    assert rows.cache.row_capacity == 2

    rows.join([3], repeats=2, row_capacity=8)
    rows.advance()
    rows.join([3], repeats=4, row_capacity=8)
    rows.advance()
    assert rows.cache.row_capacity == 8


# Which models it serves

LLAMA: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
HELD: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**LLAMA),
    "sliding": lambda: MistralConfig(**LLAMA, sliding_window=4),
    "positions of its own": lambda: GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2),
    "ALiBi": lambda: BloomConfig(vocab_size=50, hidden_size=16, n_layer=1, n_head=2),
    "ALiBi of MPT": lambda: MptConfig(vocab_size=50, d_model=16, n_layers=1, n_heads=2),
}
NOT_HELD: dict[str, Callable[[], PretrainedConfig]] = {
    "a state space model": lambda: MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4),
    "a recurrent network": lambda: RwkvConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16),
    "some layers convolve": lambda: Lfm2Config(**LLAMA, layer_types=["conv", "full_attention"]),
    "some layers are linear": lambda: Qwen3NextConfig(**LLAMA, layer_types=["linear_attention", "full_attention"]),
    "counts positions itself": lambda: BartConfig(
        vocab_size=50, d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, encoder_layers=1,
        encoder_attention_heads=2, encoder_ffn_dim=16,
    ),
    "no cache at all": lambda: OpenAIGPTConfig(vocab_size=50, n_embd=16, n_layer=1, n_head=2),
}  # fmt: skip


@pytest.mark.parametrize("make", HELD.values(), ids=HELD.keys())
def test_models_that_keep_keys_and_values_can_be_held(make: Callable[[], PretrainedConfig]) -> None:
    assert can_hold(AutoModelForCausalLM.from_config(make()))


@pytest.mark.parametrize("make", NOT_HELD.values(), ids=NOT_HELD.keys())
def test_models_that_keep_something_else_cannot(make: Callable[[], PretrainedConfig]) -> None:
    assert not can_hold(AutoModelForCausalLM.from_config(make()))
