"""Two answers to one prompt in one text, so that the prompt is computed once: the second one sees the prompt and not the first.

prompt  first  second        positions of the second go on from the prompt's end
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel


def takes_two_answers(model: PreTrainedModel) -> bool:
    """Whether the model can be told which token sees which, and where each stands.

    A layer that sees a part of a text only makes a mask of its own, unless it is given one; then it would see all.
    """
    config = model.config.get_text_config()
    kinds = {
        *(getattr(config, "layer_types", None) or ()),
        *(getattr(config, "attention_layers", None) or ()),
    }  # the second is GPT-Neo's
    sees_all = getattr(config, "sliding_window", None) is None and kinds <= {"full_attention", "global"}
    return sees_all and {"position_ids", "logits_to_keep"} <= inspect.signature(model.forward).parameters.keys()


def log_probs_of_two(
    model: PreTrainedModel, prompt: Sequence[int], first: Sequence[int], second: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(len(first),) and (len(second),) float32: the log-probability of each token of either answer; each has at least one."""
    start, end = (
        len(prompt),
        len(prompt) + len(first) - 1,
    )  # the second answer's own tokens begin at `end`: no first one's last is read
    ids = [*prompt, *first[:-1], *second[:-1]]
    positions = [*range(end), *range(start, start + len(second) - 1)]
    can_see = torch.ones(len(ids), len(ids), dtype=torch.bool, device=model.device).tril()
    can_see[end:, start:end] = False
    mask = torch.zeros(can_see.shape, dtype=model.dtype, device=model.device).masked_fill(~can_see, torch.finfo(model.dtype).min)
    # The place before the first token of either answer is the prompt's end.
    places = [*range(start - 1, end), start - 1, *range(end, len(ids))]
    options: dict[str, Any] = {"logits_to_keep": torch.tensor(places, device=model.device)}
    logits = model(
        input_ids=torch.tensor([ids], device=model.device), position_ids=torch.tensor([positions], device=model.device),
        attention_mask=mask[None, None], use_cache=False, **options,
    ).logits  # (1, len(first) + len(second), vocabulary)  # fmt: skip
    targets = torch.tensor([*first, *second], device=model.device)
    likely = -torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="none")
    return likely[: len(first)], likely[len(first) :]
