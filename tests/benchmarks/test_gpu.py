"""The benchmark of a GPU, on a CPU with a tiny shape: that it runs, not what it measures."""

import pytest
import torch
from rich.console import Console
from transformers import Qwen2Config

from benchmarks.gpu import Size, main, run

pytestmark = pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own


def test_it_measures_writing_and_learning_beside_trl() -> None:
    shape = Qwen2Config(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64,
        tie_word_embeddings=True,
    )  # fmt: skip

    rows = run(Console(quiet=True), torch.device("cpu"), shape=shape, size=Size(num_prompts=2, num_tokens=8, num_pairs=8))

    assert [(row.name, row.unit) for row in rows] == [("DPO", "pairs/s"), ("writing with an adapter", "tokens/s")]
    assert all(row.value > 0 and row.baseline and row.baseline > 0 for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == "torch sees no GPU here, so there is nothing to measure; run this where `nvidia-smi` names one."
