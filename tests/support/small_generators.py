"""Language models of random weights in memory, and pairs of token ids that one can learn from."""

from collections.abc import Callable

import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from tests.support.word_models import NUM_WORDS, SIZES
from trainer.generator_training.objectives import ReadPair
from trainer.generator_training.top_layers import Tokens, TopLayers

ALTERNATING = ["sliding_attention", "full_attention"] * 2
ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    "Llama": lambda: LlamaConfig(**SIZES),
    "Qwen 3": lambda: Qwen3Config(**SIZES, head_dim=8),
    "Gemma 2, whose head caps": lambda: Gemma2Config(**SIZES, head_dim=8, sliding_window=4, layer_types=ALTERNATING),
    "Gemma 3, two kinds of positions": lambda: Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=4, layer_types=ALTERNATING),
    "GPT-NeoX": lambda: GPTNeoXConfig(**SIZES),
    "OPT, positions that begin at 2": lambda: OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=3, num_attention_heads=4, word_embed_proj_dim=32,
        max_position_embeddings=256, vocab_size=NUM_WORDS, eos_token_id=1, pad_token_id=0, bos_token_id=None,
    ),
    "Falcon, ALiBi": lambda: FalconConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, alibi=True, vocab_size=NUM_WORDS, eos_token_id=1, bos_token_id=None
    ),
    "Bloom, ALiBi": lambda: BloomConfig(
        vocab_size=NUM_WORDS, hidden_size=32, n_layer=3, n_head=4, eos_token_id=1, pad_token_id=0, bos_token_id=None
    ),
}  # fmt: skip


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
