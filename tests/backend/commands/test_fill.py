import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from backend.commands.fill import fill
from backend.filling.filler import Filler
from preference.errors import LayoutError, ModelError, PairloopError, RegistryError
from preference.projects.folder import ProjectFolder
from tests.conftest import SettingsFactory
from tests.support.filling_house import EMPTY, House, fill_forever
from tests.support.forked import processes
from tests.support.screen import Screen
from tests.support.statuses import filling_of, keep_filling
from tests.support.studio_double import KEY, StudioDouble, wait_until

ANSWERED = {"prompt": "p", "answer1": "short", "answer2": "a much longer answer"}
EVERY_SECONDS = 0.05  # a look
CHEAPER = "prompts that Label Studio does not hold yet cost it less than a tenth of that by pairloop-backend import"
FOLLOWING = "a backend fills on this MODEL_DIR already: this is how far it is"


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory) -> Iterator[House]:
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, generator_engine="echo", fill_every_seconds=86400
    )
    with House(studio, settings) as house:
        yield house


def filled(house: House, **options: Any) -> list[str]:
    """What `fill` printed."""
    screen = Screen()
    fill(house.project(), house.settings, console=screen.console, every_seconds=EVERY_SECONDS, **options)
    return screen.lines


class Following(threading.Thread):
    """A `fill` that follows a backend, after it has asked that for a pass."""

    def __init__(self, house: House, *, stall_seconds: float = 15.0) -> None:
        super().__init__()
        self.screen = Screen()
        self.error: PairloopError | None = None
        self._house, self._stall_seconds = house, stall_seconds
        self.start()
        wait_until(lambda: house.folder.take_request("fill"))

    def run(self) -> None:
        try:
            fill(
                self._house.project(), self._house.settings, console=self.screen.console, stall_seconds=self._stall_seconds,
                every_seconds=EVERY_SECONDS,
            )  # fmt: skip
        except PairloopError as error:
            self.error = error

    @property
    def has_ended(self) -> bool:
        """Whether it ends by itself."""
        self.join(20)
        return not self.is_alive()


def write_progress(folder: ProjectFolder, *, is_filling: bool = False, **changes: Any) -> None:
    """What a backend writes just now, in a pass of its own."""
    written = {"tasks_left": 2, "tasks_answered": 1, "tasks_failed": {}, "answers_per_second": 1.0, "is_filling": is_filling}
    number = filling_of(folder).get("pass", 0) + 1
    keep_filling(folder, {**written, "pass": number, "at": round(time.time(), 1), **changes})


@pytest.fixture
def held(house: House) -> Iterator[None]:
    """Another process holds the filler's lock, and does nothing."""
    with FileLock(house.settings.model_dir / "filler.lock"):
        yield


@pytest.fixture
def backend(house: House) -> Iterator[Callable[..., None]]:
    """Starts the filler of a backend, with the house's generator; it is stopped when the test ends."""
    stop, running = threading.Event(), []

    def start(filler: Filler | None = None) -> None:
        filler = filler or house.filler()
        running.append(threading.Thread(target=filler.run, args=[stop]))
        running[-1].start()
        wait_until(lambda: filler.is_chosen)

    yield start
    stop.set()
    for thread in running:
        thread.join()


# To fill here


def test_if_nothing_is_open_it_scores_and_says_so(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add(ANSWERED, ANSWERED)

    assert filled(house)[0] == f"project {house.project_id}: 0 tasks lack an answer"
    assert house.versions(tasks) == [[version]] * 2
    assert house.patched() == []


@pytest.mark.parametrize(("count", "hints"), [(30, []), (100, [CHEAPER])])
def test_open_tasks_are_answered_scored_and_counted(house: House, tiny_base: Path, count: int, hints: list[str]) -> None:
    version, tasks = house.promote(tiny_base, weight=1), house.add_prompts(count)

    first, *others, last = filled(house)

    assert (first, others) == (f"project {house.project_id}: {count} tasks lack an answer", hints)
    assert last.startswith("tasks answered ") and f" {count}/{count} " in last
    assert house.is_answered(*tasks) and house.versions(tasks) == [[version]] * count


def test_a_filling_json_that_lacks_its_numbers_stops_no_fill(house: House) -> None:
    (house.folder.path / "filling.json").write_text('{"is_filling": true, "tasks_left": "two", "at": 1}')
    tasks, lines = house.add_prompts(2), filled(house)

    assert " 2/2 " in lines[1] and house.is_answered(*tasks)


def test_tasks_left_unanswered_are_printed_by_reason(house: House) -> None:
    skipped, _ = house.add_prompts(2)
    house.studio.annotate(skipped, [], is_skip=True)
    house.add({"prompt": "", **EMPTY}, {"prompt": {}, **EMPTY}, {"prompt": "p", "answer1": {"text": "a"}, "answer2": ""})

    lines = filled(house)

    assert " 5/5 " in lines[1]
    assert lines[2:] == [
        "tasks without answers: 1 (an answer field holds no text), 1 (judged or skipped while empty), "
        "2 (prompt missing, empty or not text)"
    ]


def test_counts_of_an_earlier_run_are_not_printed_again_if_nothing_is_open(house: House) -> None:
    (task,) = house.add({"prompt": "", **EMPTY})
    filled(house)
    house.edit(task, prompt="p", answer1="A", answer2="B")

    assert not any("without answers" in line for line in filled(house))


def test_a_version_that_is_promoted_meanwhile_scores_everything(house: House, tiny_base: Path) -> None:
    first = house.promote(tiny_base, weight=1)
    row = house.studio.add_row(house.project_id, "http://backend:9090", first)
    house.folder.write_host("backend:9090")
    tasks = house.add_prompts(30)
    promoted: list[str] = []

    def promote(request: str) -> None:
        if request.startswith("PATCH /api/tasks/"):
            time.sleep(0.05)  # else all is done before anybody looks
            if not promoted:
                promoted.append(house.promote(tiny_base, weight=-1))

    house.studio.on_request = promote
    filled(house)

    (second,) = promoted
    assert house.is_answered(*tasks)
    assert all(versions[-1] == second for versions in house.versions(tasks))
    assert house.studio.rows[row]["title"] == house.studio.projects[house.project_id]["model_version"] == second


def test_a_project_whose_label_config_does_not_fit_is_refused(house: House, studio: StudioDouble) -> None:
    studio.projects[house.project_id]["label_config"] = "<View/>"

    with pytest.raises(LayoutError, match="The label config has no <Pairwise> tags"):
        filled(house)


def test_a_model_that_cannot_be_loaded_ends_it(house: House, settings_for: SettingsFactory, tmp_path: Path) -> None:
    house.add_prompts(3)
    house.settings = settings_for(
        label_studio_url=house.settings.studio.url, label_studio_api_key=KEY, generator_model=str(tmp_path / "gone")
    )

    with pytest.raises(ModelError, match="gone"):
        filled(house)


# To follow the backend that fills


def test_while_a_backend_fills_it_is_followed_to_the_end(house: House, backend: Callable[..., None]) -> None:
    tasks = house.add_prompts(40)
    house.add({"prompt": "", **EMPTY})
    house.generator.meanwhile = lambda prompts: time.sleep(0.1)
    backend()

    lines = filled(house)

    assert lines[:2] == [f"project {house.project_id}: 41 tasks lack an answer", FOLLOWING]
    written = filling_of(house.folder)
    assert written["tasks_answered"] == 40 and house.is_answered(*tasks)
    assert lines[2].startswith("tasks answered ") and f" 41/41 {written['answers_per_second']:.1f} answers/s" in lines[2]
    assert lines[3:] == ["tasks without answers: 1 (prompt missing, empty or not text)"]
    assert house.patched() == tasks, "it left the work to the backend"


def test_fill_asks_an_idle_backend_for_a_pass(house: House, backend: Callable[..., None]) -> None:
    filler = house.filler()
    filler.look(threading.Event())
    backend(filler)
    tasks = house.add_prompts(5)  # the webhook was lost, and the timer runs for a day

    assert FOLLOWING in filled(house)
    assert house.is_answered(*tasks)


@pytest.mark.parametrize("seconds", [-0.1, 0, 0.1], ids=["a tenth of a second ago", "just now", "rounded up"])
def test_a_pass_that_ended_before_the_request_does_not_end_fill(
    house: House, backend: Callable[..., None], seconds: float
) -> None:
    filler = house.filler()
    filler.look(threading.Event())
    backend(filler)
    tasks = house.add_prompts(5)
    write_progress(house.folder, tasks_left=0, tasks_answered=9, at=round(time.time() + seconds, 1))

    lines = filled(house)

    assert FOLLOWING in lines and " 5/5 " in lines[2]
    assert house.is_answered(*tasks)


def test_fill_waits_for_tasks_that_are_added_during_a_pass(house: House, held: None) -> None:
    write_progress(house.folder, is_filling=True)
    tasks = house.add_prompts(2)
    following = Following(house)

    write_progress(house.folder, tasks_left=0)
    wait_until(lambda: house.folder.take_request("fill"))  # asked again
    assert following.is_alive()
    for task in tasks:
        house.edit(task, answer1="A", answer2="B")

    assert following.has_ended and following.error is None


def test_a_project_that_is_disconnected_is_filled_here_and_stays_so(house: House) -> None:
    house.folder.create()
    house.folder.disconnect()
    tasks = house.add_prompts(2)

    filled(house)

    assert house.is_answered(*tasks)
    assert house.folder.is_disconnected


def test_a_backend_that_fills_skips_a_disconnected_project_and_says_so(house: House, held: None) -> None:
    house.folder.create()
    house.folder.disconnect()
    house.add_prompts(1)

    with pytest.raises(RegistryError) as refused:
        filled(house)

    assert str(refused.value) == (
        f"Project {house.project_id} is disconnected, so the backend that fills on MODEL_DIR={house.settings.model_dir} skips "
        f"it; connect it again (pairloop-backend connect --project {house.project_id}), or stop that backend meanwhile."
    )
    assert house.folder.is_disconnected and not house.folder.is_requested("fill")


def test_if_nothing_is_open_a_backend_is_not_waited_for(house: House, held: None) -> None:
    house.add(ANSWERED)

    assert filled(house)[0] == f"project {house.project_id}: 0 tasks lack an answer"
    assert not house.folder.take_request("fill")


def test_the_rate_and_the_time_left_are_those_of_the_backend(house: House, held: None) -> None:
    """It may have answered thousands before anybody looked."""
    house.add_prompts(1)
    following = Following(house, stall_seconds=0.2)

    write_progress(house.folder, tasks_left=1000, tasks_answered=9000, answers_per_second=20.0)

    assert following.has_ended
    assert " 9000/10000 20.0 answers/s, 2 min to go " in following.screen.lines[2]


def test_a_backend_that_gave_up_ends_it(house: House, held: None) -> None:
    house.add_prompts(3)
    following = Following(house, stall_seconds=0.2)

    write_progress(house.folder)

    assert following.has_ended
    assert str(following.error) == "The backend's filler stopped with 2 tasks unanswered; its log says why."


def test_a_backend_that_gave_up_says_why(house: House, held: None) -> None:
    house.add_prompts(3)
    house.problems.note(house.project_id, "pass", "the filler failed")
    write_progress(house.folder, is_filling=True)
    following = Following(house, stall_seconds=0.2)

    write_progress(house.folder)

    assert following.has_ended
    assert str(following.error) == "The backend's filler stopped with 2 tasks unanswered: the filler failed."


def test_a_backend_whose_passes_never_begin_says_why(house: House, held: None) -> None:
    house.add_prompts(3)
    house.problems.note(house.project_id, "pass", "no rights.")
    following = Following(house, stall_seconds=0.2)

    assert following.has_ended
    assert str(following.error) == "The backend's filler makes no pass over the project: no rights."


def test_a_backend_that_has_its_turn_at_another_project_is_waited_for(house: House, studio: StudioDouble) -> None:
    """Projects take turns of a minute."""
    tasks = house.add_prompts(3)
    other = ProjectFolder(house.settings.model_dir, studio.add_project())
    other.create()
    with FileLock(house.settings.model_dir / "filler.lock"):
        following = Following(house, stall_seconds=0.2)
        write_progress(other, is_filling=True)
        write_progress(house.folder)
        following.join(1.2)  # many looks
        assert following.is_alive()

    assert following.has_ended and following.error is None
    assert house.is_answered(*tasks)


def test_a_project_whose_progress_cannot_be_read_ends_nobody_elses_command(house: House, studio: StudioDouble) -> None:
    house.add_prompts(3)
    other = ProjectFolder(house.settings.model_dir, studio.add_project())
    other.create()
    (other.path / "filling.json").mkdir()
    with FileLock(house.settings.model_dir / "filler.lock"):
        following = Following(house, stall_seconds=0.2)
        write_progress(house.folder)
        following.join(20)

    assert following.has_ended
    assert str(following.error) == "The backend's filler stopped with 2 tasks unanswered; its log says why."


def test_tasks_that_somebody_answers_by_hand_are_not_waited_for(house: House, held: None) -> None:
    """The filler has nothing to do then, and writes nothing."""
    (task,) = house.add_prompts(1)
    following = Following(house)

    house.edit(task, answer1="A", answer2="B")

    assert following.has_ended and following.error is None
    assert following.screen.lines[:2] == [f"project {house.project_id}: 1 task lacks an answer", FOLLOWING]


def test_the_work_of_a_process_that_is_killed_is_taken_over(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    tasks = house.add_prompts(60)
    process = processes().Process(target=fill_forever, args=[house.settings, house.project_id], daemon=True)

    screen = Screen()

    def hold(request: str) -> None:
        if request.startswith("PATCH") and len(house.patched()) >= 10:
            wait_until(lambda: FOLLOWING in screen.lines, seconds=60)

    def kill(request: str) -> None:
        if len(house.patched()) >= 15:
            process.kill()

    house.studio.on_arrival, house.studio.on_request = hold, kill
    process.start()
    wait_until(lambda: bool(house.studio.requests), seconds=60)
    fill(house.project(), house.settings, console=screen.console, every_seconds=EVERY_SECONDS)
    process.join()

    assert process.exitcode == -9 and FOLLOWING in screen.lines and house.is_answered(*tasks)
    assert house.versions(tasks) == [[version]] * 60
    assert filling_of(house.folder)["tasks_left"] == 0
    assert len(house.patched()) < 60 + 30, "it began where the other ended"


def test_no_thread_remains(house: House) -> None:
    house.add_prompts(2)

    filled(house)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("generator", "storing", "passing-on"))]
