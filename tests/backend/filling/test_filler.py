import threading
import time
from pathlib import Path

import pytest

from preference.errors import ModelError
from preference.projects.versions import UNTRAINED, Versions
from tests.support.filling_house import ANSWERED, CHOICE, EMPTY, House, RecordingGenerator, warnings_of

# When a pass is made


def test_without_a_reason_no_pass_is_made(house: House) -> None:
    filler, never = house.filler(), threading.Event()
    filler.look(never)  # the first is due at once
    (task,) = house.add_prompts(1)
    num_requests = len(house.studio.requests)

    filler.look(never)
    assert len(house.studio.requests) == num_requests
    house.folder.request("fill")
    filler.look(never)

    assert house.is_answered(task)


def test_the_timer_makes_a_pass_if_a_webhook_was_lost(house: House) -> None:
    now = [0.0]
    filler, never = house.filler(clock=lambda: now[0]), threading.Event()
    filler.look(never)
    (task,) = house.add_prompts(1)

    now[0] += house.settings.filling.fill_every_seconds - 0.1
    filler.look(never)
    assert not house.is_answered(task)
    now[0] += 0.2
    filler.look(never)

    assert house.is_answered(task)


def test_setup_before_every_predict_does_not_keep_the_filler_busy(house: House) -> None:
    now = [100.0]
    filler = house.filler(clock=lambda: now[0])
    filler.look(threading.Event())
    (task,) = house.add_prompts(1)
    house.folder.request("look")

    now[0] += 4.9
    filler.look(threading.Event())
    assert not house.is_answered(task)
    now[0] += 0.2
    filler.look(threading.Event())
    assert house.is_answered(task), "a look that was asked for is late, not lost"


def test_a_title_that_label_studio_puts_back_is_corrected_again_soon(house: House) -> None:
    now, never = [0.0], threading.Event()
    row = house.studio.add_row(house.project_id, "http://backend:9090", "pasted", named=UNTRAINED)
    house.folder.write_host("backend:9090")
    filler = house.filler(clock=lambda: now[0])
    filler.look(never)
    assert house.studio.rows[row]["title"] == UNTRAINED
    house.studio.rows[row]["title"] = "pasted"  # whoever read the row before it was renamed saves it whole

    for _ in range(3):
        now[0] += 5.1
        filler.look(never)

    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == UNTRAINED
    house.studio.requests.clear()
    now[0] += house.settings.filling.fill_every_seconds
    filler.look(never)
    assert house.studio.requests and not any("/api/ml" in request for request in house.studio.requests)


def test_a_title_is_checked_again_after_failed_passes_as_often_as_the_timer_says(house: House) -> None:
    now, never = [0.0], threading.Event()
    row = house.studio.add_row(house.project_id, "http://backend:9090", "pasted", named=UNTRAINED)
    house.studio.projects[house.project_id]["model_version"] = UNTRAINED  # only the row shows it
    house.folder.write_host("backend:9090")
    filler = house.filler(clock=lambda: now[0])
    config = house.studio.projects[house.project_id]["label_config"]
    house.studio.projects[house.project_id]["label_config"] = "<View/>"
    arrived: list[str] = []
    house.studio.on_request = arrived.append

    for _ in range(4):
        filler.look(never)
        now[0] += house.settings.filling.fill_every_seconds / 2 + 0.1
    assert len([request for request in arrived if request == f"GET /api/projects/{house.project_id}/"]) == 2
    assert house.studio.rows[row]["title"] == "pasted"

    house.studio.projects[house.project_id]["label_config"] = config
    now[0] += house.settings.filling.fill_every_seconds
    filler.look(never)
    assert house.studio.rows[row]["title"] == UNTRAINED


def test_a_removal_that_label_studio_refuses_costs_the_pass_nothing_and_waits_for_an_hour(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now, never = [0.0], threading.Event()
    house.studio.clock = lambda: time.time() - 2 * 86400
    tasks = house.add(*[ANSWERED] * 3)
    for weight in (1, -1):
        house.promote(tiny_base, weight=weight)
        assert house.run_pass(has_new_version=True)
    house.add({"prompt": "", **EMPTY})

    def refuse(request: str) -> None:
        if request.startswith("DELETE "):
            house.studio.failures = [403]

    house.studio.on_request = refuse
    filler = house.filler(clock=lambda: now[0])
    for _ in range(3):
        filler.look(never)
        now[0] += house.settings.filling.fill_every_seconds + 0.1

    assert house.studio.requests[-1] and len([r for r in house.studio.requests if r.startswith("DELETE ")]) == 1
    warned = warnings_of(caplog)
    assert [line for line in warned if "outdated predictions stay for now" in line] == [warned[-1]]
    assert any("tasks without answers: 1" in line for line in warned)
    assert house.versions(tasks) == [Versions(house.folder).all()] * 3


def test_a_new_champion_scores_the_open_tasks_again_without_being_asked(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    open_task, judged = house.add(ANSWERED, ANSWERED)
    row = house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.folder.write_host("backend:9090")
    filler, never = house.filler(), threading.Event()
    filler.look(never)
    house.studio.annotate(judged, CHOICE)

    second = house.promote(tiny_base, weight=-1)
    filler.look(never)

    assert house.versions([open_task, judged]) == [[first, second], [first]]
    sides = [prediction["result"][0]["value"]["selected"] for prediction in house.studio.tasks[open_task]["predictions"]]
    assert sides == ["right", "left"]
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == second


def test_outdated_predictions_are_removed_a_page_a_pass_and_then_once_an_hour(house: House, tiny_base: Path) -> None:
    now, never, version = [0.0], threading.Event(), house.promote(tiny_base, weight=1)
    house.studio.clock = lambda: time.time() - 2 * 86400
    tasks = house.add(*[ANSWERED] * 120)
    assert house.run_pass(has_new_version=True)
    again = house.promote(tiny_base, weight=-1)
    assert house.run_pass(has_new_version=True)
    assert house.versions(tasks) == [[version, again]] * 120
    filler, left = house.filler(clock=lambda: now[0]), []
    requests = house.studio.requests

    for _ in range(4):
        filler.look(never)
        left.append(sum(map(len, house.versions(tasks))))
        now[0] += house.settings.filling.fill_every_seconds + 0.1

    assert left == [140, 120, 120, 120]
    requests.clear()
    filler.look(never)
    num_idle = len(requests)
    requests.clear()
    now[0] += 3601
    filler.look(never)
    assert len(requests) == num_idle + 1, "asked again after an hour"


def test_a_champion_promoted_during_a_pass_scores_first_and_then_the_rest_is_answered(house: House, tiny_base: Path) -> None:
    tasks = house.add_prompts(40)
    promoted: list[str] = []
    scored_at_each_patch: list[int] = []

    def promote(prompts: list[str]) -> None:
        if "Prompt 9" in prompts:
            promoted.append(house.promote(tiny_base, weight=1))

    def watch(request: str) -> None:
        if request.startswith("PATCH") and num_answered:
            scored_at_each_patch.append(sum(map(bool, house.versions(tasks[:num_answered]))))

    num_answered = 0
    house.generator.meanwhile = promote
    house.studio.on_request = watch
    filler, never = house.filler(), threading.Event()
    filler.look(never)  # nobody asks, it is due at once
    num_answered = sum(house.is_answered(task) for task in tasks)
    assert 10 <= num_answered < 40
    filler.look(never)

    assert house.is_answered(*tasks)
    assert scored_at_each_patch == [num_answered] * (40 - num_answered)
    assert house.versions(tasks) == [promoted] * 40
    assert len(house.generator.jobs) == 40


def test_after_a_restart_nothing_is_asked_twice(house: House) -> None:
    house.add_prompts(6)
    house.fill()

    house.generator = RecordingGenerator()
    house.fill()

    assert house.generator.prompts == []
    assert len(house.patched()) == 6


def test_a_crash_loses_no_more_than_what_was_under_way(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(40)

    def crash(prompts: list[str]) -> None:
        if "Prompt 5" in prompts:
            raise ModelError("out of memory; lower BATCH_PROMPTS.")

    house.generator.meanwhile = crash
    house.fill()
    left = [task for task in tasks if not house.is_answered(task)]
    assert warnings_of(caplog) == [f"project {house.project_id}: out of memory; lower BATCH_PROMPTS."]
    assert house.patched() == [task for task in tasks if task not in left]

    house.generator = RecordingGenerator()
    house.fill()

    assert house.generator.prompts == [house.data(task)["prompt"] for task in left]
    assert house.is_answered(*tasks)


def test_a_stop_is_obeyed_and_what_was_begun_is_ended(house: House) -> None:
    tasks = house.add_prompts(60)
    stop = threading.Event()
    house.generator.meanwhile = lambda prompts: stop.set() if "Prompt 9" in prompts else None
    house.folder.request("fill")

    house.filler().look(stop)

    answered = [task for task in tasks if house.is_answered(task)]
    assert answered == house.patched() == tasks[: len(answered)]
    assert 10 <= len(answered) <= 24
    assert len(house.generator.jobs) == len(answered)
