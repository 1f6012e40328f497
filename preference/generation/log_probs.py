"""How likely a causal language model holds a text's tokens."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel


def log_probs(model: PreTrainedModel, ids: Sequence[int], *, start: int) -> torch.Tensor:
    """(len(ids) - start,) float32: the log-probability of each token from `start` on, after all before it; `start` is above 0."""
    device = model.device
    places = torch.arange(start - 1, len(ids) - 1, device=device)
    # The head on these places alone: it costs as much as ten layers of a small model. A tensor of places copies them, a number would
    # slice: bfloat16 on a CPU is 100 times slower on a slice (torch 2.13).
    has_places = "logits_to_keep" in inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"logits_to_keep": places} if has_places else {}
    logits = model(input_ids=torch.tensor([list(ids[:-1])], device=device), use_cache=False, **options).logits.flatten(0, 1)
    logits = logits if has_places else logits[places]  # (len(ids) - start, vocabulary)
    targets = torch.tensor(list(ids[start:]), device=device)
    return -torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
