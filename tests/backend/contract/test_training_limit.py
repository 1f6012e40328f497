"""How often a round may be asked for."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from backend.contract.training_limit import MOST_AN_HOUR, ask_for_round
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.folder import ProjectFolder
from tests.conftest import SettingsFactory
from tests.support.studio_double import CALLS

NOW = 1_790_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path, 10)


def ask(folder: ProjectFolder, now: float) -> tuple[int, bool]:
    """How long to wait, and whether a trainer that looks now has a round to run."""
    return ask_for_round(folder, now), folder.take_request("train")


def test_further_requests_are_one_with_the_waiting_one(folder: ProjectFolder) -> None:
    assert [ask_for_round(folder, NOW + second) for second in range(1_000)] == [0] * 1_000
    assert (folder.take_request("train"), folder.take_request("train")) == (True, False)
    assert ask(folder, NOW + 1_000) == (0, True)


def test_a_flood_brings_no_more_rounds_an_hour_than_the_limit(folder: ProjectFolder) -> None:
    asked = [ask(folder, NOW + second) for second in range(0, 7_200, 10)]  # the trainer takes each at once

    assert sum(is_taken for _, is_taken in asked) == 2 * MOST_AN_HOUR
    assert asked[:MOST_AN_HOUR] == [(0, True)] * MOST_AN_HOUR
    assert asked[MOST_AN_HOUR] == (3_600 - 10 * MOST_AN_HOUR, False)
    assert all(is_taken == (wait == 0) for wait, is_taken in asked)


def test_a_request_after_the_given_wait_is_accepted(folder: ProjectFolder) -> None:
    for _ in range(MOST_AN_HOUR):
        ask(folder, NOW)
    wait, _ = ask(folder, NOW + 0.5)

    assert ask(folder, NOW + 0.5 + wait - 1) == (1, False)
    assert ask(folder, NOW + 0.5 + wait) == (0, True)


def test_a_clock_that_is_set_back_locks_nobody_out(folder: ProjectFolder) -> None:
    for _ in range(MOST_AN_HOUR):
        ask(folder, NOW)

    assert ask(folder, NOW - 86_400) == (0, True)


@pytest.mark.parametrize("text", ["", "{", "{}", "5", '["x"]', "[null]", "\0"])
def test_a_damaged_record_counts_as_none(folder: ProjectFolder, text: str) -> None:
    folder.create()
    (folder.path / "rounds_asked_for.json").write_text(text, encoding="utf-8")

    assert ask(folder, NOW) == (0, True)


def test_projects_are_counted_apart(tmp_path: Path) -> None:
    for _ in range(MOST_AN_HOUR + 1):
        ask(ProjectFolder(tmp_path, 1), NOW)

    assert ask(ProjectFolder(tmp_path, 2), NOW) == (0, True)


def test_threads_that_ask_together_share_the_limit(folder: ProjectFolder) -> None:
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: ask(ProjectFolder(folder.path.parent.parent, 10), NOW), range(64)))

    assert sum(is_taken for _, is_taken in taken) <= MOST_AN_HOUR


@pytest.fixture
def client(settings_for: SettingsFactory) -> FlaskClient:
    return create_app(Backend(settings_for(generator_engine="echo"))).test_client()


def test_label_studio_gets_the_time_to_ask_again(client: FlaskClient, tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path / "models", 10)
    for _ in range(MOST_AN_HOUR):
        assert client.post("/webhook", json=CALLS["START_TRAINING"]).status_code == 201
        assert folder.take_request("train")

    answer = client.post("/webhook", json=CALLS["START_TRAINING"])

    assert answer.status_code == 429
    assert answer.get_json() == {
        "error": "Training was asked for 6 times within an hour, which is the most; ask again in 60 min, or run pairloop-trainer once."
    }
    assert 3_500 < int(answer.headers["Retry-After"]) <= 3_600
    assert not folder.is_requested("train")
    assert client.post("/webhook", json=CALLS["TASKS_CREATED"]).status_code == 201  # which trains nothing
