import dataclasses
import logging
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from backend.candidates import similarity
from backend.generators import Job, Writing
from preference.errors import LayoutError, ModelError
from preference.registry import UNTRAINED
from tests.conftest import SettingsFactory
from tests.filling_house import CHOICE, EMPTY, House, echo, warnings_of
from tests.studio_double import KEY, LABEL_CONFIG, StudioDouble, wait_until

ANSWERED = {"prompt": "p", "answer1": "short", "answer2": "a much longer answer"}
RENAMED = LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def visit(house: House, *, has_new_version: bool = False) -> bool:
    """Whether a visit of a new process saw to everything."""
    return house.visit().run(lambda: False, has_new_version=has_new_version)


# Answers and predictions


def test_a_visit_answers_all_and_says_so(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.add_prompts(11)
    caplog.set_level(logging.INFO, "backend.visit")

    assert visit(house)

    assert house.is_answered(*tasks)
    assert house.versions(tasks) == [[]] * 11  # no champion: nothing is suggested
    assert f"project {house.project_id}: 11 tasks answered, 0 scored in " in caplog.text


def test_a_visit_that_finds_nothing_says_and_stores_nothing(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.add(ANSWERED)
    caplog.set_level(logging.INFO, "backend.visit")

    assert visit(house)

    assert caplog.messages == []
    assert house.registry.read_progress()["tasks_left"] == 0  # nobody had told before
    assert house.generator.jobs == []


def test_judged_and_skipped_tasks_are_never_touched(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    judged, skipped, judged_answered = house.add({"prompt": "p", **EMPTY}, {"prompt": "p", **EMPTY}, ANSWERED)
    house.studio.annotate(judged, CHOICE)
    house.studio.annotate(skipped, [], is_skip=True)
    house.studio.annotate(judged_answered, CHOICE)
    visited = house.visit()

    assert visited.run(lambda: False, has_new_version=True)

    assert house.patched() == []
    assert house.generator.prompts == []
    assert house.versions([judged, skipped, judged_answered]) == [[], [], []]
    assert visited.dropped == {"judged or skipped while empty": 2}


def test_a_task_that_is_judged_between_its_answers_and_its_prediction_gets_none(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    judged, other = house.add_prompts(2)

    def judge(request: str) -> None:
        if house.is_answered(judged) and not house.studio.tasks[judged]["total_annotations"]:
            house.studio.annotate(judged, CHOICE)

    house.studio.on_request = judge
    assert visit(house)

    assert house.versions([judged, other]) == [[], [version]]


def test_predictions_are_stored_in_bulk_once_a_version(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    house.generator.capacity = 64
    tasks = [*house.add_prompts(250), *house.add(ANSWERED)]

    for _ in range(3):  # each after a restart
        assert visit(house)

    assert house.versions(tasks) == [[version]] * 251
    assert house.num_bulks() < 80
    (prediction,) = house.studio.tasks[tasks[-1]]["predictions"]
    assert 0.5 < prediction["score"] <= 1
    assert prediction["result"][0]["value"] == {"selected": "right"}
    assert house.figure("predictions_stored_total") == 251


def test_open_tasks_are_scored_a_hundred_in_a_request(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 230)

    assert visit(house, has_new_version=True)

    assert house.versions(tasks) == [[version]] * 230
    assert house.num_bulks() == 3


def test_what_label_studio_did_not_keep_is_told(house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture) -> None:
    house.promote(tiny_base, weight=1)
    house.add(ANSWERED, ANSWERED)
    visited = house.visit()
    project = house.studio.projects[house.project_id]
    project["label_config"] = LABEL_CONFIG.replace('toName="answer1,answer2"', 'toName="a,b"')  # after it was read

    assert visited.run(lambda: False, has_new_version=False)

    assert f"project {house.project_id}: Label Studio kept 0 of 2 predictions" in warnings_of(caplog)
    assert house.figure("predictions_stored_total") == 0


def test_a_task_that_is_deleted_just_before_it_is_stored_costs_no_other_its_prediction(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(3)
    house.at(f"PATCH /api/tasks/{tasks[1]}/", lambda: house.studio.tasks.pop(tasks[1]))

    assert visit(house)

    assert house.is_answered(tasks[0], tasks[2])
    assert house.versions([tasks[0], tasks[2]]) == [[version]] * 2
    assert house.patched() == tasks
    assert warnings_of(caplog) == []


def test_tasks_that_are_deleted_judged_or_edited_while_they_are_scored_hurt_no_other(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    deleted, judged, edited, other = house.add(*[{**ANSWERED, "answer1": "a", "answer2": "b b b b"}] * 4)

    def interfere() -> None:
        del house.studio.tasks[deleted]
        house.studio.annotate(judged, CHOICE)
        house.edit(edited, answer1="a a a a a a a a", answer2="b")

    house.at("GET /api/tasks/", interfere, time=4)  # after the unanswered, the ids of the unscored and a page of these

    assert visit(house)
    assert house.versions([judged, edited, other]) == [[], [], [version]]
    assert visit(house)

    assert house.versions([judged, edited, other]) == [[], [version], [version]]
    assert house.studio.tasks[edited]["predictions"][0]["result"][0]["value"] == {"selected": "left"}
    assert warnings_of(caplog) == []


def test_a_task_that_is_deleted_in_the_very_last_moment_delays_the_scores_of_the_others_by_one_visit(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    deleted, other = house.add(ANSWERED, ANSWERED)
    house.at(f"POST /api/projects/{house.project_id}/import/predictions", lambda: house.studio.tasks.pop(deleted))

    assert visit(house)
    assert house.versions([other]) == [[]]
    assert visit(house)

    assert house.versions([other]) == [[version]]
    (warning,) = warnings_of(caplog)
    assert warning.startswith(
        f"project {house.project_id}: 2 predictions cannot be stored: Label Studio refused a request for project"
    )
    assert 'contains invalid "task" field: corresponding task ID' in warning


def test_a_task_that_predict_scored_meanwhile_gets_no_second_prediction(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    (task,) = house.add(ANSWERED)
    prediction = {"id": 99, "result": CHOICE, "score": 0.6, "model_version": version}
    # The list of unanswered tasks, the list of unscored ones, and the look at what was scored.
    house.at("GET /api/tasks/", lambda: house.studio.tasks[task]["predictions"].append(prediction), time=3)

    assert visit(house)

    assert house.versions([task]) == [[version]]


@pytest.mark.parametrize("method", ["GET /api/projects/", "GET /api/tasks/", "PATCH /api/tasks/", "POST /api/projects/"])
def test_work_goes_on_where_label_studio_went_down_for_a_moment(house: House, tiny_base: Path, method: str) -> None:
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


def test_prompts_that_lost_their_head_are_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.generator.write = lambda job: dataclasses.replace(echo(job), num_cut=7)
    house.add_prompts(1)
    caplog.set_level(logging.INFO, "backend.visit")

    assert visit(house)

    assert f"project {house.project_id}: 1 prompts were cut to the window at their head" in caplog.messages


# Which two of several candidates


CANDIDATES = [
    "The moon pulls the sea towards it, and so the tide comes in twice a day.",
    "Tides.",
    "It has to do with gravity, as most things do.",
    "The moon pulls the sea towards it, and so the tide comes in twice a day!",  # like the first
    "Nobody is quite sure, but they say that the moon and the sun both pull at the water of the seas, each in its turn.",
]


@pytest.mark.parametrize("strategy", ["random", "uncertain", "diverse", "best_vs_random"])
def test_the_pair_that_is_shown_is_the_strategys_by_the_served_models_rewards(
    house: House, tiny_base: Path, strategy: Any
) -> None:
    house.settings = dataclasses.replace(house.settings, num_candidates=5, pair_strategy=strategy)
    house.promote(tiny_base, weight=1)
    serving = house.champions.of(house.project_id).serving
    assert serving is not None
    tasks = house.add_prompts(12)
    house.generator.write = lambda job: Writing(CANDIDATES[: job.num_answers])

    assert visit(house)

    pairs = [pair for pair in combinations(range(5), 2) if pair != (0, 3)]
    for n, task in enumerate(tasks):
        record = house.record(task)
        rewards = serving.model.score([f"Prompt {n}"] * 5, CANDIDATES).tolist()
        shown = tuple(sorted((record["left_sample"], record["right_sample"])))
        assert house.answers(task) == (CANDIDATES[record["left_sample"]], CANDIDATES[record["right_sample"]])
        assert (record["strategy"], record["candidates"], record["filled"]) == (strategy, 5, ["answer1", "answer2"])
        assert record["rewards"] == pytest.approx(rewards, abs=1e-3)
        assert shown in pairs
        if strategy == "uncertain":
            assert shown == min(pairs, key=lambda pair: abs(rewards[pair[0]] - rewards[pair[1]]))
        elif strategy == "diverse":
            assert shown == min(pairs, key=lambda pair: similarity(CANDIDATES[pair[0]], CANDIDATES[pair[1]]))
        elif strategy == "best_vs_random":
            assert rewards.index(max(rewards)) in shown
    lefts = [house.record(task)["left_sample"] < house.record(task)["right_sample"] for task in tasks]
    assert len(set(lefts)) == 2  # on both sides
    if strategy == "best_vs_random":
        assert len({house.record(task)["left_sample"] + house.record(task)["right_sample"] for task in tasks}) > 1


def test_without_a_champion_a_strategy_by_rewards_takes_any_pair_and_says_so(house: House) -> None:
    house.settings = dataclasses.replace(house.settings, num_candidates=3, pair_strategy="uncertain")
    (task,) = house.add_prompts(1)

    assert visit(house)

    assert house.is_answered(task)
    assert house.record(task)["strategy"] == "random" and "rewards" not in house.record(task)


def test_candidates_for_a_half_answered_task_are_compared_with_its_answer(house: House, tiny_base: Path) -> None:
    house.settings = dataclasses.replace(house.settings, num_candidates=5, pair_strategy="uncertain")
    house.promote(tiny_base, weight=1)
    (task,) = house.add({"prompt": "Why?", "answer1": "", "answer2": CANDIDATES[0]})
    house.generator.write = lambda job: Writing(CANDIDATES)

    assert visit(house)

    record = house.record(task)
    assert house.answers(task) == (CANDIDATES[record["left_sample"]], CANDIDATES[0])
    assert record["filled"] == ["answer1"] and "right_sample" not in record
    assert len(record["rewards"]) == record["candidates"] == 6
    gaps = [abs(reward - record["rewards"][0]) for reward in record["rewards"][1:]]
    allowed = {place: gap for place, gap in enumerate(gaps) if place not in (0, 3)}  # those are like what is there
    assert record["left_sample"] == min(allowed, key=lambda place: allowed[place])


# The project changes


def test_a_label_config_that_was_changed_between_visits_is_followed(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    house.add_prompts(2)
    assert visit(house)
    house.studio.projects[house.project_id]["label_config"] = RENAMED
    (task,) = house.add({"question": "Q", "left": "", "right": "", **EMPTY})

    assert visit(house)

    data = house.data(task)
    assert data["left"].endswith("of: Q") and data["right"].endswith("of: Q")
    assert (data["answer1"], data["answer2"]) == ("", "")
    assert house.record(task)["filled"] == ["left", "right"]
    assert house.versions([task]) == [[version]]


def test_a_label_config_that_is_changed_during_a_visit_ends_it_and_the_next_follows_it(house: House) -> None:
    tasks = house.add_prompts(250)

    def rename(prompts: list[str]) -> None:
        if len(house.generator.jobs) > 20:  # of the first page, a hundred
            house.studio.projects[house.project_id]["label_config"] = RENAMED
            for task in tasks[200:]:
                house.edit(task, question="Q", left="", right="")

    house.generator.meanwhile = rename

    assert not visit(house)
    assert house.answers(tasks[150]) == ("", "")
    assert visit(house)

    assert house.data(tasks[-1])["left"].endswith("of: Q")
    assert house.answers(tasks[-1]) == ("", "")


def test_a_label_config_that_does_not_fit_is_refused_at_the_start(house: House) -> None:
    house.studio.projects[house.project_id]["label_config"] = "<View/>"

    with pytest.raises(LayoutError, match="no <Pairwise> tags"):
        house.visit()


def test_tasks_that_are_imported_meanwhile_are_answered_by_this_visit_or_the_next(house: House) -> None:
    tasks = house.add_prompts(130)
    more: list[int] = []

    def import_more(prompts: list[str]) -> None:
        if not more:
            more.extend(house.add(*({"prompt": f"New {n}", **EMPTY} for n in range(5))))

    house.generator.meanwhile = import_more
    assert visit(house)
    assert house.is_answered(*tasks)
    assert visit(house)

    assert house.is_answered(*more)
    assert len(house.generator.jobs) == 135


def test_a_visit_that_finds_everything_in_order_makes_label_studio_call_nobody(house: House) -> None:
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.studio.projects[house.project_id]["model_version"] = UNTRAINED
    house.studio.requests.clear()

    assert visit(house)

    assert not [request for request in house.studio.requests if "/api/ml" in request]


# A new version


def watched(house: House, version: str, tasks: list[int]) -> list[int]:
    """How many of the tasks hold a prediction of the version at each PATCH of a task."""
    seen: list[int] = []

    def watch(request: str) -> None:
        if request.startswith("PATCH /api/tasks/"):
            seen.append(sum(version in versions for versions in house.versions(tasks)))

    house.studio.on_request = watch
    return seen


@pytest.mark.parametrize("has_new_version", [True, False])
def test_open_tasks_are_scored_by_a_new_version_before_others_are_answered(
    house: House, tiny_base: Path, has_new_version: bool
) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 3)
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.registry.write_host("backend:9090")
    prompts = house.add_prompts(3)
    seen = watched(house, version, tasks)

    assert visit(house, has_new_version=has_new_version)

    assert seen == [3 if has_new_version else 0] * 3
    assert house.versions([*tasks, *prompts]) == [[version]] * 6
    assert house.studio.projects[house.project_id]["model_version"] == version


def test_a_new_version_is_shown_when_every_open_task_has_its_prediction_and_the_least_certain_have_it_first(
    house: House, tiny_base: Path
) -> None:
    first = house.promote(tiny_base, weight=0.1)
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.registry.write_host("backend:9090")
    lengths = [n * 61 % 130 for n in range(130)]
    tasks = house.add(*({"prompt": f"p{n}", "answer1": "a", "answer2": "a " * (1 + length)} for n, length in enumerate(lengths)))
    assert visit(house)
    score = {task: house.studio.tasks[task]["predictions"][0]["score"] for task in tasks}
    second, shown = house.promote(tiny_base, weight=-0.1), []

    def watch(request: str) -> None:
        shown.append(version := house.studio.projects[house.project_id]["model_version"])
        assert all(version in versions for versions in house.versions(tasks)), "uncertainty sampling serves these first"

    house.studio.on_request = watch
    house.studio.bodies.clear()
    assert visit(house, has_new_version=True)

    assert shown[0] == first and house.studio.projects[house.project_id]["model_version"] == second
    assert {row["title"] for row in house.studio.rows.values()} == {second}
    bulks = [[prediction["task"] for prediction in body] for body in house.studio.bodies if isinstance(body, list)]
    assert [len(bulk) for bulk in bulks] == [100, 30]
    assert max(score[task] for task in bulks[0]) <= min(score[task] for task in bulks[1])
    assert house.versions(tasks) == [[first, second]] * 130, "what somebody may have open is not removed yet"


def test_a_version_is_not_shown_while_label_studio_refuses_its_predictions(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 3)
    row = house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.registry.write_host("backend:9090")
    assert visit(house)
    second = house.promote(tiny_base, weight=-1)

    def refuse(request: str) -> None:
        if request.endswith("/import/predictions"):
            house.studio.failures = [400]

    house.studio.on_request = refuse
    assert visit(house, has_new_version=True)
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == first

    house.studio.on_request = lambda request: None
    assert visit(house, has_new_version=True)
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == second
    assert house.versions(tasks) == [[first, second]] * 3


def test_a_visit_leaves_when_another_version_is_promoted(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(40)
    promoted: list[str] = []

    def promote(prompts: list[str]) -> None:
        if "Prompt 9" in prompts:
            promoted.append(house.promote(tiny_base, weight=-1))

    house.generator.meanwhile = promote
    assert not visit(house)
    (second,) = promoted
    answered = [task for task in tasks if house.is_answered(task)]
    assert 10 <= len(answered) < 40
    assert house.patched() == answered == tasks[: len(answered)]
    assert len(house.generator.jobs) == len(answered)
    assert all(versions in ([first], [second]) for versions in house.versions(answered))

    seen = watched(house, second, answered)
    assert visit(house, has_new_version=True)

    assert house.is_answered(*tasks)
    assert seen == [len(answered)] * (40 - len(answered))
    assert all(second in versions and len(set(versions)) == len(versions) for versions in house.versions(tasks))
    assert len(house.generator.jobs) == 40


def test_scoring_is_left_between_two_pages_when_it_is_over(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    tasks = house.add(*[ANSWERED] * 150)
    house.add_prompts(1)

    assert not house.visit().run(lambda: house.num_bulks() == 1, has_new_version=True)

    assert sum(map(len, house.versions(tasks))) == 100
    assert house.generator.jobs == []


# How far it is


def test_the_progress_of_a_visit_is_told_while_it_works_and_at_its_end(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(120)
    refused = house.add({"prompt": "Refused", **EMPTY}, {"prompt": "", **EMPTY})
    told: list[dict[str, Any]] = []

    def write(job: Job) -> Writing:
        told.append(house.registry.read_progress())
        return Writing([], refused="no: it is not nice") if job.prompt == "Refused" else echo(job)

    house.generator.write = write
    assert visit(house)

    during = next(progress for progress in told if progress)
    assert during["is_filling"] and 0 < during["tasks_left"] <= 122
    last = house.registry.read_progress()
    assert {key: last[key] for key in ("tasks_left", "tasks_answered", "is_filling")} == {
        "tasks_left": 0, "tasks_answered": 120, "is_filling": False,
    }  # fmt: skip
    assert last["tasks_failed"] == {"no": 1, "prompt missing, empty or not text": 1}
    assert last["answers_per_second"] > 0
    assert house.is_answered(*tasks) and not house.is_answered(refused[0])
    assert house.figure(f'tasks_unanswered{{project="{house.project_id}"}}') == 0
    assert house.figure("tasks_answered_total") == 120
    assert house.figure("tokens_written_total") == 120 * 8
    assert house.figure("jobs_waiting") == 0


def test_while_it_works_the_figures_show_what_is_left_and_what_waits(house: House) -> None:
    house.add_prompts(120)
    seen: list[tuple[float, float, float]] = []

    def look(prompts: list[str]) -> None:
        if "Prompt 0" in prompts:
            wait_until(lambda: bool(house.registry.read_progress()))  # ten are begun
        left = house.figure(f'tasks_unanswered{{project="{house.project_id}"}}')
        seen.append((left, house.figure("jobs_waiting"), house.figure("batch_size")))

    house.generator.meanwhile = look
    assert visit(house)

    assert max(left for left, _, _ in seen) == 120
    assert 2 <= max(waiting for _, waiting, _ in seen) <= 10
    assert {size for _, _, size in seen} == {0, 2}  # between batches, and an echo's two answers


def test_a_visit_that_fails_tells_how_many_tasks_are_left(house: House) -> None:
    house.add_prompts(50)

    def crash(prompts: list[str]) -> None:
        raise ModelError("out of memory")

    house.generator.meanwhile = crash
    with pytest.raises(ModelError):
        visit(house)

    progress = house.registry.read_progress()
    assert not progress["is_filling"]
    assert progress["tasks_answered"] == 0 and 0 < progress["tasks_left"] < 50
    assert progress["seconds_left"] is None
