"""How much of MODEL_DIR is read to show how projects stand: each file once at most, whoever asks."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from preference.duels.figures import DuelFigures, write_duels
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.dashboard_house import PROJECT, shared_model_dir
from tests.support.dashboard_page import BROWSER, app_on
from tests.support.generator_versions import publish
from tests.support.opened_files import opened_files
from tests.support.statuses import write_counts
from trainer.__main__ import main


@pytest.fixture
def models(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, tiny_base: Path) -> Path:
    """A MODEL_DIR with two projects, one of which has had four rounds and three champions."""
    model_dir = Path(shutil.copytree(shared_model_dir(tmp_path_factory.getbasetemp(), tiny_base), tmp_path / "models"))
    folder = ProjectFolder(model_dir, PROJECT)
    for version in Versions(folder).all()[:2]:
        Versions(folder).promote(version, by="hand")
    publish(folder, promote=True)
    write_duels(folder.path, [DuelFigures("echo:embedded", "openai:tiny")])
    other = ProjectFolder(model_dir, 12)
    other.create()
    write_counts(other, 3, title="Poems")
    return model_dir


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (f"/?project={PROJECT}", ["champion", "duels.json", "filling.json", "generator", "last_round.json", "waiting.json"]),
        ("/", ["waiting.json"]),
        ("/health", ["champion", "filling.json", "last_round.json", "waiting.json"]),
        ("/metrics", ["champion", "duels.json", "filling.json", "last_round.json", "waiting.json"]),
    ],
)
def test_a_request_opens_no_file_twice(models: Path, address: str, expected: list[str]) -> None:
    client = app_on(models).test_client()
    client.get("/", headers=BROWSER)  # makes the key, and compiles the page's template

    with opened_files() as opened:
        assert client.get(address, headers=BROWSER).status_code == 200

    counts = Counter(path for path in opened if path.is_relative_to(models))
    assert {path: count for path, count in counts.items() if count > 1} == {}
    assert {models / "projects" / str(PROJECT) / name for name in expected} <= counts.keys()


def test_status_opens_no_file_twice(models: Path) -> None:
    with opened_files() as opened:
        assert CliRunner().invoke(main, ["status"], env={"MODEL_DIR": str(models)}).exit_code == 0

    counts = Counter(path for path in opened if path.is_relative_to(models))
    assert {path: count for path, count in counts.items() if count > 1} == {}
    assert models / "projects" / str(PROJECT) / "waiting.json" in counts
