"""The keys and values of answers that are being written: rows that join and leave one buffer a layer.

transformers' DynamicCache copies everything at every token, and a row that leaves makes it copy all others. Here a token is
written in place. All rows end at the same column, so a row's tokens lie at the right of its line, as with left padding. Any
model that takes an attention mask and position ids works unchanged.

    column      start           end
                |                |
    row 0       . . t t t t t t t        a long prompt
    row 1       t t t t t t t t t        the longest: it decides `start`
    row 2       . . . . . . t t t        just joined
"""

import inspect
import weakref
from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DummyLayer, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

_SPARE_COLUMNS = 64  # tokens for which nothing has to be moved
_LAYERS = {DynamicLayer, DynamicSlidingWindowLayer, DummyLayer}  # the last: of a layer that uses another one's keys
_PLACES_FROM_MASK = {"bloom", "mpt"}  # ALiBi: there are no position ids


def can_hold(model: PreTrainedModel) -> bool:
    """Whether the model keeps nothing but keys and values of a text, and takes its tokens' positions from us.

    We give it position ids, or a mask from which it counts them.
    """
    accepted = inspect.signature(model.forward).parameters
    if "past_key_values" not in accepted or not ("position_ids" in accepted or model.config.model_type in _PLACES_FROM_MASK):
        return False
    return {type(layer) for layer in DynamicCache(config=model.config).layers} <= _LAYERS


class _Layer(DynamicLayer):
    """One layer's buffers, (row capacity, heads, column capacity, size of a head)."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, rows: "RowCache", like: DynamicLayer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows: RowCache = weakref.proxy(rows)  # in a circle the buffers would stay until Python looks for circles
        self.keys, self.values = (_buffers(like)[i].new_zeros(0) for i in (0, 1))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the model with one new token a row; the keys and values of all rows so far."""
        num_rows, start, end = self._rows.num_rows, self._rows.start, self._rows.end
        self.keys[:num_rows, :, end] = key_states[:, :, 0]
        self.values[:num_rows, :, end] = value_states[:, :, 0]
        return self.keys[:num_rows, :, start : end + 1], self.values[:num_rows, :, start : end + 1]

    def get_seq_length(self) -> int:
        """Called by the model: tokens so far."""
        return self._rows.end - self._rows.start


class RowCache:
    """The cache of `num_rows` answers, as a transformers Cache in `cache`; columns [start, end) hold their tokens."""

    def __init__(self) -> None:
        self.num_rows = self.start = self.end = 0
        self.cache = Cache(layers=[])
        self._layers: list[_Layer] = []

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        return self.end - self.start

    @property
    def row_capacity(self) -> int:
        """Rows for which there is room."""
        return len(self._layers[0].keys) if self._layers else 0

    def join(self, prefilled: DynamicCache, *, lengths: Sequence[int], repeats: int, row_capacity: int) -> None:
        """Adds `repeats` rows for each left-padded row of `prefilled`, of that many tokens each."""
        new = cast(list[DynamicLayer], prefilled.layers)
        if not self._layers:
            self._layers = [_Layer(self, like) for like in new]
            self.cache.layers = list(self._layers)
        self._make_room(new, row_capacity=row_capacity, width=max(self.width, *lengths))
        for ours, theirs in zip(self._layers, new, strict=True):
            for buffer, read in zip(_buffers(ours), _buffers(theirs), strict=True):
                for place, length in enumerate(lengths):
                    row = self.num_rows + place * repeats
                    buffer[row : row + repeats, :, self.end - length : self.end] = read[place, :, -length:]
        self.num_rows += len(lengths) * repeats
        self.start = min(self.start, self.end - max(lengths))

    def advance(self) -> None:
        """Counts the token that the model has just added to every row."""
        self.end += 1
        if self.end == self._column_capacity:
            self._make_room(self._layers, row_capacity=self.row_capacity, width=self.width)

    def leave(self, row: int, *, longest: int) -> None:
        """Takes a row out; the last row takes its place. `longest`: tokens of the longest row that stays.

        Without rows it holds no memory.
        """
        self.num_rows -= 1
        if not self.num_rows:
            self._layers, self.cache.layers = [], []
        if row < self.num_rows:
            for layer in self._layers:
                for buffer in _buffers(layer):
                    buffer[row, :, self.start : self.end] = buffer[self.num_rows, :, self.start : self.end]
        self.start = self.end - longest

    @property
    def _column_capacity(self) -> int:
        return int(self._layers[0].keys.shape[2])

    def _make_room(self, like: Sequence[DynamicLayer], *, row_capacity: int, width: int) -> None:
        """Buffers for `row_capacity` rows and `width` columns before `end`, with what they held."""
        if self.row_capacity >= row_capacity and width <= self.end < self._column_capacity:
            return
        end, columns = width, width + max(_SPARE_COLUMNS, width // 2)
        for layer, example in zip(self._layers, like, strict=True):
            buffers = []
            for old, sample in zip(_buffers(layer), _buffers(example), strict=True):
                # Zeros: what is masked is multiplied by zero, and must not be a number that zero does not silence.
                new = sample.new_zeros(row_capacity, sample.shape[1], columns, sample.shape[3])
                if self.num_rows:
                    new[: self.num_rows, :, end - self.width : end] = old[: self.num_rows, :, self.start : self.end]
                buffers.append(new)
            layer.keys, layer.values = buffers
        self.start, self.end = end - self.width, end


def _buffers(layer: DynamicLayer) -> tuple[torch.Tensor, torch.Tensor]:
    return cast(torch.Tensor, layer.keys), cast(torch.Tensor, layer.values)
