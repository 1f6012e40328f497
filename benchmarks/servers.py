"""A champion over the embedded model, and two servers that can serve it: ours, and label-studio-ml's own."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import torch

from benchmarks.generation import mixed_prompts
from demo.process import Process, wait_until
from demo.stack import PROGRAMS, REPOSITORY, answers_up, free_port
from preference.labelling.pairs import PreferencePair
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.extractors import Extractors
from preference.reward_model.probe import take_probe
from trainer.training.recipes import RECIPES
from trainer.training.train import train_challenger
from trainer.training.trained import TrainingContext

PROJECT = 1
PYTHON = PROGRAMS / "python"
_THEIRS = """
from label_studio_ml.api import init_app
from backend.model import PreferenceModel
app = init_app(PreferenceModel, model_dir={jobs!r})
"""


def trained(scratch: Path) -> tuple[Path, Path]:
    """(a MODEL_DIR with a champion over the embedded model, a file of texts that its features know)."""
    torch.set_num_threads(1)
    model_dir, version = scratch / "models", scratch / "version"
    model_dir.mkdir()
    version.mkdir()
    converted = REPOSITORY / ".cache" / "bench-models" / "embedded"
    converted.mkdir(parents=True, exist_ok=True)
    (model_dir / "embedded").symlink_to(converted)
    prompts = mixed_prompts(60)
    texts = [
        (prompt, f"Start with this: {prompts[i - 1]}", f"It depends. {prompts[i - 2]} And then: {prompts[i - 3]}")
        for i, prompt in enumerate(prompts)
    ]
    model = train_challenger(
        [PreferencePair(prompt, longer, shorter) for prompt, shorter, longer in texts], RECIPES["frozen"], version,
        TrainingContext("embedded", Extractors(model_dir, torch.device("cpu"))),
    ).model  # fmt: skip
    card = ReportCard(
        PROJECT, "frozen", "embedded", num_train_pairs=len(texts), promoted=True, reason="made by a benchmark",
        probe=take_probe(model),
    )  # fmt: skip
    folder = ProjectFolder(model_dir, PROJECT)
    Versions(folder).promote(Versions(folder).publish(version, card))
    path = scratch / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    return model_dir, path


def ours(folder: Path, model_dir: Path, **settings: str) -> Process:
    """`pairloop-backend serve`."""
    return _process("ours", [str(PROGRAMS / "pairloop-backend"), "serve"], folder, model_dir, settings)


def theirs(folder: Path, model_dir: Path) -> Process:
    """label-studio-ml 1.0.9 with PreferenceModel, under gunicorn as the Dockerfile of its template starts it."""
    jobs = folder / "jobs"
    jobs.mkdir(exist_ok=True)
    (folder / "hosted.py").write_text(_THEIRS.format(jobs=str(jobs)), encoding="utf-8")
    command = [str(PYTHON), "-W", "ignore", "-m", "gunicorn", "--preload", "--workers", "1", "--threads", "8", "--timeout", "0"]
    return _process("label-studio-ml", [*command, "hosted:app"], folder, model_dir, {"PYTHONPATH": f"{folder}:{REPOSITORY}"})


def _process(name: str, command: list[str], folder: Path, model_dir: Path, settings: Mapping[str, str]) -> Process:
    port = free_port()
    environ = {
        **{key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")},
        "MODEL_DIR": str(model_dir), "TORCH_THREADS": "1", "HF_HUB_OFFLINE": "1", "GENERATOR_ENGINE": "echo",
        "CONTROL_PERCENT": "0",  # each answer is compared with the model's scores
        "PORT": str(port), **settings,
    }  # fmt: skip
    if name == "label-studio-ml":
        command = [*command[:-1], "--bind", f"127.0.0.1:{port}", command[-1]]
    return Process(name, command, environ, folder / f"{name}.log", lambda: answers_up(f"http://127.0.0.1:{port}"))


@contextmanager
def serving(server: Process, model_dir: Path) -> Iterator[str]:
    """The address of the started server, when its champion scores."""
    url = f"http://127.0.0.1:{server.environ['PORT']}"
    calls = json.loads((REPOSITORY / "tests" / "data" / "label_studio_1.23.2_calls.json").read_text(encoding="utf-8"))
    task = {**calls["predict"]["tasks"][0], "project": PROJECT, "data": {"prompt": "Why?", "answer1": "So.", "answer2": "No."}}
    body = {**calls["predict"], "project": f"{PROJECT}.1", "tasks": [task]}
    server.start()
    try:
        server.wait_until_up(timeout_seconds=120)

        def is_scoring() -> bool:
            # 1.0.9 answers 500 to a /predict before the first /setup.
            httpx.post(f"{url}/setup", json={**calls["setup"], "project": f"{PROJECT}.1"}, timeout=60)
            return bool(httpx.post(f"{url}/predict", json=body, timeout=60).raise_for_status().json()["results"] != [[]])

        for _ in range(3):  # several workers, each of which loads its own
            wait_until(is_scoring, timeout_seconds=120, what=f"{server.name} to score", check=server.check)
        yield url
    finally:
        server.stop()
