import logging
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from backend.generators.echo import EchoGenerator
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from preference.errors import ModelError
from preference.generation.jobs import Job, WrittenAnswers
from preference.labelling.prompts import transcript
from tests.support.scheduled_jobs import SECONDS, Writer, running


def failure(written: "Future[WrittenAnswers]") -> str:
    with pytest.raises(ModelError) as raised:
        written.result(SECONDS)
    return str(raised.value)


# Loading


def test_the_generator_is_loaded_at_the_first_job_and_once() -> None:
    loaded: list[Writer] = []

    def load() -> Writer:
        loaded.append(Writer(capacity=7))
        return loaded[-1]

    with running(load) as scheduler:
        assert not loaded
        assert scheduler.capacity == 16  # a guess
        for prompt in "ab":
            scheduler.submit(prompt, seed=0).result(SECONDS)
        assert scheduler.generator() is loaded[0]
        assert scheduler.capacity == 7

    assert len(loaded) == 1


def test_many_threads_want_the_generator_and_it_is_loaded_once() -> None:
    is_open, is_at_it, loaded = threading.Event(), threading.Event(), list[Writer]()

    def load() -> Writer:
        is_at_it.set()
        assert is_open.wait(SECONDS)
        loaded.append(Writer())
        return loaded[-1]

    scheduler = Scheduler(load, Metrics())
    with ThreadPoolExecutor(4) as pool:
        wanted = [pool.submit(scheduler.generator) for _ in range(4)]
        assert is_at_it.wait(SECONDS)
        is_open.set()
        assert [future.result(SECONDS) for future in wanted] == [loaded[0]] * 4

    assert len(loaded) == 1


def test_a_generator_that_cannot_be_loaded_fails_all_jobs_and_is_loaded_again_for_the_next() -> None:
    is_open, is_at_it, tries = threading.Event(), threading.Event(), list[int]()

    def load() -> Writer:
        tries.append(len(tries))
        is_at_it.set()
        assert is_open.wait(SECONDS)
        if len(tries) < 3:
            raise ModelError(f"There are no weights, try {len(tries)}.")
        return Writer()

    with running(load) as scheduler:
        first = scheduler.submit("a", seed=0)
        assert is_at_it.wait(SECONDS)
        # More than are taken at once, and what is submitted while it loads.
        written = [scheduler.submit("b", seed=0, is_urgent=k % 2 == 0) for k in range(40)]
        is_open.set()
        assert {failure(job) for job in (first, *written)} == {"There are no weights, try 1."}
        assert failure(scheduler.submit("c", seed=0)) == "There are no weights, try 2."
        assert scheduler.submit("d", seed=0).result(SECONDS) == WrittenAnswers(["D", "D"])


def test_whatever_loading_raises_fails_the_jobs_and_not_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    tries: list[int] = []

    def load() -> Writer:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("a damaged file")
        return Writer()

    with running(load) as scheduler:
        assert failure(scheduler.submit("a", seed=0)) == "the generator failed; the log has the trace"
        assert scheduler.submit("b", seed=0).result(SECONDS) == WrittenAnswers(["B", "B"])

    assert "a damaged file" in caplog.text


# What goes wrong


def test_a_model_that_fails_fails_the_jobs_that_it_took_and_writes_later_ones() -> None:
    def work(job: Job) -> None:
        if job.prompt == "b":
            raise ModelError("The model cannot read 'b'.")
        job.finish(WrittenAnswers([transcript(job.prompt)]))

    writer = Writer(work, capacity=3)
    writer.is_open.clear()
    with running(lambda: writer) as scheduler:
        scheduler.submit("first", seed=0)
        assert writer.is_at_it.wait(SECONDS)
        a, b, c, d, e = (scheduler.submit(prompt, seed=0) for prompt in "abcde")  # three are taken, then two
        writer.is_open.set()

        assert a.result(SECONDS) == WrittenAnswers(["a"])
        assert failure(b) == failure(c) == "The model cannot read 'b'."
        assert (d.result(SECONDS), e.result(SECONDS)) == (WrittenAnswers(["d"]), WrittenAnswers(["e"]))

    assert writer.num_runs == 2


def test_whatever_a_generator_raises_fails_its_jobs_and_is_logged_with_the_trace(caplog: pytest.LogCaptureFixture) -> None:
    def work(job: Job) -> None:
        if job.prompt == "b":
            raise IndexError("index out of range in self")
        job.finish(WrittenAnswers([transcript(job.prompt)]))

    with running(lambda: Writer(work)) as scheduler:
        assert failure(scheduler.submit("b", seed=0)) == "the generator failed; the log has the trace"
        assert scheduler.submit("c", seed=0).result(SECONDS) == WrittenAnswers(["c"])

    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info and "index out of range in self" in caplog.text


def test_jobs_that_a_generator_leaves_unwritten_fail() -> None:
    with running(lambda: Writer(lambda job: None)) as scheduler:
        assert failure(scheduler.submit("a", seed=0)) == "the generator did not write it"


def test_a_job_that_was_given_up_harms_nobody() -> None:
    def work(job: Job) -> None:
        if job.prompt == "c":
            raise ModelError("It failed.")
        job.finish(WrittenAnswers([transcript(job.prompt)]))

    writer = Writer(work, capacity=3)
    writer.is_open.clear()
    with running(lambda: writer) as scheduler:
        taken = scheduler.submit("a", seed=0)
        assert writer.is_at_it.wait(SECONDS)
        waiting, failing, other = (scheduler.submit(prompt, seed=0) for prompt in "bcd")
        assert taken.cancel() and waiting.cancel()
        writer.is_open.set()
        assert failure(failing) == failure(other) == "It failed."
        assert scheduler.submit("e", seed=0).result(SECONDS) == WrittenAnswers(["e"])


def test_giving_up_the_other_jobs_after_a_failure_harms_nobody() -> None:
    def work(job: Job) -> None:
        if job.prompt != "e" and not job.written.cancelled():
            raise ModelError("It failed.")
        job.finish(WrittenAnswers(["e"]))

    writer = Writer(work, capacity=4)
    writer.is_open.clear()
    with running(lambda: writer) as scheduler:
        written = [scheduler.submit(prompt, seed=0) for prompt in "abcd"]
        for job in written:
            job.add_done_callback(lambda _: [other.cancel() for other in written])
        writer.is_open.set()
        assert scheduler.submit("e", seed=0).result(SECONDS) == WrittenAnswers(["e"])

    assert sum(job.cancelled() for job in written) == 3


# The end


def test_stopping_cancels_what_waits_and_what_is_being_written_and_ends_the_thread() -> None:
    writer = Writer(capacity=1)
    writer.is_open.clear()
    with running(lambda: writer) as scheduler:
        written = [scheduler.submit(prompt, seed=0, is_urgent=prompt == "d") for prompt in "abc"]
        assert writer.is_at_it.wait(SECONDS)
        written.append(scheduler.submit("d", seed=0, is_urgent=True))
        scheduler.stop()
        writer.is_open.set()

    assert scheduler.is_stopped
    assert all(job.cancelled() for job in written)
    assert writer.prompts == []


def test_a_failure_while_the_process_ends_cancels_too() -> None:
    def work(job: Job) -> None:
        scheduler.stop()
        raise ModelError("The server does not answer.")

    with running(lambda: Writer(work)) as scheduler, pytest.raises(CancelledError):
        scheduler.submit("a", seed=0).result(SECONDS)


def test_after_the_end_a_job_is_cancelled_at_once() -> None:
    scheduler = Scheduler(EchoGenerator, Metrics())
    scheduler.stop()

    assert scheduler.submit("a", seed=0).cancelled()
    assert scheduler.submit("b", seed=0, is_urgent=True).cancelled()
    scheduler.run()  # returns


def test_nothing_to_do_is_ended_too() -> None:
    with running(EchoGenerator) as scheduler:
        pass

    assert scheduler.is_stopped
