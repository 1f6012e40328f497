"""What a server's master loads, and processes that are forked from one that has."""

import logging
import os
import sys
from pathlib import Path

import pytest
import torch

from backend.scoring.served_bases import load_served_bases
from preference.models.hardware import seconds_of_a_product
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import process_extractors
from preference.reward_model.model import read_description
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.forked import run_forked
from tests.support.versions import publish_version

CPU = torch.device("cpu")
# A child that waits for threads which it has not is killed, and what its parent waits for ends.
FORKED = """
import os, signal, sys
from pathlib import Path
import psutil, torch
from backend.scoring.champion import Champions
from backend.scoring.served_bases import load_served_bases
from preference.settings import Settings

settings = Settings.from_environ()
load_served_bases(settings)
print("threads", psutil.Process().num_threads())
for num_threads in (1, 2):
    if not (child := os.fork()):
        signal.alarm(60)
        torch.set_num_threads(num_threads)
        large = torch.ones(512, 512)
        assert float((large @ large).sum()) == 512**3
        champion = Champions(settings.model_dir, device=torch.device("cpu"), training=settings.training).of(1)
        assert champion.refresh(), champion.problem
        print("reward", float(champion.serving.model.score(["Why?"], ["Because the moon looked at the cat."])[0]), flush=True)
        os._exit(0)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def promoted(model_dir: Path, base: Path, *, project: int = 1) -> ProjectFolder:
    folder = ProjectFolder(model_dir, project)
    folder.create()
    Versions(folder).promote(publish_version(folder, base, weight=1))
    return folder


def num_kept(settings: Settings) -> int:
    return len(process_extractors(settings.model_dir, CPU, settings.training.reward_dtype)._kept)


def test_processes_that_are_forked_after_the_loading_score_with_one_thread_and_with_two(tiny_base: Path, tmp_path: Path) -> None:
    promoted(tmp_path, tiny_base)
    environ = {
        **os.environ,
        "MODEL_DIR": str(tmp_path),
        "DEVICE": "cpu",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    ran = run_forked(FORKED, environ=environ, timeout_seconds=150)

    lines = [line.split() for line in ran.stdout.splitlines()]
    assert [words for words in lines if words[0] != "reward"] == [["threads", "1"], ["ended", "0"], ["ended", "0"]], ran.stderr
    first, second = (float(words[1]) for words in lines if words[0] == "reward")
    assert first == pytest.approx(second, abs=1e-4)


def test_a_base_that_two_projects_share_is_loaded_once_and_given_to_who_asks_later(
    tiny_base: Path, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = settings_for(device="cpu")
    first, _ = (promoted(settings.model_dir, tiny_base, project=project) for project in (1, 2))

    load_served_bases(settings)

    extractors = process_extractors(settings.model_dir, CPU, settings.training.reward_dtype)
    description = read_description(Versions(first).weights(Versions(first).champion() or ""))
    assert extractors._kept == [extractors(description.feature_recipe)]
    assert [record.message for record in caplog.records if "once for all" in record.message] == [
        f"loaded the base {tiny_base.name} once for all workers"
    ]


def test_a_damaged_version_keeps_no_other_projects_base_from_being_loaded(tiny_base: Path, settings_for: SettingsFactory) -> None:
    settings = settings_for(device="cpu")
    damaged, _ = (promoted(settings.model_dir, tiny_base, project=project) for project in (1, 2))
    (Versions(damaged).path(Versions(damaged).champion() or "") / "reward_model.json").write_text("{")

    load_served_bases(settings)

    assert num_kept(settings) == 1


def test_nothing_is_loaded_before_a_fork_if_the_device_is_a_gpu(tiny_base: Path, settings_for: SettingsFactory) -> None:
    settings = settings_for(device="cuda")
    promoted(settings.model_dir, tiny_base)

    load_served_bases(settings)

    assert num_kept(settings) == 0
    assert not torch.cuda.is_initialized()


@pytest.mark.parametrize("recipe_and_dtype", [("frozen", "auto"), ("lora", "nf4")])  # its champion may still be frozen
def test_a_number_format_that_is_measured_is_measured_in_a_child(
    recipe_and_dtype: tuple[str, str], tiny_base: Path, settings_for: SettingsFactory
) -> None:
    recipe, dtype = recipe_and_dtype
    settings = settings_for(device="cpu", recipe=recipe, reward_dtype=dtype)
    promoted(settings.model_dir, tiny_base)
    seconds_of_a_product.cache_clear()

    load_served_bases(settings)

    assert num_kept(settings) == 1
    assert seconds_of_a_product.cache_info().misses == 0


def test_a_base_that_would_have_to_be_fetched_or_converted_is_left_to_the_workers(
    tiny_base: Path, settings_for: SettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # as it is for users
    settings = settings_for(device="cpu")
    for project, base in enumerate(("nobody/has-this", "embedded"), 1):
        folder = promoted(settings.model_dir, tiny_base, project=project)
        description = Versions(folder).path(Versions(folder).champion() or "") / "reward_model.json"
        description.write_text(description.read_text(encoding="utf-8").replace(str(tiny_base), base), encoding="utf-8")

    load_served_bases(settings)

    assert num_kept(settings) == 0
    assert not (settings.model_dir / "embedded").exists()
    assert constants.HF_HUB_OFFLINE is False
