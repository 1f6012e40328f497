"""The champion: how it is named, what was promoted before it, and back."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from preference.projects.versions import Registry
from tests.support.registry_house import CARD, refusal, trained_in


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", 3)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    return trained_in(tmp_path)


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
