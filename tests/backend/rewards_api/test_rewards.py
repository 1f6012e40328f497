"""Requests for rewards have one seat and a time limit, and none is answered in part."""

import contextvars
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from flask.testing import FlaskClient

from backend.rewards_api.arrival import remember_arrival
from backend.scoring.champion import ServedVersion
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.labelling.prompts import Prompt
from tests.support.app_house import ANSWERED, PROJECT, Failing, assert_refused, predict
from tests.support.reward_calls import MARKED, SCORE

GET_REWARD = f"/projects/{PROJECT}/get_reward"


@contextmanager
def seat_taken(backend: Backend) -> Iterator[None]:
    with backend.predictor.seats.wait_for_rewards(0) as has_seat:
        assert has_seat
        yield


def test_a_request_that_gets_no_turn_in_time_is_refused_and_says_when_to_come_again(backend: Backend, version: str) -> None:
    hurried = Backend(backend.settings.replace(predict_seconds=0.05))
    client = create_app(hurried).test_client()
    with seat_taken(hurried):
        answer = client.post("/score", json=SCORE)

    assert assert_refused(answer, 503) == (
        "Other requests for rewards take all the time that there is (PREDICT_SECONDS=0.05); try again, send fewer answers at a time, "
        "or run more WORKERS."
    )
    assert answer.headers["Retry-After"] == "1"
    hurried.champions.of(PROJECT).refresh()
    assert (
        create_app(Backend(backend.settings)).test_client().post("/score", json=SCORE).status_code == 503
    )  # is not loaded there


def test_a_request_that_waited_too_long_outside_is_not_begun(client: FlaskClient, version: str) -> None:
    def late() -> Any:
        remember_arrival(time.monotonic() - 3600)
        return client.post("/score", json=SCORE)

    answer = contextvars.copy_context().run(late)

    assert assert_refused(answer, 503).startswith("0 of 2 answers were scored in time (PREDICT_SECONDS=60)")


def test_a_backend_that_is_to_end_computes_no_more(client: FlaskClient, backend: Backend, version: str) -> None:
    backend.stop()

    assert client.post(GET_REWARD, json={"query": [MARKED]}).status_code == 503


def test_people_and_programs_do_not_take_each_others_seats(client: FlaskClient, backend: Backend, version: str) -> None:
    with seat_taken(backend):
        assert all(predict(client, [ANSWERED]))
    with ExitStack() as stack:
        for _ in range(backend.settings.server.threads):
            stack.enter_context(backend.predictor.seats.take(1))
        assert client.post("/score", json=SCORE).status_code == 200
    assert client.post("/score", json=SCORE).status_code == 200, "the seat was given back"


def test_a_model_that_fails_gives_its_seat_back_and_nothing_away(client: FlaskClient, backend: Backend, version: str) -> None:
    champion = backend.champions.of(PROJECT)
    served = champion.serving
    assert served is not None
    failing = Failing()
    failing.tokenizer = served.model.tokenizer
    champion.serving = ServedVersion(failing, version)
    failed = client.post("/score", json=SCORE)
    champion.serving = served

    assert "secret" not in assert_refused(failed, 500)
    assert client.post("/score", json=SCORE).status_code == 200


class NoNumber(Failing):
    """A reward model whose weights overflowed."""

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        return torch.full((len(answers),), float("nan"))


@pytest.mark.parametrize("path", ["/score", GET_REWARD])
def test_a_reward_that_is_no_number_is_refused_for_json_has_no_word_for_it(
    client: FlaskClient, backend: Backend, version: str, path: str
) -> None:
    champion = backend.champions.of(PROJECT)
    assert champion.serving is not None
    model = NoNumber()
    model.tokenizer = champion.serving.model.tokenizer
    champion.serving = ServedVersion(model, version)

    answer = client.post(path, json=SCORE if path == "/score" else {"query": [MARKED]})

    assert assert_refused(answer, 503).startswith(f"Project {PROJECT}: {version} gives an answer no number as its reward")


def test_a_version_that_is_refused_says_why(client: FlaskClient, backend: Backend, version: str, tiny_chat_base: Path) -> None:
    (backend.settings.model_dir / "projects" / str(PROJECT) / "versions" / version / "model.safetensors").write_bytes(b"torn")
    backend.champions.of(PROJECT).serving = None
    backend.champions.of(PROJECT).refresh()

    assert f"{version} is not served: " in assert_refused(client.post("/score", json=SCORE), 503)
