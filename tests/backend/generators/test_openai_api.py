import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.generators.jobs import Generator, WrittenAnswers
from backend.generators.openai_api import OpenAIGenerator
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from demo.stack import REPOSITORY, Process, free_port, wait_until
from preference.errors import ModelError
from preference.models.pretrained import locate
from tests.conftest import SettingsFactory
from tests.support.openai_double import KEY, OpenAIDouble

MakeGenerator = Callable[..., OpenAIGenerator]
SECONDS = 60  # for whatever is waited for


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as server:
        yield server


@pytest.fixture
def make(server: OpenAIDouble, settings_for: SettingsFactory) -> MakeGenerator:
    """Makes a generator on the double; keyword arguments are settings."""

    def make(*, max_retries: int = 3, patience_seconds: float = SECONDS, **changes: Any) -> OpenAIGenerator:
        fields = {"openai_base_url": server.url, "openai_concurrency": 2, "generator_model": "tiny", **changes}
        return OpenAIGenerator(settings_for(**fields), max_retries=max_retries, patience_seconds=patience_seconds)

    return make


@contextmanager
def scheduling(generator: Generator, metrics: Metrics | None = None) -> Iterator[Scheduler]:
    """A scheduler whose thread runs `generator`."""
    scheduler = Scheduler(lambda: generator, metrics or Metrics())
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def write(generator: Generator, *prompts: str, seed: int = 1, num_answers: int = 2) -> list[WrittenAnswers]:
    with scheduling(generator) as scheduler:
        waiting = [scheduler.submit(prompt, seed=seed, num_answers=num_answers) for prompt in prompts]
        return [future.result(SECONDS) for future in waiting]


def failure(generator: Generator) -> str:
    with scheduling(generator) as scheduler, pytest.raises(ModelError) as raised:
        scheduler.submit("Hi", seed=1).result(SECONDS)
    return str(raised.value)


# What is asked, and what comes of it


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_one_call_gives_all_answers_where_the_server_has_n(server: OpenAIDouble, make: MakeGenerator, endpoint: str) -> None:
    generator = make(openai_endpoint=endpoint, temperature=0.5, top_p=0.9, max_new_tokens=7)

    assert write(generator, "a", num_answers=3) == [WrittenAnswers(["a/1", "a/2", "a/3"])]
    (request,) = server.requests
    assert request.pop("messages" if endpoint == "chat" else "prompt")
    asked = {"model": "tiny", "seed": 1, "n": 3, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7}
    assert request == {"path": "/v1/chat/completions" if endpoint == "chat" else "/v1/completions", **asked}


@pytest.mark.parametrize("n", ["ignored", "refused"])
def test_each_answer_is_asked_for_where_the_server_lacks_n(
    server: OpenAIDouble, make: MakeGenerator, caplog: pytest.LogCaptureFixture, n: Any
) -> None:
    server.n = n
    caplog.set_level(logging.INFO)
    generator = make(openai_concurrency=1)

    assert write(generator, "a", "b", "c", num_answers=3) == [
        WrittenAnswers([f"{prompt}/{k}" for k in (1, 2, 3)]) for prompt in "abc"
    ]
    assert sum("n" in request for request in server.requests) == 1
    assert len(server.requests) == 9 + (n == "refused")
    assert caplog.text.count("gives one answer a call") == 1


def test_one_answer_is_asked_for_without_n(server: OpenAIDouble, make: MakeGenerator) -> None:
    assert write(make(), "a", num_answers=1) == [WrittenAnswers(["a/1"])]
    assert "n" not in server.requests[0]


def test_a_seed_of_48_bits_fits_the_server(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.n = "ignored"

    write(make(), "a", seed=2**48 - 1)

    assert [request["seed"] for request in server.requests] == [2**31 - 1, 0]


def test_the_system_prompt_is_a_message_or_the_texts_head(server: OpenAIDouble, make: MakeGenerator) -> None:
    write(make(system_prompt="Be kind."), "Hi")
    write(make(system_prompt="Be kind.", openai_endpoint="completions"), "Hi")

    assert server.requests[0]["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert server.requests[1]["prompt"] == "Be kind.\n\nHi"


def test_answers_end_at_each_stop_text_though_the_server_is_told_four(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.write = lambda prompt, seed: f" {prompt} one FIVE two TWO three"
    stop = ("ONE", "TWO", "THREE", "FOUR", "FIVE")

    assert write(make(stop=stop), "a") == [WrittenAnswers(["a one", "a one"])]
    assert server.requests[0]["stop"] == ["ONE", "TWO", "THREE", "FOUR"]


def test_no_text_is_an_empty_answer(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.write = lambda prompt, seed: None if seed == 1 else "\n text \n"

    assert write(make(), "a") == [WrittenAnswers(["", "text"])]


def test_tokens_are_counted_by_the_server_or_as_words(server: OpenAIDouble, make: MakeGenerator) -> None:
    metrics = Metrics()
    with scheduling(make(), metrics) as scheduler:
        scheduler.submit("a", seed=1).result(SECONDS)
        server.usage = None
        scheduler.submit("one two", seed=1).result(SECONDS)

    assert "pairloop_tokens_written_total 14.0" in metrics.text().decode()


def test_a_model_that_wants_max_completion_tokens_gets_them(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.limit = "max_completion_tokens"
    server.gate.clear()

    with scheduling(make(max_new_tokens=7)) as scheduler:
        both = [scheduler.submit(prompt, seed=1) for prompt in "ab"]
        wait_until(lambda: server.num_under_way == 2, timeout_seconds=SECONDS, what="two requests", every_seconds=0.02)
        server.gate.set()
        assert [future.result(SECONDS).answers for future in both] == [["a/1", "a/2"], ["b/1", "b/2"]]
        assert scheduler.submit("c", seed=1).result(SECONDS).answers == ["c/1", "c/2"]

    assert [("max_tokens" in request, request.get("max_completion_tokens")) for request in server.requests] == [
        (True, None), (True, None), (False, 7), (False, 7), (False, 7),
    ]  # fmt: skip


def test_a_generator_names_its_model_and_its_sampling_without_secrets(server: OpenAIDouble, make: MakeGenerator) -> None:
    secretive = make(openai_base_url=server.url.replace("://", "://me:password@"), openai_api_key=KEY, system_prompt="Be kind.")

    assert secretive.name == "tiny"
    assert secretive.sampling == {
        "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 128, "endpoint": "chat", "system_prompt": "Be kind.",
    }  # fmt: skip


# Who comes when


def test_so_many_requests_are_under_way_as_set_and_never_more(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.gate.clear()
    server.n = "ignored"

    with scheduling(make(openai_concurrency=3)) as scheduler:
        waiting = [scheduler.submit(f"a{k}", seed=1) for k in range(5)]
        waiting += [scheduler.submit(f"u{k}", seed=1, is_urgent=True) for k in range(5)]
        wait_until(lambda: server.num_under_way == 3, timeout_seconds=SECONDS, what="three requests", every_seconds=0.02)
        server.gate.set()
        assert all(len(future.result(SECONDS).answers) == 2 for future in waiting)

    assert server.most_under_way == 3


def test_a_job_that_comes_while_another_is_written_is_written_beside_it(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.gate.clear()

    with scheduling(make()) as scheduler:
        scheduler.submit("a", seed=1)
        wait_until(lambda: server.num_under_way == 1, timeout_seconds=SECONDS, what="the first", every_seconds=0.02)
        scheduler.submit("b", seed=1)
        wait_until(lambda: server.num_under_way == 2, timeout_seconds=SECONDS, what="the second", every_seconds=0.02)


def test_an_urgent_job_goes_before_those_that_wait(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.gate.clear()

    with scheduling(make(openai_concurrency=1)) as scheduler:
        waiting = [scheduler.submit(prompt, seed=1) for prompt in "abc"]
        wait_until(lambda: server.num_under_way == 1, timeout_seconds=SECONDS, what="the first", every_seconds=0.02)
        waiting += [scheduler.submit(prompt, seed=1, is_urgent=True) for prompt in "UV"]
        server.gate.set()
        for future in waiting:
            future.result(SECONDS)

    assert server.prompts == ["a", "U", "V", "b", "c"]


def test_the_end_of_the_process_abandons_what_is_under_way(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.gate.clear()

    with scheduling(make(openai_concurrency=1)) as scheduler:
        waiting = [scheduler.submit(prompt, seed=1) for prompt in "ab"]
        wait_until(lambda: server.num_under_way == 1, timeout_seconds=SECONDS, what="the first", every_seconds=0.02)

    assert all(future.cancelled() for future in waiting)
    assert server.prompts == ["a"]


def test_an_answer_that_nobody_waits_for_any_more_harms_nobody(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.gate.clear()

    with scheduling(make()) as scheduler:
        first, second = (scheduler.submit(prompt, seed=1) for prompt in "ab")
        wait_until(lambda: server.num_under_way == 2, timeout_seconds=SECONDS, what="both", every_seconds=0.02)
        first.cancel()
        server.gate.set()
        assert second.result(SECONDS).answers == ["b/1", "b/2"]


# What goes wrong


@pytest.mark.parametrize("failures", [[429], [500, 503], [0], [408, 429, 502]], ids=str)
def test_a_server_that_fails_for_a_while_is_asked_again(server: OpenAIDouble, make: MakeGenerator, failures: list[int]) -> None:
    generator = make()
    server.failures = list(failures)

    assert write(generator, "a") == [WrittenAnswers(["a/1", "a/2"])]
    assert len(server.requests) == len(failures) + 1


def test_a_server_that_keeps_failing_fails_all_that_was_taken_and_serves_later_jobs(
    server: OpenAIDouble, make: MakeGenerator
) -> None:
    generator = make(max_retries=1)
    server.failures = [503] * 4

    with scheduling(generator) as scheduler:
        for future in [scheduler.submit(prompt, seed=1) for prompt in "ab"]:
            with pytest.raises(ModelError, match=r"127.0.0.1:\d+/v1 failed \(503: busy\); its own log may say why\."):
                future.result(SECONDS)
        server.failures = []
        assert scheduler.submit("c", seed=1).result(SECONDS).answers == ["c/1", "c/2"]


def test_a_server_that_is_gone_is_named(make: MakeGenerator) -> None:
    with OpenAIDouble() as gone:
        generator = make(openai_base_url=gone.url, max_retries=0)

    assert re.fullmatch(rf"{gone.url} does not answer \(.+\); start it, or set OPENAI_BASE_URL\.", failure(generator))
    with pytest.raises(ModelError, match=r"does not answer \(.+ refused\); start it, or set OPENAI_BASE_URL\."):
        make(openai_base_url=gone.url, max_retries=0)


def test_a_server_that_hangs_is_given_up(server: OpenAIDouble, make: MakeGenerator) -> None:
    generator = make(patience_seconds=0.1)
    server.gate.clear()

    assert failure(generator) == f"{server.url} does not answer (TimeoutError); start it, or set OPENAI_BASE_URL."


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_prompt_that_is_refused_says_why_and_the_others_go_on(
    server: OpenAIDouble, make: MakeGenerator, caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    caplog.set_level(logging.INFO)
    too_long = "'max_tokens' or 'max_completion_tokens' is too large:\n 128. " + "x" * 300  # as vLLM says it
    server.refusals["long"] = 400, {"error": {"message": too_long, "type": "BadRequestError", "param": None, "code": 400}}
    server.refusals["large"] = 413, {"error": "too large", "error_type": "validation"}  # as TGI says it
    server.refusals["odd"] = 422, {"detail": [{"msg": "odd", "input": "odd"}]}

    writings = write(make(openai_endpoint=endpoint), "a", "long", "large", "odd", "b")

    assert [writing.answers for writing in writings] == [["a/1", "a/2"], [], [], [], ["b/1", "b/2"]]
    assert writings[1].refused == "the server refused the prompt (400): " + too_long.replace("\n", "")[:200]
    assert writings[2].refused == "the server refused the prompt (413): too large"
    assert writings[3].refused == "the server refused the prompt (422): Unprocessable Entity"
    last = server.requests[server.prompts.index("b")]
    assert last["n"] == 2 and "max_tokens" in last  # no refusal was taken for one of these
    assert not any(re.search(rf"\b{prompt}\b", caplog.text) for prompt in ("long", "large", "odd"))


def test_answers_that_the_content_filter_holds_back_are_a_refusal(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.finish_reason = "content_filter"
    server.write = lambda prompt, seed: "" if prompt == "a" else "cut sho"

    refused, cut = write(make(), "a", "b")

    assert refused == WrittenAnswers([], refused="the server refused the prompt: its content filter let no answer through")
    assert cut == WrittenAnswers(["cut sho", "cut sho"])


def test_a_key_that_the_server_refuses_is_not_shown(
    server: OpenAIDouble, make: MakeGenerator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.wants_key = True

    with pytest.raises(ModelError) as raised:
        make(openai_api_key=KEY + "-old")
    assert str(raised.value) == f"{server.url} refused the key (401); set OPENAI_API_KEY to one that it accepts."
    generator = make(openai_api_key=KEY)
    server.refusals["Hi"] = 403, {"error": f"{KEY} may not write"}
    assert failure(generator) == f"{server.url} refused the key (403); set OPENAI_API_KEY to one that it accepts."
    assert KEY not in caplog.text


def test_a_model_or_an_endpoint_that_the_server_lacks_is_named(server: OpenAIDouble, make: MakeGenerator) -> None:
    assert failure(make(generator_model="other", openai_endpoint="completions")) == (
        f"{server.url} has no model 'other' or no completions endpoint (404); "
        "set GENERATOR_MODEL, OPENAI_ENDPOINT or OPENAI_BASE_URL."
    )


@pytest.mark.parametrize("page", ["<html>Welcome</html>", '{"object": "error"}', "[]"])
def test_a_server_of_another_kind_is_named(server: OpenAIDouble, make: MakeGenerator, page: str) -> None:
    generator = make()
    server.page = page

    assert failure(generator) == f"{server.url} does not speak OpenAI's API; set OPENAI_BASE_URL, up to and with its /v1."
    with pytest.raises(ModelError, match="does not speak OpenAI's API"):
        make()


# Which model


def test_embedded_means_the_only_model_that_the_server_has(server: OpenAIDouble, make: MakeGenerator) -> None:
    generator = make(generator_model="embedded")

    assert generator.name == "tiny"
    assert write(generator, "a") == [WrittenAnswers(["a/1", "a/2"])]


@pytest.mark.parametrize(
    ("models", "listed"), [(["one", "two"], "lists 2 models (one, two)"), ([], "lists no model")], ids=["two", "none"]
)
def test_embedded_on_a_server_of_several_models_asks_for_a_name(
    server: OpenAIDouble, make: MakeGenerator, models: list[str], listed: str
) -> None:
    server.models = models

    with pytest.raises(ModelError) as raised:
        make(generator_model="embedded")

    assert str(raised.value) == f"{server.url} {listed}; set GENERATOR_MODEL to the one that shall write."


def test_a_server_without_a_list_of_models_is_believed_to_have_the_named_one(server: OpenAIDouble, make: MakeGenerator) -> None:
    server.failures = [404]
    assert write(make(), "a") == [WrittenAnswers(["a/1", "a/2"])]

    server.failures = [404]
    with pytest.raises(ModelError, match="lists no model; set GENERATOR_MODEL"):
        make(generator_model="embedded")


# A real server


@pytest.fixture(scope="module")
def serving(embedded_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` on the embedded model, which it finds in a Hugging Face cache."""
    folder = tmp_path_factory.mktemp("serving")
    repository, revision = folder / "hub" / "models--HuggingFaceTB--SmolLM2-135M-Instruct", "0" * 40
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    for path in Path(locate("embedded", embedded_dir)).iterdir():
        (snapshot / path.name).symlink_to(path)
    generation = json.loads((snapshot / "generation_config.json").read_text())
    (snapshot / "generation_config.json").unlink()
    # `transformers serve` samples only where the model's own file says so.
    (snapshot / "generation_config.json").write_text(json.dumps({**generation, "do_sample": True}))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = Process(
        "transformers serve",
        [
            str(REPOSITORY / ".venv" / "bin" / "transformers"), "serve", "HuggingFaceTB/SmolLM2-135M-Instruct",
            "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
        ],
        {**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        folder / "serve.log",
        lambda: _is_up(url),
    )  # fmt: skip
    process.start()
    try:
        process.wait_until_up(timeout_seconds=120)
        yield f"{url}/v1"
    finally:
        process.stop()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.e2e
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_real_server_writes_two_different_answers_to_each_prompt(
    serving: str, settings_for: SettingsFactory, endpoint: str
) -> None:
    # One at a time: its seed is the process's.
    settings = settings_for(
        openai_base_url=serving, openai_endpoint=endpoint, openai_concurrency=1, max_new_tokens=16, top_p=0.95,
        system_prompt="This is a poem.", stop=("\n\nHuman:", "</s>"),
    )  # fmt: skip
    generator = OpenAIGenerator(settings)
    assert generator.name == "HuggingFaceTB/SmolLM2-135M-Instruct"  # the only one that it serves

    for writing in write(generator, "Once upon a time a fox and the", "The moon is as bright as", seed=2**48 - 1):
        assert len({answer for answer in writing.answers if answer}) == 2


@pytest.mark.e2e
def test_a_real_server_is_asked_for_several_at_once(serving: str, settings_for: SettingsFactory) -> None:
    generator = OpenAIGenerator(settings_for(openai_base_url=serving, openai_concurrency=4, max_new_tokens=4))

    writings = write(generator, *["Count to ten."] * 5, num_answers=3)

    assert [(len(writing.answers), writing.refused) for writing in writings] == [(3, "")] * 5


@pytest.mark.e2e
def test_a_real_server_writes_the_same_for_the_same_seed_and_ends_at_a_stop_text(
    serving: str, settings_for: SettingsFactory
) -> None:
    settings = settings_for(openai_base_url=serving, openai_concurrency=1, max_new_tokens=16)
    prompt = "Write a long sentence about the sea."

    once, again = write(OpenAIGenerator(settings), prompt, prompt, seed=7)
    assert once == again
    letter = once.answers[0][3:].strip()[0]
    settings = settings_for(openai_base_url=serving, openai_concurrency=1, max_new_tokens=16, stop=(letter,))
    (cut,) = write(OpenAIGenerator(settings), prompt, seed=7)

    assert cut.answers[0] == once.answers[0].split(letter)[0].strip()
