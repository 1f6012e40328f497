"""RewardBench's own command on exported folders, in an environment of its own, which takes minutes to install.

RewardBench 0.1.4 pins transformers 4.51, and has one line that moves a batch to "cuda" whatever there is. That line is replaced here;
all else is its own.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.exported_models import export
from tests.support.nightly import IS_NIGHTLY
from tests.support.separable_pairs import separable_pairs
from tests.support.tolerance import REWARDS, assert_close

NUM_PAIRS = 20
CUDA_ONLY = ').to("cuda")'

pytestmark = pytest.mark.skipif(not IS_NIGHTLY, reason="installs an older transformers beside this one")


@pytest.fixture(scope="module")
def rewardbench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in a virtual environment with the releases that it pins."""
    venv = tmp_path_factory.mktemp("rewardbench") / "venv"
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    assert uv is not None
    torch = importlib.metadata.version("torch").partition("+")[0]
    for arguments in (
        ["venv", "--python", sys.executable, str(venv)],
        # It imports pkg_resources, which later releases of setuptools lack. A torch that is here already is not downloaded again.
        ["pip", "install", "--python", str(venv), "rewardbench==0.1.4", "setuptools<81", f"torch=={torch}"],
    ):
        subprocess.run([uv, *arguments], check=True, capture_output=True, text=True, timeout=1200)
    (reader,) = venv.glob("lib/python*/site-packages/rewardbench/models/pipeline.py")
    source = reader.read_text(encoding="utf-8")
    assert source.count(CUDA_ONLY) == 1
    reader.write_text(source.replace(CUDA_ONLY, ").to(self.model.device)"), encoding="utf-8")
    return venv / "bin" / "rewardbench"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sequence", "adapter", "frozen"])
def test_rewardbench_scores_with_the_folder(rewardbench: Path, kind: str, tiny_chat_base: Path, tmp_path: Path) -> None:
    exported = export(kind, tiny_chat_base, tmp_path)
    pairs = separable_pairs(NUM_PAIRS)
    rows = [
        {
            "prompt": pair.prompt,
            **{
                side: [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": answer}]
                for side, answer in (("chosen", pair.chosen), ("rejected", pair.rejected))
            },
        }
        for pair in pairs
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    command = [str(rewardbench), "--model", kind, "--dataset", "pairs.jsonl", "--load_json"]  # as docs/exporting.md has it
    command += ["--torch_dtype", "float32", "--not_quantized", "--save_all", "--output_dir", "results/"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}

    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=600)

    assert ended.returncode == 0, ended.stderr
    result = json.loads((tmp_path / "results" / f"{kind}.json").read_text(encoding="utf-8"))
    scored = [json.loads(line) for line in (tmp_path / "results" / f"{kind}_all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (result["num_prompts"], len(scored)) == (NUM_PAIRS, NUM_PAIRS)
    margins = np.array([row["chosen"][0] - row["rejected"][0] for row in scored])
    assert result["accuracy"] == np.mean(margins > 0)
    prompts = [pair.prompt for pair in pairs]
    model = exported.load()
    chosen, rejected = (model.score(prompts, [getattr(pair, side) for pair in pairs]).numpy() for side in ("chosen", "rejected"))
    if kind == "frozen":  # which is only come near to
        assert np.mean((margins > 0) == (chosen > rejected)) >= 0.9
    else:
        assert_close(margins, chosen - rejected, within=REWARDS)
