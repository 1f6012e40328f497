"""The house's rules that no module can break alone: who imports whom, who reads the environment, what an import does."""

import ast
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.forked import run_forked
from tests.support.layout import PACKAGES, imported_modules

FILES = {path.relative_to(REPOSITORY).as_posix(): path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}

# What an import must not do, watched from the first line of a process that has imported others' packages only.
IMPORT_ALL = """
import importlib, json, logging, os, sys

touched, here = [], os.getcwd() + os.sep

def watch(event, args):
    if event in ("open", "os.mkdir", "os.rename", "os.remove") and isinstance(args[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(args[0]))
        if path.startswith(here):
            touched.append(path)

sys.addaudithook(watch)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
ours = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict) if name.startswith("pairloop.")]
print(json.dumps({
    "touched": touched,
    "root": [repr(handler) for handler in logging.root.handlers] + [logging.root.level],
    "ours": [logger.name for logger in ours if logger.handlers or logger.level],
    "num_loggers": len(ours),
    "cuda": sys.modules["torch"].cuda.is_initialized(),
}))
"""


def importers_of(*modules: str, trees: Mapping[str, ast.AST] = TREES) -> set[str]:
    """The files that import any of these top-level modules, at their head or inside a function."""
    return {name for name, tree in trees.items() if {module.split(".")[0] for module in imported_modules(tree)} & set(modules)}


def environment_uses(name: str) -> list[str]:
    """The lines of a file that read or write the process's environment."""
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    uses = []
    for node in ast.walk(TREES[name]):
        attribute = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv", "unsetenv")
        imported = isinstance(node, ast.ImportFrom) and node.module == "os" and any("env" in alias.name for alias in node.names)
        if attribute or imported:
            uses.append(lines[getattr(node, "lineno", 0) - 1])
    return uses


def test_an_import_is_noticed_wherever_it_stands() -> None:
    late = ast.parse("def load():\n    from trl.trainer import RewardTrainer")
    trees = {"late.py": late, "early.py": ast.parse("import trl.data_utils as data"), "other.py": ast.parse("import trlx")}

    assert importers_of("trl", trees=trees) == {"late.py", "early.py"}


def test_there_are_files_to_judge() -> None:
    assert {"preference/settings.py", "backend/__main__.py", "trainer/__main__.py"} <= FILES.keys()
    assert importers_of("preference") >= {"backend/web/app.py", "trainer/rounds/round.py"}


@pytest.mark.parametrize(
    ("package", "others"), [("preference", {"backend", "trainer"}), ("backend", {"trainer"}), ("trainer", {"backend"})]
)
def test_imports_are_a_v(package: str, others: set[str]) -> None:
    assert {name for name in importers_of(*others) if name.startswith(f"{package}/")} == set()


@pytest.mark.parametrize(
    ("owners", "modules"),
    [
        ({"preference/studio/calls.py", "preference/studio/prediction_validation.py"}, ["label_studio_sdk"]),
        ({"preference/labelling/config_tags.py"}, ["xml", "defusedxml", "lxml"]),
        ({"trainer/daemon/schedule.py"}, ["apscheduler"]),
        ({"trainer/training/trl_trainer.py", "trainer/generator_training/online.py"}, ["trl", "datasets"]),
        ({"trainer/training/lora.py", "trainer/generator_training/top_layers.py"}, ["peft"]),
        ({"trainer/exporting/row_files.py", "backend/prompt_files/prompt_file.py"}, ["pyarrow"]),
        ({"trainer/evaluation/baselines.py", "trainer/classifiers/nearest_head.py"}, ["sklearn"]),
        ({"backend/connecting/guidelines.py", "preference/labelling/markdown.py"}, ["markdown_it"]),
    ],
)
def test_a_library_has_its_owners(owners: set[str], modules: list[str]) -> None:
    assert importers_of(*modules) == owners


def test_only_the_settings_read_the_environment() -> None:
    of_prometheus = {"backend/monitoring/metrics.py", "backend/__main__.py"}
    readers = {name for name in FILES if environment_uses(name)}
    assert "preference/settings.py" in readers
    assert readers <= {"preference/settings.py", *of_prometheus}
    for name in of_prometheus:
        for line in environment_uses(name):
            assert "PROMETHEUS_MULTIPROC_DIR" in line, f"{name}: {line}"


def test_no_file_of_ours_unpickles_or_trusts_code_from_a_hub() -> None:
    assert importers_of("pickle", "joblib", "dill") == set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{name}:{node.value.lineno}"


def test_texts_become_tokens_in_one_file() -> None:
    """Elsewhere a role marker in a text could become a control token. The last file reads texts as other programs do."""
    callees = {
        name: {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for name, tree in TREES.items()
    }
    tokenizing = {"tokenizer", "_tokenizer", "tokenize", "encode_plus", "batch_encode_plus", "apply_chat_template"}
    assert {name for name, called in callees.items() if called & tokenizing} == {
        "preference/models/chat_template.py",
        "trainer/classifiers/elsewhere.py",
    }


def test_importing_every_module_touches_no_file_and_sets_up_no_logging(tmp_path: Path) -> None:
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in sorted(FILES)]
    finished = run_forked(
        IMPORT_ALL, json.dumps(modules), cwd=tmp_path, environ={**os.environ, "PORT": "not read at import", "MODEL_DIR": "models"}
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)  # nothing else is printed either
    assert report.pop("num_loggers") > 5
    assert report == {"touched": [], "root": [30], "ours": [], "cuda": False}
    assert list(tmp_path.iterdir()) == []
