"""Language models of random weights in memory, and pairs of token ids that one can learn from."""

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from trainer.generator_training.objectives import ReadPair
from trainer.generator_training.top_layers import Tokens, TopLayers


def random_model(config: PreTrainedConfig, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model as load_weights gives it: without gradients, in evaluation mode."""
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.1)  # larger than trained models begin with: what is far off matters
    network: torch.nn.Module = model
    network.to(dtype).requires_grad_(False).eval()
    return model


def token_pairs(num_pairs: int, *, vocabulary: int) -> list[tuple[Tokens, Tokens]]:
    """(chosen, rejected): answers of even tokens against answers of odd ones, of various lengths."""
    generator = torch.Generator().manual_seed(0)

    def text(prompt: list[int], parity: int) -> Tokens:
        length = int(torch.randint(3, 12, (1,), generator=generator))
        answer = 2 * torch.randint(2, vocabulary // 2, (length,), generator=generator) + parity
        return Tokens([*prompt, *answer.clamp(max=vocabulary - 1).tolist()], len(prompt))

    pairs = []
    for _ in range(num_pairs):
        prompt = torch.randint(
            4, vocabulary, (int(torch.randint(2, 9, (1,), generator=generator)),), generator=generator
        ).tolist()
        pairs.append((text(prompt, 0), text(prompt, 1)))
    return pairs


def read_pairs(layers: TopLayers, pairs: list[tuple[Tokens, Tokens]]) -> list[ReadPair]:
    return [ReadPair(layers.read(chosen), layers.read(rejected)) for chosen, rejected in pairs]
