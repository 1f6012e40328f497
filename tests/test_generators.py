import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from backend.generators import ENGINES, Generator
from preference.encoding import encode_prompt
from preference.errors import ModelError
from tests.conftest import SettingsFactory

MakeGenerator = Callable[..., Generator]
PROMPTS = ["Why is the sky blue?", "Hi", "def add(a, b):\n    return a + b\n" * 8, "شرح لي القمر بالعربية", "🌙🦊 zażółć?"]
SEEDS = [11, 2**48 - 1, 13, 0, 15]
# Every engine of ENGINES, and for huggingface a base without and one with a chat template.
CASES = {"echo": "echo", "huggingface": "huggingface", "huggingface chat": "huggingface"}


@pytest.fixture(params=CASES)
def make(request: pytest.FixtureRequest, settings_for: SettingsFactory) -> MakeGenerator:
    engine = CASES[request.param]
    fields: dict[str, object] = {"generator_engine": engine, "max_new_tokens": 8, "batch_prompts": 2}
    if engine == "huggingface":
        fields["generator_model"] = str(request.getfixturevalue("tiny_chat_base" if "chat" in request.param else "tiny_base"))
    return lambda **changes: ENGINES[engine](settings_for(**{**fields, **changes}))


def test_the_contract_is_run_over_every_engine() -> None:
    assert set(CASES.values()) == set(ENGINES)


@pytest.mark.parametrize("num_answers", [1, 2, 3])
def test_each_prompt_gets_one_writing_in_order_with_as_many_answers_as_asked(make: MakeGenerator, num_answers: int) -> None:
    generator = make()

    together = generator.generate(PROMPTS, seeds=SEEDS, num_answers=num_answers)
    backwards = generator.generate(PROMPTS[::-1], seeds=SEEDS[::-1], num_answers=num_answers)

    assert [len(writing.answers) for writing in together] == [num_answers] * len(PROMPTS)
    assert together == backwards[::-1]
    assert len({tuple(writing.answers) for writing in together}) == len(PROMPTS)


def test_the_same_seed_gives_the_same_answers_alone_and_in_any_batch(make: MakeGenerator) -> None:
    small, large = make(batch_prompts=2), make(batch_prompts=64)

    alone = [small.generate([prompt], seeds=[seed])[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]

    assert small.generate(PROMPTS, seeds=SEEDS) == alone
    assert large.generate(PROMPTS, seeds=SEEDS) == alone
    assert large.generate(["", *PROMPTS], seeds=[7, *SEEDS])[1:] == alone


def test_a_seed_decides_the_answers_and_the_two_answers_differ(make: MakeGenerator) -> None:
    writings = make().generate([PROMPTS[0]] * 6, seeds=range(6))

    assert len({tuple(writing.answers) for writing in writings}) == 6
    assert all(writing.answers[0] != writing.answers[1] for writing in writings)


def test_nothing_asked_gives_nothing(make: MakeGenerator) -> None:
    assert make().generate([], seeds=[]) == []


def test_a_prompt_of_100_000_characters_is_answered_from_its_end(make: MakeGenerator) -> None:
    generator = make(max_prompt_tokens=64)
    end = "The cat sat on the mat and looked at the moon. " * 2000
    first, second, short = generator.generate(["One " * 1500 + end, "Two" * 2000 + end, "Hi"], seeds=[3, 3, 3])

    assert short.num_cut == 0
    if generator.name == "echo":  # it has no window
        assert (first.num_cut, second.num_cut) == (0, 0)
        return
    assert first.answers == second.answers
    assert first.num_cut > 10_000


def test_a_generator_names_its_model_and_its_sampling(make: MakeGenerator) -> None:
    generator = make(temperature=0.9, top_k=7)

    if generator.name == "echo":
        assert generator.sampling == {}
    else:
        assert generator.name in ("tiny-base", "tiny-chat-base")
        assert generator.sampling == {"temperature": 0.9, "top_k": 7, "max_new_tokens": 8}


def test_a_cut_prompt_is_counted_in_tokens(tiny_base: Path, settings_for: SettingsFactory) -> None:
    prompt = "The cat sat on the mat. " * 100
    generator = ENGINES["huggingface"](settings_for(generator_model=str(tiny_base), max_new_tokens=4, max_prompt_tokens=16))
    num_tokens = len(encode_prompt(AutoTokenizer.from_pretrained(tiny_base), prompt, max_tokens=100_000)[0])

    assert generator.generate([prompt], seeds=[1])[0].num_cut == num_tokens - 16


def test_the_prompt_leaves_room_for_the_answer_in_the_models_window(
    tiny_base: Path, tmp_path: Path, settings_for: SettingsFactory
) -> None:
    prompt = "The cat sat on the mat. " * 100
    always = stopping_at(tiny_base, tmp_path / "always", share=1)
    generator = ENGINES["huggingface"](settings_for(generator_model=str(always), max_new_tokens=2028))
    num_tokens = len(encode_prompt(AutoTokenizer.from_pretrained(tiny_base), prompt, max_tokens=100_000)[0])

    assert generator.generate([prompt], seeds=[1])[0].num_cut == num_tokens - 20  # of 2048 positions
    with pytest.raises(ModelError, match=r"reads 2048 tokens at most; MAX_NEW_TOKENS=2040 leaves no room for a prompt"):
        ENGINES["huggingface"](settings_for(generator_model=str(always), max_new_tokens=2040))


def test_an_answer_ends_at_a_stop_token(tiny_base: Path, tmp_path: Path, settings_for: SettingsFactory) -> None:
    always = stopping_at(tiny_base, tmp_path / "always", share=1)
    ends_at_once = ENGINES["huggingface"](settings_for(generator_model=str(always), max_new_tokens=8))
    one_token = ENGINES["huggingface"](settings_for(generator_model=str(tiny_base), max_new_tokens=1))

    assert [w.answers for w in ends_at_once.generate(PROMPTS, seeds=SEEDS)] == [
        w.answers for w in one_token.generate(PROMPTS, seeds=SEEDS)
    ]


def test_rows_that_end_early_change_nothing_for_the_others(
    tiny_base: Path, tmp_path: Path, settings_for: SettingsFactory
) -> None:
    sometimes = stopping_at(tiny_base, tmp_path / "sometimes", share=8)
    generator = ENGINES["huggingface"](settings_for(generator_model=str(sometimes), max_new_tokens=24, batch_prompts=64))
    prompts, seeds = PROMPTS * 3, range(len(PROMPTS) * 3)

    together = generator.generate(prompts, seeds=seeds)

    assert together == [generator.generate([prompt], seeds=[seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    lengths = {len(answer) for writing in together for answer in writing.answers}
    assert len(lengths) > 5  # they did end at different steps


def test_a_model_that_is_not_there_says_what_to_name_instead(tmp_path: Path, settings_for: SettingsFactory) -> None:
    with pytest.raises(ModelError) as refused:
        ENGINES["huggingface"](settings_for(generator_model=str(tmp_path / "nothing")))

    assert str(refused.value).startswith(f"The model '{tmp_path}/nothing' cannot be loaded (")
    assert str(refused.value).endswith("; name a folder with safetensors weights, or an id that this machine can fetch.")


def stopping_at(base: Path, folder: Path, *, share: int) -> Path:
    """A copy of the model that ends an answer at every `share`-th token of its vocabulary."""
    shutil.copytree(base, folder)
    path = folder / "generation_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    path.write_text(json.dumps({**config, "eos_token_id": list(range(0, size, share))}), encoding="utf-8")
    return folder
