import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import pytest

from backend.generators.echo import EchoGenerator
from backend.generators.jobs import Generator, Job, Jobs, WrittenAnswers
from backend.generators.scheduler import Scheduler, write_all
from backend.monitoring.metrics import Metrics
from preference.errors import ModelError

SECONDS = 60  # for whatever is waited for


class Writer:
    """A generator that does with the jobs what `work` does, and is at it while `is_open`."""

    def __init__(self, work: Callable[[Job], None] | None = None, *, capacity: int = 2) -> None:
        self.name, self.capacity = "writer", capacity
        self.sampling: dict[str, Any] = {}
        self.prompts: list[str] = []
        self.num_runs = 0
        self.is_open, self.is_at_it = threading.Event(), threading.Event()
        self.is_open.set()
        self._work = work or (lambda job: job.finish(WrittenAnswers([job.prompt.upper()] * job.num_answers)))

    def run(self, jobs: Jobs) -> None:
        self.num_runs += 1
        while not jobs.is_stopped and (taken := jobs.take(self.capacity)):
            self.is_at_it.set()
            assert self.is_open.wait(SECONDS)
            for job in [] if jobs.is_stopped else taken:
                self.prompts.append(job.prompt)
                jobs.report(num_tokens=10, batch_size=len(taken))
                self._work(job)


@contextmanager
def running(load: Callable[[], Generator], metrics: Metrics | None = None, **options: Callable[[], float]) -> Iterator[Scheduler]:
    """A scheduler whose thread runs; leaving the block stops it, and waits for its end."""
    scheduler = Scheduler(load, metrics or Metrics(), **options)
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


def failure(written: "Future[WrittenAnswers]") -> str:
    with pytest.raises(ModelError) as raised:
        written.result(SECONDS)
    return str(raised.value)


def figure(metrics: Metrics, name: str) -> float:
    found = re.search(rf"^pairloop_{name} (\S+)$", metrics.text().decode(), re.MULTILINE)
    assert found
    return float(found[1])


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)  # it would have the figures of all processes


# Who comes when


def test_many_threads_submit_and_each_gets_its_own_answers() -> None:
    with running(EchoGenerator) as scheduler, ThreadPoolExecutor(8) as pool:

        def ask(k: int) -> bool:
            written = scheduler.submit(f"Prompt {k}", seed=k, num_answers=1 + k % 3, is_urgent=k % 5 == 0)
            answers = written.result(SECONDS).answers
            return len(answers) == 1 + k % 3 and all(answer.endswith(f"of: Prompt {k}") for answer in answers)

        assert all(pool.map(ask, range(400)))


def test_jobs_are_written_in_order_and_urgent_ones_before_all_that_wait() -> None:
    writer = Writer(capacity=1)
    writer.is_open.clear()
    with running(lambda: writer) as scheduler:
        first = scheduler.submit("a", seed=0)
        assert writer.is_at_it.wait(SECONDS)
        written = [scheduler.submit(prompt, seed=0, is_urgent=prompt.isupper()) for prompt in "bcXdY"]
        writer.is_open.set()
        wait([first, *written], timeout=SECONDS)

    assert writer.prompts == list("aXYbcd")


def test_a_job_that_comes_while_others_are_written_is_taken_in_the_same_run() -> None:
    writer = Writer()
    writer.is_open.clear()
    with running(lambda: writer) as scheduler:
        scheduler.submit("a", seed=0)
        assert writer.is_at_it.wait(SECONDS)
        later = scheduler.submit("b", seed=0)
        writer.is_open.set()
        assert later.result(SECONDS) == WrittenAnswers(["B", "B"])

    assert writer.num_runs == 1


def test_all_urgent_jobs_and_so_many_of_the_others_are_taken() -> None:
    scheduler = Scheduler(EchoGenerator, Metrics())
    for prompt in "abcXdYZ":
        scheduler.submit(prompt, seed=0, is_urgent=prompt.isupper())

    assert [job.prompt for job in scheduler.take(2)] == list("XYZab")
    assert scheduler.take(0) == scheduler.take(-1) == []
    assert [job.prompt for job in scheduler.take(9)] == list("cd")
    assert scheduler.take(9) == []


def test_a_job_holds_what_was_asked() -> None:
    scheduler = Scheduler(EchoGenerator, Metrics())
    written = scheduler.submit("a", seed=2**48 - 1, num_answers=3, is_urgent=True)

    (job,) = scheduler.take(0)

    assert (job.prompt, job.seed, job.num_answers, job.is_urgent) == ("a", 2**48 - 1, 3, True)
    assert job.written is written


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


def test_a_generator_that_cannot_be_loaded_fails_all_that_wait_and_is_tried_again_at_the_next_job() -> None:
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
        # More than are taken at once, and what comes while it loads.
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


def test_a_model_that_fails_fails_what_it_had_taken_and_writes_what_comes_next() -> None:
    def work(job: Job) -> None:
        if job.prompt == "b":
            raise ModelError("The model cannot read 'b'.")
        job.finish(WrittenAnswers([job.prompt]))

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
        job.finish(WrittenAnswers([job.prompt]))

    with running(lambda: Writer(work)) as scheduler:
        assert failure(scheduler.submit("b", seed=0)) == "the generator failed; the log has the trace"
        assert scheduler.submit("c", seed=0).result(SECONDS) == WrittenAnswers(["c"])

    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info and "index out of range in self" in caplog.text


def test_jobs_that_a_generator_leaves_unwritten_fail() -> None:
    with running(lambda: Writer(lambda job: None)) as scheduler:
        assert failure(scheduler.submit("a", seed=0)) == "the generator left it unwritten"


def test_a_job_that_was_given_up_harms_nobody() -> None:
    def work(job: Job) -> None:
        if job.prompt == "c":
            raise ModelError("It failed.")
        job.finish(WrittenAnswers([job.prompt]))

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


def test_whoever_gives_up_the_rest_when_one_job_fails_harms_nobody() -> None:
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


# What is counted


def test_tokens_seconds_and_what_is_under_way_are_counted() -> None:
    metrics, now = Metrics(), [100.0]
    sizes: list[float] = []

    def work(job: Job) -> None:
        now[0] += 1.5
        sizes.append(figure(metrics, "batch_size"))
        job.finish(WrittenAnswers([job.prompt]))

    writer = Writer(work, capacity=2)
    with running(lambda: writer, metrics, clock=lambda: now[0]) as scheduler:
        scheduler.submit("a", seed=0).result(SECONDS)
        writer.is_open.clear()
        writer.is_at_it.clear()
        written = [scheduler.submit("b", seed=0)]
        assert writer.is_at_it.wait(SECONDS)
        written += [scheduler.submit(prompt, seed=0) for prompt in "cdef"]
        writer.is_open.set()
        wait(written, timeout=SECONDS)

    assert figure(metrics, "tokens_written_total") == 60
    assert figure(metrics, "generating_seconds_total") == 9
    assert sizes == [1, 1, 2, 2, 2, 2]
    assert figure(metrics, "batch_size") == figure(metrics, "jobs_waiting") == 0


def test_jobs_that_wait_are_shown_without_those_that_are_taken() -> None:
    metrics = Metrics()
    scheduler = Scheduler(EchoGenerator, metrics)
    for _ in range(5):
        scheduler.submit("a", seed=0)

    scheduler.take(2)

    assert figure(metrics, "jobs_waiting") == 3


def test_the_rate_is_counted_over_two_seconds_and_is_zero_where_nothing_is_written() -> None:
    metrics, now, rates = Metrics(), [100.0], list[tuple[float, float]]()

    def work(job: Job) -> None:
        rates.append((scheduler.tokens_per_second, figure(metrics, "tokens_per_second")))
        now[0] += 0.8  # each job reports ten tokens
        job.finish(WrittenAnswers([job.prompt]))

    with running(lambda: Writer(work, capacity=1), metrics, clock=lambda: now[0]) as scheduler:
        written = [scheduler.submit("a", seed=0) for _ in range(8)]
        wait(written, timeout=SECONDS)

    # Four reports in 2.4 s, then three more in as long.
    assert [rate for rate, _ in rates] == pytest.approx([0, 0, 0, 40 / 2.4, 40 / 2.4, 40 / 2.4, 30 / 2.4, 30 / 2.4])
    assert all(shown == rate for rate, shown in rates)
    assert scheduler.tokens_per_second == figure(metrics, "tokens_per_second") == 0


# For those who have all their prompts at hand


def test_all_are_written_in_order_with_their_seeds() -> None:
    prompts = [f"Prompt {k}" for k in range(40)]

    writings = write_all(EchoGenerator(), prompts, seeds=range(40), num_answers=3)

    assert [writing.answers[2].partition(" of: ")[2] for writing in writings] == prompts
    assert writings[5:6] == write_all(EchoGenerator(), prompts[5:6], seeds=[5], num_answers=3)
    assert write_all(EchoGenerator(), [], seeds=[]) == []
    with pytest.raises(ValueError, match="zip"):
        write_all(EchoGenerator(), prompts, seeds=[1])


def test_a_failure_is_raised_where_all_are_written() -> None:
    def work(job: Job) -> None:
        raise ModelError("The model failed.")

    with pytest.raises(ModelError, match="The model failed"):
        write_all(Writer(work), ["a"], seeds=[0])
