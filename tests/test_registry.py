import dataclasses
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import get_args

import pytest

from preference.errors import RegistryError
from preference.registry import ModelCard, Registry, RequestKind, known_projects
from tests.conftest import REPOSITORY

CARD = ModelCard(
    project_id=3,
    recipe="frozen",
    base="embedded",
    num_annotations=60,
    num_train_pairs=48,
    num_holdout_pairs=12,
    dropped={"skipped": 2, "identical answers": 1},
    metrics={"accuracy": 0.75, "interval": [0.6, 0.9]},
    promoted=True,
    reason="it wins 9 of 12 — “the first”",
    probe={"prompt": "שלום 👩‍👩‍👧", "answer": "Good.", "reward": 0.5},
    seed=1,
    seconds={"train": 2.5},
    compared_with=None,
    libraries={"torch": "2"},
)
PUBLISH = """
import dataclasses, json, pathlib, sys
from preference.registry import ModelCard, Registry
model_dir, folder, card, count = sys.argv[1:]
registry = Registry(pathlib.Path(model_dir), 3)
for _ in range(int(count)):
    print(registry.publish(pathlib.Path(folder), ModelCard(**json.loads(card))))
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", 3)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A folder as training leaves it."""
    folder = tmp_path / "trained"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "deep" / "tokenizer.json").write_text("{}")
    return folder


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as caught:
        call()
    return str(caught.value)


# Publishing


def test_a_published_version_holds_the_folder_and_its_completed_card(registry: Registry, trained: Path) -> None:
    version = registry.publish(trained, CARD)
    assert re.fullmatch(r"v1-\d{8}-\d{6}", version)
    assert registry.versions() == [version]
    folder = registry.path(version)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "deep" / "tokenizer.json").is_file()
    card = registry.card(version)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", card.created_at)
    assert dataclasses.replace(card, version="", created_at="") == CARD
    assert card.version == version


def test_publishing_leaves_the_trained_folder_and_the_pointer_alone(registry: Registry, trained: Path) -> None:
    registry.publish(trained, CARD)
    assert sorted(path.name for path in trained.rglob("*")) == ["deep", "model.safetensors", "tokenizer.json"]
    assert registry.champion() is None


def test_versions_are_listed_by_number_not_by_spelling(registry: Registry, trained: Path) -> None:
    published = [registry.publish(trained, CARD) for _ in range(11)]
    assert registry.versions() == published
    assert [version.split("-")[0] for version in published] == [f"v{n}" for n in range(1, 12)]


def test_a_removed_versions_number_is_not_given_again_while_a_later_one_stands(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    shutil.rmtree(registry.path(first))
    assert registry.versions() == [second]
    assert registry.publish(trained, CARD).startswith("v3-")


def test_a_leftover_of_a_killed_publisher_is_no_version_and_goes_with_the_next(registry: Registry, trained: Path) -> None:
    first = registry.publish(trained, CARD)
    versions = registry.path(first).parent
    leftover = shutil.copytree(registry.path(first), versions / ".unfinished-0123")
    assert registry.versions() == [first]
    assert registry.publish(trained, CARD) == registry.versions()[1]
    assert not leftover.exists()


def test_a_folder_without_a_card_or_with_another_name_is_no_version(registry: Registry, trained: Path) -> None:
    version = registry.publish(trained, CARD)
    versions = registry.path(version).parent
    (versions / "v9-20260101-000000").mkdir()
    shutil.copytree(versions / version, versions / "backup")
    shutil.copytree(versions / version, versions / f"{version}.old")
    assert registry.versions() == [version]
    assert "has no version 'v9-20260101-000000'" in refusal(lambda: registry.path("v9-20260101-000000"))
    assert registry.publish(trained, CARD).startswith("v10-")  # whatever v9 was, its number is taken


def test_a_publication_that_fails_leaves_no_version(registry: Registry, trained: Path) -> None:
    first = registry.publish(trained, CARD)
    (trained / "dangling").symlink_to(trained / "gone")
    with pytest.raises(RegistryError, match=r"A new version cannot be written to .*No such file or directory: .*dangling"):
        registry.publish(trained, CARD)
    assert registry.versions() == [first]
    (trained / "dangling").unlink()
    assert registry.publish(trained, CARD).startswith("v2-")
    assert not list(registry.path(first).parent.glob(".unfinished-*"))


def test_a_disk_that_is_full_leaves_the_champion_and_no_half_version(registry: Registry, trained: Path) -> None:
    """A real limit on what a process may write, in a process of its own."""
    first = registry.publish(trained, CARD)
    registry.promote(first)
    (trained / "model.safetensors").write_bytes(b"x" * 100_000)
    program = """
import pathlib, resource, sys
from preference.errors import RegistryError
from preference.registry import Registry
from tests.test_registry import CARD
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    Registry(pathlib.Path(sys.argv[1]), 3).publish(pathlib.Path(sys.argv[2]), CARD)
except RegistryError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(registry.folder.parent.parent), str(trained)]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)

    versions = registry.path(first).parent
    assert found.stdout.startswith(f"A new version cannot be written to {versions} ("), found.stderr
    assert "File too large" in found.stdout
    assert found.stdout.endswith("; free some space, or mend what that names. The champion stays.\n")
    assert [path.name for path in versions.iterdir()] == [first]
    assert registry.champion() == first


def test_a_version_from_a_private_scratch_folder_can_be_read_by_the_other_process(registry: Registry, trained: Path) -> None:
    trained.chmod(0o700)  # as tempfile makes them
    folder = registry.path(registry.publish(trained, CARD))
    assert folder.stat().st_mode == folder.parent.stat().st_mode


def test_two_threads_that_publish_at_once_get_different_versions_and_readers_see_whole_ones(
    registry: Registry, trained: Path
) -> None:
    registry.create()
    done = threading.Event()

    def read() -> int:
        count = 0
        while not done.is_set() or not count:
            for version in registry.versions():
                assert registry.card(version).version == version
                assert (registry.path(version) / "deep" / "tokenizer.json").read_text() == "{}"
                count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        reading = pool.submit(read)
        try:
            published = list(pool.map(lambda _: registry.publish(trained, CARD), range(8)))
        finally:
            done.set()
    assert reading.result() > 0
    assert len(set(published)) == 8
    assert registry.versions() == sorted(published, key=lambda version: int(version[1:].split("-")[0]))


def test_two_processes_that_publish_at_once_get_different_versions(tmp_path: Path, registry: Registry, trained: Path) -> None:
    command = [sys.executable, "-c", PUBLISH, str(tmp_path / "models"), str(trained), json.dumps(dataclasses.asdict(CARD)), "5"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(2)]
    names = [name for process in both for name in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in both] == [0, 0]
    assert len(set(names)) == 10
    assert set(names) == set(registry.versions())
    assert all((registry.path(name) / "model.safetensors").read_bytes() == b"weights" for name in names)


def test_a_model_dir_that_cannot_be_written_is_named(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    message = refusal(lambda: Registry(tmp_path / "file", 3).publish(trained, CARD))
    assert message == f"MODEL_DIR is not writable at {tmp_path}/file/projects/3 (Not a directory); mount it read-write."


# The champion


def test_before_the_first_promotion_there_is_no_champion(registry: Registry) -> None:
    assert registry.champion() is None
    assert registry.versions() == []


def test_the_pointer_names_what_was_promoted_last_older_versions_too(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    registry.promote(second)
    assert registry.champion() == second
    registry.promote(first)
    assert registry.champion() == first
    assert (registry.folder / "champion").read_text() == f"{first}\n"
    assert not list(registry.folder.glob(".champion*"))


def test_the_pointer_is_never_seen_missing_or_empty_while_it_moves(registry: Registry, trained: Path) -> None:
    versions = [registry.publish(trained, CARD) for _ in range(2)]
    registry.promote(versions[0])
    done = threading.Event()

    def read() -> set[str | None]:
        found = {registry.champion()}
        while not done.is_set():
            found.add(registry.champion())
        return found

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for n in range(30):
            registry.promote(versions[n % 2])
        done.set()
    assert reading.result() <= set(versions)


def test_an_unknown_version_is_not_promoted_and_the_known_ones_are_named(registry: Registry, trained: Path) -> None:
    unknown = "v7-20260101-000000"
    assert refusal(lambda: registry.promote(unknown)) == f"Project 3 has no version '{unknown}'; it has: none."
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    registry.promote(first)
    assert refusal(lambda: registry.promote(unknown)) == f"Project 3 has no version '{unknown}'; it has: {first}, {second}."
    assert registry.champion() == first


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "/etc", "V1/", "V1/../../x", "V1\n", ".unfinished-1"])
def test_a_name_that_is_no_version_reaches_no_folder(registry: Registry, trained: Path, name: str) -> None:
    registry.publish(trained, CARD)
    shutil.copytree(registry.path(registry.versions()[0]), registry.folder / "x")  # what ../x would reach, card and all
    name = name.replace("V1", registry.versions()[0])
    for call in (registry.path, registry.card, registry.promote):
        assert refusal(lambda call=call: call(name)).startswith(f"Project 3 has no version {name!r}; it has: v1-")  # type: ignore[misc]
    assert registry.champion() is None


def test_a_pointer_to_a_version_that_is_gone_is_reported_as_it_stands(registry: Registry, trained: Path) -> None:
    version = registry.publish(trained, CARD)
    registry.promote(version)
    shutil.rmtree(registry.path(version))
    assert registry.champion() == version
    assert "it has: none." in refusal(lambda: registry.card(version))


# What was promoted, and back


def log_of(registry: Registry, version: str) -> list[tuple[str, str | None, str]]:
    return [(entry["by"], entry["before"], entry["reason"]) for entry in registry.card(version).promotions]


def test_each_promotion_stands_on_the_card_and_no_published_file_changes(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    published = {path: path.read_bytes() for path in registry.path(first).rglob("*") if path.is_file()}

    registry.promote(first, reason="the first")
    registry.promote(second, by="hand", reason="a better — feeling")
    registry.promote(first, by="hand")

    assert log_of(registry, first) == [("judge", None, "the first"), ("hand", second, "")]
    assert log_of(registry, second) == [("hand", first, "a better — feeling")]
    assert all(datetime.fromisoformat(entry["at"]).tzinfo for entry in registry.card(first).promotions)
    assert {path: path.read_bytes() for path in published} == published
    assert b"promotions" not in published[registry.path(first) / "card.json"]


def test_promoting_the_champion_again_is_no_news(registry: Registry, trained: Path) -> None:
    version = registry.publish(trained, CARD)
    registry.promote(version)
    registry.promote(version, by="hand")

    assert log_of(registry, version) == [("judge", None, "")]
    assert registry.champion() == version


def test_the_log_of_a_version_does_not_come_along_with_a_copy_of_it(registry: Registry, trained: Path) -> None:
    first = registry.publish(trained, CARD)
    registry.promote(first)

    copy = registry.publish(registry.path(first), registry.card(first))

    assert registry.card(copy).promotions == ()
    assert not (registry.path(copy) / "promotions.jsonl").exists()
    assert "promotions" not in json.loads((registry.path(copy) / "card.json").read_text(encoding="utf-8"))


def test_a_rollback_goes_to_the_champion_before_and_a_second_one_further_back(registry: Registry, trained: Path) -> None:
    first, kept_back, second, third = (registry.publish(trained, CARD) for _ in range(4))
    for version in (first, second, third):
        registry.promote(version)

    assert registry.rollback(reason="it likes lists too much") == second == registry.champion()
    assert registry.rollback() == first == registry.champion()
    assert log_of(registry, second)[-1] == ("rollback", third, "it likes lists too much")
    assert refusal(registry.rollback) == (
        f"Project 3 has no champion before {first} in its log; promote one of: {first}, {kept_back}, {second}, {third}."
    )
    assert registry.champion() == first


def test_after_a_rollback_the_next_champion_rolls_back_to_what_was_served(registry: Registry, trained: Path) -> None:
    first, second, third = (registry.publish(trained, CARD) for _ in range(3))
    registry.promote(first)
    registry.promote(second)
    registry.rollback()
    registry.promote(third)

    assert registry.rollback() == first, "the second one had been rolled back"


def test_a_version_that_was_champion_twice_is_rolled_back_twice(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    for version in (first, second, first):
        registry.promote(version, by="hand")

    assert [registry.rollback(), registry.rollback()] == [second, first]
    assert "has no champion before" in refusal(registry.rollback)


def test_without_a_champion_there_is_nothing_to_roll_back(registry: Registry, trained: Path) -> None:
    message = "Project 3 has no champion yet, so there is nothing to roll back."
    assert refusal(registry.rollback) == message
    registry.publish(trained, CARD)
    assert refusal(registry.rollback) == message


def test_a_champion_from_before_there_was_a_log_can_be_rolled_back_to(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    (registry.folder / "champion").write_text(f"{first}\n")
    registry.promote(second)

    assert registry.rollback() == first


def test_a_broken_champion_can_be_rolled_back(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    registry.promote(first)
    registry.promote(second)
    (registry.path(second) / "card.json").write_text("{")

    assert registry.rollback() == first


def test_a_rollback_to_a_version_that_is_gone_is_refused(registry: Registry, trained: Path) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    registry.promote(first)
    registry.promote(second)
    shutil.rmtree(registry.path(first))

    assert refusal(registry.rollback) == f"Project 3 has no version {first!r}; it has: {second}."
    assert registry.champion() == second


def test_a_log_that_cannot_be_written_does_not_stop_a_promotion(
    registry: Registry, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = registry.publish(trained, CARD)
    log = registry.path(version) / "promotions.jsonl"
    log.mkdir()

    registry.promote(version)

    assert registry.champion() == version
    assert registry.card(version).promotions == ()
    assert f"{log} cannot be written (Is a directory), so this promotion is not logged there" in caplog.text


@pytest.mark.parametrize("torn", [b'{"at": "2026', b"\xff\xfe\n", b"[1]\n", b'{"at": "2026"}\n', b"\n"])
def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(registry: Registry, trained: Path, torn: bytes) -> None:
    first, second = registry.publish(trained, CARD), registry.publish(trained, CARD)
    registry.promote(first)
    with (registry.path(first) / "promotions.jsonl").open("ab") as file:
        file.write(torn)
    registry.promote(second)
    registry.promote(first, by="hand")

    assert log_of(registry, first) == [("judge", None, ""), ("hand", second, "")]


def test_a_crash_between_the_log_and_the_pointer_does_not_mislead_a_rollback(registry: Registry, trained: Path) -> None:
    first, second, third = (registry.publish(trained, CARD) for _ in range(3))
    registry.promote(first)
    registry.promote(second)
    registry.promote(third)
    (registry.folder / "champion").write_text(f"{second}\n")  # as if it had died before the pointer moved

    assert registry.rollback() == first


# Cards


def test_keys_of_a_later_release_in_a_card_are_passed_over(registry: Registry, trained: Path) -> None:
    version = registry.publish(trained, CARD)
    path = registry.path(version) / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "carbon": 3}))
    assert registry.card(version).recipe == "frozen"


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
def test_a_damaged_card_is_named_with_what_to_do(registry: Registry, trained: Path, content: bytes, kind: str) -> None:
    version = registry.publish(trained, CARD)
    path = registry.path(version) / "card.json"
    path.write_bytes(content)
    advice = "restore it or promote another version"
    assert refusal(lambda: registry.card(version)) == f"{path} is not a model card ({kind}); {advice}."


def test_a_missing_card_file_is_named(tmp_path: Path) -> None:
    assert "card.json is not a model card (FileNotFoundError)" in refusal(lambda: ModelCard.read(tmp_path / "card.json"))


# Requests, the host, and the projects


def test_a_request_is_taken_once_and_asking_twice_is_asking_once(registry: Registry) -> None:
    assert not registry.take_request("train")
    registry.request("train")
    registry.request("train")
    assert not registry.take_request("fill")
    assert Registry(registry.folder.parent.parent, 3).take_request("train")  # as the other process sees it
    assert not registry.take_request("train")


def test_one_of_many_takers_gets_a_request(registry: Registry) -> None:
    registry.request("fill")
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: registry.take_request("fill"), range(40))) == 1


def test_the_backends_host_is_remembered(registry: Registry) -> None:
    assert registry.read_host() is None
    registry.create()
    registry.write_host("backend:9090")
    registry.write_host("10.0.0.7:9091")
    assert registry.read_host() == "10.0.0.7:9091"


def test_known_projects_come_by_number_and_other_folders_are_passed_over(tmp_path: Path) -> None:
    assert list(known_projects(tmp_path)) == []
    for project_id in (10, 9, 2):
        Registry(tmp_path, project_id).create()
    (tmp_path / "projects" / "lost+found").mkdir()
    assert [registry.project_id for registry in known_projects(tmp_path)] == [2, 9, 10]


def test_a_retired_project_is_unknown_until_it_is_recalled_whatever_is_asked_of_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path, 3)
    registry.retire()
    assert not registry.folder.exists(), "there was nothing to retire"
    registry.request("fill")
    registry.retire()
    for kind in get_args(RequestKind):
        registry.request(kind)
    registry.create()
    registry.write_host("backend:9090")
    assert (registry.is_retired, list(known_projects(tmp_path))) == (True, [])
    registry.recall()
    registry.recall()
    assert not registry.is_retired
    assert [known.project_id for known in known_projects(tmp_path)] == [3]
    assert registry.take_request("train"), "what was asked for meanwhile stays asked for"


def test_projects_do_not_see_each_others_versions(tmp_path: Path, trained: Path) -> None:
    one, other = Registry(tmp_path / "models", 1), Registry(tmp_path / "models", 2)
    version = one.publish(trained, CARD)
    one.request("train")
    assert other.versions() == []
    assert not other.take_request("train")
    assert refusal(lambda: other.promote(version)).startswith("Project 2 has no version")
