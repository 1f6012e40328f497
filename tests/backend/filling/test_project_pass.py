import dataclasses
import logging
from pathlib import Path

import pytest

from preference.errors import LayoutError
from preference.projects.versions import UNTRAINED, Versions
from tests.support.filling_house import ANSWERED, CHOICE, EMPTY, RENAMED, House, echo, warnings_of
from tests.support.statuses import filling_of
from tests.support.studio_records import LABEL_CONFIG
from tests.support.version_house import CARD, trained_in

# Answers and predictions


def test_a_pass_answers_all_and_logs_how_many(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(11)
    caplog.set_level(logging.INFO, "pairloop")

    assert house.run_pass()

    assert house.is_answered(*tasks)
    assert house.versions(tasks) == [[]] * 11  # no champion: nothing is suggested
    assert f"project {house.project_id}: 11 tasks answered, 0 scored in " in caplog.text


def test_a_pass_with_nothing_to_do_logs_and_stores_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.add(ANSWERED)
    caplog.set_level(logging.INFO, "pairloop")

    assert house.run_pass()

    assert caplog.messages == []
    assert filling_of(house.folder)["tasks_left"] == 0  # nobody had written it before
    assert house.generator.jobs == []


def test_judged_and_skipped_tasks_are_never_touched(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    judged, skipped, judged_answered = house.add({"prompt": "p", **EMPTY}, {"prompt": "p", **EMPTY}, ANSWERED)
    house.studio.annotate(judged, CHOICE)
    house.studio.annotate(skipped, [], is_skip=True)
    house.studio.annotate(judged_answered, CHOICE)
    result = house.open_pass().run(lambda: False, has_new_version=True)

    assert result.is_done

    assert house.patched() == []
    assert house.generator.prompts == []
    assert house.versions([judged, skipped, judged_answered]) == [[], [], []]
    assert result.dropped == {"judged or skipped while empty": 2}


def test_a_task_that_is_judged_between_its_answers_and_its_prediction_gets_none(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    judged, other = house.add_prompts(2)

    def judge(request: str) -> None:
        if house.is_answered(judged) and not house.studio.tasks[judged]["total_annotations"]:
            house.studio.annotate(judged, CHOICE)

    house.studio.on_request = judge
    assert house.run_pass()

    assert house.versions([judged, other]) == [[], [version]]


@pytest.mark.parametrize("has_new_version", [False, True])
def test_a_task_that_is_answered_and_scored_takes_1_25_requests_at_most(
    house: House, tiny_base: Path, has_new_version: bool
) -> None:
    version = house.promote(tiny_base, weight=1)
    house.generator.capacity = 16
    tasks = house.add_prompts(120)
    house.studio.requests.clear()

    assert house.run_pass(has_new_version=has_new_version)

    assert house.versions(tasks) == [[version]] * 120
    assert house.patched() == tasks
    assert len(house.studio.requests) <= 1.25 * 120


@pytest.mark.parametrize("has_new_version", [False, True])
def test_a_pass_over_a_project_without_tasks_asks_nothing_that_label_studio_fails_at(
    house: House, tiny_base: Path, has_new_version: bool, caplog: pytest.LogCaptureFixture
) -> None:
    house.promote(tiny_base, weight=1)
    caplog.set_level("WARNING", logger="pairloop")

    assert house.run_pass(has_new_version=has_new_version)

    assert not [record for record in caplog.records if record.name.startswith("pairloop")]


def test_predictions_are_stored_in_bulk_once_a_version(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    house.generator.capacity = 64
    tasks = [*house.add_prompts(120), *house.add(ANSWERED)]

    for _ in range(3):  # each after a restart
        assert house.run_pass()

    assert house.versions(tasks) == [[version]] * 121
    assert house.num_bulks() < 10
    (prediction,) = house.studio.tasks[tasks[-1]]["predictions"]
    assert 0.5 < prediction["score"] <= 1
    assert prediction["result"][0]["value"] == {"selected": "right"}
    assert house.figure("predictions_stored_total") == 121


def test_open_tasks_are_scored_a_hundred_in_a_request(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 230)

    assert house.run_pass(has_new_version=True)

    assert house.versions(tasks) == [[version]] * 230
    assert house.num_bulks() == 3


def test_what_label_studio_did_not_keep_is_logged(house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture) -> None:
    house.promote(tiny_base, weight=1)
    house.add(ANSWERED, ANSWERED)
    opened = house.open_pass()
    project = house.studio.projects[house.project_id]
    project["label_config"] = LABEL_CONFIG.replace('toName="answer1,answer2"', 'toName="a,b"')  # after it was read

    assert opened.run(lambda: False, has_new_version=False).is_done

    assert f"project {house.project_id}: Label Studio kept 0 of 2 predictions" in warnings_of(caplog)
    assert house.figure("predictions_stored_total") == 0


def test_a_task_that_is_deleted_just_before_it_is_stored_costs_no_other_its_prediction(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(3)
    house.before_request(f"PATCH /api/tasks/{tasks[1]}/", lambda: house.studio.tasks.pop(tasks[1]))

    assert house.run_pass()

    assert house.is_answered(tasks[0], tasks[2])
    assert house.versions([tasks[0], tasks[2]]) == [[version]] * 2
    assert house.patched() == tasks
    assert warnings_of(caplog) == []


def test_tasks_deleted_judged_or_edited_during_scoring_do_not_hurt_the_others(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    deleted, judged, edited, other = house.add(*[{**ANSWERED, "answer1": "a", "answer2": "b b b b"}] * 4)

    def interfere() -> None:
        del house.studio.tasks[deleted]
        house.studio.annotate(judged, CHOICE)
        house.edit(edited, answer1="a a a a a a a a", answer2="b")

    house.before_request(
        "GET /api/tasks/", interfere, time=4
    )  # after the unanswered, the ids of the unscored and a page of these

    assert house.run_pass()
    assert house.versions([judged, edited, other]) == [[], [], [version]]
    assert house.run_pass()

    assert house.versions([judged, edited, other]) == [[], [version], [version]]
    assert house.studio.tasks[edited]["predictions"][0]["result"][0]["value"] == {"selected": "left"}
    assert warnings_of(caplog) == []


def test_a_task_deleted_at_the_last_moment_does_not_hurt_the_others(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Label Studio refuses all predictions of a request in which one is of a deleted task."""
    version = house.promote(tiny_base, weight=1)
    deleted, *others = house.add(*[ANSWERED] * 5)
    house.before_request(f"POST /api/projects/{house.project_id}/import/predictions", lambda: house.studio.tasks.pop(deleted))

    assert house.run_pass()

    assert house.versions(others) == [[version]] * 4
    assert house.num_bulks() == 3
    assert warnings_of(caplog) == []


def test_a_task_that_predict_scored_meanwhile_gets_no_second_prediction(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    (task,) = house.add(ANSWERED)
    prediction = {"id": 99, "result": CHOICE, "score": 0.6, "model_version": version}
    # The list of unanswered tasks, the list of unscored ones, and the look at what was scored.
    house.before_request("GET /api/tasks/", lambda: house.studio.tasks[task]["predictions"].append(prediction), time=3)

    assert house.run_pass()

    assert house.versions([task]) == [[version]]


@pytest.mark.parametrize("method", ["GET /api/projects/", "GET /api/tasks/", "PATCH /api/tasks/", "POST /api/projects/"])
def test_work_goes_on_after_label_studio_went_down_for_a_moment(house: House, tiny_base: Path, method: str) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(6)
    times_down: list[str] = []

    def go_down(request: str) -> None:
        if request.startswith(method) and len(times_down) < 2:
            times_down.append(request)
            house.studio.failures = [0 if len(times_down) == 1 else 503]

    house.studio.on_request = go_down
    house.fill()
    if method.startswith("POST"):  # what may have been taken is not sent again, but looked for
        house.fill()

    assert len(times_down) == 2
    assert house.is_answered(*tasks)
    assert house.versions(tasks) == [[version]] * 6
    assert sorted(house.generator.prompts) == [f"Prompt {n}" for n in range(6)]


def test_prompts_that_lost_their_head_are_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.generator.write = lambda job: dataclasses.replace(echo(job), num_cut=7)
    house.add_prompts(1)
    caplog.set_level(logging.INFO, "pairloop")

    assert house.run_pass()

    assert f"project {house.project_id}: 1 prompts were cut to the window at their head" in caplog.messages


# The project changes


def test_a_label_config_that_was_changed_between_passes_is_followed(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    house.add_prompts(2)
    assert house.run_pass()
    house.studio.projects[house.project_id]["label_config"] = RENAMED
    (task,) = house.add({"question": "Q", "left": "", "right": "", **EMPTY})

    assert house.run_pass()

    data = house.data(task)
    assert data["left"].endswith("of: Q") and data["right"].endswith("of: Q")
    assert (data["answer1"], data["answer2"]) == ("", "")
    assert house.record(task)["filled"] == ["left", "right"]
    assert house.versions([task]) == [[version]]


def test_a_label_config_that_is_changed_during_a_pass_ends_it_and_the_next_follows_it(house: House) -> None:
    tasks = house.add_prompts(250)

    def rename(prompts: list[str]) -> None:
        if len(house.generator.jobs) > 20:  # of the first page, a hundred
            house.studio.projects[house.project_id]["label_config"] = RENAMED
            for task in tasks[200:]:
                house.edit(task, question="Q", left="", right="")

    house.generator.meanwhile = rename

    assert not house.run_pass()
    assert house.answers(tasks[150]) == ("", "")
    assert house.run_pass()

    assert house.data(tasks[-1])["left"].endswith("of: Q")
    assert house.answers(tasks[-1]) == ("", "")


def test_a_label_config_that_does_not_fit_is_refused_at_the_start(house: House) -> None:
    house.studio.projects[house.project_id]["label_config"] = "<View/>"

    with pytest.raises(LayoutError, match="no <Pairwise> tags"):
        house.open_pass()


def test_a_label_config_in_which_the_answers_changed_places_is_refused_at_the_start(house: House, tmp_path: Path) -> None:
    """So that people hear of it before they judge by it."""
    fields = {"prompt": "prompt", "left": "answer1", "right": "answer2"}
    Versions(house.folder).publish(trained_in(tmp_path), dataclasses.replace(CARD, fields=fields))
    swapped = LABEL_CONFIG.replace("answer1,answer2", "answer2,answer1")
    house.studio.projects[house.project_id]["label_config"] = swapped

    with pytest.raises(LayoutError, match="each earlier judgement would count for the other answer"):
        house.open_pass()


def test_tasks_that_are_imported_meanwhile_are_answered_by_this_pass_or_the_next(house: House) -> None:
    tasks = house.add_prompts(130)
    more: list[int] = []

    def import_more(prompts: list[str]) -> None:
        if not more:
            more.extend(house.add(*({"prompt": f"New {n}", **EMPTY} for n in range(5))))

    house.generator.meanwhile = import_more
    assert house.run_pass()
    assert house.is_answered(*tasks)
    assert house.run_pass()

    assert house.is_answered(*more)
    assert len(house.generator.jobs) == 135


def test_a_pass_with_nothing_to_correct_makes_label_studio_call_nobody(house: House) -> None:
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.studio.projects[house.project_id]["model_version"] = UNTRAINED
    house.studio.requests.clear()

    assert house.run_pass()

    assert not [request for request in house.studio.requests if "/api/ml" in request]
