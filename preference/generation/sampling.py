"""Which token comes next: temperature, top-k and top-p as transformers applies them, without sorting the vocabulary."""

from dataclasses import dataclass

import torch

from preference.models.encoding import ThinkingTokens


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is chosen, and what ends an answer."""

    temperature: float
    top_k: int
    top_p: float
    max_new_tokens: int
    stop_tokens: torch.Tensor  # on the model's device
    stop_texts: tuple[str, ...]
    thinking: ThinkingTokens | None = None  # of a model that may think before it answers
    max_thinking_tokens: int = 0  # then its thought is ended

    @property
    def most_tokens(self) -> int:
        """The longest text: a thought with its marks, and the answer."""
        return self.max_new_tokens + (self.max_thinking_tokens + 2 if self.thinking else 0)


def draw(logits: torch.Tensor, uniform: torch.Tensor, *, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """(num_rows,) tokens by inverse transform sampling; `logits` (num_rows, vocabulary), `uniform` (num_rows,) in 0..1.

    The same distribution as transformers' TemperatureLogitsWarper, TopKLogitsWarper and TopPLogitsWarper in that order,
    except that of tokens with equal logits at the edge of the top k exactly k stay.
    """
    if top_k == 1:
        return logits.argmax(-1)
    best, index = logits.topk(min(top_k, logits.shape[-1]))  # (num_rows, k), the likeliest first
    cumulative = (best.float() / temperature).softmax(-1).cumsum(-1)
    # Held before a token: less than top_p, so it belongs to the fewest that hold top_p.
    last = (cumulative[:, :-1] < top_p).sum(-1, keepdim=True)
    # Of what they hold, as rounded: no draw falls behind the last one, which may be followed by tokens of no probability.
    place = (cumulative < uniform.unsqueeze(1) * cumulative.gather(1, last)).sum(-1, keepdim=True)
    return index.gather(1, place).squeeze(1)


def uniforms(seed: int, answer: int, count: int) -> torch.Tensor:
    """(count,) uniform numbers in 0..1 that belong to one answer alone, so that nothing beside it changes it."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + answer) % 2**63)
    return torch.rand(count, generator=generator)
