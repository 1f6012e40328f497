"""Imports among whose objects Python looks for no garbage, and the end of a process that made them."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def test_a_process_that_scores_imports_nothing_that_only_a_training_needs(tiny_base: Path, tmp_path: Path) -> None:
    lines = f"""
import sys
from pathlib import Path
from preference.heavy_imports import lean_imports
with lean_imports():
    import backend.web.app, backend.serving.process, preference.generation.huggingface
import torch
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureRecipe
from preference.reward_model.shared_base import BaseRecipe
extractors = Extractors(Path({str(tmp_path)!r}), torch.device("cpu"))
print(extractors(FeatureRecipe({str(tiny_base)!r}, (2,), 64)).features(["Why?"], ["Because."]).isfinite().all().item())
extractors.shared_base(BaseRecipe({str(tiny_base)!r}))
heavy = ("torch._dynamo", "torch.distributed.tensor", "scipy", "sklearn", "pandas", "faker", "datasets", "trl", "peft")
print([name for name in heavy if name in sys.modules])
print(torch.distributed.is_available(), torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
import scipy.optimize, trl.trainer.reward_trainer
"""
    ended = subprocess.run([sys.executable, "-c", lines], cwd=REPOSITORY, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["True", "[]", "True 2.0"], "and whoever wants these later has them"


def test_what_is_asked_of_the_compiler_beside_marks_brings_the_real_one() -> None:
    lines = """
import sys
import torch
from preference.heavy_imports import without_compiler
with without_compiler():
    marked = torch.compiler.disable(len)
    print(marked is len, torch.compiler.disable(recursive=False)(len) is len, "torch._dynamo.config" in sys.modules)
    print(torch._dynamo.config.recompile_limit > 0)
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
"""
    ended = subprocess.run([sys.executable, "-c", lines], cwd=REPOSITORY, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["True True False", "True", "2.0"]
