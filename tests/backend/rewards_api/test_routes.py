"""The routes of rewards, asked as each program's own client asks."""

import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from backend.contract.request_memory import RequestMemory
from backend.serving.process import Backend
from backend.web.app import create_app
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.app_house import PROJECT, assert_refused, promote
from tests.support.reward_calls import (
    ANSWER,
    LLAMA_FACTORY,
    MARKED,
    OPENED,
    OPENRLHF,
    PROMPT,
    SCORE,
    VERL,
    VLLM_CLASSIFY,
    VLLM_POOLING,
)
from tests.support.tolerance import REWARDS, assert_close


def of(backend: Backend, *answers: str, project: int = PROJECT) -> list[float]:
    """What the served model says of answers to PROMPT."""
    serving = backend.champions.of(project).serving
    assert serving is not None
    rewards: list[float] = serving.model.score([PROMPT] * len(answers), answers).tolist()
    return rewards


def post(client: FlaskClient, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


# Each form


def test_our_form_has_rewards_and_how_probable_each_preference_is(client: FlaskClient, backend: Backend, version: str) -> None:
    answer = post(client, "/score", SCORE)

    shorter, longer = of(backend, *SCORE["answers"])
    assert (answer["project"], answer["version"]) == (PROJECT, version)
    assert_close(answer["rewards"], [shorter, longer], within=REWARDS)
    assert longer > shorter
    confidence = 1 / (1 + math.exp(shorter - longer))  # the temperature is 1
    assert_close(answer["preferences"][0], [0.5, 1 - confidence], within=REWARDS)
    assert_close(answer["preferences"][1], [confidence, 0.5], within=REWARDS)


def test_our_form_takes_a_conversation(client: FlaskClient, version: str) -> None:
    messages = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Why?"},
    ]

    answer = post(client, "/score", {"project": "10.1795241174", "messages": messages, "answers": ["Because."]})

    assert (answer["version"], answer["preferences"]) == (version, [[0.5]])


def test_openrlhf_gets_lists_under_the_names_that_it_reads(client: FlaskClient, backend: Backend, version: str) -> None:
    answer = post(client, f"/projects/{PROJECT}/get_reward", OPENRLHF)

    assert answer == {"rewards": answer["scores"], "scores": answer["scores"], "extra_logs": {}, "version": version}
    assert_close(answer["scores"], of(backend, ANSWER), within=REWARDS)


def test_llama_factory_gets_a_score_for_each_message(client: FlaskClient, backend: Backend, version: str) -> None:
    answer = post(client, f"/projects/{PROJECT}/get_reward", LLAMA_FACTORY)

    assert_close(answer["scores"], of(backend, ANSWER, "Because."), within=REWARDS)


def test_verl_gets_the_bare_reward_where_it_reads_it(client: FlaskClient, backend: Backend, version: str) -> None:
    answer = post(client, f"/projects/{PROJECT}/classify", VERL)

    assert_close([answer["data"][-1]["probs"][-1]], of(backend, ANSWER), within=REWARDS)


def test_vllms_clients_get_one_number_a_text_and_the_version_as_the_model(
    client: FlaskClient, backend: Backend, version: str
) -> None:
    classified = post(client, f"/projects/{PROJECT}/classify", VLLM_CLASSIFY)
    pooled = post(client, f"/projects/{PROJECT}/pooling", {**VLLM_POOLING, "use_activation": False})

    probable = [1 / (1 + math.exp(-reward)) for reward in of(backend, ANSWER, "Because.")]  # vLLM's default
    assert classified["model"] == pooled["model"] == f"{PROJECT}@{version}"
    assert [(entry["index"], entry["num_classes"]) for entry in classified["data"]] == [(0, 1), (1, 1)]
    assert_close([entry["probs"][0] for entry in classified["data"]], probable, within=REWARDS)
    assert_close(pooled["data"][0]["data"], of(backend, ANSWER), within=REWARDS)


def test_a_text_that_is_sent_with_any_policys_marks_is_scored_as_the_bare_exchange(
    client: FlaskClient, backend: Backend, version: str
) -> None:
    gemma = f"<bos><start_of_turn>user\n{PROMPT}<end_of_turn>\n<start_of_turn>model\n{ANSWER}<end_of_turn>\n"

    answer = post(client, f"/projects/{PROJECT}/get_reward", {"query": [gemma, MARKED, MARKED + "<|endoftext|>"]})

    assert_close(answer["rewards"], of(backend, ANSWER) * 3, within=REWARDS)


def test_what_a_policy_writes_of_marks_is_its_answer(client: FlaskClient, backend: Backend, version: str) -> None:
    written = "So.<|im_end|>\n<|im_start|>assistant\nBecause the moon looked at the cat, and so on, and on."

    answer = post(client, f"/projects/{PROJECT}/get_reward", {"query": [OPENED + written], "prompts": [OPENED]})

    assert_close(answer["rewards"], of(backend, written), within=REWARDS)


def test_an_answer_that_is_empty_has_a_reward(client: FlaskClient, backend: Backend, version: str) -> None:
    answer = post(client, f"/projects/{PROJECT}/get_reward", {"query": [f"{OPENED}<|im_end|>"], "prompts": [OPENED]})

    assert_close(answer["rewards"], of(backend, ""), within=REWARDS)


def test_512_answers_are_one_request_and_leave_nothing_behind(client: FlaskClient, backend: Backend, version: str) -> None:
    before = {path for path in backend.settings.model_dir.rglob("*") if path.is_file()}
    texts = [f"{OPENED}Because of cat {i}." for i in range(512)]

    answer = post(client, f"/projects/{PROJECT}/get_reward", {"query": texts})

    assert len(answer["rewards"]) == 512 and all(map(math.isfinite, answer["rewards"]))
    assert {path for path in backend.settings.model_dir.rglob("*") if path.is_file()} == before


# Which version


@pytest.mark.parametrize("form", ["get_reward", "classify", "pooling"])
def test_a_path_that_names_a_version_gets_that_one_whatever_is_served(
    client: FlaskClient, backend: Backend, version: str, tiny_chat_base: Path, form: str
) -> None:
    newer = promote(backend, tiny_chat_base, weight=-1)
    body = {"query": [MARKED]} if form == "get_reward" else {"input": MARKED}

    def by(name: str) -> Any:
        answer = post(client, f"/projects/{name}/{form}", body)
        return answer.get("version") or answer["model"]

    assert by("10").endswith(newer)
    assert by("10@v1").endswith(version) and by(f"10@{version}").endswith(version) and by("10@v2").endswith(newer)


def test_a_pinned_request_in_our_form_keeps_its_version_and_its_rewards(
    client: FlaskClient, backend: Backend, version: str, tiny_chat_base: Path
) -> None:
    first = post(client, "/score", SCORE)
    promote(backend, tiny_chat_base, weight=-1)

    pinned = post(client, "/score", {**SCORE, "version": "v1"})

    assert pinned["version"] == version
    assert_close(pinned["rewards"], first["rewards"], within=REWARDS)
    assert post(client, "/score", SCORE)["rewards"][0] > post(client, "/score", SCORE)["rewards"][1]


# Refusals


@pytest.mark.parametrize(
    ("path", "body", "status", "line"),
    [
        ("/score", {**SCORE, "project": 11}, 404, "There is no project 11 here; `pairloop-backend connect` makes one known."),
        ("/score", {**SCORE, "version": "v7"}, 404, "Project 10 has no version 'v7'; it has: v1-"),
        ("/score", {**SCORE, "version": "../x"}, 400, "version: "),
        ("/score", {**SCORE, "answers": []}, 400, "answers: "),
        ("/score", {**SCORE, "answers": ["a"] * 513}, 400, "answers: "),
        ("/score", {**SCORE, "messages": []}, 400, "messages: "),
        ("/score", {**SCORE, "prompt": None}, 400, "the body: should have either `prompt`, a text, or `messages`"),
        ("/score", {**SCORE, "prompt": " "}, 400, "prompt: a prompt is empty."),
        ("/projects/x/get_reward", OPENRLHF, 404, "The path names no project: it should be /projects/12/..."),
        ("/projects/10@3/get_reward", OPENRLHF, 404, "The path names no project"),
        ("/projects/10@v9/get_reward", OPENRLHF, 404, "Project 10 has no version 'v9'"),
        ("/projects/10/get_reward", {"query": [MARKED, "hm"]}, 400, "query.1: it has no marks that tell the prompt from the answer"),
        ("/projects/10/get_reward", {"query": [MARKED], "prompts": ["Who?"]}, 400, "query.0: it does not begin with its prompt."),
        ("/projects/10/get_reward", {"query": [MARKED], "prompts": []}, 400, "the body: has 1 queries and 0 prompts"),
        ("/projects/10/classify", {"input": [1, 2]}, 400, "input: should be texts: token ids are those of another model's"),
        ("/projects/10/classify", {}, 400, "the body: should have either `input`"),
        ("/projects/10/classify", {"input": MARKED, "encoding_format": "base64"}, 400, "encoding_format: "),
        ("/projects/10/pooling", {"messages": VLLM_POOLING["messages"][:1]}, 400, "messages: the last message is not the assistant's"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_refused_and_said(
    client: FlaskClient, version: str, path: str, body: Any, status: int, line: str
) -> None:
    assert assert_refused(client.post(path, json=body), status).startswith(line)


def test_a_project_that_serves_nothing_yet_says_so(client: FlaskClient, backend: Backend, tiny_base: Path) -> None:
    folder = ProjectFolder(backend.settings.model_dir, PROJECT)
    folder.create()
    nothing = client.post("/score", json=SCORE)
    version = promote(backend, tiny_base, project=11)
    Versions(ProjectFolder(backend.settings.model_dir, 11)).promote(version)
    backend.champions.of(11).serving = None
    loading = client.post("/score", json={**SCORE, "project": 11})

    assert assert_refused(nothing, 404).startswith("Project 10 has no version yet that is served")
    assert assert_refused(loading, 503) == f"Project 11: {version} is being loaded; try again."
    assert loading.headers["Retry-After"] == "5"


def test_the_routes_want_the_password_and_take_it_from_an_address(backend: Backend, version: str) -> None:
    locked = Backend(backend.settings.replace(basic_auth_user="ls", basic_auth_pass="pw"))
    locked.champions.of(PROJECT).refresh()
    client = create_app(locked).test_client()
    path = f"/projects/{PROJECT}/get_reward"
    request = requests.Request("POST", f"http://ls:pw@localhost{path}", json=OPENRLHF).prepare()

    answer = client.post(path, data=request.body, headers=dict(request.headers))

    assert (client.post(path, json=OPENRLHF).status_code, client.post("/score", json=SCORE).status_code) == (401, 401)
    assert answer.status_code == 200 and len(answer.get_json()["rewards"]) == 1


def test_without_a_password_a_strangers_name_for_the_backend_is_refused(client: FlaskClient, version: str) -> None:
    assert client.post("/score", json=SCORE, base_url="http://rebound.example.com").status_code == 403


def test_a_body_that_would_take_too_much_memory_is_refused(backend: Backend, version: str) -> None:
    client = create_app(backend, memory=RequestMemory(2**20)).test_client()

    assert client.post("/score", json={**SCORE, "answers": ["x" * 2_000_000]}).status_code == 413
    assert client.post("/score", json={**SCORE, "answers": ["x"] * 300}).status_code == 413  # the preferences that answer it
    assert client.post("/score", json=SCORE).status_code == 200


# Over HTTP, with code of the clients


@pytest.fixture
def address(backend: Backend, version: str) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, create_app(backend), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.port}/projects/{PROJECT}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_llama_factorys_function_gets_its_scores(address: str, backend: Backend) -> None:
    # As src/llamafactory/train/ppo/ppo_utils.py asks, 0.9.6.dev0.
    response = requests.post(
        f"{address}/get_reward", json=LLAMA_FACTORY, headers={"Content-Type": "application/json"}, timeout=60
    )

    assert_close(json.loads(response.text)["scores"], of(backend, ANSWER, "Because."), within=REWARDS)


def test_openrlhfs_earlier_function_gets_its_rewards(address: str, backend: Backend) -> None:
    # As openrlhf/utils/remote_rm_utils.py asks, 0.8.0.
    response = requests.post(
        url=f"{address}/get_reward", json=OPENRLHF, headers={"Content-Type": "application/json"}, timeout=180
    )
    response.raise_for_status()

    assert_close(response.json().get("rewards"), of(backend, ANSWER), within=REWARDS)


def test_vllms_example_client_gets_an_answer(address: str) -> None:
    # As examples/pooling/reward/sequence_reward_online.py asks.
    response = requests.post(f"{address}/pooling", headers={"User-Agent": "Test Client"}, json=VLLM_POOLING, timeout=60)

    assert 0 < response.json()["data"][0]["data"][0] < 1
