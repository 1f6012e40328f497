"""What a stream has under way: how much, what becomes of it at the end, and while Label Studio is away."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from preference.errors import ModelError, StudioError, StudioKeyError, StudioUnreachable
from preference.studio.task import Task
from tests.support.filling_house import EMPTY, House, impatient
from tests.support.studio_double import wait_until


class Waits(threading.Event):
    """An Event that keeps how long somebody wanted to wait for it, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return super().wait(0)


# All at once, and bounded


def test_of_400_tasks_no_more_than_two_and_a_half_batches_are_ever_under_way(house: House) -> None:
    tasks = house.add_prompts(400)
    house.generator.capacity = 8
    read, stored, arrived, most = list[int](), list[int](), list[str](), Counter[str]()
    stream = house.stream()
    house.studio.on_arrival = arrived.append

    def watch(prompts: list[str]) -> None:
        most["under way"] = max(most["under way"], stream.num_under_way)
        most["begun"] = max(most["begun"], len(read) - stream.num_answered)
        most["requests"] = max(most["requests"], len(arrived) - len(house.studio.requests))

    def reading() -> Iterator[Task]:
        for task in house.unanswered():
            read.append(task["id"])
            yield task

    house.generator.meanwhile = watch
    assert stream.run(reading(), should_stop=lambda: False, on_stored=lambda some: stored.extend(task["id"] for task in some))

    assert sorted(stored) == house.patched() == read == tasks
    assert 8 < most["begun"] <= most["under way"] <= 20, most
    assert most["requests"] <= 5  # four stores, and a look or a page
    assert house.studio.requests.count("GET /api/tasks/") < 400
    assert house.is_answered(*tasks)


def test_the_bound_follows_the_generator_that_is_loaded_meanwhile(house: House) -> None:
    house.add_prompts(200)
    house.generator.capacity = 32
    stream, most = house.stream(house.scheduler(is_loaded=False)), list[int]()
    house.generator.meanwhile = lambda prompts: most.append(stream.num_under_way)

    house.answer(stream)

    assert 40 < max(most) <= 80  # 2.5 times 16, which is the guess before, and 2.5 times 32
    assert len(house.generator.jobs) == 200


def test_tasks_are_stored_while_the_generator_writes_others(house: House) -> None:
    tasks = house.add_prompts(12)

    def wait_for_the_first(prompts: list[str]) -> None:
        if "Prompt 11" in prompts:
            wait_until(lambda: tasks[0] in house.patched())

    house.generator.meanwhile = wait_for_the_first
    house.answer()

    assert house.is_answered(*tasks)


def test_tasks_are_stored_over_several_connections_at_once(house: House) -> None:
    tasks = house.add_prompts(40)
    arrived, together = list[str](), list[int]()

    def hold(request: str) -> None:
        if request.startswith("PATCH"):
            arrived.append(request)
            if len(arrived) <= 3:
                wait_until(lambda: len(arrived) >= 3)

    def count(request: str) -> None:
        together.append(len(arrived) - len(house.patched()) + request.startswith("PATCH"))

    house.studio.on_arrival, house.studio.on_request = hold, count
    house.settings = house.settings.replace(storing_connections=3)
    house.answer()

    assert house.is_answered(*tasks)
    assert max(together) == 3


def test_stored_tasks_are_passed_on_together_as_they_are_now_and_the_first_at_once(house: House) -> None:
    tasks = house.add_prompts(130)
    scoring, passed_on, threads = threading.Lock(), list[list[Task]](), set[str]()

    def score(some: list[Task]) -> None:
        assert scoring.acquire(blocking=False), "one call at a time"
        threads.add(threading.current_thread().name)
        passed_on.append(some)
        scoring.release()

    def wait_for_the_first(prompts: list[str]) -> None:
        if "Prompt 8" in prompts:
            wait_until(lambda: len(passed_on) > 0)

    house.generator.meanwhile = wait_for_the_first
    house.answer(house.stream(rest_seconds=3600), on_stored=score)

    assert sorted(task["id"] for some in passed_on for task in some) == tasks
    assert all(task["data"] == house.data(task["id"]) for some in passed_on for task in some)
    assert [len(some) for some in passed_on] == [1, 100, 29]
    assert threading.current_thread().name not in threads and len(threads) == 1


def test_tasks_that_are_written_slowly_wait_no_longer_than_a_rest_for_others(house: House) -> None:
    tasks, scored = house.add_prompts(9), list[int]()
    house.generator.capacity = 1

    def wait_for_the_one_before(prompts: list[str]) -> None:
        number = int(prompts[0].removeprefix("Prompt "))
        wait_until(lambda: len(scored) >= number - 1)

    house.generator.meanwhile = wait_for_the_one_before
    stream = house.stream(rest_seconds=0.01)
    house.answer(stream, on_stored=lambda some: scored.extend(task["id"] for task in some))

    assert sorted(scored) == house.patched() == tasks


def test_what_waits_to_be_passed_on_is_bounded(house: House) -> None:
    tasks, stored = house.add_prompts(260), list[int]()
    stream = house.stream()

    def score(some: list[Task]) -> None:
        if not stored:
            wait_until(lambda: stream.num_under_way == 0)
            assert 200 <= len(house.patched()) < 210  # two groups, and what was under way
        stored.extend(task["id"] for task in some)

    house.answer(stream, on_stored=score)

    assert sorted(stored) == house.patched() == tasks


def test_an_urgent_stream_is_written_before_what_waits(house: House) -> None:
    tasks = house.add_prompts(20)
    (urgent,) = house.add({"prompt": "Urgent", **EMPTY})
    opened, scheduler, submitted = house.project().tasks([urgent]), house.scheduler(), threading.Event()

    def reading() -> Iterator[Task]:
        yield from opened.values()
        submitted.set()

    def open_task() -> None:
        stream = house.stream(scheduler, is_urgent=True)
        assert stream.run(reading(), should_stop=lambda: False, deadline=time.monotonic() + 60)

    opening = threading.Thread(target=open_task)

    def let_somebody_open_it(prompts: list[str]) -> None:
        if "Prompt 5" in prompts:  # others wait behind it
            opening.start()
            submitted.wait(60)

    house.generator.meanwhile = let_somebody_open_it
    house.answer(house.stream(scheduler))
    opening.join()

    assert house.is_answered(urgent, *tasks)
    place = house.generator.prompts.index("Urgent")
    assert place <= house.generator.prompts.index("Prompt 5") + 4
    assert [job.prompt for job in house.generator.jobs if job.is_urgent] == ["Urgent"]


# How it ends


def test_when_it_is_over_nothing_is_begun_and_what_was_begun_is_ended(house: House) -> None:
    tasks = house.add_prompts(60)
    over = threading.Event()
    house.generator.meanwhile = lambda prompts: over.set() if "Prompt 7" in prompts else None
    stored: list[int] = []
    stream = house.stream()

    is_done = stream.run(
        house.unanswered(), should_stop=over.is_set, on_stored=lambda some: stored.extend(task["id"] for task in some)
    )

    assert not is_done
    assert 8 <= len(stored) < 40
    assert sorted(stored) == house.patched() == [task for task in tasks if house.is_answered(task)]
    assert len(house.generator.jobs) == len(stored)
    assert stream.num_under_way == 0


def test_at_the_deadline_tasks_under_way_are_abandoned(house: House) -> None:
    (task,) = house.add_prompts(1)
    gate = threading.Event()
    house.generator.meanwhile = lambda prompts: gate.wait(60)
    stream = house.stream(is_urgent=True)

    is_done = stream.run(house.unanswered(), should_stop=lambda: False, deadline=time.monotonic() + 0.05)
    gate.set()

    assert not is_done
    assert house.patched() == []
    house.answer()
    assert house.is_answered(task)


def test_a_stream_with_a_deadline_does_not_wait_for_a_label_studio_that_is_away(house: House) -> None:
    house.add_prompts(1)
    house.generator.meanwhile = lambda prompts: setattr(house.studio, "failures", [503] * 1000)
    stream = house.stream(project=impatient(house), is_urgent=True)

    with pytest.raises(StudioUnreachable, match="keeps failing with 503"):
        stream.run(house.unanswered(), should_stop=lambda: False, deadline=time.monotonic() + 60)

    assert house.patched() == []


def test_a_generator_that_fails_loses_only_what_it_was_writing(house: House) -> None:
    tasks = house.add_prompts(40)

    def crash(prompts: list[str]) -> None:
        if "Prompt 5" in prompts:
            raise ModelError("out of memory; lower BATCH_PROMPTS.")

    house.generator.meanwhile = crash
    stream = house.stream()
    with pytest.raises(ModelError, match=r"^out of memory; lower BATCH_PROMPTS\.$"):
        house.answer(stream)

    lost = [task for task in tasks if not house.is_answered(task)]
    assert tasks[5] in lost
    written = {job.prompt for job in house.generator.jobs}
    assert len([task for task in lost if house.data(task)["prompt"] in written]) <= 4
    assert stream.num_answered == len(tasks) - len(lost)

    house.generator.meanwhile = lambda prompts: None
    house.generator.jobs.clear()
    assert sorted(house.answer()) == lost
    assert len(house.generator.jobs) == len(lost)
    assert house.is_answered(*tasks)


def test_when_the_process_ends_what_was_written_is_stored_and_the_rest_is_given_up(house: House) -> None:
    tasks = house.add_prompts(40)
    scheduler = house.scheduler()
    house.generator.meanwhile = lambda prompts: scheduler.stop() if "Prompt 9" in prompts else None

    with pytest.raises(ModelError, match="The backend stops; the next start goes on"):
        house.answer(house.stream(scheduler))

    answered = [task for task in tasks if house.is_answered(task)]
    assert {house.data(task)["prompt"] for task in answered} == set(house.generator.prompts)
    assert 9 < len(answered) < 40


def test_a_key_that_is_refused_in_the_middle_ends_the_stream(house: House) -> None:
    tasks = house.add_prompts(30)

    def refuse(request: str) -> None:
        if len(house.patched()) > 8:
            house.studio.failures = [401]

    house.studio.on_request = refuse
    with pytest.raises(StudioKeyError):
        house.answer()

    assert 0 < sum(house.is_answered(task) for task in tasks) < 30
    assert len(house.generator.jobs) < 30


def test_an_error_while_passing_on_ends_the_stream_and_written_answers_are_stored(house: House) -> None:
    house.add_prompts(60)

    def fail(some: list[Task]) -> None:
        raise StudioError("Label Studio refused")

    with pytest.raises(StudioError, match="Label Studio refused"):
        house.answer(on_stored=fail)

    assert len(house.patched()) == len(house.generator.jobs) < 60


# While Label Studio is away


@pytest.mark.parametrize("failure", [503, 0], ids=["unavailable", "hangs up"])
def test_what_was_written_waits_for_label_studio_and_is_stored_when_it_is_back(
    house: House, failure: int, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = house.add_prompts(30)
    refused: list[str] = []

    def be_away(request: str) -> None:
        if len(house.patched()) > 8 and len(refused) < 5:
            refused.append(request)
            house.studio.failures = [failure]

    house.studio.on_request = be_away
    stored = house.answer()

    assert len(refused) == 5
    assert house.is_answered(*tasks)
    assert sorted(stored) == tasks
    assert sorted(house.generator.prompts) == sorted(f"Prompt {n}" for n in range(30)), "nothing is written twice"


def test_an_outage_longer_than_a_stores_patience_loses_nothing_and_is_waited_for_once(house: House) -> None:
    house.settings = house.settings.replace(storing_connections=4)
    tasks = house.add_prompts(12)
    scheduler, refused = house.scheduler(), list[str]()
    waits = scheduler.stopping = Waits()

    def wait_for_each_other(request: str) -> None:
        if request.startswith("PATCH") and not waits.seconds:
            refused.append(request)
            wait_until(lambda: len(refused) >= 4)

    def be_away(request: str) -> None:
        if request in refused:
            refused[refused.index(request)] = ""
            house.studio.failures = [503]

    house.studio.on_arrival, house.studio.on_request = wait_for_each_other, be_away
    stored = house.answer(house.stream(scheduler, project=impatient(house)))  # each call is sent once

    assert len(refused) >= 4
    assert waits.seconds == [5.0]
    assert sorted(stored) == tasks and house.is_answered(*tasks)
    assert len(house.generator.jobs) == 12


def test_an_outage_just_before_the_store_loses_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(12)
    scheduler = house.scheduler()
    waits = scheduler.stopping = Waits()
    house.before_request(
        "GET /api/tasks/", lambda: setattr(house.studio, "failures", [0]), time=2
    )  # the first reads the open tasks

    stored = house.answer(house.stream(scheduler, project=impatient(house)))

    assert waits.seconds == [5.0]
    assert sorted(stored) == tasks and house.is_answered(*tasks)
    assert len(house.generator.jobs) == 12
    assert "answered tasks wait to be stored: Label Studio at" in caplog.text


def test_a_page_that_cannot_be_read_does_not_cost_what_was_written(house: House) -> None:
    tasks = house.add_prompts(9)
    gate = threading.Event()

    def reading() -> Iterator[Task]:
        yield from house.unanswered()
        gate.set()
        raise StudioUnreachable("Label Studio is away")

    house.generator.meanwhile = lambda prompts: gate.wait(60)
    stream = house.stream()
    with pytest.raises(StudioUnreachable, match="Label Studio is away"):
        stream.run(reading(), should_stop=lambda: False)

    assert house.is_answered(*tasks)
