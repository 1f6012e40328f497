import logging
import re

import pytest

from preference.errors import ModelError
from preference.generation.jobs import Generator, WrittenAnswers
from tests.support.openai_double import KEY, OpenAIDouble
from tests.support.openai_engine import SECONDS, MakeGenerator, scheduling, write


def failure(generator: Generator) -> str:
    with scheduling(generator) as scheduler, pytest.raises(ModelError) as raised:
        scheduler.submit("Hi", seed=1).result(SECONDS)
    return str(raised.value)


# What goes wrong


@pytest.mark.parametrize("failures", [[429], [500, 503], [0], [408, 429, 502]], ids=str)
def test_a_server_that_fails_for_a_while_is_asked_again(server: OpenAIDouble, make: MakeGenerator, failures: list[int]) -> None:
    generator = make()
    server.failures = list(failures)

    assert write(generator, "a") == [WrittenAnswers(["a/1", "a/2"])]
    assert len(server.requests) == len(failures) + 1


def test_a_server_that_keeps_failing_fails_the_taken_jobs_and_serves_later_ones(
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


def test_a_server_that_does_not_listen_is_named(make: MakeGenerator) -> None:
    with OpenAIDouble() as stopped:
        generator = make(openai_base_url=stopped.url, max_retries=0)

    assert re.fullmatch(rf"{stopped.url} does not answer \(.+\); start it, or set OPENAI_BASE_URL\.", failure(generator))
    with pytest.raises(ModelError, match=r"does not answer \(.+ refused\); start it, or set OPENAI_BASE_URL\."):
        make(openai_base_url=stopped.url, max_retries=0)


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
