import ast
import json
import pickle
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from preference.errors import ModelError
from preference.models.pretrained import load_tokenizer, load_weights
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.model import load_saved
from tests.conftest import REPOSITORY
from tests.support.tiny_bases import save_tiny_base
from tests.support.versions import publish_version

# What a file may not do


@pytest.fixture(scope="module")
def unsafe_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder whose weights are pickles, which would leave a mark where they are read."""
    folder = save_tiny_base(tmp_path_factory.mktemp("unsafe") / "base")
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.pkl", "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Marking(folder / "mark")))
    return folder


class Marking:
    """Writes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_the_pickles_would_leave_a_mark(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Marking(tmp_path / "mark")))

    assert (tmp_path / "mark").exists()


def test_a_base_whose_weights_are_no_safetensors_is_refused_unread(unsafe_base: Path) -> None:
    with pytest.raises(ModelError, match="name a folder with safetensors weights"):
        load_weights(AutoModelForCausalLM, str(unsafe_base))

    assert not (unsafe_base / "mark").exists()


def test_honest_weights_are_refused_too_if_they_are_no_safetensors(tiny_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    torch.save(load_weights(AutoModelForCausalLM, str(tiny_base)).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()

    with pytest.raises(ModelError, match="no file named model"):
        load_weights(AutoModelForCausalLM, str(folder))


@pytest.mark.parametrize("kind", ["frozen", "sequence"])
def test_a_version_whose_weights_are_no_safetensors_is_refused_unread(
    kind: str, unsafe_base: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = ProjectFolder(tmp_path, 1)
    published = Versions(folder).path(publish_version(folder, tiny_base, weight=1))
    (published / "model.safetensors").unlink()
    if kind == "sequence":
        shutil.copy(unsafe_base / "config.json", published)
        description = json.loads((published / "reward_model.json").read_text(encoding="utf-8"))
        (published / "reward_model.json").write_text(json.dumps({**description, "kind": kind, "layers": []}), encoding="utf-8")
    for path in unsafe_base.iterdir():
        if path.suffix in (".bin", ".pt", ".pkl"):
            shutil.copy(path, published)

    with pytest.raises(ModelError, match="safetensors"):
        load_saved(published, extractor=lambda recipe: Sized(), device=torch.device("cpu"))  # type: ignore[arg-type]

    assert not (unsafe_base / "mark").exists()


class Sized:
    """Stands where a version's backbone is loaded before its head."""

    size = 1


def test_a_model_that_brings_code_of_its_own_is_refused_and_its_code_not_run(tiny_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    classes = {
        "AutoConfig": "brought.Config",
        "AutoModelForCausalLM": "brought.Model",
        "AutoTokenizer": ["brought.Tokenizer", None],
    }
    brought = {**config, "model_type": "brought", "auto_map": classes}
    (folder / "config.json").write_text(json.dumps(brought), encoding="utf-8")
    (folder / "brought.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\n", encoding="utf-8")

    with pytest.raises(ModelError):
        load_weights(AutoModelForCausalLM, str(folder))
    with suppress(ModelError):
        load_tokenizer(str(folder))

    assert not (tmp_path / "mark").exists()


# What the source may not hold


PACKAGES = ("preference", "backend", "trainer", "demo", "benchmarks")
SOURCES = [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
UNPICKLING = {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
LOADING = {("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("np", "load"), ("numpy", "load"), ("torch", "hub")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_file_runs_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.split(".")[0] for name in names} & UNPICKLING, where
        elif isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert keywords.get("trust_remote_code", "False") == "False", where
            assert keywords.get("use_safetensors", "True") == "True", where
            assert keywords.get("shell", "False") == "False", where
            if isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "__import__"), where
            elif isinstance(node.func, ast.Attribute):
                assert (ast.unparse(node.func.value), node.func.attr) not in LOADING, where
                # peft's has no such option: an adapter brings no code. It would read a pickle only if there were no safetensors
                # file beside, which read_low_rank refuses first.
                is_adapter = ast.unparse(node.func.value) == "PeftModel"
                assert node.func.attr != "from_pretrained" or is_adapter or "trust_remote_code" in keywords, where
