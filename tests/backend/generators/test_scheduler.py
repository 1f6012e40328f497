import re
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from backend.generators.echo import EchoGenerator
from backend.generators.scheduler import Scheduler
from backend.monitoring.metrics import Metrics
from preference.generation.jobs import Job, WrittenAnswers
from preference.labelling.prompts import transcript
from tests.support.scheduled_jobs import SECONDS, Writer, running


def figure(metrics: Metrics, name: str) -> float:
    match = re.search(rf"^pairloop_{name} (\S+)$", metrics.text().decode(), re.MULTILINE)
    assert match
    return float(match[1])


# The order of jobs


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


def test_a_job_that_arrives_during_a_run_is_taken_in_it() -> None:
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


# What is counted


def test_tokens_seconds_and_what_is_under_way_are_counted() -> None:
    metrics, now = Metrics(), [100.0]
    sizes: list[float] = []

    def work(job: Job) -> None:
        now[0] += 1.5
        sizes.append(figure(metrics, "batch_size"))
        job.finish(WrittenAnswers([transcript(job.prompt)]))

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


def test_waiting_jobs_are_counted_without_the_taken_ones() -> None:
    metrics = Metrics()
    scheduler = Scheduler(EchoGenerator, metrics)
    for _ in range(5):
        scheduler.submit("a", seed=0)

    scheduler.take(2)

    assert figure(metrics, "jobs_waiting") == 3


def test_the_rate_is_counted_over_two_seconds_and_is_zero_while_nothing_is_written() -> None:
    metrics, now, rates = Metrics(), [100.0], list[tuple[float, float]]()

    def work(job: Job) -> None:
        rates.append((scheduler.tokens_per_second, figure(metrics, "tokens_per_second")))
        now[0] += 0.8  # each job reports ten tokens
        job.finish(WrittenAnswers([transcript(job.prompt)]))

    with running(lambda: Writer(work, capacity=1), metrics, clock=lambda: now[0]) as scheduler:
        written = [scheduler.submit("a", seed=0) for _ in range(8)]
        wait(written, timeout=SECONDS)

    # Four reports in 2.4 s, then three more in as long.
    assert [rate for rate, _ in rates] == pytest.approx([0, 0, 0, 40 / 2.4, 40 / 2.4, 40 / 2.4, 30 / 2.4, 30 / 2.4])
    assert all(figure_then == rate for rate, figure_then in rates)
    assert scheduler.tokens_per_second == figure(metrics, "tokens_per_second") == 0
