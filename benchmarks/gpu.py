"""`make bench-gpu`: what a GPU makes of a generator that writes and learns, with random weights of a 1.5B's shape; no hub is asked.

Written answers a second with and without an adapter, pairs a second that DPO learns, and the memory at most; TRL's DPO beside it.
Weights of random numbers cost as much as trained ones. What they write means nothing, so nothing is said of it.
"""

import gc
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, PreTrainedConfig, Qwen2Config

from benchmarks.row import Row
from benchmarks.trl_dpo import trl_step_seconds
from demo.stack import REPOSITORY
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter, GivenJobs, Job
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import load_tokenizer, load_weights, locate, quiet_transformers
from preference.report_card.generator_card import GeneratorCard
from preference.settings import Settings
from trainer.generator_training.objectives import ReadPair
from trainer.generator_training.preferences import encode_pairs
from trainer.generator_training.recipe import DPO
from trainer.generator_training.steps import plan, train
from trainer.generator_training.top_layers import TopLayers

_MODEL_DIR = REPOSITORY / ".cache" / "bench-models"
# Qwen2.5-1.5B's, but for the words: the embedded model's tokenizer reads and writes.
_SHAPE = Qwen2Config(
    hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960,
    max_position_embeddings=32768, tie_word_embeddings=True,
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is written and learnt."""

    num_prompts: int = 64
    num_tokens: int = 256  # of an answer
    num_pairs: int = 64


def run(
    console: Console,
    device: torch.device,
    *,
    shape: PreTrainedConfig = _SHAPE,
    size: Size | None = None,
    model_dir: Path = _MODEL_DIR,
) -> list[Row]:
    """The rows of docs/benchmarks.md, "On a GPU". On a CPU, with a small shape, it shows that it runs.

    `model_dir`: where the embedded model lies converted, or is.
    """
    quiet_transformers()
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
        return _Bench(Path(scratch), device, shape, size or Size(), console, model_dir).rows()


class _Bench:
    def __init__(
        self, scratch: Path, device: torch.device, shape: PreTrainedConfig, size: Size, console: Console, model_dir: Path
    ) -> None:  # fmt: skip
        self._folder, self._device, self._size, self._console = scratch, device, size, console
        self._base = scratch / "base"
        self._dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        tokenizer = load_tokenizer(locate("embedded", model_dir))
        tokenizer.save_pretrained(self._base)
        shape.vocab_size, shape.eos_token_id, shape.pad_token_id = len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id
        torch.manual_seed(0)
        with torch.device(device):
            AutoModelForCausalLM.from_config(shape, dtype=self._dtype).save_pretrained(self._base)
        environ = {
            "MODEL_DIR": str(scratch), "GENERATOR_MODEL": str(self._base), "MAX_NEW_TOKENS": str(size.num_tokens), "DEVICE": str(device),
        }  # fmt: skip
        self._settings = Settings.from_environ(environ)
        words = "words " * 100
        self._pairs = [
            PreferencePair(f"Tell me of thing {number}.", f"Some {words}{number}", f"Other {words}{number}")
            for number in range(size.num_pairs)
        ]

    def rows(self) -> list[Row]:
        """All of them."""
        learnt, memory = self._measured(self._learn)
        trl, trl_memory = self._measured(
            lambda: DPO.pairs_a_step / trl_step_seconds(self._pairs, str(self._base), self._dtype, device=self._device)
        )
        rows = [Row("DPO", learnt, "pairs/s", trl, "TRL's defaults")]
        if memory is not None:
            rows.append(Row("DPO, memory at most", memory, "GB", trl_memory, "TRL's defaults"))
        engine = HuggingFaceGenerator(self._settings)
        card = GeneratorCard(base=str(self._base), fingerprint=engine.fingerprint, probe=engine.take_probe(self._adapter))
        (self._adapter.folder / "card.json").write_text(card.to_json(), encoding="utf-8")
        plain, memory = self._measured(lambda: self._written(engine, None))
        adapted, _ = self._measured(lambda: self._written(engine, self._adapter))
        rows.append(Row("writing with an adapter", adapted, "tokens/s", plain, "without"))
        if memory is not None:
            rows.append(Row("writing, memory at most", memory, "GB"))
        return rows

    @property
    def _adapter(self) -> Adapter:
        return Adapter("learnt", self._folder / "adapter")

    def _learn(self) -> float:
        """Pairs a second, without what is read once."""
        model = load_weights(AutoModelForCausalLM, str(self._base), dtype=self._dtype, device=self._device)
        layers = TopLayers(model, DPO, seed=0)
        tokenizer = load_tokenizer(str(self._base))
        encoded = encode_pairs(self._pairs, tokenizer, self._settings.generator, window=model.config.max_position_embeddings)
        read = [ReadPair(*layers.read_two(*pair)) for pair in encoded]
        budget = plan(layers, read, DPO, most_seconds=1e9)
        self._console.print(f"DPO: {budget}")
        num_steps = max(1, self._size.num_pairs // DPO.pairs_a_step)
        endless = replace(DPO, most_drift=math.inf)  # so that all steps are done
        seconds = self._timed(lambda: train(layers, read, endless, num_steps=num_steps, seed=0))
        self._adapter.folder.mkdir()
        layers.save(self._adapter.folder)
        return num_steps * DPO.pairs_a_step / seconds

    def _written(self, engine: HuggingFaceGenerator, adapter: Adapter | None) -> float:
        """Tokens a second, the second time: the first one also chooses kernels and takes memory."""
        prompts = [f"Tell me of thing {number}." for number in range(self._size.num_prompts)]
        for _ in range(2):
            jobs = _Counted([Job(prompt, number, 2, adapter=adapter) for number, prompt in enumerate(prompts)])
            seconds = self._timed(lambda: engine.run(jobs))  # noqa: B023 - called at once
        return jobs.num_tokens / seconds

    def _timed(self, do: Callable[[], object]) -> float:
        started = time.monotonic()
        do()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.monotonic() - started

    def _measured(self, do: Callable[[], float]) -> tuple[float, float | None]:
        """(what it gives, gigabytes at most of a GPU's memory)"""
        gc.collect()  # what was measured before: TRL's trainer is in circles, and would count
        if self._device.type != "cuda":
            return do(), None
        torch.cuda.reset_peak_memory_stats(self._device)
        value = do()
        return value, torch.cuda.max_memory_allocated(self._device) / 1e9


class _Counted(GivenJobs):
    """Counts what is written."""

    num_tokens = 0

    def report(self, *, num_tokens: int, batch_size: int) -> None:
        """Adds them."""
        self.num_tokens += num_tokens


def main() -> None:
    """Measures on the first GPU; exits with 1 if there is none."""
    if not torch.cuda.is_available():
        sys.exit("torch sees no GPU here, so there is nothing to measure; run this where `nvidia-smi` names one.")
    rows = run(Console(), torch.device("cuda"))
    sys.stdout.write(
        json.dumps([{"name": r.name, "value": r.value, "unit": r.unit, "baseline": r.baseline} for r in rows], indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
