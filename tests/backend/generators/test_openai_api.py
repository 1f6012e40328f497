import logging
from typing import Any

import pytest

from backend.monitoring.metrics import Metrics
from demo.process import wait_until
from preference.generation.jobs import WrittenAnswers
from preference.labelling.prompts import Turn
from tests.support.openai_double import KEY, OpenAIDouble
from tests.support.openai_engine import SECONDS, MakeGenerator, scheduling, write

# What is asked, and what the answer becomes


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_one_call_gives_all_answers_if_the_server_has_n(server: OpenAIDouble, make: MakeGenerator, endpoint: str) -> None:
    generator = make(openai_endpoint=endpoint, temperature=0.5, top_p=0.9, max_new_tokens=7)

    assert write(generator, "a", num_answers=3) == [WrittenAnswers(["a/1", "a/2", "a/3"])]
    (request,) = server.requests
    assert request.pop("messages" if endpoint == "chat" else "prompt")
    asked = {"model": "tiny", "seed": 1, "n": 3, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7}
    assert request == {"path": "/v1/chat/completions" if endpoint == "chat" else "/v1/completions", **asked}


@pytest.mark.parametrize("n", ["ignored", "refused"])
def test_each_answer_is_asked_for_if_the_server_lacks_n(
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


def test_a_conversation_is_asked_with_every_turn_and_its_own_system_prompt(server: OpenAIDouble, make: MakeGenerator) -> None:
    said = (Turn("user", "Name a tree."), Turn("assistant", "Oak."), Turn("user", "Another one."))
    for endpoint in ("chat", "completions"):
        for prompt in (said, (Turn("system", "Be brief."), *said)):
            write(make(system_prompt="Be kind.", openai_endpoint=endpoint), prompt)

    asked = [{"role": role, "content": text} for role, text in said]
    assert [request["messages"] for request in server.requests[:2]] == [
        [{"role": "system", "content": system}, *asked] for system in ("Be kind.", "Be brief.")
    ]
    assert [request["prompt"] for request in server.requests[2:]] == [
        f"System: {system}\n\nUser: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one.\n\nAssistant:"
        for system in ("Be kind.", "Be brief.")
    ]


def test_answers_end_at_each_stop_text_though_the_server_gets_four(server: OpenAIDouble, make: MakeGenerator) -> None:
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
        "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 512, "endpoint": "chat", "system_prompt": "Be kind.",
    }  # fmt: skip


# The order of jobs


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


def test_a_job_that_arrives_meanwhile_is_written_beside_the_others(server: OpenAIDouble, make: MakeGenerator) -> None:
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
