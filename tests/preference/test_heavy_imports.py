"""Imports among whose objects Python looks for no garbage, and the end of a process that made them."""

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from preference.heavy_imports import heavy_imports
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.unfreeze()
    yield
    gc.freeze()
    (gc.enable if was_enabled else gc.disable)()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_what_is_imported_is_not_searched_later_and_all_else_is_as_before(is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()

    with pytest.raises(ImportError), heavy_imports():
        assert not gc.isenabled()
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401

    assert gc.isenabled() is is_enabled
    assert gc.get_freeze_count() > 10_000


@pytest.mark.parametrize("program", ["backend", "trainer"])
def test_a_command_ends_without_a_last_look_for_garbage(program: str) -> None:
    lines = f"""
import atexit, gc
from {program}.__main__ import main
atexit.register(lambda: print(gc.get_freeze_count()))  # runs after those that are registered later
main(["status"])
"""
    ended = subprocess.run(
        [sys.executable, "-c", lines], cwd=REPOSITORY, env={"MODEL_DIR": sys.prefix}, capture_output=True, text=True
    )

    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.splitlines()[-1]) > 10_000
