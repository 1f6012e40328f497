"""What a step of a sequence recipe reads: rows of token ids, and which of them go together."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from preference.labelling.pairs import PreferencePair
from preference.models.encoding import Closing, encode_closed
from trainer.training.recipes import Recipe


def rows_of(
    pairs: Sequence[PreferencePair], recipe: Recipe, tokenizer: Any, closing: Closing
) -> tuple[list[dict[str, Any]], int]:
    """(what TRL trains on, how many answers were cut); weights have mean 1, and a column with one value in all rows is omitted."""
    mean_weight = sum(pair.training_weight for pair in pairs) / len(pairs)
    is_weighted = len({pair.training_weight for pair in pairs}) > 1
    has_margins = any(pair.margin for pair in pairs)
    num_cut, rows = 0, []
    for pair in pairs:
        row: dict[str, Any] = {}
        for column, answer in (("chosen_ids", pair.chosen), ("rejected_ids", pair.rejected)):
            row[column], cut = encode_closed(tokenizer, pair.prompt, answer, max_tokens=recipe.max_tokens, closing=closing)
            num_cut += cut > 0
        if is_weighted:
            row["weight"] = pair.training_weight / mean_weight
        if has_margins:
            row["margin"] = pair.margin
        rows.append(row)
    return rows, num_cut


class LengthGroups(LengthGroupedSampler):
    """Batches of like lengths, in an order that seed and epoch alone decide: a resumed epoch goes on in the same order.

    transformers' own draws from the global generator, whose state at the start of an epoch no checkpoint holds.
    """

    def __init__(self, lengths: list[int], *, batch_size: int, seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of each epoch."""
        self.generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
