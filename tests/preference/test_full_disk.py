import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from backend.scoring.champion import Champions
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.status_files import Filling, write_filling
from preference.projects.versions import Versions
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from tests.conftest import SettingsFactory
from tests.support.dying import CARD
from tests.support.filling_house import House, warnings_of
from tests.support.small_disk import Disk, small_disk
from tests.support.statuses import filling_of
from tests.support.studio_double import KEY, StudioDouble
from tests.support.two_versions import with_two_versions
from tests.support.versions import publish_version
from trainer.__main__ import main
from trainer.daemon.due_rounds import DueRounds
from trainer.rounds.outcome import Round

PAGE = 4096


def leftovers(model_dir: Path) -> list[str]:
    return [path.name for path in model_dir.rglob(".*") if path.name != ".lock"]


# A disk that is full or read-only


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def test_on_a_disk_that_fills_up_anywhere_in_a_publication_no_half_version_is_left(disk: Disk) -> None:
    folder = with_two_versions(disk.path, num_bytes=20 * PAGE)
    champion, num_refused = Versions(folder).champion(), 0

    for num_pages in range(40):
        disk.leave_free(num_pages * PAGE)
        num_before = len(Versions(folder).all())
        try:
            Versions(folder).publish(disk.path / "draft", CARD)
        except RegistryError as error:
            num_refused += 1
            assert "No space left on device" in str(error)
            assert "; free some space" in str(error)
            assert len(Versions(folder).all()) == num_before
        assert Versions(folder).champion() == champion
        assert leftovers(disk.path) == []

    assert 20 <= num_refused < 40
    disk.free()
    assert Versions(folder).publish(disk.path / "draft", CARD) == Versions(folder).all()[-1]


def test_on_a_full_disk_nothing_is_promoted_and_the_champion_is_whole(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    folder = with_two_versions(disk.path)
    first, second = Versions(folder).all()
    disk.leave_free(0)

    acts: list[Callable[[], object]] = [
        lambda: Versions(folder).promote(second), lambda: folder.write_host("a:1"), lambda: write_filling(folder, Filling())
    ]  # fmt: skip
    for act in acts:
        with pytest.raises(RegistryError) as caught:
            act()
        assert str(caught.value) == f"MODEL_DIR is not writable at {folder.path} (No space left on device); free some space."
    assert Versions(folder).champion() == first
    assert leftovers(disk.path) == []
    command = ["promote", "--project", "3", second]
    result = CliRunner().invoke(main, command, env={"MODEL_DIR": str(disk.path)})
    assert (result.exit_code, result.output) == (1, f"Error: {caught.value}\n")

    disk.free()
    Versions(folder).promote(second)
    assert (Versions(folder).champion(), Versions(folder).rollback()) == (second, first)


class FullAtTheEnd(ProjectFolder):
    """A project whose disk has room for so many more pages when a version that was copied is published and promoted."""

    def __init__(self, disk: Disk, num_pages: int) -> None:
        super().__init__(disk.path, 7)
        self._disk, self._num_pages = disk, num_pages

    @contextmanager
    def locked(self) -> Iterator[None]:
        with super().locked():
            self._disk.leave_free(self._num_pages * PAGE)
            yield


def test_on_a_full_disk_a_version_is_published_and_promoted_or_neither(disk: Disk) -> None:
    """Else its judgements would count as trained on, and no round would try again."""
    (disk.path / "draft").mkdir()
    outcomes = []
    for num_pages in range(8):
        versions = Versions(FullAtTheEnd(disk, num_pages))
        before = versions.all()
        try:
            published = versions.publish(disk.path / "draft", CARD, promote=True)
        except RegistryError as error:
            outcomes.append("refused")
            assert "free some space" in str(error)
            assert (versions.all(), versions.champion()) == (before, before[-1] if before else None)
        else:
            outcomes.append("promoted")
            assert (versions.all(), versions.champion()) == ([*before, published], published)
        disk.free()
        assert leftovers(disk.path) == []

    assert set(outcomes[:2]) == {"refused"} and outcomes[-1] == "promoted", outcomes


def test_on_a_full_disk_features_are_computed_and_that_is_logged_once(
    disk: Disk, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extractor = FeatureExtractor(FeatureRecipe(str(tiny_base), (2,), 64), model_dir=disk.path, device=torch.device("cpu"))
    expected = extractor.features(["Why?"] * 3, ["a", "b", "c"])
    disk.leave_free(0)

    for _ in range(2):
        assert extractor.features(["Why?"] * 40, [f"d {i}" for i in range(40)]).shape == (40, extractor.size)  # 8 kB
        assert torch.equal(extractor.features(["Why?"] * 3, ["a", "b", "c"]), expected)

    (warning,) = [message for message in caplog.messages if "features cannot be kept" in message]
    assert warning.endswith("(No space left on device), so they are computed each time")
    assert leftovers(disk.path) == []


def test_on_a_full_disk_tasks_are_answered_and_scored_all_the_same(
    disk: Disk, studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with House(studio, settings_for(model_dir=disk.path, label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        version = house.promote(tiny_base, weight=1)
        tasks = house.add_prompts(20)
        house.folder.request("fill")
        disk.leave_free(0)

        house.filler().look(threading.Event())

        assert house.is_answered(*tasks)
        assert house.versions(tasks) == [[version]] * 20
        (warning,) = [message for message in warnings_of(caplog) if message.startswith(f"project {house.project_id}: ")]
        assert warning.endswith("(No space left on device); free some space.")
        assert filling_of(house.folder) == {}


def test_a_read_only_model_dir_serves_its_champion_and_every_writer_says_so(
    disk: Disk, settings_for: SettingsFactory, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ProjectFolder(disk.path, 3)
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    disk.make_read_only()
    sentence = f"MODEL_DIR is not writable at {folder.path} (Read-only file system); mount it read-write."

    champions = Champions(disk.path, device=torch.device("cpu"))
    assert champions.of(3).refresh()
    serving = champions.of(3).serving
    assert serving is not None
    assert serving.model.score(["Why?"], ["A longer answer."]).isfinite().all()
    assert [folder.take_request(kind) for kind in ("train", "fill", "look")] == [False] * 3

    writers: list[Callable[[], object]] = [
        lambda: Versions(folder).promote(version), lambda: folder.request("train"), lambda: folder.write_host("a:1"),
        lambda: write_filling(folder, Filling()),
    ]  # fmt: skip
    for write in writers:
        with pytest.raises(RegistryError) as caught:
            write()
        assert str(caught.value) == sentence
    (disk_draft := folder.path.parent / "draft")
    with pytest.raises(RegistryError, match="Read-only file system"):
        Versions(folder).publish(disk_draft, CARD)

    environ = {"MODEL_DIR": str(disk.path), "LABEL_STUDIO_URL": "http://127.0.0.1:9", "LABEL_STUDIO_API_KEY": KEY}
    for command, where in (["run"], disk.path), (["once"], folder.path):
        result = CliRunner().invoke(main, command, env=environ)
        assert result.exit_code == 1
        assert result.output == f"Error: {sentence.replace(str(folder.path), str(where))}\n"


def test_a_model_dir_that_becomes_read_only_is_logged_once_and_the_trainer_goes_on(
    disk: Disk, studio: StudioDouble, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(model_dir=disk.path, label_studio_url=studio.url, label_studio_api_key=KEY)
    folder = ProjectFolder(disk.path, studio.add_project())
    folder.request("train")
    rounds: list[int] = []

    def run_round(project: Any, folder: ProjectFolder) -> Round:
        rounds.append(1)
        return Round("skipped", "few")

    watch = DueRounds(settings, run_round, read_evidence=lambda project, folder: "")
    disk.make_read_only()
    for _ in range(3):
        watch.look()
    assert rounds == []
    assert [message for message in caplog.messages if "Read-only file system" in message] == [
        f"project {folder.project_id}: MODEL_DIR is not writable at {folder.path / 'training'} (Read-only file system); mount it read-write."
    ]

    subprocess.run(["mount", "-o", "remount,rw", str(disk.path)], check=True)
    watch.look()
    assert rounds == [1]
