"""The champion: how it is named, what was promoted before it, and back."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.version_house import CARD, refusal, trained_in


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / "models", 3)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return trained_in(tmp_path)


# The champion


def test_before_the_first_promotion_there_is_no_champion(folder: ProjectFolder) -> None:
    assert Versions(folder).champion() is None
    assert Versions(folder).all() == []


def test_the_pointer_names_what_was_promoted_last_older_versions_too(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    Versions(folder).promote(second)
    assert Versions(folder).champion() == second
    Versions(folder).promote(first)
    assert Versions(folder).champion() == first
    assert (folder.path / "champion").read_text() == f"{first}\n"
    assert not list(folder.path.glob(".champion*"))


def test_readers_never_meet_a_missing_or_empty_pointer_while_it_moves(folder: ProjectFolder, trained: Path) -> None:
    versions = [Versions(folder).publish(trained, CARD) for _ in range(2)]
    Versions(folder).promote(versions[0])
    done = threading.Event()

    def read() -> set[str | None]:
        champions = {Versions(folder).champion()}
        while not done.is_set():
            champions.add(Versions(folder).champion())
        return champions

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for n in range(30):
            Versions(folder).promote(versions[n % 2])
        done.set()
    assert reading.result() <= set(versions)


def test_an_unknown_version_is_not_promoted_and_the_known_ones_are_named(folder: ProjectFolder, trained: Path) -> None:
    unknown = "v7-20260101-000000"
    assert refusal(lambda: Versions(folder).promote(unknown)) == f"Project 3 has no version '{unknown}'; it has: none."
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    Versions(folder).promote(first)
    assert (
        refusal(lambda: Versions(folder).promote(unknown)) == f"Project 3 has no version '{unknown}'; it has: {first}, {second}."
    )
    assert Versions(folder).champion() == first


def test_a_pointer_to_a_deleted_version_is_reported_as_it_stands(folder: ProjectFolder, trained: Path) -> None:
    version = Versions(folder).publish(trained, CARD)
    Versions(folder).promote(version)
    shutil.rmtree(Versions(folder).path(version))
    assert Versions(folder).champion() == version
    assert "it has: none." in refusal(lambda: Versions(folder).card(version))


# What was promoted, and back


def log_of(folder: ProjectFolder, version: str) -> list[tuple[str | None, str | None, str | None]]:
    return [(entry.by, entry.before, entry.reason) for entry in Versions(folder).card(version).promotions]


def test_each_promotion_stands_on_the_card_and_no_published_file_changes(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    published = {path: path.read_bytes() for path in Versions(folder).path(first).rglob("*") if path.is_file()}

    Versions(folder).promote(first, reason="the first")
    Versions(folder).promote(second, by="hand", reason="a better — feeling")
    Versions(folder).promote(first, by="hand")

    assert log_of(folder, first) == [("judge", None, "the first"), ("hand", second, "")]
    assert log_of(folder, second) == [("hand", first, "a better — feeling")]
    assert all(datetime.fromisoformat(entry.at or "").tzinfo for entry in Versions(folder).card(first).promotions)
    assert {path: path.read_bytes() for path in published} == published
    assert b"promotions" not in published[Versions(folder).path(first) / "card.json"]


def test_promoting_the_champion_again_is_no_news(folder: ProjectFolder, trained: Path) -> None:
    version = Versions(folder).publish(trained, CARD)
    Versions(folder).promote(version)
    Versions(folder).promote(version, by="hand")

    assert log_of(folder, version) == [("judge", None, "")]
    assert Versions(folder).champion() == version


def test_a_copy_of_a_version_begins_with_an_empty_log(folder: ProjectFolder, trained: Path) -> None:
    first = Versions(folder).publish(trained, CARD)
    Versions(folder).promote(first)

    copy = Versions(folder).publish(Versions(folder).path(first), Versions(folder).card(first))

    assert Versions(folder).card(copy).promotions == ()
    assert not (Versions(folder).path(copy) / "promotions.jsonl").exists()
    assert "promotions" not in json.loads((Versions(folder).path(copy) / "card.json").read_text(encoding="utf-8"))


def test_a_rollback_goes_to_the_champion_before_and_a_second_one_further_back(folder: ProjectFolder, trained: Path) -> None:
    first, kept_back, second, third = (Versions(folder).publish(trained, CARD) for _ in range(4))
    for version in (first, second, third):
        Versions(folder).promote(version)

    assert Versions(folder).rollback(reason="it likes lists too much") == second == Versions(folder).champion()
    assert Versions(folder).rollback() == first == Versions(folder).champion()
    assert log_of(folder, second)[-1] == ("rollback", third, "it likes lists too much")
    assert refusal(Versions(folder).rollback) == (
        f"Project 3 has no champion before {first} in its log; promote one of: {first}, {kept_back}, {second}, {third}."
    )
    assert Versions(folder).champion() == first


def test_after_a_rollback_the_next_champion_rolls_back_to_what_was_served(folder: ProjectFolder, trained: Path) -> None:
    first, second, third = (Versions(folder).publish(trained, CARD) for _ in range(3))
    Versions(folder).promote(first)
    Versions(folder).promote(second)
    Versions(folder).rollback()
    Versions(folder).promote(third)

    assert Versions(folder).rollback() == first, "the second one had been rolled back"


def test_a_version_that_was_champion_twice_is_rolled_back_twice(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    for version in (first, second, first):
        Versions(folder).promote(version, by="hand")

    assert [Versions(folder).rollback(), Versions(folder).rollback()] == [second, first]
    assert "has no champion before" in refusal(Versions(folder).rollback)


def test_without_a_champion_there_is_nothing_to_roll_back(folder: ProjectFolder, trained: Path) -> None:
    message = "Project 3 has no champion yet, so there is nothing to roll back."
    assert refusal(Versions(folder).rollback) == message
    Versions(folder).publish(trained, CARD)
    assert refusal(Versions(folder).rollback) == message


def test_a_champion_from_before_there_was_a_log_can_be_rolled_back_to(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    (folder.path / "champion").write_text(f"{first}\n")
    Versions(folder).promote(second)

    assert Versions(folder).rollback() == first


def test_a_broken_champion_can_be_rolled_back(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    Versions(folder).promote(first)
    Versions(folder).promote(second)
    (Versions(folder).path(second) / "card.json").write_text("{")

    assert Versions(folder).rollback() == first


def test_a_rollback_to_a_deleted_version_is_refused(folder: ProjectFolder, trained: Path) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    Versions(folder).promote(first)
    Versions(folder).promote(second)
    shutil.rmtree(Versions(folder).path(first))

    assert refusal(Versions(folder).rollback) == f"Project 3 has no version {first!r}; it has: {second}."
    assert Versions(folder).champion() == second


def test_a_log_that_cannot_be_written_does_not_stop_a_promotion(
    folder: ProjectFolder, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = Versions(folder).publish(trained, CARD)
    log = Versions(folder).path(version) / "promotions.jsonl"
    log.mkdir()

    Versions(folder).promote(version)

    assert Versions(folder).champion() == version
    assert Versions(folder).card(version).promotions == ()
    assert f"{log} cannot be written (Is a directory), so this promotion is not logged there" in caplog.text


@pytest.mark.parametrize("torn", [b'{"at": "2026', b"\xff\xfe\n", b"[1]\n", b'{"at": "2026"}\n', b"\n"])
def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(folder: ProjectFolder, trained: Path, torn: bytes) -> None:
    first, second = Versions(folder).publish(trained, CARD), Versions(folder).publish(trained, CARD)
    Versions(folder).promote(first)
    with (Versions(folder).path(first) / "promotions.jsonl").open("ab") as file:
        file.write(torn)
    Versions(folder).promote(second)
    Versions(folder).promote(first, by="hand")

    assert log_of(folder, first) == [("judge", None, ""), ("hand", second, "")]


def test_a_crash_between_the_log_and_the_pointer_does_not_mislead_a_rollback(folder: ProjectFolder, trained: Path) -> None:
    first, second, third = (Versions(folder).publish(trained, CARD) for _ in range(3))
    Versions(folder).promote(first)
    Versions(folder).promote(second)
    Versions(folder).promote(third)
    (folder.path / "champion").write_text(f"{second}\n")  # as if it had died before the pointer moved

    assert Versions(folder).rollback() == first
