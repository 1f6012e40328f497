"""Several processes that fill one project, and one that is killed."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.serving.process import Backend
from tests.conftest import SettingsFactory
from tests.support.filling_house import EMPTY, House, RecordingGenerator, fill_forever
from tests.support.forked import processes
from tests.support.statuses import filling_of
from tests.support.studio_double import KEY, StudioDouble, wait_until
from tests.support.studio_records import LABEL_CONFIG


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def test_one_of_two_fillers_on_a_folder_works_and_the_other_takes_over_when_it_ends(house: House) -> None:
    generators, fillers = [RecordingGenerator(), RecordingGenerator()], []
    for generator in generators:
        house.generator = generator
        fillers.append(house.filler())
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=filler.run, args=[stop], daemon=True) for filler, stop in zip(fillers, stops, strict=True)]
    first = house.add_prompts(1)
    assert [filler.is_chosen for filler in fillers] == [False, False]
    threads[0].start()
    wait_until(lambda: house.is_answered(*first))
    threads[1].start()

    second = house.add_prompts(8)
    house.folder.request("fill")
    wait_until(lambda: house.is_answered(*second))
    assert [len(generator.jobs) for generator in generators] == [9, 0]
    assert [filler.is_chosen for filler in fillers] == [True, False]
    stops[0].set()
    threads[0].join()
    third = house.add_prompts(1)
    house.folder.request("fill")
    wait_until(lambda: house.is_answered(*third))
    assert [filler.is_chosen for filler in fillers] == [False, True]
    stops[1].set()
    threads[1].join()

    assert [len(generator.jobs) for generator in generators] == [9, 1]
    assert [filler.is_chosen for filler in fillers] == [False, False]


def test_the_filler_outlives_a_model_dir_that_is_away(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.settings = house.settings.replace(fill_every_seconds=0.05)
    (task,) = house.add_prompts(1)
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


def started(house: House, **changes: Any) -> Backend:
    """A running backend process, but for its web server, that echoes."""
    backend = Backend(house.settings.replace(generator_engine="echo", **changes))
    backend.start()
    return backend


@pytest.mark.parametrize("failure", [503, 0], ids=["unavailable", "hangs up"])
def test_a_backend_stops_soon_while_label_studio_is_away(house: House, failure: int, caplog: pytest.LogCaptureFixture) -> None:
    house.add_prompts(30)
    away: list[str] = []

    def be_away(request: str) -> None:
        if away or len(house.patched()) > 8:
            away.append(request)
            house.studio.failures = [failure]

    house.studio.on_request = be_away
    backend = started(house)
    wait_until(lambda: len(away) > 3)

    backend.stop(timeout_seconds=10)  # a call alone would be repeated for two minutes

    assert [thread.name for thread in threading.enumerate() if thread.name in ("filler", "generator")] == []
    assert "Traceback" not in caplog.text
    lines = [record.getMessage() for record in caplog.records if record.name == "pairloop.filling"]
    assert [line for line in lines if "answered tasks wait to be stored" not in line] == []  # to stop is no failure


def test_every_task_is_answered_once_under_two_backends_many_requests_and_open_pages(house: House, tiny_base: Path) -> None:
    tasks = house.add_prompts(120)
    halves = house.add(*({"prompt": f"Half {n}", "answer1": "Mine.", "answer2": ""} for n in range(10)))
    there = House(
        house.studio,
        house.settings.replace(model_dir=house.settings.model_dir / "there"),
        project_id=house.project_id,
    )
    versions = [house.promote(tiny_base, weight=1)]
    there.promote(tiny_base, weight=1)
    versions.append(there.promote(tiny_base, weight=-1))  # a number of its own
    over, errors = threading.Event(), list[BaseException]()
    backends = [started(here, label_studio_url=house.studio.url) for here in (house, there)]

    def storm(here: House) -> None:
        while not over.wait(0.01):
            here.folder.request("fill")
            here.folder.request("look")

    def open_pages(backend: Backend, seed: int) -> None:
        chance = random.Random(seed)
        try:
            while not over.is_set():
                opened = chance.sample(tasks + halves, chance.choice([1, 1, 1, 8]))
                bodies: list[dict[str, Any]] = [{"id": task, "data": dict(house.data(task))} for task in opened]
                results = backend.predict(house.project_id, LABEL_CONFIG, bodies)
                assert len(results) == len(bodies)
                for task, result in zip(bodies, results, strict=True):
                    assert result == [] or all(task["data"][field] for field in EMPTY)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=storm, args=[here]) for here in (house, there)]
    threads += [threading.Thread(target=open_pages, args=[backend, seed]) for seed, backend in enumerate(backends * 2)]
    for thread in threads:
        thread.start()
    try:
        every = tasks + halves
        wait_until(lambda: all(set(versions) <= set(scored_by) for scored_by in house.versions(every)), seconds=60)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for backend in backends:
            backend.stop()

    assert errors == []
    assert house.is_answered(*tasks)
    assert all(house.answers(task)[0] == "Mine." and house.answers(task)[1].startswith("Echo ") for task in halves)
    stored: dict[int, Any] = {}
    for task, body in house.patches():  # a second store, in the second between look and store, holds the same answers
        assert stored.setdefault(task, body["data"]) == body["data"]
    assert [sorted(scored_by) for scored_by in house.versions(every)] == [sorted(versions)] * 130


def test_after_a_kill_at_any_moment_nothing_is_lost_and_nothing_is_stored_twice(house: House, tiny_base: Path) -> None:
    tasks = house.add_prompts(150)
    halves = house.add(*({"prompt": f"Half {n}", "answer1": "Mine.", "answer2": ""} for n in range(10)))
    version = house.promote(tiny_base, weight=1)
    house.folder.request("fill")
    chance = random.Random(5)
    before: dict[int, Any] = {}

    for _ in range(4):
        until = len(house.studio.requests) + chance.randint(4, 45)
        process = processes().Process(target=fill_forever, args=[house.settings, house.project_id], daemon=True)

        def kill(request: str, until: int = until, process: Any = process) -> None:
            if len(house.studio.requests) >= until:
                process.kill()

        house.studio.on_request = kill
        process.start()
        process.join(60)
        assert process.exitcode == -9
        held = {task: house.answers(task) for task in tasks if any(house.answers(task))}
        assert all(all(answers) for answers in held.values()), "no task is half filled"
        assert {task: held[task] for task in before} == before, "nothing is replaced"
        before = held
    assert 0 < len(before) < 150, "it was killed in the middle"

    house.studio.on_request = lambda request: None
    process = processes().Process(target=fill_forever, args=[house.settings, house.project_id], daemon=True)
    process.start()
    try:
        wait_until(lambda: all(house.versions(tasks + halves)), seconds=60)
        wait_until(lambda: not filling_of(house.folder)["is_filling"])
    finally:
        process.kill()
        process.join()

    assert house.is_answered(*tasks)
    assert {task: house.answers(task) for task in before} == before
    assert all(house.answers(task)[0] == "Mine." and house.answers(task)[1].startswith("Echo ") for task in halves)
    assert all(body["data"]["answer1"] and body["data"]["answer2"] for _, body in house.patches())
    assert house.versions(tasks + halves) == [[version]] * 160
    assert filling_of(house.folder)["tasks_left"] == 0
