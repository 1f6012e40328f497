import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from backend.generators import Job, Writing
from preference.errors import ModelError, StudioError, StudioKeyError, StudioUnreachable
from preference.studio import Task
from tests.conftest import SettingsFactory
from tests.filling_house import CHOICE, EMPTY, House, echo, warnings_of
from tests.studio_double import KEY, StudioDouble, wait_until


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def impatient(house: House) -> Any:
    """The project as it is read and written where no call is repeated."""
    stopped = threading.Event()
    stopped.set()
    return house.project(patience_seconds=0, stop=stopped)


class Waits(threading.Event):
    """An Event that keeps how long somebody wanted to wait for it, and lets nobody wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return super().wait(0)


def once(happens: Any) -> Any:
    """Lets something happen while "Prompt 0" is written, and then no more."""
    return lambda prompts: happens() if "Prompt 0" in prompts else None


# What is stored


def test_every_unanswered_task_gets_two_answers_and_their_record(house: House) -> None:
    tasks = [*house.add_prompts(9), *house.add({"prompt": "no keys"}, {"prompt": "null", "answer1": None, "answer2": None})]

    handed = house.answer()

    assert sorted(handed) == house.patched() == tasks
    assert house.is_answered(*tasks)
    assert sorted(house.generator.prompts) == sorted(house.data(task)["prompt"] for task in tasks)
    for task, job in zip(tasks, house.generator.jobs, strict=True):
        record, samples = house.record(task), echo(job).answers
        assert (record["generator"], record["seed"], record["filled"]) == ("echo", job.seed, ["answer1", "answer2"])
        assert house.answers(task) == (samples[record["left_sample"]], samples[record["right_sample"]])
    assert {house.record(task)["left_sample"] for task in tasks} == {0, 1}
    assert house.figure("tasks_answered_total") == 11


def test_no_tasks_ask_nothing_of_anyone(house: House) -> None:
    assert house.answer() == []
    assert house.generator.jobs == []
    assert house.studio.requests == ["GET /api/tasks/"]


def test_what_is_answered_is_never_written_again(house: House) -> None:
    done, half = house.add({"prompt": "p", "answer1": "a", "answer2": "b"}, {"prompt": "p", "answer1": "Mine.", "answer2": ""})

    house.answer()
    house.answer()

    assert house.answers(done) == ("a", "b")
    assert house.answers(half)[0] == "Mine." and house.answers(half)[1].startswith("Echo ")
    assert (house.record(half)["filled"], house.record(half)["right_sample"]) == (["answer2"], 0)
    assert "left_sample" not in house.record(half)
    assert house.patched() == [half]


def test_a_task_that_somebody_answered_before_it_was_begun_is_not_written_at_all(house: House) -> None:
    (task,) = house.add({"prompt": "p", "answer1": "a", "answer2": "b"})
    stream = house.stream()

    assert stream.run(iter(house.project().tasks([task]).values()), is_over=lambda: False, hand_on=lambda _: None)

    assert (house.generator.jobs, house.patched(), stream.num_answered, stream.dropped) == ([], [], 0, {})


def test_answers_that_are_alike_are_written_again_with_other_seeds(house: House) -> None:
    tasks = house.add_prompts(6)
    times: Counter[str] = Counter()

    def write(job: Job) -> Writing:
        times[job.prompt] += 1
        is_alike = job.prompt in ("Prompt 1", "Prompt 4") and times[job.prompt] < 3
        return Writing(["The same.", "the same. "]) if is_alike else echo(job)

    house.generator.write = write
    house.answer()

    assert house.is_answered(*tasks)
    assert times == {"Prompt 0": 1, "Prompt 1": 3, "Prompt 2": 1, "Prompt 3": 1, "Prompt 4": 3, "Prompt 5": 1}
    assert len({job.seed for job in house.generator.jobs}) == 10
    assert "similarity" not in house.record(tasks[1])


def test_answers_that_stay_alike_are_stored_and_marked(house: House) -> None:
    house.settings = dataclasses.replace(house.settings, max_resamples=2)
    (task,) = house.add_prompts(1)
    house.generator.write = lambda job: Writing(["The same.", "the same."])

    house.answer()

    assert sorted(house.answers(task)) == ["The same.", "the same."]
    assert house.record(task)["similarity"] == 1
    assert len(house.generator.jobs) == 3


def test_other_keys_of_data_and_meta_are_kept_as_they_are_at_the_end(house: House) -> None:
    (task,) = house.add({"prompt": "Prompt 0", **EMPTY, "source": {"row": 1}}, meta={"batch": "first", "pairloop": {"old": 1}})

    def edit() -> None:
        house.edit(task, source={"row": 2}, new=True)
        house.studio.tasks[task]["meta"] = {**house.studio.tasks[task]["meta"], "owner": "Ann"}

    house.generator.meanwhile = once(edit)
    house.answer()

    data, meta = house.data(task), house.studio.tasks[task]["meta"]
    assert {key: data[key] for key in ("prompt", "source", "new")} == {"prompt": "Prompt 0", "source": {"row": 2}, "new": True}
    assert set(data) == {"prompt", "answer1", "answer2", "source", "new"}
    assert (meta["batch"], meta["owner"], meta["pairloop"]["generator"]) == ("first", "Ann", "echo")
    assert "old" not in meta["pairloop"]


# Tasks that change while they are written


def test_a_task_that_is_judged_while_it_is_answered_is_left_alone(house: House) -> None:
    judged, other = house.add_prompts(2)
    house.generator.meanwhile = once(lambda: house.studio.annotate(judged, CHOICE))

    assert house.answer() == [other]
    assert house.answers(judged) == ("", "")
    assert house.patched() == [other]


def test_a_task_that_is_deleted_while_it_is_answered_hurts_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    deleted, other = house.add_prompts(2)
    house.generator.meanwhile = once(lambda: house.studio.tasks.pop(deleted))

    assert house.answer() == [other]
    assert house.patched() == [other]
    assert warnings_of(caplog) == []


def test_a_task_that_is_deleted_just_before_it_is_stored_hurts_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(3)
    house.at(f"PATCH /api/tasks/{tasks[1]}/", lambda: house.studio.tasks.pop(tasks[1]))

    assert sorted(house.answer()) == [tasks[0], tasks[2]]
    assert house.is_answered(tasks[0], tasks[2])
    assert house.patched() == tasks
    assert warnings_of(caplog) == []


def test_an_answer_that_a_person_wrote_meanwhile_is_kept_and_not_taken_for_ours(house: House) -> None:
    tasks = house.add({"prompt": "Prompt 0", **EMPTY}, {"prompt": "Prompt 0", **EMPTY})

    def write() -> None:
        house.edit(tasks[0], answer1="Hers.")
        house.edit(tasks[1], answer2="Hers.")

    house.generator.meanwhile = once(write)
    house.answer()

    assert house.answers(tasks[0])[0] == "Hers." and house.answers(tasks[0])[1].startswith("Echo ")
    assert house.answers(tasks[1])[1] == "Hers." and house.answers(tasks[1])[0].startswith("Echo ")
    assert [house.record(task)["filled"] for task in tasks] == [["answer2"], ["answer1"]]
    samples = [echo(job).answers for job in house.generator.jobs]
    assert house.answers(tasks[0])[1] == samples[0][house.record(tasks[0])["right_sample"]]
    assert house.answers(tasks[1])[0] == samples[1][house.record(tasks[1])["left_sample"]]
    assert "left_sample" not in house.record(tasks[0]) and "right_sample" not in house.record(tasks[1])


def test_a_task_that_a_person_answered_wholly_meanwhile_is_not_written_to(house: House) -> None:
    (task,) = house.add_prompts(1)
    house.generator.meanwhile = once(lambda: house.edit(task, answer1="Hers.", answer2="Hers too."))

    assert house.answer() == []
    assert house.answers(task) == ("Hers.", "Hers too.")
    assert house.patched() == []


def test_answers_to_a_prompt_that_was_edited_meanwhile_are_thrown_away_and_written_anew(house: House) -> None:
    (task,) = house.add_prompts(1)
    house.generator.meanwhile = once(lambda: house.edit(task, prompt="Edited"))

    assert house.answer() == []
    assert house.answers(task) == ("", "")
    house.answer()

    assert house.generator.prompts == ["Prompt 0", "Edited"]
    assert all(answer.endswith(" of: Edited") for answer in house.answers(task))


def test_an_edit_that_comes_while_others_are_being_stored_is_kept(house: House) -> None:
    tasks = house.add_prompts(16)

    def edit() -> None:
        for task in tasks[8:]:
            house.edit(task, prompt="edited", answer1="Hers.")

    house.at(f"PATCH /api/tasks/{tasks[0]}/", edit)

    house.answer()

    assert house.is_answered(*tasks[:4])
    assert all(house.answers(task) == ("Hers.", "") for task in tasks[12:])


# Tasks that cannot be answered


def test_a_judged_or_skipped_task_is_left_and_counted(house: House) -> None:
    judged, skipped = house.add_prompts(2)
    house.studio.annotate(judged, CHOICE)
    house.studio.annotate(skipped, [], is_skip=True)
    stream = house.stream()

    house.answer(stream)

    assert (house.generator.jobs, house.patched()) == ([], [])
    assert stream.dropped == {"judged or skipped while empty": 2}


@pytest.mark.parametrize("why", ["refused", "nothing"])
def test_a_prompt_that_the_model_does_not_answer_is_marked_once_and_the_others_go_on(
    house: House, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = house.add_prompts(9)
    data, words = dict(house.data(tasks[2])), "The prompt 'Prompt 2' is indecent"
    refusal = Writing([], refused=f"the server refused the prompt (400): {words}") if why == "refused" else Writing(["", " \n"])
    house.generator.write = lambda job: refusal if job.prompt == "Prompt 2" else echo(job)
    reason = "the server refused the prompt (400)" if why == "refused" else "the model wrote nothing"
    streams = [house.stream() for _ in range(2)]

    house.answer(streams[0])
    house.answer(streams[1])

    assert [stream.dropped for stream in streams] == [{reason: 1}, {reason: 1}]
    assert house.is_answered(*(task for task in tasks if task != tasks[2]))
    assert house.data(tasks[2]) == data
    record = house.record(tasks[2])
    assert set(record) == {"refused", "model", "prompt", "at"}
    assert record["refused"].startswith(reason) and abs(time.time() - record["at"]) < 60
    assert house.generator.prompts.count("Prompt 2") == (
        1 if why == "refused" else 5
    )  # MAX_RESAMPLES, and not at the second time
    assert house.patched() == tasks
    assert streams[0].num_answered == 8 and streams[1].num_answered == 0
    assert words.encode() not in house.metrics.text() and b"Prompt 2" not in house.metrics.text()
    assert words not in caplog.text


def test_a_refusal_however_long_makes_one_short_metric_label(house: House) -> None:
    house.add_prompts(3)
    house.generator.write = lambda job: Writing([], refused="no " * 200 + job.prompt)
    stream = house.stream()

    house.answer(stream)

    assert list(stream.dropped.values()) == [3]
    assert all(len(reason) <= 80 for reason in stream.dropped)


@pytest.mark.parametrize("change", ["prompt", "model", "age"])
def test_a_marked_prompt_is_asked_again_where_the_answer_may_be_another(house: House, change: str) -> None:
    (task,) = house.add_prompts(1)
    house.generator.write = lambda job: Writing([], refused="no")
    house.answer()
    assert house.record(task)["refused"] == "no"

    house.generator.write = echo
    house.answer()
    assert len(house.generator.jobs) == 1
    if change == "prompt":
        house.edit(task, prompt="Another")
    elif change == "model":
        house.settings = dataclasses.replace(house.settings, generator_model="larger")
    else:
        house.record(task)["at"] -= 86_401
    house.answer()

    assert house.is_answered(task)
    assert "refused" not in house.record(task)


def test_a_refused_task_that_a_person_edited_meanwhile_is_not_marked(house: House) -> None:
    (task,) = house.add_prompts(1)
    house.generator.meanwhile = once(lambda: house.edit(task, prompt="Edited"))
    house.generator.write = lambda job: Writing([], refused="no")

    house.answer()

    assert house.record(task) is None


def test_one_task_that_cannot_be_stored_does_not_stand_before_the_others(house: House, caplog: pytest.LogCaptureFixture) -> None:
    half_an_emoji = "\ud83d"  # a text that JavaScript cut: SQLite keeps it, UTF-8 does not take it
    (broken,) = house.add({"prompt": "Prompt", "note": half_an_emoji, **EMPTY})
    others = house.add_prompts(2)
    stream = house.stream()

    house.answer(stream)

    assert house.is_answered(*others)
    assert house.answers(broken) == ("", "")
    assert f"project {house.project_id}: task {broken} cannot be stored: " in caplog.text
    assert stream.dropped == {"Label Studio refused the answers": 1}


def test_a_prompt_that_lost_its_head_is_counted(house: House) -> None:
    house.generator.write = lambda job: dataclasses.replace(echo(job), num_cut=7)
    tasks = house.add_prompts(3)
    stream = house.stream()

    house.answer(stream)

    assert [house.record(task)["prompt_tokens_cut"] for task in tasks] == [7, 7, 7]
    assert stream.num_cut == house.figure("prompts_cut_total") == 3


# All at once, and bounded


def test_of_1500_tasks_no_more_than_two_and_a_half_batches_are_ever_under_way(house: House) -> None:
    tasks = house.add_prompts(1500)
    house.generator.capacity = 8
    read, handed, arrived, most = list[int](), list[int](), list[str](), Counter[str]()
    stream = house.stream(num_connections=4)
    house.studio.on_arrival = arrived.append

    def watch(prompts: list[str]) -> None:
        most["under way"] = max(most["under way"], stream.num_under_way)
        most["begun"] = max(most["begun"], len(read) - len(handed))
        most["requests"] = max(most["requests"], len(arrived) - len(house.studio.requests))

    def reading() -> Iterator[Task]:
        for task in house.unanswered():
            read.append(task["id"])
            yield task

    house.generator.meanwhile = watch
    assert stream.run(reading(), is_over=lambda: False, hand_on=lambda some: handed.extend(task["id"] for task in some))

    assert sorted(handed) == house.patched() == read == tasks
    assert 8 < most["begun"] <= most["under way"] <= 20, most
    assert most["requests"] <= 5  # four stores, and a look or a page
    assert house.studio.requests.count("GET /api/tasks/") < 1500
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
    house.answer(house.stream(num_connections=3))

    assert house.is_answered(*tasks)
    assert max(together) == 3


def test_stored_tasks_are_handed_on_some_at_a_time_as_they_are_now(house: House) -> None:
    tasks = house.add_prompts(30)
    handing, handed, threads = threading.Lock(), list[list[Task]](), set[str]()

    def hand_on(some: list[Task]) -> None:
        assert handing.acquire(blocking=False), "one call at a time"
        threads.add(threading.current_thread().name)
        if not handed:
            wait_until(lambda: len(house.patched()) == 10)  # as many as may be under way
        handed.append(some)
        handing.release()

    house.answer(hand_on=hand_on)

    assert sorted(task["id"] for some in handed for task in some) == tasks
    assert all(task["data"] == house.data(task["id"]) for some in handed for task in some)
    assert len(handed) < 30, "those that were stored during the first call are handed on together, if no others are"
    assert threading.current_thread().name not in threads and len(threads) == 1


def test_an_urgent_stream_is_written_before_what_waits(house: House) -> None:
    tasks = house.add_prompts(20)
    (urgent,) = house.add({"prompt": "Urgent", **EMPTY})
    found, scheduler, submitted = house.project().tasks([urgent]), house.scheduler(), threading.Event()

    def reading() -> Iterator[Task]:
        yield from found.values()
        submitted.set()

    def open_task() -> None:
        stream = house.stream(scheduler, is_urgent=True, num_connections=1)
        assert stream.run(reading(), is_over=lambda: False, hand_on=lambda _: None, deadline=time.monotonic() + 60)

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
    handed: list[int] = []
    stream = house.stream()

    is_done = stream.run(house.unanswered(), is_over=over.is_set, hand_on=lambda some: handed.extend(task["id"] for task in some))

    assert not is_done
    assert 8 <= len(handed) < 40
    assert sorted(handed) == house.patched() == [task for task in tasks if house.is_answered(task)]
    assert len(house.generator.jobs) == len(handed)
    assert stream.num_under_way == 0


def test_at_the_deadline_what_is_under_way_is_left_to_others(house: House) -> None:
    (task,) = house.add_prompts(1)
    gate = threading.Event()
    house.generator.meanwhile = lambda prompts: gate.wait(60)
    stream = house.stream(is_urgent=True, num_connections=1)

    is_done = stream.run(house.unanswered(), is_over=lambda: False, hand_on=lambda _: None, deadline=time.monotonic() + 0.05)
    gate.set()

    assert not is_done
    assert house.patched() == []
    house.answer()
    assert house.is_answered(task)


def test_a_stream_with_a_deadline_does_not_wait_for_a_label_studio_that_is_away(house: House) -> None:
    house.add_prompts(1)
    house.generator.meanwhile = lambda prompts: setattr(house.studio, "failures", [503] * 1000)
    stream = house.stream(project=impatient(house), is_urgent=True, num_connections=1)

    with pytest.raises(StudioUnreachable, match="keeps failing with 503"):
        stream.run(house.unanswered(), is_over=lambda: False, hand_on=lambda _: None, deadline=time.monotonic() + 60)

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


def test_an_error_while_handing_on_ends_the_stream_and_what_was_written_is_stored(house: House) -> None:
    house.add_prompts(60)

    def fail(some: list[Task]) -> None:
        raise StudioError("Label Studio refused")

    with pytest.raises(StudioError, match="Label Studio refused"):
        house.answer(hand_on=fail)

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
    handed = house.answer()

    assert len(refused) == 5
    assert house.is_answered(*tasks)
    assert sorted(handed) == tasks
    assert sorted(house.generator.prompts) == sorted(f"Prompt {n}" for n in range(30)), "nothing is written twice"


def test_an_outage_longer_than_a_stores_patience_loses_nothing_and_is_waited_for_once(house: House) -> None:
    tasks = house.add_prompts(12)
    scheduler, refused = house.scheduler(), list[str]()
    waits = scheduler.stopping = Waits()

    def come_together(request: str) -> None:
        if request.startswith("PATCH") and not waits.seconds:
            refused.append(request)
            wait_until(lambda: len(refused) >= 4)

    def be_away(request: str) -> None:
        if request in refused:
            refused[refused.index(request)] = ""
            house.studio.failures = [503]

    house.studio.on_arrival, house.studio.on_request = come_together, be_away
    handed = house.answer(house.stream(scheduler, project=impatient(house)))  # each call is sent once

    assert len(refused) >= 4
    assert waits.seconds == [5.0]
    assert sorted(handed) == tasks and house.is_answered(*tasks)
    assert len(house.generator.jobs) == 12


def test_an_outage_just_before_the_store_loses_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(12)
    scheduler = house.scheduler()
    waits = scheduler.stopping = Waits()
    house.at("GET /api/tasks/", lambda: setattr(house.studio, "failures", [0]), time=2)  # the first reads the open tasks

    handed = house.answer(house.stream(scheduler, project=impatient(house)))

    assert waits.seconds == [5.0]
    assert sorted(handed) == tasks and house.is_answered(*tasks)
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
        stream.run(reading(), is_over=lambda: False, hand_on=lambda _: None)

    assert house.is_answered(*tasks)
