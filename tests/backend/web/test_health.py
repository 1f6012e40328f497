import itertools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from flask.testing import FlaskClient

from backend.serving.process import Backend
from backend.web.app import create_app
from backend.web.health import Health
from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.projects.versions import UNTRAINED, Versions
from tests.conftest import SettingsFactory
from tests.support.statuses import keep_filling
from tests.support.versions import publish_version


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))  # never started: nothing is loaded unless a test does it


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    every_second = Health(backend, clock=itertools.count().__next__)  # reads anew each time
    return create_app(backend, health=every_second).test_client()


def health(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/health")
    assert answer.status_code == 200, answer.text
    values: dict[str, Any] = answer.get_json()
    assert (values["status"], values["model_class"]) == ("UP", "PreferenceModel")
    return values


def promoted(backend: Backend, base: Path, *, project: int = 1, **options: Any) -> str:
    folder = ProjectFolder(backend.settings.model_dir, project)
    version = publish_version(folder, base, weight=1, **options)
    Versions(folder).promote(version)
    return version


# Ready


def test_a_process_without_a_project_is_ready(client: FlaskClient) -> None:
    assert health(client) == {
        "status": "UP", "model_class": "PreferenceModel", "ready": True, "versions": {}, "queue": 0, "problems": [], "filling": {},
    }  # fmt: skip


def test_a_process_is_ready_when_each_champion_is_loaded(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    ProjectFolder(backend.settings.model_dir, 2).create()
    assert health(client)["ready"] is True
    version = promoted(backend, tiny_base)
    assert health(client)["ready"] is False  # the thread that loads has not even read the pointer

    champion = backend.champions.of(1)
    assert (health(client)["ready"], health(client)["versions"]) == (False, {"1": version})
    champion.refresh()

    assert (health(client)["ready"], health(client)["versions"]) == (True, {"1": version})
    promoted(backend, tiny_base)
    assert health(client)["ready"] is True  # the old one serves meanwhile


def test_a_version_that_is_refused_is_a_problem_and_nothing_is_waited_for(
    client: FlaskClient, backend: Backend, tiny_base: Path
) -> None:
    version = promoted(backend, tiny_base, probe={"reward": 9.0})
    backend.champions.of(1).refresh()

    values = health(client)

    assert (values["ready"], values["versions"], len(values["problems"])) == (True, {"1": UNTRAINED}, 1)
    assert version in values["problems"][0]


def test_a_process_is_not_ready_while_jobs_wait_for_its_generator_to_load(client: FlaskClient, backend: Backend) -> None:
    written = [backend.scheduler.submit("Why?", seed=1, is_urgent=is_urgent) for is_urgent in (False, True)]
    assert (health(client)["ready"], health(client)["queue"]) == (False, 2)

    backend.scheduler.generator().run(backend.scheduler)

    assert all(future.done() for future in written)
    assert (health(client)["ready"], health(client)["queue"]) == (True, 0)


def test_those_who_ask_within_half_a_second_share_one_reading(settings_for: SettingsFactory) -> None:
    now = 100.0
    backend = Backend(settings_for(generator_engine="echo"))
    state = Health(backend, clock=lambda: now)
    assert state.read()["queue"] == 0
    backend.scheduler.submit("Why?", seed=1, is_urgent=False)

    now += 0.4
    assert state.read()["queue"] == 0
    now += 0.1
    assert state.read()["queue"] == 1


# Whatever lies in MODEL_DIR


def _deleted(model_dir: Path) -> None:
    shutil.rmtree(model_dir)


def _a_file(model_dir: Path) -> None:
    _deleted(model_dir)
    model_dir.touch()


def _projects_a_file(model_dir: Path) -> None:
    shutil.rmtree(model_dir / "projects")
    (model_dir / "projects").touch()


def _pointer_not_text(model_dir: Path) -> None:
    (model_dir / "projects" / "1" / "champion").write_bytes(b"\xff\xfe\x00\n\x80")


def _pointer_a_folder(model_dir: Path) -> None:
    (model_dir / "projects" / "1" / "champion").unlink(missing_ok=True)
    (model_dir / "projects" / "1" / "champion").mkdir()


def _pointer_a_path(model_dir: Path) -> None:
    (model_dir / "projects" / "1" / "champion").write_text("../../../etc/passwd\n")


def _filling_not_text(model_dir: Path) -> None:
    (model_dir / "projects" / "1" / "filling.json").write_bytes(b"\xff\xfe{")


def _filling_half(model_dir: Path) -> None:
    (model_dir / "projects" / "1" / "filling.json").write_text('{"tasks_left": 3, ')


def _filling_a_folder(model_dir: Path) -> None:
    (model_dir / "projects" / "1" / "filling.json").mkdir()


def _project_a_file(model_dir: Path) -> None:
    shutil.rmtree(model_dir / "projects" / "1")
    (model_dir / "projects" / "1").touch()


DAMAGES = [
    _deleted, _a_file, _projects_a_file, _pointer_not_text, _pointer_a_folder, _pointer_a_path, _filling_not_text, _filling_half,
    _filling_a_folder, _project_a_file,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_reported", [True, False], ids=["reported", "not reported"])
def test_health_and_metrics_answer_whatever_lies_in_the_folder(
    client: FlaskClient, backend: Backend, damage: Callable[[Path], None], is_reported: bool
) -> None:
    for project in (1, 2):
        ProjectFolder(backend.settings.model_dir, project).create()
    keep_filling(ProjectFolder(backend.settings.model_dir, 2), {"tasks_left": 3})
    if is_reported:  # by the thread that follows the pointers
        assert (backend.champions.of(1).version, backend.champions.of(2).version) == (UNTRAINED, UNTRAINED)

    damage(backend.settings.model_dir)

    values = health(client)
    if damage not in (_deleted, _a_file, _projects_a_file):
        assert values["filling"] == {"2": {"tasks_left": 3}}  # one project's damage hides no other
    assert client.get("/metrics").status_code == 200


def test_an_unreadable_file_is_a_problem_that_names_it(client: FlaskClient, backend: Backend) -> None:
    folder = ProjectFolder(backend.settings.model_dir, 1)
    folder.create()
    _pointer_a_folder(backend.settings.model_dir)

    assert health(client)["problems"] == [
        f"Project 1: {folder.path / 'champion'} cannot be read (Is a directory); fix or remove it."
    ]
    _projects_a_file(backend.settings.model_dir)
    assert health(client)["problems"] == [
        f"MODEL_DIR={backend.settings.model_dir} cannot be read (Not a directory); mount it again, or fix its permissions."
    ]


def test_what_a_process_notes_of_a_project_is_a_problem_for_all_of_them(client: FlaskClient, backend: Backend) -> None:
    for project in (1, 2):
        ProjectFolder(backend.settings.model_dir, project).create()
    ProjectProblems(backend.settings.model_dir, "trainer", logging.getLogger()).note(2, "look", "Label Studio refuses it.")

    with FileLock(backend.settings.model_dir / "trainer.lock"):
        assert health(client)["problems"] == ["Project 2: Label Studio refuses it."]


# How much is read


@pytest.mark.parametrize("route", ["/health", "/metrics"])
def test_health_reads_no_version_so_their_number_does_not_slow_it(client: FlaskClient, backend: Backend, route: str) -> None:
    folder = ProjectFolder(backend.settings.model_dir, 1)
    folder.create()
    (folder.path / "champion").write_text("v200-20260101-000000\n")
    before = client.get(route).text
    shutil.rmtree(folder.path / "versions")
    (folder.path / "versions").write_text("a folder that cannot be listed")

    after = client.get(route).text

    assert _names(after) >= _names(before)
    assert "cannot be read" not in after


def _names(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}
