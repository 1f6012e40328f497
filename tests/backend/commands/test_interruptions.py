import random
import signal
from pathlib import Path

from filelock import FileLock

from tests.support.commands_house import Command
from tests.support.filling_house import House
from tests.support.importing_house import UnsteadyStudio, holds_each_once, stored_tasks
from tests.support.studio_double import wait_until

STOPPED = "stopped; the next run goes on from here"


def interrupt_at(house: House, request: str, *, time: int, command: Command) -> None:
    """Ctrl-C, when that request is made for the `time`-th time."""
    num_requests = 0

    def watch(arrived: str) -> None:
        nonlocal num_requests
        num_requests += arrived.startswith(request)
        if num_requests == time and arrived.startswith(request):
            command.send(signal.SIGINT)

    house.studio.on_request = watch


# A process that is killed


def test_kill_9_at_any_moment_of_an_import_makes_no_double_and_loses_nothing(
    house: House, studio: UnsteadyStudio, prompt_file: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Label Studio may have been sent a batch: it stores that at once, or when the next import looks for it."""
    version = house.promote(tiny_base, weight=1)
    prompt_file.write_text("".join(f"Prompt {n}\n" for n in range(1200)), encoding="utf-8")
    arguments = ["import", "--project", house.project_id, prompt_file]
    chance = random.Random(5)

    for kind, fate in [("/import", "late"), ("", ""), ("/import", ""), ("/import", "late"), ("", "")]:
        command = Command(house, *arguments, output=tmp_path / "log")
        left = [chance.randint(1, 2 if kind else 6)]  # requests of that kind, until it dies

        def kill(request: str, command: Command = command, kind: str = kind, fate: str = fate, left: list[int] = left) -> None:
            left[0] -= request.endswith(kind)
            if left[0] == 0:
                command.kill()
                studio.fates = [fate] if kind else []

        studio.on_request = kill
        command.start()
        assert command.status() == -9
        assert all(house.is_answered(task["id"]) for task in stored_tasks(house)), "no task is half filled"
    assert 100 <= len(stored_tasks(house)) < 1200, "it was killed in the middle"

    studio.on_request = lambda request: None
    command = Command(house, *arguments, output=tmp_path / "last")
    command.start()

    assert command.status() == 0
    assert holds_each_once(house, 1200)
    ids = [task["id"] for task in stored_tasks(house)]
    assert all(versions in ([], [version]) for versions in house.versions(ids))
    house.fill()  # which scores tasks whose import was killed before their predictions
    assert house.versions(ids) == [[version]] * 1200
    assert not (house.folder.path / "importing.json").exists()


# Ctrl-C


def test_ctrl_c_ends_a_filling_and_the_next_run_goes_on(house: House, tmp_path: Path) -> None:
    tasks = house.add_prompts(200)
    command = Command(house, "fill", "--project", house.project_id, output=tmp_path / "log")
    interrupt_at(house, "PATCH /api/tasks/", time=30, command=command)
    command.start()

    assert command.status() == 130
    assert STOPPED in command.printed and "Traceback" not in command.printed
    first = {task: house.answers(task) for task in tasks if any(house.answers(task))}
    assert 30 <= len(first) < 200 and all(all(answers) for answers in first.values())

    house.studio.on_request = lambda request: None
    command = Command(house, "fill", "--project", house.project_id, output=tmp_path / "second")
    command.start()

    assert command.status() == 0
    assert house.is_answered(*tasks) and {task: house.answers(task) for task in first} == first
    assert house.patched() == tasks, "nothing is stored twice"


def test_ctrl_c_ends_a_filling_while_label_studio_is_away(house: House, tmp_path: Path) -> None:
    house.add_prompts(100)
    command = Command(house, "fill", "--project", house.project_id, output=tmp_path / "log")

    num_away = 0

    def go_away(request: str) -> None:
        nonlocal num_away
        if len(house.patched()) >= 10 and request.startswith("GET "):
            house.studio.failures = [503]
            num_away += 1
            if num_away == 2:
                command.send(signal.SIGINT)

    house.studio.on_request = go_away
    command.start()

    assert command.status() == 130
    assert STOPPED in command.printed and "Traceback" not in command.printed


def test_ctrl_c_ends_an_import_and_the_next_run_goes_on(house: House, prompt_file: Path, tmp_path: Path) -> None:
    arguments = ["import", "--project", house.project_id, prompt_file]
    command = Command(house, *arguments, output=tmp_path / "log")
    interrupt_at(house, f"POST /api/projects/{house.project_id}/import", time=3, command=command)
    command.start()

    assert command.status() == 130
    assert STOPPED in command.printed and "200 imported" in command.printed and "Traceback" not in command.printed

    house.studio.on_request = lambda request: None
    command = Command(house, *arguments, output=tmp_path / "second")
    command.start()

    assert command.status() == 0
    assert holds_each_once(house, 700)


def test_ctrl_c_ends_the_watching_of_a_backend(house: House, tmp_path: Path) -> None:
    house.add_prompts(3)
    command = Command(house, "fill", "--project", house.project_id, output=tmp_path / "log")
    with FileLock(house.settings.model_dir / "filler.lock"):
        command.start()
        wait_until(lambda: house.folder.take_request("fill"), seconds=60)
        command.send(signal.SIGINT)

        assert command.status() == 130
    assert STOPPED in command.printed and "Traceback" not in command.printed
