"""What finds no seat, no time or no memory is put off: an empty entry now, and the filler's later."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient

from backend.scoring.champion import ServedVersion
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.errors import ModelError
from preference.labelling.prompts import Prompt
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.conftest import SettingsFactory
from tests.support.app_house import ANSWERED, PROJECT, Failing, predict, promote
from tests.support.studio_double import CALLS
from tests.support.versions import publish_version


@pytest.fixture
def backend(settings_for: SettingsFactory) -> Backend:
    return Backend(settings_for(generator_engine="echo"))  # never started: its threads have tests of their own


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


@contextmanager
def all_seats(backend: Backend) -> Iterator[None]:
    """Takes every seat that is not for long requests: all of the worker's threads but three."""
    with ExitStack() as taken:
        for _ in range(backend.settings.server.threads - 3):
            assert taken.enter_context(backend.predictor.seats.take(1)) == "compute"
        assert taken.enter_context(backend.predictor.seats.take(1)) == "read"
        yield


def test_health_is_not_kept_waiting_by_predictions_that_take_every_seat(backend: Backend, client: FlaskClient) -> None:
    with all_seats(backend):
        answer = client.post("/predict", json=CALLS["predict"])

        assert answer.status_code == 200
        assert answer.get_json() == {"results": [[] for _ in CALLS["predict"]["tasks"]]}
        assert client.get("/health").get_json()["status"] == "UP"


def test_one_long_request_at_a_time_is_scored_so_that_opened_tasks_keep_their_seats(
    backend: Backend, client: FlaskClient, tiny_base: Path
) -> None:
    folder = ProjectFolder(backend.settings.model_dir, 1)
    folder.create()
    Versions(folder).promote(publish_version(folder, tiny_base, weight=1))
    backend.champions.of(1).refresh()
    with backend.predictor.seats.take(17):  # another one is at it
        assert predict(client, [ANSWERED] * 17, project=1) == [[]] * 17
        assert b"pairloop_tasks_put_off_total 17.0" in backend.metrics.text()
        assert all(predict(client, [ANSWERED] * 16, project=1))

    for _ in range(2):
        assert all(predict(client, [ANSWERED] * 17, project=1)), "the seat was given back"


def test_without_a_seat_tasks_are_scored_whose_answers_are_known(backend: Backend, client: FlaskClient, tiny_base: Path) -> None:
    promote(backend, tiny_base, project=1)
    new = {**ANSWERED, "answer2": "never read before"}
    scored = predict(client, [ANSWERED] * 17, project=1)
    seats = backend.predictor.seats
    with all_seats(backend), seats.take(17):
        assert are_alike(predict(client, [new, ANSWERED, {**ANSWERED, "answer1": ""}], project=1), [[], scored[0], []])
        assert are_alike(predict(client, [ANSWERED] * 16 + [new], project=1), [*scored[:16], []])
        assert b"pairloop_tasks_put_off_total 2.0" in backend.metrics.text()
        with seats.take(17) as turn:  # another long one reads, and threads must remain for /health
            assert turn == "read"
            assert predict(client, [ANSWERED] * 17, project=1) == [[]] * 17
            assert are_alike(predict(client, [ANSWERED] * 16, project=1), scored[:16])


def are_alike(results: list[Any], expected: list[Any]) -> bool:
    """Whether predictions are the same, but for the rounding of their scores: in a batch of another size it may differ."""
    scores = [[one["score"] if one else None for one in some] for some in (results, expected)]
    rest = [[{**one, "score": 0} if one else one for one in some] for some in (results, expected)]
    return scores[0] == pytest.approx(scores[1]) and rest[0] == rest[1]


class Slow(Failing):
    """A reward model that takes a tenth of a second for anything."""

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        time.sleep(0.1)
        return torch.arange(float(len(answers)))

    def confidence(self, reward1: float, reward2: float) -> float:
        return 0.5


def test_what_is_not_scored_in_time_gets_nothing(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(settings_for(predict_seconds=0.05))
    backend.champions.of(PROJECT).serving = ServedVersion(Slow(), "v1-20260101-000000")
    caplog.set_level(logging.INFO, "pairloop")

    results = predict(create_app(backend).test_client(), [ANSWERED] * 40)

    assert [bool(result) for result in results] == [True] * 16 + [False] * 24
    assert caplog.messages == [f"project {PROJECT}: 24 tasks of one request wait for the filler"]


def test_a_model_that_runs_out_of_memory_leaves_its_tasks_without_a_suggestion(
    backend: Backend, client: FlaskClient, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(backend, tiny_base, project=10)
    serving = backend.champions.of(10).serving
    assert serving is not None

    def fail(*_: object) -> None:
        raise ModelError("Memory ran out.")

    monkeypatch.setattr(serving.model, "score", fail)

    assert predict(client, [ANSWERED] * 3, project=10) == [[]] * 3
    assert b"pairloop_tasks_put_off_total 3.0" in backend.metrics.text()
