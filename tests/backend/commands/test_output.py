"""The commands: `fill` and `import` as processes of their own, killed, interrupted, on a terminal and on none; `connect`."""

import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from backend.__main__ import main
from tests.support.commands_house import Command, environ
from tests.support.filling_house import EMPTY, House
from tests.support.importing_house import PROMPTS
from tests.support.studio_double import wait_until

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(house: House) -> Invoke:
    """Runs pairloop-backend in this process; keyword arguments are further variables."""

    def run(*arguments: object, **changes: str) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environ(house.settings, **changes))

    return run


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
    assert re.fullmatch(r"prompts imported \S+ +700/700 \d+\.\d answers/s, 0 s to go 0:0\d:\d\d", lines[1]), lines[1]
    assert [line for line in lines[2:] if line] == [f"1 {PROMPTS}", "699 imported, 699 of them answered"]


def test_on_a_terminal_the_bar_is_live(house: House, prompt_file: Path) -> None:
    terminal, inside = pty.openpty()
    outputs: list[str] = []

    def watch() -> None:
        try:
            while piece := os.read(terminal, 4096):
                outputs.append(piece.decode(errors="replace"))
        except OSError:  # Linux says so if the last process has closed the terminal
            pass

    watching = threading.Thread(target=watch)
    watching.start()
    wait = lambda: wait_until(lambda: "300/700" in "".join(outputs))  # noqa: E731
    house.before_request(f"POST /api/projects/{house.project_id}/import", wait, time=4)
    variables = {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}
    command = Command(house, "import", "--project", house.project_id, prompt_file, output=Path(os.ttyname(inside)), **variables)
    command.start()
    status = command.status()
    os.close(inside)
    watching.join()
    os.close(terminal)

    text = "".join(outputs)
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
    assert result.stdout.splitlines()[0] == f"{path}: 1 prompt; reading those that project {house.project_id} holds"


# What is refused, in one sentence


@pytest.mark.parametrize("command", ["fill", "import"])
def test_what_label_studio_refuses_is_one_sentence(invoke: Invoke, house: House, prompt_file: Path, command: str) -> None:
    files = [prompt_file] if command == "import" else []
    unfit = house.studio.add_project("<View/>")
    advice = (
        "make a personal access token (Account & Settings > Personal Access Token), or a legacy token if the organization "
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


def test_wrong_settings_are_reported_before_anything_else(invoke: Invoke, house: House) -> None:
    result = invoke("fill", "--project", house.project_id, TEMPERATURE="0")

    assert result.exit_code == 2 and result.stderr.startswith("TEMPERATURE='0' is wrong: ")
    assert house.studio.requests == []
