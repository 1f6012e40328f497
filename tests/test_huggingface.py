import json
import random
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from scipy.stats import chisquare
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
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
    LlamaForCausalLM,
    LogitsProcessorList,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    MptConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from backend.generators import ENGINES, Generator, Writing
from backend.scheduling import write_all
from preference.backbone import load_tokenizer, load_weights, locate
from preference.encoding import encode_prompt
from preference.errors import ModelError
from tests.conftest import REPOSITORY, SettingsFactory
from tests.test_generators import PROMPTS, SEEDS, Watched

MakeGenerator = Callable[..., Generator]
NUM_WORDS = 200


@pytest.fixture
def make(settings_for: SettingsFactory) -> MakeGenerator:
    """Makes a generator of a folder; keyword arguments are settings."""

    def make(folder: Path, **changes: Any) -> Generator:
        fields = {"max_new_tokens": 8, "batch_prompts": 2, "dtype": "float32", **changes}
        return ENGINES["huggingface"](settings_for(generator_model=str(folder), **fields))

    return make


def has_refilled(jobs: Watched) -> bool:
    """Whether the batch shrank, and grew again before it was empty."""
    shrank = [k for k, (before, after) in enumerate(pairwise(jobs.sizes)) if after < before]
    return bool(shrank) and any(0 < before < after for before, after in pairwise(jobs.sizes[shrank[0] :]))


def save_words(folder: Path, config: PreTrainedConfig, *, ends: Sequence[int] = ()) -> Path:
    """A model of random weights whose tokens are words, so that texts tell tokens; an answer ends at 1 and at `ends`."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.15)  # larger than trained models begin with: what is far off matters
    model.generation_config.eos_token_id = [1, *ends]
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    words = {"<pad>": 0, "<end>": 1, **{f"w{k}": k for k in range(2, NUM_WORDS)}}
    text = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    text.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=text, eos_token="<end>", pad_token="<pad>").save_pretrained(folder)
    return folder


def words_of(*lengths: int) -> list[str]:
    numbers = random.Random(0)
    return [" ".join(f"w{numbers.randrange(2, NUM_WORDS)}" for _ in range(length)) for length in lengths]


SIZES: dict[str, Any] = {
    "vocab_size": NUM_WORDS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
OLD_SIZES: dict[str, Any] = {"vocab_size": NUM_WORDS, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}
EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
ALTERNATING = ["sliding_attention", "full_attention"] * 2


@pytest.fixture(scope="module")
def words_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_words(tmp_path_factory.mktemp("words") / "words", LlamaConfig(**SIZES), ends=range(8, NUM_WORDS, 12))


# The same tokens as transformers' own


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


def likeliest(folder: Path, prompts: Sequence[str], *, max_new_tokens: int, batch_size: int = 1) -> list[str]:
    """What transformers writes, so many prompts at a time."""
    tokenizer = load_tokenizer(str(folder))
    model: Any = load_weights(AutoModelForCausalLM, str(folder), dtype=torch.float32)
    texts: list[str] = []
    for first in range(0, len(prompts), batch_size):
        read = [encode_prompt(tokenizer, prompt, max_tokens=100_000)[0] for prompt in prompts[first : first + batch_size]]
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
    subjects = ["the sea", "a fox", "bread", "the number seven", "a library at night", "rain"]
    prompts = [f"Write a line about {subject}." for subject in subjects]
    prompts += [f"Say only the word {word}." for word in ("yes", "no", "stop", "red", "moon")]
    prompts += [f"{'The day was long and the road was dry. ' * k}What was the road like?" for k in (1, 2, 3, 5)]
    prompts += ["Hi", "2+2=", "Translate to French: cat", "def add(a, b):", "Wie heißt du? 🦊"]
    path = Path(locate("embedded", embedded_dir))
    settings = settings_for(model_dir=embedded_dir, dtype="float32", top_k=1, max_new_tokens=16, batch_prompts=4)

    jobs = Watched(ENGINES["huggingface"](settings))
    asked = jobs.ask(prompts, num_answers=1)
    jobs.generator().run(jobs)

    expected = likeliest(path, prompts, max_new_tokens=16, batch_size=20)
    assert len(prompts) == 20
    assert [written.result(0).answers for written in asked] == [[text] for text in expected]
    assert has_refilled(jobs)
    assert max(jobs.sizes) == 8


# What is drawn


def test_first_tokens_are_drawn_as_likely_as_transformers_says(words_base: Path, make: MakeGenerator) -> None:
    (prompt,) = words_of(12)
    generator = make(words_base, temperature=1.3, top_k=60, top_p=0.9, max_new_tokens=1, batch_prompts=4)

    (writing,) = write_all(generator, [prompt], seeds=[5], num_answers=2000)

    model: Any = load_weights(AutoModelForCausalLM, str(words_base), dtype=torch.float32)
    ids = load_tokenizer(str(words_base))(prompt, return_tensors="pt")["input_ids"]
    warpers = LogitsProcessorList([TemperatureLogitsWarper(1.3), TopKLogitsWarper(60), TopPLogitsWarper(0.9)])
    wanted = warpers(ids, model(input_ids=ids).logits[:, -1])[0].double().softmax(-1)
    drawn = torch.tensor([int(text.removeprefix("w")) for text in writing.answers]).bincount(minlength=NUM_WORDS)
    kept = wanted > 0
    assert not drawn[~kept].any() and 20 < kept.sum() < 60
    assert chisquare(drawn[kept].numpy(), 2000 * wanted[kept].numpy()).pvalue > 1e-3


def test_top_p_leaves_the_likeliest_ones(words_base: Path, make: MakeGenerator) -> None:
    prompts = words_of(12, 4, 7)

    narrow = write_all(make(words_base, top_p=1e-6, temperature=5), prompts, seeds=[1, 2, 3])

    assert narrow == write_all(make(words_base, top_k=1), prompts, seeds=[4, 5, 6])


def test_answers_of_one_token(words_base: Path, make: MakeGenerator) -> None:
    jobs = Watched(make(words_base, max_new_tokens=1))
    asked = jobs.ask(words_of(*range(1, 12)), num_answers=3)

    jobs.generator().run(jobs)

    assert all(len(text.split()) <= 1 for written in asked for text in written.result(0).answers)
    assert jobs.num_tokens == 33


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "auto"])
def test_half_precision_writes_too(words_base: Path, make: MakeGenerator, dtype: str) -> None:
    prompts, jobs = words_of(*range(1, 21)), Watched(make(words_base, dtype=dtype))
    asked = jobs.ask(prompts)

    jobs.generator().run(jobs)

    assert all(len(written.result(0).answers) == 2 for written in asked)
    assert len({tuple(written.result(0).answers) for written in asked}) == 20
    assert has_refilled(jobs)


# How answers end


def test_an_answer_ends_at_a_stop_token(tiny_base: Path, tmp_path: Path, make: MakeGenerator) -> None:
    always = stopping_at(tiny_base, tmp_path / "always", share=1)
    ends_at_once, one_token = make(always, max_new_tokens=8), make(tiny_base, max_new_tokens=1)

    assert write_all(ends_at_once, PROMPTS, seeds=SEEDS) == write_all(one_token, PROMPTS, seeds=SEEDS)


def test_rows_that_end_early_change_nothing_for_the_others(tiny_base: Path, tmp_path: Path, make: MakeGenerator) -> None:
    sometimes = stopping_at(tiny_base, tmp_path / "sometimes", share=8)
    generator = make(sometimes, max_new_tokens=24, batch_prompts=4)
    prompts, seeds = PROMPTS * 3, range(len(PROMPTS) * 3)

    together = write_all(generator, prompts, seeds=seeds)

    assert together == [write_all(generator, [prompt], seeds=[seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    lengths = {len(answer) for writing in together for answer in writing.answers}
    assert len(lengths) > 5  # they did end at different steps


def test_a_stop_text_ends_an_answer_and_is_not_in_it(words_base: Path, make: MakeGenerator) -> None:
    prompts, stops = words_of(*range(3, 33)), ("7 w", "w13", "66")  # the first lies across two tokens
    whole, jobs = Watched(make(words_base, max_new_tokens=16)), Watched(make(words_base, max_new_tokens=16, stop=stops))
    all_of_it, cut = whole.ask(prompts), jobs.ask(prompts)
    whole.generator().run(whole)
    jobs.generator().run(jobs)

    texts = [text for written in all_of_it for text in written.result(0).answers]
    kept = [text for written in cut for text in written.result(0).answers]
    assert kept == [min((text.partition(stop)[0] for stop in stops), key=len).strip() for text in texts]
    assert all(sum(stop in text for text in texts) > 2 for stop in stops)
    assert jobs.num_tokens < whole.num_tokens  # what nobody sees is not written


# What a model is given


def test_a_system_prompt_is_a_turn_or_a_paragraph_before_the_prompt(
    tiny_base: Path, tiny_chat_base: Path, tmp_path: Path, make: MakeGenerator
) -> None:
    fixed = Path(shutil.copytree(tiny_chat_base, tmp_path / "fixed"))
    template = (fixed / "chat_template.jinja").read_text()
    (fixed / "chat_template.jinja").write_text("<|im_start|>system\nBe kind.<|im_end|>\n" + template)
    strict = Path(shutil.copytree(tiny_chat_base, tmp_path / "strict"))
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    (strict / "chat_template.jinja").write_text(refusal + template)

    def told(folder: Path, before: str = "", **changes: Any) -> list[Writing]:
        return write_all(make(folder, **changes), [before + prompt for prompt in PROMPTS], seeds=SEEDS)

    assert told(tiny_chat_base, system_prompt="Be kind.") == told(fixed) != told(tiny_chat_base)
    assert told(tiny_base, system_prompt="Be kind.") == told(tiny_base, "Be kind.\n\n")
    assert told(strict, system_prompt="Be kind.") == told(strict, "Be kind.\n\n")


def test_a_cut_prompt_keeps_its_end_and_its_template_and_is_counted(
    tiny_base: Path, tiny_chat_base: Path, make: MakeGenerator
) -> None:
    long, longer = ("The cat sat on the mat. " * count for count in (100, 200))
    for folder in (tiny_base, tiny_chat_base):
        generator = make(folder, max_prompt_tokens=48, system_prompt="Hi.")
        tokenizer = AutoTokenizer.from_pretrained(folder)

        first, second, short = write_all(generator, [long, longer, "The cat."], seeds=[1, 1, 1])

        assert first.answers == second.answers != short.answers
        wanted = [encode_prompt(tokenizer, prompt, max_tokens=48, system="Hi.")[1] for prompt in (long, longer, "The cat.")]
        assert [writing.num_cut for writing in (first, second, short)] == wanted
        assert first.num_cut > 100 and short.num_cut == 0


def test_the_prompt_leaves_room_for_the_answer_in_the_models_window(tiny_base: Path, tmp_path: Path, make: MakeGenerator) -> None:
    prompt = "The cat sat on the mat. " * 100
    always = stopping_at(tiny_base, tmp_path / "always", share=1)
    generator = make(always, max_new_tokens=2028)
    num_tokens = len(encode_prompt(AutoTokenizer.from_pretrained(tiny_base), prompt, max_tokens=100_000)[0])

    assert write_all(generator, [prompt], seeds=[1])[0].num_cut == num_tokens - 20  # of 2048 positions
    with pytest.raises(ModelError, match=r"reads 2048 tokens at most; MAX_NEW_TOKENS=2040 leaves no room for a prompt"):
        make(always, max_new_tokens=2040)


def test_a_model_may_write_until_its_window_is_full(tmp_path: Path, make: MakeGenerator) -> None:
    for name in ("GPT-2, absolute positions", "MPT, ALiBi"):
        folder = save_words(tmp_path / name, ARCHITECTURES[name]())
        prompt = " ".join(words_of(300))

        (writing,) = write_all(make(folder, max_new_tokens=200, temperature=5), [prompt], seeds=[1], num_answers=8)

        assert writing.num_cut == 300 - 56  # of 256 positions
        assert max(len(text.split()) for text in writing.answers) == 200


def test_longrope_is_read_within_the_length_in_which_no_row_changes_another(tmp_path: Path, make: MakeGenerator) -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    config = Phi3Config(**SIZES, rope_parameters=rope, original_max_position_embeddings=64)
    folder = save_words(tmp_path / "model", config)
    prompts = words_of(52, 200, 3, 40)
    generator = make(folder, top_k=1, max_new_tokens=12)

    writings = write_all(generator, prompts, seeds=range(4), num_answers=1)

    assert [writing.num_cut for writing in writings] == [0, 148, 0, 0]
    assert writings == [write_all(generator, [prompt], seeds=[0], num_answers=1)[0] for prompt in prompts]


def test_a_prompt_of_no_token_is_answered_as_the_start_of_a_text(words_base: Path, make: MakeGenerator) -> None:
    generator = make(words_base)  # whose tokenizer knows no white space

    empty, blank, end, other = write_all(generator, ["", " \n", "<end>", "w5"], seeds=[1, 1, 1, 1])

    assert empty == blank == end != other


# Which models it takes


def test_a_model_that_is_not_there_says_what_to_name_instead(tmp_path: Path, make: MakeGenerator) -> None:
    with pytest.raises(ModelError) as refused:
        make(tmp_path / "nothing")

    assert str(refused.value).startswith(f"The model '{tmp_path}/nothing' cannot be loaded (")
    assert str(refused.value).endswith("; name a folder with safetensors weights, or an id that this machine can fetch.")


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


# Urgent jobs


def test_while_an_urgent_job_is_written_the_others_rest(tiny_base: Path, make: MakeGenerator) -> None:
    generator = make(tiny_base, max_new_tokens=40, batch_prompts=4)
    jobs = Watched(generator)
    jobs.meanwhile = lambda: len(jobs.sizes) == 20 and jobs.ask(["Urgent 1", "Urgent 2"], is_urgent=True)
    asked = jobs.ask([f"Prompt {k}" for k in range(12)])

    generator.run(jobs)

    assert set(jobs.finished[:2]) == {"Urgent 1", "Urgent 2"}
    expected = write_all(generator, [f"Prompt {k}" for k in range(12)], seeds=range(12))
    assert [written.result(0) for written in asked] == expected


# When memory runs out


class HungryConfig(LlamaConfig):
    model_type = "hungry"

    def __init__(self, room: int = 10**9, fails_at: int = -1, is_silent_after: int = -1, **options: Any) -> None:
        super().__init__(**options)
        self.room, self.fails_at, self.is_silent_after = room, fails_at, is_silent_after


class HungryModel(LlamaForCausalLM):
    """A Llama in a memory of `room` tokens, for whatever caches there are; a token may make it fail, or say nothing."""

    config_class = HungryConfig
    caches: ClassVar["weakref.WeakSet[Any]"] = weakref.WeakSet()

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        if input_ids[0, 0] == self.config.fails_at:
            torch.zeros(2, 3) @ torch.zeros(2, 3)
        if past_key_values is not None:
            self.caches.add(past_key_values)
            buffers = [cache.layers[0].keys for cache in self.caches if cache.layers]
            held = sum(buffer.shape[0] * buffer.shape[2] for buffer in buffers)
            if held + (0 if past_key_values.layers else input_ids.numel()) > self.config.room:
                torch.empty(2**60)  # torch's allocator, out of memory for real
        output = super().forward(input_ids, attention_mask, position_ids, past_key_values, **options)
        if input_ids.shape[1] > 1:  # it reads prompts
            output.logits[input_ids[:, -1] == self.config.is_silent_after, -1, 1] = 1e9
        return output


@pytest.fixture(scope="module", autouse=True)
def hungry() -> None:
    AutoConfig.register("hungry", HungryConfig, exist_ok=True)
    AutoModelForCausalLM.register(HungryConfig, HungryModel, exist_ok=True)


@pytest.fixture
def make_hungry(words_base: Path, tmp_path: Path, make: MakeGenerator) -> MakeGenerator:
    """Makes a generator of a HungryModel with the weights of `words_base`; its keyword arguments are HungryConfig's or settings."""

    def make_hungry(*, room: int = 10**9, fails_at: int = -1, is_silent_after: int = -1, **changes: Any) -> Generator:
        of_its_own = {"room": room, "fails_at": fails_at, "is_silent_after": is_silent_after}
        folder = tmp_path / f"hungry{room}"
        if not folder.exists():
            shutil.copytree(words_base, folder)
            config = json.loads((folder / "config.json").read_text())
            changed = {**config, "model_type": "hungry", "architectures": ["HungryModel"], **of_its_own}
            (folder / "config.json").write_text(json.dumps(changed))
            (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1, "pad_token_id": 0}))  # it talks on
        return make(folder, **{"batch_prompts": 16, **changes})

    return make_hungry


def out_of_memory(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [message for message in caplog.messages if message.startswith("out of memory")]


@pytest.mark.parametrize("max_new_tokens", [1, 24])
@pytest.mark.parametrize("room", [5000, 1500, 260])  # 16 prompts of 41 tokens hold 3360, one of them 210
def test_with_less_memory_fewer_are_written_together_and_all_the_same(
    make_hungry: MakeGenerator, caplog: pytest.LogCaptureFixture, room: int, max_new_tokens: int
) -> None:
    prompts = words_of(*range(3, 42, 2))
    expected = write_all(make_hungry(max_new_tokens=max_new_tokens), prompts, seeds=range(20))
    assert not out_of_memory(caplog)

    generator = make_hungry(room=room, max_new_tokens=max_new_tokens)
    assert write_all(generator, prompts, seeds=range(20)) == expected
    assert bool(out_of_memory(caplog)) == (room < (3360 if max_new_tokens > 1 else 400))
    caplog.clear()
    assert write_all(generator, prompts, seeds=range(20)) == expected
    assert len(out_of_memory(caplog)) <= 1  # it has learned


def test_a_prompt_that_never_fits_is_refused_and_the_others_are_written(make_hungry: MakeGenerator) -> None:
    prompts = words_of(12, 100, 7, 120, 3, 20)

    writings = write_all(make_hungry(room=250), prompts, seeds=range(6), num_answers=2)

    refused = Writing([], refused="writing it needs more memory than there is")
    expected = write_all(make_hungry(), prompts, seeds=range(6), num_answers=2)
    assert writings == [refused if k in (1, 3) else expected[k] for k in range(6)]


def test_a_prompt_that_is_left_of_many_is_not_refused_for_the_room_they_had(
    make_hungry: MakeGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = [prompt + " w7" for prompt in words_of(*[10] * 15)]  # which are answered with nothing
    (talkative,) = words_of(11)
    # 32 rows of 11 + 64 tokens fit, and would no longer as they grow; two do.
    generator = make_hungry(room=3000, is_silent_after=7, max_new_tokens=100)
    jobs = Watched(generator)
    (asked,) = jobs.ask([talkative, *prompts])[:1]
    generator.run(jobs)

    assert max(len(text.split()) for text in asked.result(0).answers) > 64
    assert len(out_of_memory(caplog)) == 1
    again = Watched(generator)
    again.ask([f"w{k} w9" for k in range(10, 26)])
    generator.run(again)
    assert max(again.sizes) >= 16  # half as many as before


def test_an_urgent_prompt_takes_the_memory_of_those_that_rest(
    make_hungry: MakeGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    prompts, (urgent,) = words_of(*[20] * 8), words_of(230)  # 16 * (20 + 64) tokens, and 2 * (230 + 115)
    generator = make_hungry(room=1500, max_new_tokens=24)
    jobs, done, came = Watched(generator), list[str](), list[Future[Writing]]()

    def come_in_between() -> None:
        if len(jobs.sizes) == 3:
            done.extend(jobs.finished)
            came.extend(jobs.ask([urgent], is_urgent=True))

    jobs.meanwhile = come_in_between
    asked = jobs.ask(prompts)
    generator.run(jobs)

    assert jobs.finished[len(done)] == urgent
    assert len(out_of_memory(caplog)) >= 1
    expected = write_all(make_hungry(max_new_tokens=24), [*prompts, urgent], seeds=[*range(8), 0])
    assert [written.result(0) for written in [*asked, *came]] == expected


def test_a_model_that_fails_otherwise_is_named(make_hungry: MakeGenerator) -> None:
    generator = make_hungry(fails_at=50, max_new_tokens=1)

    with pytest.raises(ModelError) as raised:
        write_all(generator, ["w50 w51", "w3"], seeds=[1, 2])
    assert re.fullmatch(r"hungry\d+ failed on 2 prompts \(mat1 and mat2 shapes cannot be multiplied .*\)\.", str(raised.value))
    assert len(write_all(generator, ["w3"], seeds=[2])[0].answers) == 2


# In a process of its own: a limit on memory cannot be taken back.
REAL_MEMORY = """
import json, logging, resource, sys
from pathlib import Path

import torch
from backend.generators import ENGINES
from backend.scheduling import write_all
from preference.settings import Settings

torch.set_num_threads(1)
logging.basicConfig(stream=sys.stderr, level="WARNING")
settings = Settings(
    generator_model=sys.argv[1], model_dir=Path(sys.argv[1]), device="cpu", torch_threads=1, dtype="float32",
    max_new_tokens=8, batch_prompts=32, max_prompt_tokens=4096,
)
generator = ENGINES["huggingface"](settings)
prompts = [f"w{k} w{k + 1} w{k + 2} w3 w4 w5 w6 w7" for k in range(8, 48)]

def write(prompts):
    print(f"-- {len(prompts)}", file=sys.stderr)
    writings = write_all(generator, prompts, seeds=range(len(prompts)))
    return [{"answers": writing.answers, "refused": writing.refused} for writing in writings]

freely = write(prompts)
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 500_000_000,) * 2)
limited = write(prompts)
with_a_long_one = write([*prompts[:4], "w9 " * 4000])
print(json.dumps([freely, limited, with_a_long_one]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit a process's memory")
def test_under_a_real_limit_every_prompt_is_answered_with_the_same_texts(tmp_path: Path) -> None:
    # Little to compute, and much to keep: 128 KiB a token.
    wide = {**SIZES, "num_hidden_layers": 2, "num_key_value_heads": 4, "head_dim": 2048, "max_position_embeddings": 8192}
    folder = save_words(tmp_path / "wide", LlamaConfig(**wide))

    ran = subprocess.run(
        [sys.executable, "-c", REAL_MEMORY, str(folder)], cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False
    )

    assert ran.returncode == 0, ran.stderr
    freely, limited, (*short, long) = json.loads(ran.stdout)
    assert limited == freely
    assert all(len(writing["answers"]) == 2 for writing in limited)
    assert short == freely[:4]
    assert long == {"answers": [], "refused": "writing it needs more memory than there is"}
    logged = ran.stderr.split("-- 40")
    assert (logged[1].count("out of memory with"), logged[2].partition("-- 5")[0].count("out of memory with")) == (0, 1), (
        ran.stderr
    )


def stopping_at(base: Path, folder: Path, *, share: int) -> Path:
    """A copy of the model that ends an answer at every `share`-th token of its vocabulary."""
    shutil.copytree(base, folder)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    path.write_text(json.dumps({**config, "eos_token_id": list(range(0, size, share))}), encoding="utf-8")
    return folder
