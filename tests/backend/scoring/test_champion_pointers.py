"""The pointers of all projects are followed, whatever becomes of them."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champions
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from tests.support.studio_double import wait_until
from tests.support.versions import publish_version

CPU = torch.device("cpu")


@contextmanager
def followed(champions: Champions) -> Iterator[None]:
    """While a thread follows the pointers."""
    stop = threading.Event()
    follower = threading.Thread(target=champions.keep_fresh, args=[stop], kwargs={"every_seconds": 0.01}, daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join()


def test_promotions_are_followed_in_the_background_even_after_model_dir_was_away(
    tmp_path: Path, folder: ProjectFolder, champions: Champions, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    projects, away = tmp_path / "projects", tmp_path / "away"
    projects.rename(away)
    projects.write_text("a mount point without its mount", encoding="utf-8")
    with followed(champions):
        wait_until(lambda: "the champions cannot be looked up" in caplog.text)
        time.sleep(0.1)  # in which it looks up to ten times
        assert caplog.text.count("the champions cannot be looked up") == 1
        projects.unlink()
        away.rename(projects)
        wait_until(lambda: champions.of(1).serving is not None)

    assert champions.of(1).version == version


@pytest.mark.parametrize("damage", ["its pointer is a folder", "it is a file"])
def test_a_pointer_that_cannot_be_read_stops_no_other_project_and_is_logged_once(
    tmp_path: Path, folder: ProjectFolder, champions: Champions, tiny_base: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    if damage == "it is a file":
        shutil.rmtree(folder.path)
        folder.path.touch()
    else:
        (folder.path / "champion").mkdir()
    other = ProjectFolder(tmp_path, 2)

    def is_served(version: str) -> bool:
        serving = champions.of(2).serving
        return serving is not None and serving.version == version

    with followed(champions):
        for weight in (1, 2):
            version = publish_version(other, tiny_base, weight=weight)
            Versions(other).promote(version)
            wait_until(partial(is_served, version))

    warnings = [
        record.getMessage() for record in caplog.records if record.name == "pairloop.scoring" and record.levelname == "WARNING"
    ]
    assert len(warnings) == 1 and warnings[0].startswith("project 1: its champion cannot be looked up (")
    assert champions.of(1).version == UNTRAINED


# A pointer that is deleted


def delete_pointer(folder: ProjectFolder) -> None:
    (folder.path / "champion").unlink()


def delete_project(folder: ProjectFolder) -> None:
    shutil.rmtree(folder.path)


def connect_anew(folder: ProjectFolder) -> None:
    delete_project(folder)
    folder.create()


@pytest.mark.parametrize("delete", [delete_pointer, delete_project, connect_anew])
def test_a_pointer_that_is_deleted_ends_what_is_served(
    folder: ProjectFolder,
    tmp_path: Path,
    tiny_base: Path,
    caplog: pytest.LogCaptureFixture,
    delete: Callable[[ProjectFolder], None],
) -> None:
    metrics = Metrics()
    champions = Champions(tmp_path, device=CPU, metrics=metrics)
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    kept = shutil.copytree(folder.path, tmp_path / "kept")
    served = f'pairloop_serving_info{{project="1",version="{version}"}} 1.0'.encode()
    with followed(champions):
        wait_until(lambda: champions.of(1).serving is not None)
        assert served in metrics.text()
        delete(folder)
        wait_until(lambda: champions.of(1).serving is None)
        time.sleep(0.1)  # in which it looks up to ten times
        assert (champions.of(1).version, champions.of(1).problem) == (UNTRAINED, None)
        assert served not in metrics.text()
        assert caplog.messages.count(f"project 1: its champion file was deleted; {version} is not served any more") == 1

        shutil.rmtree(folder.path, ignore_errors=True)
        kept.rename(folder.path)
        wait_until(lambda: champions.of(1).version == version and champions.of(1).serving is not None)


def test_while_model_dir_is_away_what_is_served_serves_on(
    folder: ProjectFolder, champions: Champions, tiny_base: Path, tmp_path: Path
) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    champions.of(1).refresh()
    (tmp_path / "projects").rename(tmp_path / "away")

    assert champions.of(1).refresh() is False
    assert champions.of(1).version == version


def test_a_disconnected_project_is_not_followed(folder: ProjectFolder, champions: Champions, tiny_base: Path) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    champions.of(1).refresh()
    folder.disconnect()
    delete_pointer(folder)
    with followed(champions):
        time.sleep(0.1)  # in which it looks up to ten times
    assert champions.of(1).version == version
