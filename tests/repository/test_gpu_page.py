"""The figures of docs/gpu.md are those that the code computes for the model that it names."""

from transformers import Qwen2Config

from preference.models.number_formats import NF4_BYTES, NumberFormat
from tests.support.documents import read
from trainer.generator_training.recipe import DPO
from trainer.training.memory_plan import MemoryPlan, plan_memory
from trainer.training.recipes import RECIPES

# Qwen2.5-7B-Instruct, as its config.json has it.
SEVEN = Qwen2Config(
    hidden_size=3584, num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4, intermediate_size=18944,
    vocab_size=152064, max_position_embeddings=32768, tie_word_embeddings=False,
)  # fmt: skip
WIDTH, LAYERS, WORDS = SEVEN.hidden_size, SEVEN.num_hidden_layers, SEVEN.vocab_size
KEYS = WIDTH // 28 * 4  # numbers of a key: 4 of 28 heads have one of their own
OF_A_LAYER = 2 * WIDTH * WIDTH + 2 * WIDTH * KEYS + 3 * WIDTH * SEVEN.intermediate_size  # weights, but for biases and norms


def plan(recipe: str, free: float, dtype: NumberFormat = "bfloat16") -> MemoryPlan:
    return plan_memory(SEVEN, RECIPES[recipe], dtype=dtype, tokens=1024, most_at_once=8, free=int(free * 1e9))


def test_what_a_training_takes_is_what_is_planned() -> None:
    text = read("docs/gpu.md")
    for free in (80, 46, 23):
        assert f"| {free} GB | {plan('lora', free)} |" in text
    for free in (23, 10):
        assert f"| {free} GB, `REWARD_DTYPE=nf4` | {plan('lora', free, 'nf4')} |" in text
    assert f"`full` takes {plan('full', 140)}." in text


def test_what_the_parts_take_follows_from_the_shape() -> None:
    text = read("docs/gpu.md")
    whole, without_head = LAYERS * OF_A_LAYER + 2 * WIDTH * WORDS, LAYERS * OF_A_LAYER + WIDTH * WORDS
    of_a_token = 2 * LAYERS * KEYS * 2  # keys and values in bfloat16
    lower = round(LAYERS * RECIPES["frozen"].layer_shares[-1])

    assert f"{whole / 1e9:.1f} billion weights in {LAYERS} layers" in text
    assert f"in bfloat16 | {2 * whole / 1e9:.1f} |" in text
    assert f"({of_a_token / 1e3:.0f} kB a token) | {64 * 1024 * of_a_token / 1e9:.1f} |" in text
    assert f"together | {2 * without_head / 1e9:.1f} |" in text
    assert f"`REWARD_DTYPE=nf4` | {(NF4_BYTES * LAYERS * OF_A_LAYER + 2 * WIDTH * WORDS) / 1e9:.1f} |" in text
    assert f"the lower {lower} layers in bfloat16 | {2 * (lower * OF_A_LAYER + WIDTH * WORDS) / 1e9:.1f} |" in text
    assert f"take {2 * whole / 1e9:.1f} GB, not twice as much" in text


def test_what_an_alignment_takes_follows_from_the_shape() -> None:
    text, num_layers = read("docs/gpu.md"), round(LAYERS * DPO.share_of_layers)
    of_adapters = DPO.rank * (2 * 2 * WIDTH + 2 * (WIDTH + KEYS) + 3 * (WIDTH + SEVEN.intermediate_size))  # of a layer
    whole = LAYERS * OF_A_LAYER + 2 * WIDTH * WORDS
    read_of_a_token = 2 * WIDTH  # bytes in bfloat16, of what the first layer that learns gets

    assert f"judges: {2 * whole / 1e9:.1f} GB. Adapters on the top {num_layers} layers" in text
    assert f"take {num_layers * of_adapters * 4 * 4 / 1e6:.0f} MB" in text  # float32: weight, gradient, two of the optimizer
    assert (
        f"1,000 tokens takes {1000 * read_of_a_token / 1e6:.1f} MB, so of 1,000 comparisons {1000 * read_of_a_token / 1e6:.1f} GB"
        in text
    )
