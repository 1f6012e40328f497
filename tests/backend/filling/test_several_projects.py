import shutil
import threading
from collections.abc import Callable

import pytest

from backend.filling.filler import Filler
from tests.support.filling_house import EMPTY, RENAMED, House, warnings_of

# Several projects


def test_two_projects_keep_their_own_label_configs(house: House) -> None:
    other = House(house.studio, house.settings, project_id=house.studio.add_project(RENAMED))
    ours = house.add_prompts(1)[0]
    (theirs,) = other.add({"question": "Q", "left": "", "right": "", **EMPTY})

    house.filler().look(threading.Event())

    data = house.data(theirs)
    assert data["left"].endswith("of: Q") and data["right"].endswith("of: Q")
    assert (data["answer1"], data["answer2"]) == ("", "")
    assert house.is_answered(ours)


def test_a_pass_ends_after_a_minute_so_that_other_projects_have_their_turn(house: House) -> None:
    now = [0.0]
    tasks = house.add_prompts(60)
    other = House(house.studio, house.settings)
    (theirs,) = other.add({"prompt": "Q", **EMPTY})
    filler = house.filler(clock=lambda: now[0])
    house.generator.meanwhile = lambda prompts: now.__setitem__(0, now[0] + 20)

    filler.look(threading.Event())
    assert 0 < sum(house.is_answered(task) for task in tasks) < len(tasks)
    assert house.is_answered(theirs)
    for _ in range(29):  # without being asked
        filler.look(threading.Event())

    assert house.is_answered(*tasks)
    assert len(house.generator.jobs) == 61


def test_a_project_alone_has_one_pass_until_it_is_done(house: House) -> None:
    now = [0.0]
    tasks = house.add_prompts(60)
    filler = house.filler(clock=lambda: now[0])
    house.generator.meanwhile = lambda prompts: now.__setitem__(0, now[0] + 20)

    filler.look(threading.Event())

    assert house.is_answered(*tasks)


def test_a_project_that_is_connected_during_a_long_pass_has_its_turn(house: House) -> None:
    now = [0.0]
    tasks = house.add_prompts(60)
    others: list[House] = []

    def connect(prompts: list[str]) -> None:
        now[0] += 20
        if "Prompt 9" in prompts:
            others.append(House(house.studio, house.settings))

    house.generator.meanwhile = connect
    filler = house.filler(clock=lambda: now[0])
    filler.look(threading.Event())

    assert others
    assert 0 < sum(house.is_answered(task) for task in tasks) < len(tasks)


class Clock(threading.Event):
    """Time that passes when somebody waits for the event, and not otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return super().wait(0)

    def look(self, house: House) -> None:
        """One look of a new filler, to whose calls and pauses this is the time."""
        scheduler = house.scheduler()
        scheduler.stopping = self
        Filler(house.bench(scheduler), clock=lambda: self.now).look(self)


@pytest.mark.parametrize(("stage", "seconds"), [("the project", 20), ("its tasks", 20), ("storing", 90)])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_project_at_which_label_studio_fails_has_its_turn_and_no_more(
    house: House, stage: str, seconds: float, status: int
) -> None:
    house.settings = house.settings.replace(storing_connections=1)
    tasks, clock, turns = house.add_prompts(20), Clock(), dict[int, float]()
    other = House(house.studio, house.settings)
    (theirs,) = other.add({"prompt": "Q", **EMPTY})
    starts = {
        "the project": f"GET /api/projects/{house.project_id}/",
        "its tasks": "GET /api/tasks/",
        "storing": "PATCH /api/tasks/",
    }

    def fail(request: str) -> None:
        for project_id in (house.project_id, other.project_id):
            if request == f"GET /api/projects/{project_id}/":
                turns.setdefault(project_id, clock.now)
        if request.startswith(starts[stage]) and other.project_id not in turns and clock.now < 600:
            house.studio.failures.append(status)

    house.studio.on_request = fail

    clock.look(house)

    assert turns[other.project_id] <= seconds
    assert house.is_answered(theirs) and not any(map(house.is_answered, tasks))
    assert house.noted() and all(problem.startswith(f"Project {house.project_id}: ") for problem in house.noted())
    clock.look(house)
    assert house.is_answered(*tasks)


def test_a_project_alone_outlives_a_restart_of_label_studio(house: House) -> None:
    tasks, clock = house.add_prompts(20), Clock()
    house.studio.on_request = lambda request: house.studio.failures.extend([503] if 2 < clock.now < 100 else [])
    house.generator.meanwhile = lambda prompts: clock.wait(1)

    clock.look(house)

    assert clock.now >= 100 and house.is_answered(*tasks)
    assert len(house.generator.jobs) == len(tasks), "nothing is written twice"


# What fails one of them


def _request_is_a_folder(house: House) -> None:
    """As a request that root wrote: it is there, and cannot be taken away, by root neither."""
    (house.folder.path / "requests" / "fill" / "of root").mkdir(parents=True)


def _versions_is_a_file(house: House) -> None:
    (house.folder.path / "versions").rmdir()
    (house.folder.path / "versions").touch()


def _pointer_is_a_folder(house: House) -> None:
    (house.folder.path / "champion").mkdir()


def _host_is_a_folder(house: House) -> None:
    (house.folder.path / "backend_host").mkdir()


def _progress_is_a_folder(house: House) -> None:
    (house.folder.path / "filling.json").mkdir()


def _project_is_a_file(house: House) -> None:
    shutil.rmtree(house.folder.path)
    house.folder.path.touch()


DAMAGES = [
    _request_is_a_folder, _versions_is_a_file, _pointer_is_a_folder, _host_is_a_folder, _progress_is_a_folder, _project_is_a_file,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_folder_that_is_damaged_stops_no_other_project_and_is_logged_once(
    house: House, damage: Callable[[House], None], caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    house.add_prompts(1)
    other = House(house.studio, house.settings)
    damage(house)
    filler, never = house.filler(clock=lambda: now[0]), threading.Event()

    for _ in range(4):
        (theirs,) = other.add({"prompt": "Q", **EMPTY})
        now[0] += 10
        other.folder.request("fill")
        filler.look(never)
        assert other.is_answered(theirs)

    warnings = warnings_of(caplog)
    assert warnings == list(dict.fromkeys(warnings)) and len(warnings) <= 2
    assert all(line.startswith(f"project {house.project_id}: ") for line in warnings)
    (problem, *_) = house.noted()
    assert problem.startswith(f"Project {house.project_id}: ")


def test_a_project_whose_requests_cannot_be_taken_is_filled_by_the_timer_and_says_so_until_they_can(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    now, never = [0.0], threading.Event()
    filler = house.filler(clock=lambda: now[0])
    _request_is_a_folder(house)
    request, (first,) = house.folder.path / "requests" / "fill", house.add_prompts(1)
    filler.look(never)
    assert house.is_answered(first)
    (second,) = house.add({"prompt": "Later", **EMPTY})
    filler.look(never)
    assert not house.is_answered(second), "what stays is no new request"
    now[0] += house.settings.filling.fill_every_seconds
    filler.look(never)
    assert house.is_answered(second)
    problem = (
        f"it is filled every {house.settings.filling.fill_every_seconds:g} s and not when asked: MODEL_DIR is not writable at "
        f"{house.folder.path} (Is a directory); mount it read-write."
    )
    assert warnings_of(caplog) == [f"project {house.project_id}: {problem}"]
    assert house.noted() == (f"Project {house.project_id}: {problem}",)

    shutil.rmtree(request)
    filler.look(never)

    assert house.noted() == ()


def test_what_fails_a_project_is_known_to_every_process_until_it_is_over(house: House) -> None:
    config = house.studio.projects[house.project_id]["label_config"]
    house.studio.projects[house.project_id]["label_config"] = "<View/>"
    filler = house.filler()
    house.fill(filler)
    (problem,) = house.noted()
    assert problem.startswith(f"Project {house.project_id}: The label config has no <Pairwise> tags")

    house.studio.projects[house.project_id]["label_config"] = config
    house.fill(filler)

    assert house.noted() == ()
