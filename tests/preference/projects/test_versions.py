import dataclasses
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PosixPath
from typing import get_args

import pytest

from preference.errors import ChampionChanged, RegistryError
from preference.projects.folder import ProjectFolder, RequestKind, known_projects
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from tests.conftest import REPOSITORY
from tests.support.version_house import CARD, refusal, trained_in

PUBLISH = """
import dataclasses, json, pathlib, sys
from preference.report_card.card import ReportCard
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
model_dir, draft, card, count = sys.argv[1:]
versions = Versions(ProjectFolder(pathlib.Path(model_dir), 3))
for _ in range(int(count)):
    print(versions.publish(pathlib.Path(draft), ReportCard.from_values(json.loads(card))))
"""


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / "models", 3)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return trained_in(tmp_path)


# Publishing


def test_a_published_version_holds_the_folder_and_its_completed_card(folder: ProjectFolder, trained: Path) -> None:
    version = Versions(folder).publish(trained, CARD)
    assert re.fullmatch(r"v1-\d{8}-\d{6}", version)
    assert Versions(folder).all() == [version]
    published = Versions(folder).path(version)
    assert (published / "model.safetensors").read_bytes() == b"weights"
    assert (published / "deep" / "tokenizer.json").is_file()
    card = Versions(folder).card(version)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", card.created_at)
    assert dataclasses.replace(card, version="", created_at="") == CARD
    assert card.version == version


def test_publishing_leaves_the_trained_folder_and_the_pointer_alone(folder: ProjectFolder, trained: Path) -> None:
    Versions(folder).publish(trained, CARD)
    assert sorted(path.name for path in trained.rglob("*")) == ["deep", "model.safetensors", "tokenizer.json"]
    assert Versions(folder).champion() is None


def test_versions_are_listed_by_number_not_by_spelling(folder: ProjectFolder, trained: Path) -> None:
    published = [Versions(folder).publish(trained, CARD) for _ in range(11)]
    assert Versions(folder).all() == published
    assert [version.split("-")[0] for version in published] == [f"v{n}" for n in range(1, 12)]


def test_a_removed_versions_number_is_not_given_again_while_a_later_one_stands(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    shutil.rmtree(Versions(folder).path(first))
    assert Versions(folder).all() == [second]
    assert Versions(folder).publish(trained, CARD).startswith("v3-")


def test_a_leftover_of_a_killed_publisher_is_no_version_and_goes_with_the_next(folder: ProjectFolder, trained: Path) -> None:
    first = Versions(folder).publish(trained, CARD)
    versions = Versions(folder).path(first).parent
    leftover = shutil.copytree(Versions(folder).path(first), versions / ".unfinished-0123")
    assert Versions(folder).all() == [first]
    assert Versions(folder).publish(trained, CARD) == Versions(folder).all()[1]
    assert not leftover.exists()


def test_a_folder_without_a_card_or_with_another_name_is_no_version(folder: ProjectFolder, trained: Path) -> None:
    version = Versions(folder).publish(trained, CARD)
    versions = Versions(folder).path(version).parent
    (versions / "v9-20260101-000000").mkdir()
    shutil.copytree(versions / version, versions / "backup")
    shutil.copytree(versions / version, versions / f"{version}.old")
    assert Versions(folder).all() == [version]
    assert "has no version 'v9-20260101-000000'" in refusal(lambda: Versions(folder).path("v9-20260101-000000"))
    assert Versions(folder).publish(trained, CARD).startswith("v10-")  # whatever v9 was, its number is taken


def test_a_publication_that_fails_leaves_no_version(folder: ProjectFolder, trained: Path) -> None:
    first = Versions(folder).publish(trained, CARD)
    (trained / "dangling").symlink_to(trained / "gone")
    with pytest.raises(RegistryError, match=r"A new version cannot be written to .*No such file or directory: .*dangling"):
        Versions(folder).publish(trained, CARD)
    assert Versions(folder).all() == [first]
    (trained / "dangling").unlink()
    assert Versions(folder).publish(trained, CARD).startswith("v2-")
    assert not list(Versions(folder).path(first).parent.glob(".unfinished-*"))


def test_a_disk_that_is_full_leaves_the_champion_and_no_half_version(folder: ProjectFolder, trained: Path) -> None:
    """A real limit on what a process may write, in a process of its own."""
    first = Versions(folder).publish(trained, CARD)
    Versions(folder).promote(first)
    (trained / "model.safetensors").write_bytes(b"x" * 100_000)
    program = """
import pathlib, resource, sys
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.version_house import CARD
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    Versions(ProjectFolder(pathlib.Path(sys.argv[1]), 3)).publish(pathlib.Path(sys.argv[2]), CARD)
except RegistryError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(folder.path.parent.parent), str(trained)]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)

    versions = Versions(folder).path(first).parent
    assert finished.stdout.startswith(f"A new version cannot be written to {versions} ("), finished.stderr
    assert "File too large" in finished.stdout
    assert finished.stdout.endswith("; free some space, or fix what that names. The champion stays.\n")
    assert [path.name for path in versions.iterdir()] == [first]
    assert Versions(folder).champion() == first


def test_a_version_from_a_private_scratch_folder_can_be_read_by_the_other_process(folder: ProjectFolder, trained: Path) -> None:
    trained.chmod(0o700)  # as tempfile makes them
    published = Versions(folder).path(Versions(folder).publish(trained, CARD))
    assert published.stat().st_mode == published.parent.stat().st_mode


def test_two_threads_that_publish_at_once_get_different_versions_and_readers_see_whole_ones(
    folder: ProjectFolder, trained: Path
) -> None:
    folder.create()
    done = threading.Event()

    def read() -> int:
        count = 0
        while not done.is_set() or not count:
            for version in Versions(folder).all():
                assert Versions(folder).card(version).version == version
                assert (Versions(folder).path(version) / "deep" / "tokenizer.json").read_text() == "{}"
                count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        reading = pool.submit(read)
        try:
            published = list(pool.map(lambda _: Versions(folder).publish(trained, CARD), range(8)))
        finally:
            done.set()
    assert reading.result() > 0
    assert len(set(published)) == 8
    assert Versions(folder).all() == sorted(published, key=lambda version: int(version[1:].split("-")[0]))


def test_two_processes_that_publish_at_once_get_different_versions(tmp_path: Path, folder: ProjectFolder, trained: Path) -> None:
    command = [sys.executable, "-c", PUBLISH, str(tmp_path / "models"), str(trained), json.dumps(dataclasses.asdict(CARD)), "5"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)]
    names = [name for process in both for name in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in both] == [0, 0]
    assert len(set(names)) == 10
    assert set(names) == set(Versions(folder).all())
    assert all((Versions(folder).path(name) / "model.safetensors").read_bytes() == b"weights" for name in names)


def test_a_model_dir_that_cannot_be_written_is_named(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    message = refusal(lambda: Versions(ProjectFolder(tmp_path / "file", 3)).publish(trained, CARD))
    assert message == f"MODEL_DIR is not writable at {tmp_path}/file/projects/3 (Not a directory); mount it read-write."


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "/etc", "V1/", "V1/../../x", "V1\n", ".unfinished-1"])
def test_a_name_that_is_no_version_reaches_no_folder(folder: ProjectFolder, trained: Path, name: str) -> None:
    Versions(folder).publish(trained, CARD)
    shutil.copytree(Versions(folder).path(Versions(folder).all()[0]), folder.path / "x")  # what ../x would reach, card and all
    name = name.replace("V1", Versions(folder).all()[0])
    for call in (Versions(folder).path, Versions(folder).card, Versions(folder).promote):
        assert refusal(lambda call=call: call(name)).startswith(f"Project 3 has no version {name!r}; it has: v1-")  # type: ignore[misc]
    assert Versions(folder).champion() is None


# While people decide


class DraftOnTheWay(PosixPath):
    """A folder of which somebody does something else as soon as it is read."""

    meanwhile: Callable[[], object]

    def __fspath__(self) -> str:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return str(self)


def test_a_rollback_does_not_wait_for_the_copy_of_a_version(folder: ProjectFolder, trained: Path) -> None:
    versions = Versions(folder)
    first, second = versions.publish(trained, CARD), versions.publish(trained, CARD)
    versions.promote(first)
    versions.promote(second)
    draft, rolled_back = DraftOnTheWay(trained), []
    draft.meanwhile = lambda: rolled_back.append((versions.rollback(), versions.all()))

    third = versions.publish(draft, CARD)

    assert rolled_back == [(first, [first, second])]
    assert (versions.champion(), versions.all()) == (first, [first, second, third])


def test_nothing_is_published_that_was_judged_against_another_champion(folder: ProjectFolder, trained: Path) -> None:
    versions = Versions(folder)
    first = versions.publish(trained, CARD, judged_against=None, promote=True)
    second = versions.publish(trained, CARD, judged_against=first)

    for before in (None, second):
        with pytest.raises(ChampionChanged) as caught:
            versions.publish(trained, CARD, judged_against=before)
        assert str(caught.value) == f"The champion of project 3 is {first} now, and was {before or 'none'}."
        with pytest.raises(ChampionChanged):
            versions.rollback(seen=before)
    assert (versions.champion(), versions.all()) == (first, [first, second])
    assert not list((folder.path / "versions").glob(".unfinished-*"))


def test_a_version_that_is_promoted_when_it_is_published_says_so(folder: ProjectFolder, trained: Path) -> None:
    versions = Versions(folder)
    first, second = (
        versions.publish(trained, dataclasses.replace(CARD, reason=reason), promote=True) for reason in ("one", "two")
    )

    assert versions.champion() == second
    (promotion,) = versions.card(second).promotions
    assert (promotion.by, promotion.before, promotion.reason) == ("judge", first, "two")


def test_a_version_that_cannot_be_promoted_is_not_published(folder: ProjectFolder, trained: Path) -> None:
    """Else its judgements would count as trained on, and no round would try again."""
    versions = Versions(folder)
    first = versions.publish(trained, CARD)
    (folder.path / "champion").mkdir()

    with pytest.raises(RegistryError, match="MODEL_DIR is not writable"):
        versions.publish(trained, CARD, promote=True)

    assert versions.all() == [first]
    assert not list((folder.path / "versions").glob(".unfinished-*"))


# Cards


def test_keys_of_a_later_release_in_a_card_are_passed_over(folder: ProjectFolder, trained: Path) -> None:
    version = Versions(folder).publish(trained, CARD)
    path = Versions(folder).path(version) / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "carbon": 3}))
    assert Versions(folder).card(version).recipe == "frozen"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "JSONDecodeError"),
        (b'{"project_id": 3, ', "JSONDecodeError"),
        (b"[1]", "AttributeError"),
        (b'{"project_id": 3}', "TypeError"),
        (b"\xff\xfe{}", "UnicodeDecodeError"),
    ],
)
def test_a_damaged_card_is_named_with_what_to_do(folder: ProjectFolder, trained: Path, content: bytes, kind: str) -> None:
    version = Versions(folder).publish(trained, CARD)
    path = Versions(folder).path(version) / "card.json"
    path.write_bytes(content)
    advice = "restore it or promote another version"
    assert refusal(lambda: Versions(folder).card(version)) == f"{path} is not a model card ({kind}); {advice}."


def test_a_missing_card_file_is_named(tmp_path: Path) -> None:
    assert "card.json is not a model card (FileNotFoundError)" in refusal(lambda: ReportCard.read(tmp_path / "card.json"))


# Requests, the host, and the projects


def test_a_request_is_taken_once_and_asking_twice_is_asking_once(folder: ProjectFolder) -> None:
    assert not folder.take_request("train")
    folder.request("train")
    folder.request("train")
    assert not folder.take_request("fill")
    assert ProjectFolder(folder.path.parent.parent, 3).take_request("train")  # as the other process sees it
    assert not folder.take_request("train")


def test_one_of_many_takers_gets_a_request(folder: ProjectFolder) -> None:
    folder.request("fill")
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: folder.take_request("fill"), range(40))) == 1


def test_the_backends_host_is_remembered(folder: ProjectFolder) -> None:
    assert folder.read_host() is None
    folder.create()
    folder.write_host("backend:9090")
    folder.write_host("10.0.0.7:9091")
    assert folder.read_host() == "10.0.0.7:9091"


def test_known_projects_are_listed_by_number_and_other_folders_are_passed_over(tmp_path: Path) -> None:
    assert list(known_projects(tmp_path)) == []
    for project_id in (10, 9, 2):
        ProjectFolder(tmp_path, project_id).create()
    for name in ("lost+found", "²", "٣", "0", "009"):
        (tmp_path / "projects" / name).mkdir()
    assert [folder.project_id for folder in known_projects(tmp_path)] == [2, 9, 10]


def test_a_retired_project_is_unknown_until_it_is_recalled_whatever_is_asked_of_it(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, 3)
    folder.disconnect()
    assert not folder.path.exists(), "there was nothing to retire"
    folder.request("fill")
    folder.disconnect()
    for kind in get_args(RequestKind):
        folder.request(kind)
    folder.create()
    folder.write_host("backend:9090")
    assert (folder.is_disconnected, list(known_projects(tmp_path))) == (True, [])
    folder.reconnect()
    folder.reconnect()
    assert not folder.is_disconnected
    assert [known.project_id for known in known_projects(tmp_path)] == [3]
    assert folder.take_request("train"), "what was asked for meanwhile stays asked for"


def test_projects_do_not_see_each_others_versions(tmp_path: Path, trained: Path) -> None:
    one, other = ProjectFolder(tmp_path / "models", 1), ProjectFolder(tmp_path / "models", 2)
    version = Versions(one).publish(trained, CARD)
    one.request("train")
    assert Versions(other).all() == []
    assert not other.take_request("train")
    assert refusal(lambda: Versions(other).promote(version)).startswith("Project 2 has no version")
