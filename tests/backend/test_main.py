"""The commands: `fill` and `import` as processes of their own, killed, interrupted, on a terminal and on none; `connect`."""

import multiprocessing
import os
import pty
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from backend.__main__ import main
from preference.projects.folder import known_projects
from preference.projects.versions import UNTRAINED
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.clinic import Clinic
from tests.support.filling_house import EMPTY, House
from tests.support.importing_house import PROMPTS, Unsteady, held, holds_each_once
from tests.support.studio_double import KEY, LABEL_CONFIG, StudioDouble, wait_until

STOPPED = "stopped; the next run goes on from here"
Invoke = Callable[..., Result]


@pytest.fixture
def studio() -> Iterator[Unsteady]:
    with Unsteady() as double:
        yield double


@pytest.fixture
def house(studio: Unsteady, settings_for: SettingsFactory) -> Iterator[House]:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, generator_engine="echo")
    with House(studio, settings) as house:
        yield house


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """700 prompts, "Prompt 0" and so on."""
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"Prompt {n}\n" for n in range(700)), encoding="utf-8")
    return path


def environ(settings: Settings, **changes: str) -> dict[str, str]:
    ours = {
        "LABEL_STUDIO_URL": settings.studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(settings.model_dir),
        "GENERATOR_ENGINE": "echo", "DEVICE": "cpu", "TORCH_THREADS": "1", "CONTROL_PERCENT": "0",
    }  # fmt: skip
    return {**ours, **changes}


@pytest.fixture
def invoke(house: House) -> Invoke:
    """Runs pairloop-backend in this process; keyword arguments are further variables."""

    def run(*arguments: object, **changes: str) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environ(house.settings, **changes))

    return run


class Command:
    """pairloop-backend in a process of its own."""

    def __init__(self, house: House, *arguments: object, output: Path, **changes: str) -> None:
        """`output`: the file that takes what it prints, or a terminal."""
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(
            ["backend.__main__", "backend.commands.fill", "tests.support.filling_house"]
        )  # which takes seconds
        self._output = output
        self._process = processes.Process(
            target=run_command, args=[list(map(str, arguments)), environ(house.settings, **changes), output], daemon=True
        )

    def start(self) -> None:
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self._process.kill()

    def status(self) -> int | None:
        """The exit status; None where it has not ended after a while, and is killed."""
        self._process.join(60)
        status = self._process.exitcode
        self._process.kill()
        return status

    @property
    def printed(self) -> str:
        return self._output.read_text(encoding="utf-8")


def run_command(arguments: Sequence[str], environ: dict[str, str], output: Path) -> None:
    os.environ.update(environ)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    main(arguments)


def interrupt_at(house: House, request: str, *, time: int, command: Command) -> None:
    """Ctrl-C, when that request has come for the `time`-th time."""
    num_seen = 0

    def watch(came: str) -> None:
        nonlocal num_seen
        num_seen += came.startswith(request)
        if num_seen == time and came.startswith(request):
            command.send(signal.SIGINT)

    house.studio.on_request = watch


# What is printed


def test_on_no_terminal_the_counts_and_the_last_state_of_the_bar_are_printed_once(
    house: House, prompt_file: Path, tiny_base: Path, tmp_path: Path
) -> None:
    house.promote(tiny_base, weight=1)
    house.add({"prompt": "Prompt 5", **EMPTY})
    command = Command(house, "import", "--project", house.project_id, prompt_file, output=tmp_path / "log")
    command.start()

    assert command.status() == 0
    lines = command.printed.splitlines()
    assert lines[0] == f"{prompt_file}: 700 prompts; reading those that project {house.project_id} holds"
    assert re.fullmatch(r"prompts imported \S+ +700/700 \d+\.\d answers/s, 0 s left 0:0\d:\d\d", lines[1]), lines[1]
    assert [line for line in lines[2:] if line] == [f"1 {PROMPTS}", "699 imported, 699 of them answered"]


def test_on_a_terminal_the_bar_is_live(house: House, prompt_file: Path) -> None:
    terminal, inside = pty.openpty()
    seen: list[str] = []

    def watch() -> None:
        try:
            while piece := os.read(terminal, 4096):
                seen.append(piece.decode(errors="replace"))
        except OSError:  # Linux says so where the last process has left the terminal
            pass

    watching = threading.Thread(target=watch)
    watching.start()
    wait = lambda: wait_until(lambda: "300/700" in "".join(seen))  # noqa: E731
    house.at(f"POST /api/projects/{house.project_id}/import", wait, time=4)
    variables = {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    command = Command(house, "import", "--project", house.project_id, prompt_file, output=Path(os.ttyname(inside)), **variables)
    command.start()
    status = command.status()
    os.close(inside)
    watching.join()
    os.close(terminal)

    text = "".join(seen)
    assert status == 0
    assert "\x1b[2K" in text and "700/700" in text and text.rstrip().endswith("700 imported, 700 of them answered")


@pytest.mark.parametrize("name", ["[red]prompts.txt", "[/red] :smile: prompts.txt"])
def test_a_files_name_is_printed_as_it_is(invoke: Invoke, house: House, tmp_path: Path, name: str) -> None:
    folder = tmp_path / ("a long name " * 10) / "["
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text("Why?", encoding="utf-8")

    result = invoke("import", "--project", house.project_id, path)

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == f"{path}: 1 prompts; reading those that project {house.project_id} holds"


# What is refused, in one sentence


@pytest.mark.parametrize("command", ["fill", "import"])
def test_what_label_studio_refuses_is_one_sentence(invoke: Invoke, house: House, prompt_file: Path, command: str) -> None:
    files = [prompt_file] if command == "import" else []
    unfit = house.studio.add_project("<View/>")
    advice = (
        "make a personal access token (Account & Settings > Personal Access Token), or a legacy token where the organization "
        "allows those, and set LABEL_STUDIO_API_KEY to it."
    )
    expected = [
        (999, {}, "Label Studio has no such thing in project 999: No Project matches the given query."),
        (house.project_id, {"LABEL_STUDIO_API_KEY": "0" * 40}, f"Label Studio at {house.studio.url} refuses LABEL_STUDIO_API_KEY; {advice}"),
        (house.project_id, {"LABEL_STUDIO_API_KEY": ""}, f"LABEL_STUDIO_API_KEY is not set; {advice}"),
        (unfit, {}, 'The label config has no <Pairwise> tags; Pairloop needs exactly one, such as <Pairwise name="comparison" toName="answer1,answer2"/>.'),
    ]  # fmt: skip

    for project_id, changes, sentence in expected:
        result = invoke(command, "--project", project_id, *files, **changes)
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {sentence}\n")


def test_a_file_that_cannot_be_imported_is_one_sentence(invoke: Invoke, house: House, tmp_path: Path) -> None:
    wrong = {"prompts.xlsx": b"PK", "prompts.txt": b"Gr\xfc\xdfe\n", "prompts.csv": b"text\nWhy?\n", "prompts.jsonl": b"Why?\n"}

    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
        result = invoke("import", "--project", house.project_id, tmp_path / name)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"Error: {tmp_path / name}") and result.stderr.count("\n") == 1
    assert house.studio.tasks == {}


def test_a_second_import_into_a_project_is_one_sentence(invoke: Invoke, house: House, prompt_file: Path) -> None:
    with FileLock(house.folder.path / "import.lock"):
        result = invoke("import", "--project", house.project_id, prompt_file)

    assert result.exit_code == 1
    sentence = f"Error: Another import into project {house.project_id} is running; wait for its end, or stop it.\n"
    assert result.stderr == sentence


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fill"], "Missing option '--project'"),
        (["fill", "--project", "0"], "0 is not in the range x>=1"),
        (["import", "--project", "1"], "Missing argument 'FILE'"),
        (["import", "--project", "1", "gone.txt"], "File 'gone.txt' does not exist"),
    ],
)
def test_a_command_that_is_called_wrongly_says_how(invoke: Invoke, arguments: list[str], message: str) -> None:
    result = invoke(*arguments)

    assert result.exit_code == 2 and message in result.stderr


def test_wrong_settings_are_told_before_anything_else(invoke: Invoke, house: House) -> None:
    result = invoke("fill", "--project", house.project_id, TEMPERATURE="0")

    assert result.exit_code == 2 and result.stderr.startswith("TEMPERATURE='0' is wrong: ")
    assert house.studio.requests == []


# A process that is killed


def test_kill_9_at_any_moment_of_an_import_makes_no_double_and_loses_nothing(
    house: House, studio: Unsteady, prompt_file: Path, tiny_base: Path, tmp_path: Path
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
        assert all(house.is_answered(task["id"]) for task in held(house)), "no task is half filled"
    assert 100 <= len(held(house)) < 1200, "it was killed in the middle"

    studio.on_request = lambda request: None
    command = Command(house, *arguments, output=tmp_path / "last")
    command.start()

    assert command.status() == 0
    assert holds_each_once(house, 1200)
    ids = [task["id"] for task in held(house)]
    assert all(versions in ([], [version]) for versions in house.versions(ids))
    house.fill()  # tasks whose import was killed before their predictions came are left to the filler
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


# connect and disconnect


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with StudioDouble() as studio, Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_connect_names_the_project_s_page_as_browsers_reach_it(clinic: Clinic) -> None:
    result = clinic.run("connect", "--project", clinic.id, LABEL_STUDIO_PUBLIC_URL="https://studio.example")

    assert f"project {clinic.id} is connected: https://studio.example/projects/{clinic.id}" in result.output
    assert clinic.studio.url not in result.output


def test_one_command_makes_a_project_and_fills_it(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("Why?\nWho?\n")

    result = clinic.run("connect", "--new", "My preferences", "--prompts", tmp_path / "prompts.txt")

    assert result.exit_code == 0, result.output
    made = max(clinic.studio.projects)
    assert result.output.splitlines()[:4] == [
        f'made project {made}, "My preferences"',
        f"connected {clinic.address} as {UNTRAINED}",
        "put WEBHOOK_SECRET into the webhook",
        "switched uncertainty sampling on",
    ]
    assert f"project {made} is connected: {clinic.studio.url}/projects/{made}" in result.output
    assert "nothing is suggested yet: pairloop-trainer trains its first reward model after 50 judgements" in result.output
    assert result.output.splitlines()[-1] == "2 imported, 2 of them answered"
    assert clinic.studio.projects[made]["label_config"] == LABEL_CONFIG
    datas = [task["data"] for task in clinic.studio.tasks.values()]
    assert {data["prompt"] for data in datas} == {"Why?", "Who?"} and all(data["answer1"] and data["answer2"] for data in datas)
    assert clinic.run("doctor", "--project", made).exit_code == 0

    again = clinic.run("connect", "--project", made, "--prompts", tmp_path / "prompts.txt")
    assert again.output.splitlines()[0] == "there was nothing to do"
    assert "2 skipped, the project holds the prompt" in again.output
    assert len(clinic.studio.tasks) == 2


def test_what_new_was_called_before_still_works_and_is_not_in_the_help(clinic: Clinic, tmp_path: Path) -> None:
    config = LABEL_CONFIG.replace('value="$prompt"', 'value="$question"')
    (tmp_path / "config.xml").write_text(config)

    result = clinic.run("connect", "--create", "Questions", "--label-config", tmp_path / "config.xml")

    assert result.exit_code == 0, result.output
    assert clinic.studio.projects[max(clinic.studio.projects)]["label_config"] == config
    assert "--create" not in clinic.run("connect", "--help").output


def test_a_title_that_is_taken_names_its_project_and_makes_no_second(clinic: Clinic) -> None:
    result = clinic.run("connect", "--new", "Preferences")

    assert result.exit_code == 1
    assert result.output == (
        f'Error: Project {clinic.id} is called "Preferences" already; connect it with --project {clinic.id}, or choose another title.\n'
    )
    assert clinic.run("connect", "--new", "Prefer").exit_code == 0, "a title that is part of another is free"


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [("--prompts", '{"no": "prompt"}', "no prompt"), ("--label-config", "<View><Header/></View>", "has no <Pairwise> tags")],
)
def test_files_are_looked_at_before_a_project_is_made(
    clinic: Clinic, tmp_path: Path, option: str, text: str, problem: str
) -> None:
    (tmp_path / "file.jsonl").write_text(text)

    result = clinic.run("connect", "--new", "Another", option, tmp_path / "file.jsonl")

    assert result.exit_code == 1 and problem in result.output
    assert list(clinic.studio.projects) == [clinic.id]


@pytest.mark.parametrize("arguments", [[], ["--project", "1", "--new", "Both"], ["--project", "1", "--label-config", "-"]])
def test_connect_wants_one_project(clinic: Clinic, arguments: list[str]) -> None:
    result = clinic.run("connect", *arguments)

    assert result.exit_code == 2 and "Give --project ID, or --new TITLE" in result.output


def test_disconnect_says_what_it_removed_and_that_the_rest_stays(clinic: Clinic) -> None:
    done = clinic.run("disconnect", "--project", clinic.id)
    again = clinic.run("disconnect", "--project", clinic.id)

    stays = f"project {clinic.id} is not connected; no task, prediction or annotation was touched"
    assert done.output.splitlines() == [
        f"removed the connection to {clinic.address}",
        f"removed the webhook to {clinic.address}/webhook",
        "switched back to sequential sampling",
        stays,
    ]
    assert again.output.splitlines() == ["there was nothing to remove", stays]
    assert clinic.studio.rows == {} and clinic.studio.hooks == {}


def test_disconnect_forgets_a_project_that_was_deleted_in_label_studio(clinic: Clinic) -> None:
    del clinic.studio.projects[clinic.id]

    done = clinic.run("disconnect", "--project", clinic.id)

    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            f"Label Studio has no project {clinic.id} any more, or does not show it to this key; nothing looks after it now",
            f"project {clinic.id} is not connected; no task, prediction or annotation was touched",
        ],
    )
    assert list(known_projects(clinic.model_dir)) == []


@pytest.mark.parametrize("command", ["connect", "disconnect"])
def test_a_refusal_is_one_sentence(clinic: Clinic, command: str) -> None:
    result = clinic.run(command, "--project", 999)

    assert result.exit_code == 1
    assert result.output.startswith("Error: Label Studio has no such thing in project 999")
