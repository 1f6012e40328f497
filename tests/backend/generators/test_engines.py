"""The contract of every engine of ENGINES."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from backend.generators.engines import ENGINES
from preference.generation.jobs import Generator, WrittenAnswers, write_all
from preference.labelling.prompts import Turn
from tests.conftest import SettingsFactory
from tests.support.alike_answers import are_alike
from tests.support.openai_double import OpenAIDouble
from tests.support.watched import PROMPTS, SEEDS, Watched

MakeGenerator = Callable[..., Generator]
# For huggingface a base without and one with a chat template, for openai both of a server's endpoints.
CASES = {
    "echo": "echo",
    "huggingface": "huggingface",
    "huggingface chat": "huggingface",
    "openai chat": "openai",
    "openai completions": "openai",
}


@pytest.fixture(params=CASES)
def make(request: pytest.FixtureRequest, settings_for: SettingsFactory) -> Iterator[MakeGenerator]:
    """Makes a generator of the engine; keyword arguments are settings."""
    engine = CASES[request.param]
    fields: dict[str, object] = {"generator_engine": engine, "max_new_tokens": 8, "batch_prompts": 2, "openai_concurrency": 2}
    with ExitStack() as stack:
        if engine == "huggingface":
            fields["dtype"] = "float32"  # in half precision a sum's rounding depends on how many rows are added together
            fields["generator_model"] = str(request.getfixturevalue("tiny_chat_base" if "chat" in request.param else "tiny_base"))
        if engine == "openai":
            fields["openai_base_url"] = stack.enter_context(OpenAIDouble()).url
            fields["openai_endpoint"] = request.param.split()[-1]
        yield lambda **changes: ENGINES[engine](settings_for(**{**fields, **changes}))


def test_the_contract_is_run_over_every_engine() -> None:
    assert set(CASES.values()) == set(ENGINES)


# What is written


@pytest.mark.parametrize("num_answers", [1, 2, 3])
def test_each_prompt_gets_one_writing_in_order_with_as_many_answers_as_asked(make: MakeGenerator, num_answers: int) -> None:
    generator = make()

    together = write_all(generator, PROMPTS, seeds=SEEDS, num_answers=num_answers)
    backwards = write_all(generator, PROMPTS[::-1], seeds=SEEDS[::-1], num_answers=num_answers)

    assert [len(writing.answers) for writing in together] == [num_answers] * len(PROMPTS)
    assert not any(writing.refused for writing in together)
    assert are_alike(together, backwards[::-1])
    assert len({tuple(writing.answers) for writing in together}) == len(PROMPTS)


def test_the_same_seed_gives_the_same_answers_alone_and_in_any_batch(make: MakeGenerator) -> None:
    small, large = make(batch_prompts=2), make(batch_prompts=64, openai_concurrency=64)

    alone = [write_all(small, [prompt], seeds=[seed])[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]

    assert are_alike(write_all(small, PROMPTS, seeds=SEEDS), alone)
    assert are_alike(write_all(large, PROMPTS, seeds=SEEDS), alone)
    assert are_alike(write_all(large, ["", *PROMPTS, *PROMPTS], seeds=[7, *SEEDS, *SEEDS])[1:], [*alone, *alone])


def test_fewer_answers_are_the_first_of_more(make: MakeGenerator) -> None:
    generator = make()

    one, three = (write_all(generator, PROMPTS, seeds=SEEDS, num_answers=count) for count in (1, 3))

    assert are_alike(one, [WrittenAnswers(writing.answers[:1]) for writing in three])


def test_jobs_of_different_numbers_of_answers_are_written_in_one_run(make: MakeGenerator) -> None:
    generator = make(batch_prompts=3)
    jobs = Watched(generator)
    asked = [jobs.ask([prompt], num_answers=count)[0] for prompt, count in zip(PROMPTS, (2, 1, 3, 2, 5), strict=True)]

    generator.run(jobs)

    assert [len(written.result(0).answers) for written in asked] == [2, 1, 3, 2, 5]


def test_a_seed_decides_the_answers_and_the_two_answers_differ(make: MakeGenerator) -> None:
    writings = write_all(make(), [PROMPTS[0]] * 6, seeds=range(6))

    assert len({tuple(writing.answers) for writing in writings}) == 6
    assert all(writing.answers[0] != writing.answers[1] for writing in writings)


def test_nothing_asked_gives_nothing(make: MakeGenerator) -> None:
    assert write_all(make(), [], seeds=[]) == []


def test_an_empty_prompt_is_answered(make: MakeGenerator) -> None:
    first, second = write_all(make(), ["", "\n"], seeds=[1, 2])

    assert len(first.answers) == len(second.answers) == 2


def test_a_conversation_is_answered_beside_texts(make: MakeGenerator) -> None:
    said = (Turn("system", "Be brief."), Turn("user", "Name a tree."), Turn("assistant", "Oak."), Turn("user", "Another one."))
    generator = make()

    text, conversation = write_all(generator, [PROMPTS[0], said], seeds=[1, 2])

    assert len(text.answers) == len(conversation.answers) == 2 and not conversation.refused
    assert are_alike([conversation], write_all(generator, [said], seeds=[2]))


def test_a_prompt_of_100_000_characters_is_answered_from_its_end(make: MakeGenerator) -> None:
    generator = make(max_prompt_tokens=64)
    end = "The cat sat on the mat and looked at the moon. " * 2000
    first, second, short = write_all(generator, ["One " * 1500 + end, "Two" * 2000 + end, "Hi"], seeds=[3, 3, 3])

    assert short.num_cut == 0
    if generator.name not in ("tiny-base", "tiny-chat-base"):  # it has no window, or one that we do not know
        assert (first.num_cut, second.num_cut) == (0, 0)
        return
    assert are_alike([WrittenAnswers(first.answers)], [WrittenAnswers(second.answers)])
    assert first.num_cut > 10_000


# The jobs


def test_many_more_jobs_than_capacity_are_all_written(make: MakeGenerator) -> None:
    generator = make()
    jobs = Watched(generator)
    prompts = [f"Prompt {k}" for k in range(20)]
    asked = jobs.ask(prompts, num_answers=1)

    generator.run(jobs)

    assert sorted(jobs.finished) == sorted(prompts)
    expected = write_all(generator, prompts, seeds=range(20), num_answers=1)
    assert are_alike([written.result(0) for written in asked], expected)


def test_a_job_that_arrives_during_the_run_is_written_in_it(make: MakeGenerator) -> None:
    generator = make()
    jobs = Watched(generator)
    jobs.meanwhile = lambda: len(jobs.reports) == 1 and jobs.ask(["Later"])
    jobs.ask(["a"])

    generator.run(jobs)

    assert jobs.finished == ["a", "Later"]


def test_urgent_jobs_are_written_before_those_that_wait(make: MakeGenerator) -> None:
    generator = make(openai_concurrency=1)  # of two requests at a time, either may end first
    jobs = Watched(generator)
    jobs.ask([f"Prompt {k}" for k in range(20)], num_answers=1)
    jobs.ask(["Urgent 1", "Urgent 2", "Urgent 3"], is_urgent=True)

    generator.run(jobs)

    assert len(jobs.finished) == 23
    assert {"Urgent 1", "Urgent 2", "Urgent 3"} <= set(jobs.finished[: 3 + generator.capacity])


def test_an_urgent_job_that_arrives_during_the_run_does_not_wait_for_the_others(make: MakeGenerator) -> None:
    generator = make(max_new_tokens=16, openai_concurrency=1)
    jobs = Watched(generator)
    jobs.meanwhile = lambda: len(jobs.reports) == 1 and jobs.ask(["Urgent"], is_urgent=True)
    jobs.ask([f"Prompt {k}" for k in range(16)])

    generator.run(jobs)

    assert len(jobs.finished) == 17
    assert jobs.finished.index("Urgent") <= 3 * generator.capacity


def test_nothing_is_written_once_the_process_ends(make: MakeGenerator) -> None:
    generator = make()
    jobs = Watched(generator)
    asked = jobs.ask(PROMPTS)
    jobs.stop()

    generator.run(jobs)

    assert all(written.cancelled() for written in asked)
    assert jobs.reports == []


def test_the_end_of_the_process_ends_the_run_soon(make: MakeGenerator) -> None:
    generator = make(max_new_tokens=32)
    jobs = Watched(generator)
    jobs.meanwhile = jobs.stopping.set
    asked = jobs.ask([f"Prompt {k}" for k in range(100)])

    generator.run(jobs)

    assert sum(written.done() for written in asked) <= 2 * generator.capacity


def test_a_job_that_was_given_up_harms_nobody(make: MakeGenerator) -> None:
    generator = make()
    jobs = Watched(generator)
    asked = jobs.ask(PROMPTS)
    asked[1].cancel()

    generator.run(jobs)

    assert [written.cancelled() for written in asked] == [False, True, False, False, False]
    assert all(len(written.result(0).answers) == 2 for written in asked if not written.cancelled())


# What it reports


def test_what_is_written_is_reported(make: MakeGenerator) -> None:
    generator = make()
    jobs = Watched(generator)
    asked = jobs.ask(PROMPTS)

    generator.run(jobs)

    assert jobs.num_tokens >= sum(bool(text) for written in asked for text in written.result(0).answers)
    assert max(jobs.sizes) >= 2


@pytest.mark.parametrize("num_candidates", [2, 3, 64])
def test_there_is_always_room_for_a_prompt(make: MakeGenerator, num_candidates: int) -> None:
    for batch_prompts in (0, 1, 5):
        assert make(num_candidates=num_candidates, batch_prompts=batch_prompts).capacity >= 1


def test_a_generator_names_its_model_and_its_sampling(make: MakeGenerator) -> None:
    generator = make(temperature=0.9, top_k=7, top_p=0.8, system_prompt="Be kind.")

    if generator.name == "echo":
        assert generator.sampling == {}
        return
    expected = {"temperature": 0.9, "top_p": 0.8, "max_new_tokens": 8, "system_prompt": "Be kind."}
    assert generator.name in ("tiny", "tiny-base", "tiny-chat-base")
    assert generator.sampling.items() >= expected.items()
    assert generator.sampling.keys() - expected <= {"top_k", "endpoint"}
    assert generator.sampling.get("top_k", 7) == 7
