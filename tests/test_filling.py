import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.champion import Champions
from backend.filling import Filler
from backend.generators import Writing
from backend.generators.echo import EchoGenerator
from backend.metrics import Metrics
from preference.errors import ModelError
from preference.registry import UNTRAINED, Registry
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.studio_double import KEY, LABEL_CONFIG, StudioDouble, publish_version, wait_until

EMPTY = {"answer1": "", "answer2": ""}
CHOICE = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]


class Asked(EchoGenerator):
    """Echoes, keeps what it was asked, and lets something happen while it writes."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.prompts: list[str] = []
        self.meanwhile = meanwhile

    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], num_answers: int = 2) -> list[Writing]:
        self.prompts += prompts
        self.meanwhile()
        return super().generate(prompts, seeds=seeds, num_answers=num_answers)


class House:
    """One project of the double, and fillers over it."""

    def __init__(self, studio: StudioDouble, settings: Settings) -> None:
        self.studio, self.settings = studio, settings
        self.project_id = studio.add_project()
        self.registry = Registry(settings.model_dir, self.project_id)
        self.registry.create()
        self.champions = Champions(settings.model_dir, device=torch.device("cpu"))
        self.metrics = Metrics()
        self.generator = Asked()

    def filler(self) -> Filler:
        return Filler(self.settings, self.champions, lambda: self.generator, self.metrics)

    def fill(self, filler: Filler | None = None) -> None:
        """One pass that was asked for, of a new process where none is given."""
        self.registry.request("fill")
        (filler or self.filler()).look(threading.Event())

    def add(self, *datas: dict[str, Any], meta: dict[str, Any] | None = None) -> list[int]:
        return self.studio.add_tasks(self.project_id, *datas, meta=meta)

    def prompts(self, count: int) -> list[int]:
        return self.add(*({"prompt": f"Prompt {n}", **EMPTY} for n in range(count)))

    def answers(self, task_id: int) -> tuple[Any, Any]:
        data = self.studio.tasks[task_id]["data"]
        return data.get("answer1"), data.get("answer2")

    def is_answered(self, task_id: int) -> bool:
        return all(isinstance(answer, str) and answer.startswith("Echo ") for answer in self.answers(task_id))

    def promote(self, base: Path, *, weight: float) -> str:
        version = publish_version(self.registry, base, weight=weight)
        self.registry.promote(version)
        self.champions.of(self.project_id).refresh()
        return version

    def at(self, request: str, happens: Callable[[], object], *, time: int = 1) -> None:
        """Lets something happen before the double answers that request for the `time`-th time."""
        times: list[str] = []

        def watch(came: str) -> None:
            if came == request:
                times.append(came)
                if len(times) == time:
                    happens()

        self.studio.on_request = watch

    def patched(self) -> list[int]:
        return sorted(int(r.split("/")[3]) for r in self.studio.requests if r.startswith("PATCH /api/tasks/"))


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, batch_prompts=4))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What Pairloop warned of; transformers has warnings of its own."""
    ours = [record for record in caplog.records if record.name.startswith(("backend", "preference"))]
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def test_every_unanswered_task_gets_two_answers_and_their_record(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = [*house.prompts(9), *house.add({"prompt": "no keys"}, {"prompt": "null", "answer1": None, "answer2": None})]
    caplog.set_level(logging.INFO, "backend.visit")

    house.fill()

    assert all(house.is_answered(task) for task in tasks)
    assert sorted(house.generator.prompts) == sorted(house.studio.tasks[task]["data"]["prompt"] for task in tasks)
    record = house.studio.tasks[tasks[0]]["meta"]["pairloop"]
    assert (record["generator"], record["filled"]) == ("echo", ["answer1", "answer2"])
    assert all(house.studio.versions_of(task) == [] for task in tasks)  # no champion: nothing is suggested
    assert f"project {house.project_id}: 11 tasks answered, 0 scored in 0." in caplog.text
    assert b"pairloop_tasks_answered_total 11.0" in house.metrics.text()


def test_what_is_answered_is_never_written_again(house: House) -> None:
    done, half = house.add({"prompt": "p", "answer1": "a", "answer2": "b"}, {"prompt": "p", "answer1": "Mine.", "answer2": ""})

    house.fill()
    house.fill()

    assert house.answers(done) == ("a", "b")
    assert house.answers(half)[0] == "Mine." and house.answers(half)[1].startswith("Echo ")
    assert house.patched() == [half]


def test_judged_and_skipped_tasks_are_never_touched(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    judged, skipped, judged_answered = house.add(
        {"prompt": "p", **EMPTY}, {"prompt": "p", **EMPTY}, {"prompt": "p", "answer1": "a", "answer2": "b"}
    )
    house.studio.annotate(judged, CHOICE)
    house.studio.annotate(skipped, [], is_skip=True)
    house.studio.annotate(judged_answered, CHOICE)

    house.fill()

    assert house.patched() == []
    assert house.generator.prompts == []
    assert [house.studio.versions_of(task) for task in (judged, skipped, judged_answered)] == [[], [], []]


def test_a_task_that_is_judged_while_it_is_answered_is_left_alone(house: House) -> None:
    judged, other = house.prompts(2)
    house.generator.meanwhile = lambda: house.studio.annotate(judged, CHOICE)

    house.fill()

    assert house.answers(judged) == ("", "")
    assert house.patched() == [other]


def test_a_task_that_is_deleted_while_it_is_answered_hurts_no_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    deleted, other = house.prompts(2)
    house.generator.meanwhile = lambda: house.studio.tasks.pop(deleted)

    house.fill()

    assert house.is_answered(other)
    assert house.patched() == [other]
    assert warnings_of(caplog) == []


def test_a_task_that_is_deleted_just_before_it_is_stored_hurts_no_other(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.prompts(3)
    house.at(f"PATCH /api/tasks/{tasks[1]}/", lambda: house.studio.tasks.pop(tasks[1]))

    house.fill()

    assert house.is_answered(tasks[0]) and house.is_answered(tasks[2])
    assert [house.studio.versions_of(task) for task in (tasks[0], tasks[2])] == [[version]] * 2
    assert house.patched() == tasks
    assert warnings_of(caplog) == []


def test_tasks_that_are_deleted_judged_or_edited_while_they_are_scored_hurt_no_other(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    deleted, judged, edited, other = house.add(*[{"prompt": "p", "answer1": "a", "answer2": "b b b b"}] * 4)

    def interfere() -> None:
        del house.studio.tasks[deleted]
        house.studio.annotate(judged, CHOICE)
        house.studio.tasks[edited]["data"] = {"prompt": "p", "answer1": "a a a a a a a a", "answer2": "b"}

    house.at("GET /api/tasks/", interfere, time=3)  # after the pages of unanswered and of unscored tasks
    filler = house.filler()

    house.fill(filler)
    assert [house.studio.versions_of(task) for task in (judged, edited, other)] == [[], [], [version]]
    house.fill(filler)

    assert [house.studio.versions_of(task) for task in (judged, edited, other)] == [[], [version], [version]]
    assert house.studio.tasks[edited]["predictions"][0]["result"][0]["value"] == {"selected": "left"}
    assert warnings_of(caplog) == []


def test_a_task_that_is_deleted_in_the_very_last_moment_delays_the_scores_of_the_others_by_one_pass(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    deleted, other = house.add(*[{"prompt": "p", "answer1": "a", "answer2": "b b b b"}] * 2)
    house.at(f"POST /api/projects/{house.project_id}/import/predictions", lambda: house.studio.tasks.pop(deleted))
    filler = house.filler()

    house.fill(filler)
    assert house.studio.versions_of(other) == []
    house.fill(filler)

    assert house.studio.versions_of(other) == [version]
    (warning,) = warnings_of(caplog)
    assert warning.startswith(
        f"project {house.project_id}: 2 predictions cannot be stored: Label Studio refused a request for project"
    )
    assert 'contains invalid "task" field: corresponding task ID' in warning


def test_an_answer_that_a_person_wrote_meanwhile_is_kept(house: House) -> None:
    (task,) = house.prompts(1)
    house.generator.meanwhile = lambda: house.studio.tasks[task].update(
        data={"prompt": "Prompt 0", "answer1": "Hers.", "answer2": ""}
    )

    house.fill()

    assert house.answers(task)[0] == "Hers." and house.answers(task)[1].startswith("Echo ")


def test_answers_to_a_prompt_that_was_edited_meanwhile_are_thrown_away_and_written_anew(house: House) -> None:
    (task,) = house.prompts(1)
    house.generator.meanwhile = lambda: house.studio.tasks[task].update(data={"prompt": "Edited", **EMPTY})

    house.fill()
    assert house.answers(task) == ("", "")
    house.fill()

    assert house.generator.prompts == ["Prompt 0", "Edited"]
    assert all(answer.endswith(" of: Edited") for answer in house.answers(task))


def test_other_keys_of_data_and_meta_are_kept_as_they_are_at_the_end(house: House) -> None:
    (task,) = house.add({"prompt": "p", **EMPTY, "source": {"row": 1}}, meta={"batch": "first", "pairloop": {"old": 1}})

    def edit() -> None:
        stored = house.studio.tasks[task]
        stored.update(data={**stored["data"], "source": {"row": 2}, "new": True}, meta={**stored["meta"], "owner": "Ann"})

    house.generator.meanwhile = edit
    house.fill()

    data, meta = house.studio.tasks[task]["data"], house.studio.tasks[task]["meta"]
    assert {key: data[key] for key in ("prompt", "source", "new")} == {"prompt": "p", "source": {"row": 2}, "new": True}
    assert set(data) == {"prompt", "answer1", "answer2", "source", "new"}
    assert (meta["batch"], meta["owner"], meta["pairloop"]["generator"]) == ("first", "Ann", "echo")


def test_predictions_are_stored_once_a_version(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = [*house.prompts(5), *house.add({"prompt": "p", "answer1": "short", "answer2": "a much longer answer"})]
    filler = house.filler()

    for _ in range(3):
        house.fill(filler)
    house.fill()  # and after a restart

    assert [house.studio.versions_of(task) for task in tasks] == [[version]] * 6
    (prediction,) = house.studio.tasks[tasks[-1]]["predictions"]
    assert 0.5 < prediction["score"] <= 1
    assert prediction["result"][0]["value"] == {"selected": "right"}
    assert b"pairloop_predictions_stored_total 6.0" in house.metrics.text()


def test_a_new_champion_scores_the_open_tasks_again_without_being_asked(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    open_task, judged = house.add(*[{"prompt": "p", "answer1": "short", "answer2": "a much longer answer"}] * 2)
    row = house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.registry.write_host("backend:9090")
    filler, never = house.filler(), threading.Event()
    filler.look(never)
    house.studio.annotate(judged, CHOICE)

    second = house.promote(tiny_base, weight=-1)
    filler.look(never)

    assert house.studio.versions_of(open_task) == [first, second]
    assert house.studio.versions_of(judged) == [first]
    sides = [prediction["result"][0]["value"]["selected"] for prediction in house.studio.tasks[open_task]["predictions"]]
    assert sides == ["right", "left"]
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == second


def test_without_a_reason_no_pass_is_made(house: House) -> None:
    filler, never = house.filler(), threading.Event()
    filler.look(never)  # the first is due at once
    (task,) = house.prompts(1)
    num_requests = len(house.studio.requests)

    filler.look(never)
    assert len(house.studio.requests) == num_requests
    house.registry.request("fill")
    filler.look(never)

    assert house.is_answered(task)


def test_the_timer_makes_a_pass_where_a_webhook_was_lost(house: House, settings_for: SettingsFactory) -> None:
    house.settings = settings_for(label_studio_url=house.studio.url, label_studio_api_key=KEY, fill_every_seconds=0.01)
    filler, never = house.filler(), threading.Event()
    filler.look(never)
    (task,) = house.prompts(1)

    def look_again() -> bool:
        filler.look(never)
        return house.is_answered(task)

    wait_until(look_again)


@pytest.mark.parametrize("method", ["GET /api/projects/", "GET /api/tasks/", "PATCH /api/tasks/", "POST /api/projects/"])
def test_work_goes_on_where_label_studio_went_down_for_a_moment(house: House, tiny_base: Path, method: str) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.prompts(6)
    times_down: list[str] = []

    def go_down(request: str) -> None:
        if request.startswith(method) and len(times_down) < 2:
            times_down.append(request)
            house.studio.failures = [0 if len(times_down) == 1 else 503]

    house.studio.on_request = go_down
    filler = house.filler()
    for _ in range(2 if method.startswith("POST") else 1):  # what may have been taken is not sent again, but looked for
        house.fill(filler)

    assert len(times_down) == 2
    assert all(house.is_answered(task) for task in tasks)
    assert [house.studio.versions_of(task) for task in tasks] == [[version]] * 6
    assert len(house.generator.prompts) == 6


def test_after_a_restart_nothing_is_asked_twice(house: House) -> None:
    house.prompts(6)
    house.fill()

    house.generator = Asked()
    house.fill()

    assert house.generator.prompts == []
    assert len(house.patched()) == 6


def test_a_crash_loses_no_more_than_the_batch_in_flight(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tasks = house.prompts(10)

    def crash() -> None:
        if len(house.generator.prompts) > 4:
            raise ModelError("out of memory; lower BATCH_PROMPTS.")

    house.generator.meanwhile = crash
    house.fill()
    assert [house.is_answered(task) for task in tasks] == [True] * 4 + [False] * 6
    assert warnings_of(caplog) == [f"project {house.project_id}: out of memory; lower BATCH_PROMPTS."]

    house.generator = Asked()
    house.fill()

    assert house.generator.prompts == [f"Prompt {n}" for n in range(4, 10)]
    assert all(house.is_answered(task) for task in tasks)


def test_a_stop_is_obeyed_between_batches(house: House) -> None:
    tasks = house.prompts(10)
    stop = threading.Event()
    house.generator.meanwhile = stop.set
    house.registry.request("fill")

    house.filler().look(stop)

    assert [house.is_answered(task) for task in tasks] == [True] * 4 + [False] * 6


def test_tasks_that_cannot_be_answered_are_told_once_with_their_reasons(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.add({"prompt": "", **EMPTY}, {"prompt": 5, **EMPTY}, {"prompt": "p", "answer1": {"text": "a"}, "answer2": ""})
    good = house.prompts(1)[0]
    filler = house.filler()

    house.fill(filler)
    house.fill(filler)

    assert house.is_answered(good)
    assert warnings_of(caplog) == [
        f"project {house.project_id}: tasks left unanswered: "
        "1 (an answer field holds no text), 2 (prompt missing, empty or not text)"
    ]


def test_a_prompt_that_lost_its_head_is_counted(house: House, caplog: pytest.LogCaptureFixture) -> None:
    class Cutting(Asked):
        def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], num_answers: int = 2) -> list[Writing]:
            return [Writing(w.answers, num_cut=7) for w in super().generate(prompts, seeds=seeds, num_answers=num_answers)]

    house.generator = Cutting()
    (task,) = house.prompts(1)
    caplog.set_level(logging.INFO, "backend.visit")

    house.fill()

    assert house.studio.tasks[task]["meta"]["pairloop"]["prompt_tokens_cut"] == 7
    assert f"project {house.project_id}: 1 prompts were longer than the window and lost their head" in caplog.messages
    assert b"pairloop_prompts_cut_total 1.0" in house.metrics.text()


def test_a_project_that_fails_is_told_once_waits_for_its_timer_and_stops_no_other(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house.promote(tiny_base, weight=1)
    house.studio.projects[house.project_id]["label_config"] = "<View/>"
    other = House(house.studio, house.settings)
    (task,) = other.prompts(1)
    filler, never = house.filler(), threading.Event()

    filler.look(never)
    num_requests = len(house.studio.requests)
    filler.look(never)
    assert len(house.studio.requests) == num_requests  # although its champion was never worked with
    house.fill(filler)

    assert house.is_answered(task)
    assert len(warnings_of(caplog)) == 1
    assert warnings_of(caplog)[0].startswith(f"project {house.project_id}: The label config has no <Pairwise> tags;")


def test_an_error_of_our_own_is_logged_with_its_trace_and_stops_no_other_project(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.prompts(1)
    other = House(house.studio, house.settings)
    (task,) = other.prompts(1)

    def fail_once() -> None:
        if len(house.generator.prompts) == 1:
            raise ZeroDivisionError

    house.generator.meanwhile = fail_once
    house.filler().look(threading.Event())

    assert house.is_answered(task)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"project {house.project_id}: the filler failed"
    assert record.exc_info is not None


def test_two_projects_keep_their_own_label_configs(house: House) -> None:
    renamed = LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")
    other = house.studio.add_project(renamed)
    Registry(house.settings.model_dir, other).create()
    ours = house.prompts(1)[0]
    (theirs,) = house.studio.add_tasks(other, {"question": "Q", "left": "", "right": "", "answer1": "", "answer2": ""})

    house.filler().look(threading.Event())

    data = house.studio.tasks[theirs]["data"]
    assert data["left"].endswith("of: Q") and data["right"].endswith("of: Q")
    assert (data["answer1"], data["answer2"]) == ("", "")
    assert house.is_answered(ours)


def test_of_two_fillers_on_one_folder_one_works_and_the_other_takes_over_when_it_ends(house: House) -> None:
    generators = [Asked(), Asked()]
    stops = [threading.Event(), threading.Event()]
    fillers = [Filler(house.settings, house.champions, partial(next, iter([g])), house.metrics) for g in generators]
    threads = [threading.Thread(target=filler.run, args=[stop], daemon=True) for filler, stop in zip(fillers, stops, strict=True)]
    first = house.prompts(1)
    threads[0].start()
    wait_until(lambda: house.is_answered(first[0]))
    threads[1].start()

    second = house.prompts(8)
    house.registry.request("fill")
    wait_until(lambda: all(house.is_answered(task) for task in second))
    assert (len(generators[0].prompts), len(generators[1].prompts)) == (9, 0)
    stops[0].set()
    threads[0].join()
    third = house.prompts(1)
    house.registry.request("fill")
    wait_until(lambda: house.is_answered(third[0]))
    stops[1].set()
    threads[1].join()

    assert (len(generators[0].prompts), len(generators[1].prompts)) == (9, 1)


def test_the_filler_outlives_a_model_dir_that_is_away(
    house: House, settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture
) -> None:
    house.settings = settings_for(label_studio_url=house.studio.url, label_studio_api_key=KEY, fill_every_seconds=0.05)
    (task,) = house.prompts(1)
    projects, away = house.settings.model_dir / "projects", house.settings.model_dir / "away"
    projects.rename(away)
    projects.write_text("a mount point without its mount", encoding="utf-8")
    stop = threading.Event()
    thread = threading.Thread(target=house.filler().run, args=[stop], daemon=True)
    thread.start()

    wait_until(lambda: f"the filler waits, MODEL_DIR={house.settings.model_dir} fails it" in caplog.text)
    projects.unlink()
    away.rename(projects)
    wait_until(lambda: house.is_answered(task))
    stop.set()
    thread.join()


def test_one_task_that_cannot_be_stored_does_not_stand_before_the_others(house: House, caplog: pytest.LogCaptureFixture) -> None:
    half_an_emoji = "\ud83d"  # a text that JavaScript cut: SQLite keeps it, UTF-8 does not take it
    (broken,) = house.add({"prompt": "Prompt", "note": half_an_emoji, **EMPTY})
    others = house.prompts(2)

    house.fill()

    assert all(house.is_answered(task) for task in others)
    assert house.answers(broken) == ("", "")
    assert f"the answers of task {broken} cannot be stored" in caplog.text
    assert "tasks left unanswered: 1 (Label Studio refused the answers)" in caplog.text


def test_a_task_that_predict_scored_meanwhile_gets_no_second_prediction(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    (task,) = house.add({"prompt": "Q", "answer1": "One.", "answer2": "Two."})
    prediction = {"id": 99, "result": CHOICE, "score": 0.6, "model_version": version}
    # The list of unanswered tasks, the list of unscored ones, and the look at what was scored.
    house.at("GET /api/tasks/", lambda: house.studio.tasks[task]["predictions"].append(prediction), time=3)

    house.fill()

    assert house.studio.versions_of(task) == [version]


def test_setup_before_every_predict_does_not_keep_the_filler_busy(house: House) -> None:
    now = [100.0]
    filler = Filler(house.settings, house.champions, lambda: house.generator, house.metrics, clock=lambda: now[0])
    filler.look(threading.Event())
    (task,) = house.prompts(1)
    house.registry.request("look")

    now[0] += 4.9
    filler.look(threading.Event())
    assert not house.is_answered(task)
    now[0] += 0.2
    filler.look(threading.Event())
    assert house.is_answered(task), "a look that was asked for is late, not lost"


def test_a_pass_that_finds_everything_in_order_makes_label_studio_call_nobody(house: House) -> None:
    house.studio.add_row(house.project_id, "http://backend:9090", UNTRAINED)
    house.studio.projects[house.project_id]["model_version"] = UNTRAINED
    house.studio.requests.clear()

    house.fill()

    assert not [request for request in house.studio.requests if "/api/ml" in request]


def test_an_edit_that_comes_while_the_batch_is_being_stored_is_kept(house: House) -> None:
    house.settings = dataclasses.replace(house.settings, batch_prompts=16)
    tasks = house.prompts(16)

    def edit() -> None:
        for task in tasks[8:]:
            house.studio.tasks[task]["data"] = {"prompt": "edited", "answer1": "Hers.", "answer2": ""}

    house.at(f"PATCH /api/tasks/{tasks[0]}/", edit)

    house.fill()

    assert all(house.is_answered(task) for task in tasks[:4])
    assert all(house.answers(task) == ("Hers.", "") for task in tasks[12:])


def test_a_task_that_was_skipped_while_empty_is_left_and_counted(house: House, caplog: pytest.LogCaptureFixture) -> None:
    (task,) = house.prompts(1)
    house.studio.annotate(task, [], is_skip=True)

    house.fill()

    assert house.answers(task) == ("", "")
    assert "tasks left unanswered: 1 (judged or skipped while empty)" in caplog.text


def test_a_visit_ends_after_half_a_minute_so_that_other_projects_have_their_turn(house: House) -> None:
    now = [0.0]
    filler = Filler(house.settings, house.champions, lambda: house.generator, house.metrics, clock=lambda: now[0])
    house.generator.meanwhile = lambda: now.__setitem__(0, now[0] + 20)
    tasks = house.prompts(house.settings.batch_prompts * 3)
    other = house.studio.add_project()
    Registry(house.settings.model_dir, other).create()
    (theirs,) = house.studio.add_tasks(other, {"prompt": "Q", **EMPTY})

    filler.look(threading.Event())
    assert 0 < sum(house.is_answered(task) for task in tasks) < len(tasks)
    assert house.is_answered(theirs)
    filler.look(threading.Event())
    assert all(house.is_answered(task) for task in tasks)
