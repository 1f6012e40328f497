"""The huggingface engine if memory runs out."""

import json
import re
import shutil
import sys
import weakref
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from preference.errors import ModelError
from preference.generation.jobs import Generator, WrittenAnswers, write_all
from tests.support.alike_answers import are_alike
from tests.support.forked import run_forked
from tests.support.watched import Watched
from tests.support.word_models import SIZES, MakeGenerator, save_words, words_of


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


@pytest.mark.parametrize("max_new_tokens", [1, 12])
@pytest.mark.parametrize("room", [5000, 1500, 260])  # 16 prompts of 41 tokens hold 3360, one of them 210
def test_with_less_memory_fewer_are_written_together_and_all_the_same(
    make_hungry: MakeGenerator, caplog: pytest.LogCaptureFixture, room: int, max_new_tokens: int
) -> None:
    prompts = words_of(*range(3, 42, 2))
    expected = write_all(make_hungry(max_new_tokens=max_new_tokens), prompts, seeds=range(20))
    assert not out_of_memory(caplog)

    generator = make_hungry(room=room, max_new_tokens=max_new_tokens)
    assert are_alike(write_all(generator, prompts, seeds=range(20)), expected)
    assert bool(out_of_memory(caplog)) == (room < (3360 if max_new_tokens > 1 else 400))
    caplog.clear()
    assert are_alike(write_all(generator, prompts, seeds=range(20)), expected)
    assert len(out_of_memory(caplog)) <= 1  # it has learned


def test_a_prompt_that_never_fits_is_refused_and_the_others_are_written(make_hungry: MakeGenerator) -> None:
    prompts = words_of(12, 100, 7, 120, 3, 20)

    writings = write_all(make_hungry(room=250), prompts, seeds=range(6), num_answers=2)

    refused = WrittenAnswers([], refused="writing it needs more memory than there is")
    expected = write_all(make_hungry(), prompts, seeds=range(6), num_answers=2)
    assert are_alike(writings, [refused if k in (1, 3) else expected[k] for k in range(6)])


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
    again.meanwhile = again.stopping.set  # it has joined as many as it will
    generator.run(again)
    assert max(again.sizes) >= 16  # half as many as before


def test_an_urgent_prompt_takes_the_memory_of_those_that_rest(
    make_hungry: MakeGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    prompts, (urgent,) = words_of(*[20] * 8), words_of(230)  # 16 * (20 + 64) tokens, and 2 * (230 + 115)
    generator = make_hungry(room=1500, max_new_tokens=24)
    jobs, done, submitted = Watched(generator), list[str](), list[Future[WrittenAnswers]]()

    def submit_urgent() -> None:
        if len(jobs.sizes) == 3:
            done.extend(jobs.finished)
            submitted.extend(jobs.ask([urgent], is_urgent=True))

    jobs.meanwhile = submit_urgent
    asked = jobs.ask(prompts)
    generator.run(jobs)

    assert jobs.finished[len(done)] == urgent
    assert len(out_of_memory(caplog)) >= 1
    expected = write_all(make_hungry(max_new_tokens=24), [*prompts, urgent], seeds=[*range(8), 0])
    assert are_alike([written.result(0) for written in [*asked, *submitted]], expected)


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
from backend.generators.engines import ENGINES
from preference.generation.jobs import write_all
from preference.settings import Settings

torch.set_num_threads(1)
logging.basicConfig(stream=sys.stderr, level="WARNING")
settings = Settings.of(
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

    ran = run_forked(REAL_MEMORY, folder)

    assert ran.returncode == 0, ran.stderr
    freely, limited, (*short, long) = ([WrittenAnswers(**writing) for writing in writings] for writings in json.loads(ran.stdout))
    assert are_alike(limited, freely)
    assert all(len(writing.answers) == 2 for writing in limited)
    assert are_alike(short, freely[:4])
    assert long == WrittenAnswers([], refused="writing it needs more memory than there is")
    logged = ran.stderr.split("-- 40")
    assert (logged[1].count("out of memory with"), logged[2].partition("-- 5")[0].count("out of memory with")) == (0, 1), (
        ran.stderr
    )
