import dataclasses
import time
from collections import Counter
from typing import Any

import pytest

from preference.generation.jobs import Job, WrittenAnswers
from preference.labelling.markdown import inert_html
from preference.labelling.prompts import transcript
from tests.support.filling_house import CHOICE, EMPTY, House, echo, warnings_of


def once(happens: Any) -> Any:
    """Lets something happen while "Prompt 0" is written, and then no more."""
    return lambda prompts: happens() if "Prompt 0" in prompts else None


# What is stored


def test_every_unanswered_task_gets_two_answers_and_their_record(house: House) -> None:
    tasks = [*house.add_prompts(9), *house.add({"prompt": "no keys"}, {"prompt": "null", "answer1": None, "answer2": None})]

    stored = house.answer()

    assert sorted(stored) == house.patched() == tasks
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

    assert stream.run(iter(house.project().tasks([task]).values()), should_stop=lambda: False)

    assert (house.generator.jobs, house.patched(), stream.num_answered, stream.dropped) == ([], [], 0, {})


def test_answers_that_are_alike_are_written_again_with_other_seeds(house: House) -> None:
    tasks = house.add_prompts(6)
    times: Counter[str] = Counter()

    def write(job: Job) -> WrittenAnswers:
        times[transcript(job.prompt)] += 1
        is_alike = job.prompt in ("Prompt 1", "Prompt 4") and times[transcript(job.prompt)] < 3
        return WrittenAnswers(["The same.", "the same. "]) if is_alike else echo(job)

    house.generator.write = write
    house.answer()

    assert house.is_answered(*tasks)
    assert times == {"Prompt 0": 1, "Prompt 1": 3, "Prompt 2": 1, "Prompt 3": 1, "Prompt 4": 3, "Prompt 5": 1}
    assert len({job.seed for job in house.generator.jobs}) == 10
    assert "similarity" not in house.record(tasks[1])


def test_answers_that_stay_alike_are_stored_and_marked(house: House) -> None:
    house.settings = house.settings.replace(max_resamples=2)
    (task,) = house.add_prompts(1)
    house.generator.write = lambda job: WrittenAnswers(["The same.", "the same."])

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
    assert set(data) == {"prompt", "answer1", "answer2", "source", "new", "answer1_html", "answer2_html"}
    assert data["answer1_html"] == inert_html(data["answer1"]) != "" and data["answer2_html"] == inert_html(data["answer2"])
    assert (meta["batch"], meta["owner"], meta["pairloop"]["generator"]) == ("first", "Ann", "echo")
    assert "old" not in meta["pairloop"]


# Tasks that change while they are written


def test_a_task_judged_during_its_answering_is_not_touched(house: House) -> None:
    judged, other = house.add_prompts(2)
    house.generator.meanwhile = once(lambda: house.studio.annotate(judged, CHOICE))

    assert house.answer() == [other]
    assert house.answers(judged) == ("", "")
    assert house.patched() == [other]


def test_a_task_deleted_during_its_answering_does_not_hurt_the_others(house: House, caplog: pytest.LogCaptureFixture) -> None:
    deleted, other = house.add_prompts(2)
    house.generator.meanwhile = once(lambda: house.studio.tasks.pop(deleted))

    assert house.answer() == [other]
    assert house.patched() == [other]
    assert warnings_of(caplog) == []


def test_a_task_that_is_deleted_just_before_it_is_stored_hurts_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(3)
    house.before_request(f"PATCH /api/tasks/{tasks[1]}/", lambda: house.studio.tasks.pop(tasks[1]))

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


def test_an_edit_during_the_storing_of_others_is_kept(house: House) -> None:
    tasks = house.add_prompts(16)

    def edit() -> None:
        for task in tasks[8:]:
            house.edit(task, prompt="edited", answer1="Hers.")

    house.before_request(f"PATCH /api/tasks/{tasks[0]}/", edit)

    house.answer()

    assert house.is_answered(*tasks[:4])
    assert all(house.answers(task) == ("Hers.", "") for task in tasks[12:])


# Tasks that cannot be answered


def test_a_judged_or_skipped_task_is_not_touched_and_counted(house: House) -> None:
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
    refusal = (
        WrittenAnswers([], refused=f"the server refused the prompt (400): {words}")
        if why == "refused"
        else WrittenAnswers(["", " \n"])
    )
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
    house.generator.write = lambda job: WrittenAnswers([], refused="no " * 200 + transcript(job.prompt))
    stream = house.stream()

    house.answer(stream)

    assert list(stream.dropped.values()) == [3]
    assert all(len(reason) <= 80 for reason in stream.dropped)


@pytest.mark.parametrize("change", ["prompt", "model", "age"])
def test_a_marked_prompt_is_asked_again_if_the_answer_may_be_another(house: House, change: str) -> None:
    (task,) = house.add_prompts(1)
    house.generator.write = lambda job: WrittenAnswers([], refused="no")
    house.answer()
    assert house.record(task)["refused"] == "no"

    house.generator.write = echo
    house.answer()
    assert len(house.generator.jobs) == 1
    if change == "prompt":
        house.edit(task, prompt="Another")
    elif change == "model":
        house.settings = house.settings.replace(generator_model="larger")
    else:
        house.record(task)["at"] -= 86_401
    house.answer()

    assert house.is_answered(task)
    assert "refused" not in house.record(task)


def test_a_refused_task_that_a_person_edited_meanwhile_is_not_marked(house: House) -> None:
    (task,) = house.add_prompts(1)
    house.generator.meanwhile = once(lambda: house.edit(task, prompt="Edited"))
    house.generator.write = lambda job: WrittenAnswers([], refused="no")

    house.answer()

    assert house.record(task) is None


def test_one_task_that_cannot_be_stored_does_not_stand_before_the_others(house: House, caplog: pytest.LogCaptureFixture) -> None:
    broken, *others = house.add_prompts(3)
    house.before_request(f"PATCH /api/tasks/{broken}/", lambda: house.studio.failures.append(400))
    stream = house.stream()

    house.answer(stream)

    assert house.is_answered(*others)
    assert house.answers(broken) == ("", "")
    assert f"project {house.project_id}: task {broken}: Label Studio refused the answers: " in caplog.text
    assert stream.dropped == {"Label Studio refused the answers": 1}


def test_a_prompt_that_lost_its_head_is_counted(house: House) -> None:
    house.generator.write = lambda job: dataclasses.replace(echo(job), num_cut=7)
    tasks = house.add_prompts(3)
    stream = house.stream()

    house.answer(stream)

    assert [house.record(task)["prompt_tokens_cut"] for task in tasks] == [7, 7, 7]
    assert stream.num_cut == house.figure("prompts_cut_total") == 3
