"""KEEP_VERSIONS: old weights go, cards and names stay, and nothing that is served or that a rollback leads to is touched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators
from preference.projects.pruning import is_pruned
from preference.projects.versions import Versions
from tests.support.forked import run_forked
from tests.support.generator_versions import CARD as GENERATOR_CARD
from tests.support.version_house import CARD, refusal, trained_in


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / "models", 3)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    trained = trained_in(tmp_path)
    for name in ("README.md", "accuracy.svg"):
        (trained / name).write_text("for readers")
    return trained


def publish(folder: ProjectFolder, trained: Path, *, keep: int | None = None, promote: bool = False) -> str:
    return Versions(folder).publish(trained, CARD, promote=promote, keep=keep)


def files(folder: ProjectFolder, version: str) -> set[str]:
    path = Versions(folder).path(version)
    return {each.relative_to(path).as_posix() for each in path.rglob("*")}


def test_an_old_versions_weights_go_and_what_is_for_readers_stays(folder: ProjectFolder, trained: Path) -> None:
    old, kept = publish(folder, trained), publish(folder, trained)

    newest = publish(folder, trained, keep=2)

    assert files(folder, old) == {"card.json", "README.md", "accuracy.svg", "pruned"}
    assert files(folder, kept) == files(folder, newest) >= {"model.safetensors", "deep/tokenizer.json"}
    assert Versions(folder).all() == [old, kept, newest]
    assert Versions(folder).promotable() == [kept, newest]
    assert Versions(folder).card(old).reason == CARD.reason
    assert publish(folder, trained, keep=1).startswith("v4-"), "no name is given again"


def test_all_are_kept_if_nothing_is_set(folder: ProjectFolder, trained: Path) -> None:
    versions = [publish(folder, trained) for _ in range(4)]

    assert Versions(folder).promotable() == versions


def test_the_champion_and_whatever_rollbacks_lead_to_keep_their_weights(folder: ProjectFolder, trained: Path) -> None:
    first, kept_back, second, rolled_back = (publish(folder, trained) for _ in range(4))
    for version in (first, second, rolled_back):
        Versions(folder).promote(version)
    Versions(folder).rollback()

    newest = publish(folder, trained, keep=1)

    assert Versions(folder).promotable() == [first, second, newest]
    assert Versions(folder).rollback() == first
    assert {is_pruned(Versions(folder).path(version)) for version in (kept_back, rolled_back)} == {True}


def test_a_version_that_is_promoted_as_it_is_published_leaves_the_one_before_it(folder: ProjectFolder, trained: Path) -> None:
    versions = [publish(folder, trained, keep=1, promote=True) for _ in range(3)]

    assert Versions(folder).promotable() == versions


def test_without_a_pointer_no_version_that_was_ever_served_is_touched(folder: ProjectFolder, trained: Path) -> None:
    served, never = publish(folder, trained, promote=True), publish(folder, trained)
    (folder.path / "champion").unlink()

    newest = publish(folder, trained, keep=1)

    assert Versions(folder).promotable() == [served, newest]
    assert is_pruned(Versions(folder).path(never))


def test_a_version_without_weights_is_not_promoted_and_the_others_are_named(folder: ProjectFolder, trained: Path) -> None:
    old = publish(folder, trained)
    newest = publish(folder, trained, keep=1)

    assert refusal(lambda: Versions(folder).promote(old)) == (
        f"The weights of {old} of project 3 were removed under KEEP_VERSIONS; promote one of: {newest}."
    )
    assert Versions(folder).champion() is None


def test_a_kill_while_weights_are_removed_leaves_a_version_that_is_refused_and_ended_later(
    folder: ProjectFolder, trained: Path, tmp_path: Path
) -> None:
    """A process that dies at its first removal, and so after the marker."""
    old = publish(folder, trained)
    publish(folder, trained)
    program = """
import os, pathlib, sys
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.version_house import CARD
def die(event, args):
    if event == "os.remove" and "v1-" in str(args[0]):
        os._exit(9)
sys.addaudithook(die)
Versions(ProjectFolder(pathlib.Path(sys.argv[1]), 3)).publish(pathlib.Path(sys.argv[2]), CARD, keep=2)
"""
    assert run_forked(program, tmp_path / "models", trained).returncode == 9
    assert {"model.safetensors", "pruned"} <= files(folder, old)
    assert "were removed under KEEP_VERSIONS" in refusal(lambda: Versions(folder).promote(old))

    publish(folder, trained, keep=3)

    assert "model.safetensors" not in files(folder, old)
    assert len(Versions(folder).all()) == 4


def test_weights_that_cannot_be_removed_cost_no_version(folder: ProjectFolder, trained: Path, tmp_path: Path) -> None:
    publish(folder, trained)
    program = """
import logging, pathlib, sys
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.version_house import CARD
def refuse(event, args):
    if event == "os.remove" and "v1-" in str(args[0]):
        raise OSError(30, "Read-only file system")
sys.addaudithook(refuse)
logging.basicConfig(stream=sys.stdout)
Versions(ProjectFolder(pathlib.Path(sys.argv[1]), 3)).publish(pathlib.Path(sys.argv[2]), CARD, keep=1)
"""
    finished = run_forked(program, tmp_path / "models", trained)

    assert "project 3: old weights cannot be removed (" in finished.stdout, finished.stderr
    assert len(Versions(folder).all()) == 2


def test_a_generators_versions_are_pruned_alike_and_the_base_stays(folder: ProjectFolder, trained: Path) -> None:
    first, second, newest = (Generators(folder).publish(trained, GENERATOR_CARD, keep=1) for _ in range(3))
    Generators(folder).promote(newest)
    Generators(folder).rollback()

    assert Generators(folder).champion() == BASE
    assert "were removed under KEEP_VERSIONS" in refusal(lambda: Generators(folder).promote(first))
    assert Generators(folder).promotable() == [newest]
    assert Generators(folder).all() == [first, second, newest]


@pytest.mark.parametrize("damage", [Path.unlink, lambda pointer: pointer.write_text("")], ids=["deleted", "emptied"])
def test_without_a_pointer_no_generator_that_was_ever_served_is_touched(
    folder: ProjectFolder, trained: Path, damage: Callable[[Path], object]
) -> None:
    served, never = (Generators(folder).publish(trained, GENERATOR_CARD) for _ in range(2))
    Generators(folder).promote(served)
    damage(folder.path / Generators.pointer)

    newest = Generators(folder).publish(trained, GENERATOR_CARD, keep=1)

    assert Generators(folder).champion() == BASE
    assert Generators(folder).promotable() == [served, newest]
    assert is_pruned(Generators(folder).path(never))
