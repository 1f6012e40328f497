"""The huggingface engine writes what transformers does with every architecture, or refuses it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BloomConfig,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    Gemma4TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    Lfm2Config,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    MptConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen3Config,
)

from backend.generators.engines import ENGINES
from preference.errors import ModelError
from preference.generation.jobs import write_all
from preference.models.encoding import encode_prompt
from preference.models.pretrained import load_tokenizer, load_weights, locate
from tests.conftest import SettingsFactory
from tests.support.watched import Watched
from tests.support.word_models import NUM_WORDS, SIZES, MakeGenerator, has_refilled, maker, save_words, words_of

OLD_SIZES: dict[str, Any] = {"vocab_size": NUM_WORDS, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
ALTERNATING = ["sliding_attention", "full_attention"] * 2


@pytest.fixture
def make(settings_for: SettingsFactory) -> MakeGenerator:
    return maker(settings_for)


ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    "Llama": lambda: LlamaConfig(**SIZES),
    "GPT-2, absolute positions": lambda: GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=256, **OLD_SIZES),
    "OPT, positions that begin at 2": lambda: OPTConfig(
        hidden_size=32, ffn_dim=64, num_hidden_layers=3, num_attention_heads=4, word_embed_proj_dim=32,
        max_position_embeddings=256, **OLD_SIZES,
    ),
    "GPT-NeoX": lambda: GPTNeoXConfig(**SIZES),
    "BLOOM, ALiBi": lambda: BloomConfig(hidden_size=32, n_layer=3, n_head=4, **OLD_SIZES),
    "MPT, ALiBi": lambda: MptConfig(d_model=32, n_layers=3, n_heads=4, max_seq_len=256, **OLD_SIZES),
    "Falcon, ALiBi": lambda: FalconConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, alibi=True, multi_query=True, parallel_attn=False, **OLD_SIZES
    ),
    "Mistral, sliding": lambda: MistralConfig(**SIZES, sliding_window=8),
    "Mixtral, experts": lambda: MixtralConfig(**SIZES, **EXPERTS),
    "Phi-3": lambda: Phi3Config(**SIZES),
    "Qwen3, some layers sliding": lambda: Qwen3Config(
        **SIZES, head_dim=16, use_sliding_window=True, sliding_window=8, max_window_layers=2
    ),
    "Gemma 2, softcapped": lambda: Gemma2Config(**SIZES, head_dim=8, sliding_window=8),
    "Gemma 3, alternating": lambda: Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=8, layer_types=ALTERNATING),
    "Gemma 4, layers without keys of their own": lambda: Gemma4TextConfig(
        **{**SIZES, "num_hidden_layers": 6}, head_dim=8, sliding_window=8, layer_types=[*ALTERNATING, *ALTERNATING[:2]],
        num_kv_shared_layers=2, hidden_size_per_layer_input=8, vocab_size_per_layer_input=NUM_WORDS,
    ),
    "Llama 4, chunks": lambda: Llama4TextConfig(
        **SIZES, head_dim=8, attention_chunk_size=8, num_local_experts=2, intermediate_size_mlp=64
    ),
    "gpt-oss, sinks": lambda: GptOssConfig(**SIZES, **EXPERTS, head_dim=8, sliding_window=8),
    "DeepSeek V3, latent keys": lambda: DeepseekV3Config(
        **{**SIZES, "num_key_value_heads": 4}, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
        q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16, moe_intermediate_size=32,
        first_k_dense_replace=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_the_likeliest_answers_are_those_of_transformers_for_every_architecture(
    tmp_path: Path, make: MakeGenerator, config: Callable[[], PreTrainedConfig]
) -> None:
    folder = save_words(tmp_path / "model", config(), ends=range(8, NUM_WORDS, 12))
    prompts = words_of(23, 2, 40, 9, 17, 1, 31, 12, 5, 36, 26, 14, 8, 20)

    jobs = Watched(make(folder, top_k=1, max_new_tokens=12, batch_prompts=2))
    asked = jobs.ask(prompts, num_answers=1)
    jobs.generator().run(jobs)

    expected = likeliest(folder, prompts, max_new_tokens=12)
    assert [written.result(0).answers for written in asked] == [[text] for text in expected]
    assert len(set(expected)) > 8 and any(len(text.split()) > 8 for text in expected)
    assert has_refilled(jobs)


def likeliest(folder: Path, prompts: Sequence[str], *, max_new_tokens: int, batch_size: int = 1, system: str = "") -> list[str]:
    """What transformers writes, so many prompts at a time."""
    tokenizer = load_tokenizer(str(folder))
    model: Any = load_weights(AutoModelForCausalLM, str(folder), dtype=torch.float32)
    texts: list[str] = []
    for first in range(0, len(prompts), batch_size):
        some = prompts[first : first + batch_size]
        read = [encode_prompt(tokenizer, prompt, max_tokens=100_000, system=system)[0] for prompt in some]
        padded = tokenizer.pad({"input_ids": read}, padding_side="left", return_tensors="pt")
        written = model.generate(
            **padded, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id
        )
        new = tokenizer.batch_decode(written[:, padded["input_ids"].shape[1] :], skip_special_tokens=True)
        texts += [text.strip() for text in new]
    return texts


def test_the_embedded_models_likeliest_answers_are_those_of_transformers(
    embedded_dir: Path, settings_for: SettingsFactory
) -> None:
    prompts = [f"Write a line about {subject}." for subject in ("the sea", "a fox", "the number seven", "a library at night")]
    prompts += [f"Say only the word {word}." for word in ("yes", "no", "moon")]
    prompts += [f"{'The day was long and the road was dry. ' * k}What was the road like?" for k in (1, 3)]
    prompts += ["Hi", "2+2=", "Translate to French: cat", "def add(a, b):", "Wie heißt du? 🦊"]
    path = Path(locate("embedded", embedded_dir))
    settings = settings_for(
        model_dir=embedded_dir, dtype="float32", top_k=1, max_new_tokens=10, batch_prompts=4, system_prompt="Be brief."
    )

    jobs = Watched(ENGINES["huggingface"](settings))
    asked = jobs.ask(prompts, num_answers=1)
    jobs.generator().run(jobs)

    expected = likeliest(path, prompts, max_new_tokens=10, batch_size=7, system="Be brief.")
    assert len(prompts) == 14
    assert [written.result(0).answers for written in asked] == [[text] for text in expected]
    assert has_refilled(jobs)
    assert max(jobs.sizes) == 8


def test_a_model_may_write_until_its_window_is_full(tmp_path: Path, make: MakeGenerator) -> None:
    for name, window in (("GPT-2, absolute positions", "n_positions"), ("MPT, ALiBi", "max_seq_len")):
        config = ARCHITECTURES[name]()
        setattr(config, window, 96)
        folder = save_words(tmp_path / name, config)
        prompt = " ".join(words_of(300))

        (writing,) = write_all(make(folder, max_new_tokens=60, temperature=5), [prompt], seeds=[1], num_answers=8)

        assert writing.num_cut == 300 - 36  # of 96 positions
        assert max(len(text.split()) for text in writing.answers) == 60


def test_longrope_is_read_within_the_length_in_which_no_row_changes_another(tmp_path: Path, make: MakeGenerator) -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    config = Phi3Config(**SIZES, rope_parameters=rope, original_max_position_embeddings=64)
    folder = save_words(tmp_path / "model", config)
    prompts = words_of(52, 200, 3, 40)
    generator = make(folder, top_k=1, max_new_tokens=12)

    writings = write_all(generator, prompts, seeds=range(4), num_answers=1)

    assert [writing.num_cut for writing in writings] == [0, 148, 0, 0]
    assert writings == [write_all(generator, [prompt], seeds=[0], num_answers=1)[0] for prompt in prompts]


NOT_SERVED: dict[str, Callable[[], PreTrainedConfig]] = {
    "mamba": lambda: MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=4, **OLD_SIZES),
    "lfm2": lambda: Lfm2Config(**SIZES, layer_types=["conv", "full_attention"] * 2),
    "bart": lambda: BartConfig(
        d_model=32, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, encoder_layers=1, encoder_attention_heads=2,
        encoder_ffn_dim=32, **OLD_SIZES,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_SERVED)
def test_a_model_that_it_cannot_write_with_is_refused_with_what_can(tmp_path: Path, make: MakeGenerator, kind: str) -> None:
    folder = save_words(tmp_path / "model", NOT_SERVED[kind]())

    with pytest.raises(ModelError) as refused:
        make(folder)

    assert str(refused.value) == (
        f"{folder} is a {kind} model: it keeps more than keys and values, or has no position ids, and this engine cannot write "
        "with it; run a server that speaks OpenAI's API, and set GENERATOR_ENGINE=openai."
    )
