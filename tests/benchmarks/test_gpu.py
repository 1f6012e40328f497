"""The benchmark of a GPU, on a CPU with a tiny shape: that it runs, not what it measures."""

import gc
import weakref
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import Qwen2Config

from benchmarks.gpu import Size, main, run
from benchmarks.row import Row

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own


def measured(model_dir: Path) -> list[Row]:
    shape = Qwen2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        tie_word_embeddings=True,
    )  # fmt: skip
    size = Size(num_prompts=2, num_tokens=8, num_pairs=8)
    return run(Console(quiet=True), torch.device("cpu"), shape=shape, size=size, model_dir=model_dir)


def test_it_measures_writing_and_learning_beside_trl(embedded_dir: Path) -> None:
    rows = measured(embedded_dir)

    assert [(row.name, row.unit) for row in rows] == [("DPO", "pairs/s"), ("writing with an adapter", "tokens/s")]
    assert all(row.value > 0 and row.baseline and row.baseline > 0 for row in rows)


def test_what_was_measured_before_takes_no_memory_of_what_follows(embedded_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers: list[weakref.ref[list[object]]] = []
    are_alive: list[bool] = []

    class Circle(list[object]):
        """As TRL's trainer: it holds what holds it."""

    def trl(*_: object, **__: object) -> float:
        trainer = Circle()
        trainer.append(trainer)
        trainers.append(weakref.ref(trainer))
        return 1.0

    def written(*_: object) -> float:
        are_alive.append(trainers[0]() is not None)
        return 1.0

    monkeypatch.setattr("benchmarks.gpu.trl_step_seconds", trl)
    monkeypatch.setattr("benchmarks.gpu._Bench._written", written)
    gc.disable()
    try:
        measured(embedded_dir)
    finally:
        gc.enable()

    assert are_alive == [False, False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == "torch sees no GPU here, so there is nothing to measure; run this where `nvidia-smi` names one."
