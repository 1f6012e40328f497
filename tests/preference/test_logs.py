import json
import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from demo.process import Process
from demo.stack import PROGRAMS, REPOSITORY
from preference.logs import log_line
from preference.projects.folder import ProjectFolder
from preference.projects.trainer_heartbeat import is_alive
from preference.settings import Settings, variables
from tests.support.statuses import status_of
from tests.support.studio_double import KEY, StudioDouble, wait_until

SECRETS = {
    "LABEL_STUDIO_API_KEY": "key-5ecret", "BASIC_AUTH_USER": "ls", "BASIC_AUTH_PASS": 'pass-"5ecret" and more\\',
    "WEBHOOK_SECRET": "pass-", "OPENAI_API_KEY": "öpen-5ecret",
}  # fmt: skip
# Everything that a process may say, in its own words and in libraries'.
PROGRAM = """
import logging, os, sys, threading, warnings
from preference.logs import set_up_logging
from preference.settings import Settings, variables

set_up_logging(Settings.from_environ())
logger = logging.getLogger("pairloop.words")
logger.info("filled %d\\ntasks\\r\\n\\u2028 \\x1b[31m \\ud800 é", 3)
logger.debug("not logged")
logging.getLogger("httpx").info("GET http://user:password@host")
for name in os.environ["NAMES"].split():
    logger.warning("%s is %s", name, os.environ[name])
    try:
        raise ValueError(f"it was {os.environ[name]}")
    except ValueError:
        logger.exception("failed")
warnings.warn("old\\nand worn")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
threading.Thread(target=sys.exit).start()
raise RuntimeError("at last " + os.environ["LABEL_STUDIO_API_KEY"])
"""


@cache
def log_of(log_format: str, **environ: str) -> str:
    """What PROGRAM wrote to its standard error; it runs once for each set of variables."""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "LOG_FORMAT": log_format, "NAMES": " ".join(SECRETS)}
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**variables, **SECRETS, **environ}, capture_output=True, text=True, timeout=60
    )
    assert (finished.returncode, finished.stdout) == (1, "")
    return finished.stderr


def events(text: str) -> list[dict[str, Any]]:
    """The object on each line; fails if a line is none."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"time", "level", "logger", "process", "message"} <= event.keys() for event in lines)
    return lines


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_each_event_is_one_object_on_one_line(encoding: str) -> None:
    logged = events(log_of("json", PYTHONIOENCODING=f"{encoding}:backslashreplace"))

    assert logged[0]["message"] == "filled 3\ntasks\r\n\u2028 \x1b[31m \ud800 é"
    assert (logged[0]["level"], logged[0]["logger"]) == ("INFO", "pairloop.words")
    assert not any("not logged" in event["message"] or "password" in event["message"] for event in logged)
    assert ["old\nand worn" in event["message"] for event in logged if event["logger"] == "py.warnings"] == [True]


def test_a_traceback_is_inside_the_line_of_its_event_whoever_caught_it() -> None:
    logged = events(log_of("json", LOG_LEVEL="DEBUG"))

    caught = [(event["level"], event["message"], event["traceback"].splitlines()[-1]) for event in logged if "traceback" in event]
    assert ("ERROR", "failed", "ValueError: it was ls") in caught
    assert caught[-2:] == [
        ("CRITICAL", "not caught", "ZeroDivisionError: division by zero"),
        ("CRITICAL", "not caught", "RuntimeError: at last ****"),
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(("level", "num_hidden"), [("INFO", 4), ("DEBUG", 9)])  # an error's own words are logged at DEBUG only
def test_no_secret_is_ever_written(log_format: str, level: str, num_hidden: int) -> None:
    text = log_of(log_format, LOG_LEVEL=level)

    for word in ("5ecret", "and more"):
        assert word not in text
    assert text.count("****") == num_hidden
    assert "BASIC_AUTH_USER is ls" in text


def test_a_line_of_text_is_as_it_was() -> None:
    first, *others = log_of("text", LOG_LEVEL="DEBUG").splitlines()

    assert first.endswith(" INFO pairloop.words: filled 3")
    assert "ZeroDivisionError: division by zero" in others


# The trainer: its own lines, and those of each round's process


def test_the_daemon_and_its_rounds_write_objects(tmp_path: Path) -> None:
    with StudioDouble() as studio:
        project = studio.add_project()
        folder = ProjectFolder(tmp_path / "models", project)
        folder.request("train")
        environ = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY,
            "MODEL_DIR": str(tmp_path / "models"), "LOG_FORMAT": "json", "LOOK_EVERY_SECONDS": "0.2", "DEVICE": "cpu",
        }  # fmt: skip
        command = [str(PROGRAMS / "pairloop-trainer"), "run"]
        trainer = Process("the trainer", command, environ, tmp_path / "log", lambda: is_alive(tmp_path / "models"))
        trainer.start()
        try:
            wait_until(lambda: bool(status_of(folder).last_round.outcome), seconds=120)
        finally:
            status = trainer.stop()
    logged = events((tmp_path / "log").read_text())

    assert status == 0
    assert status_of(folder).last_round.outcome == "skipped"
    by_process = {
        event["process"]: event["message"] for event in logged if event["logger"] in ("pairloop.daemon", "pairloop.rounds")
    }
    assert len(by_process) == 2  # the daemon's, and the round's
    assert sorted(message.partition(":")[0] for message in by_process.values()) == [f"project {project}", "trainer stopped"]
    assert KEY not in (tmp_path / "log").read_text()


def test_what_is_hidden_is_what_the_settings_hold_secret() -> None:
    names = {variable.name for variable in variables() if type(variable.default).__name__ == "SecretStr"}

    assert names == set(SECRETS) - {"BASIC_AUTH_USER"}


@pytest.mark.parametrize("variable", ["LABEL_STUDIO_URL", "LABEL_STUDIO_PUBLIC_URL", "OPENAI_BASE_URL", "BACKEND_URL"])
def test_a_password_in_an_address_is_hidden_as_well(variable: str) -> None:
    address = "http://bob:hunter%402secret@studio"
    line = log_line(Settings.from_environ({variable: address, "LOG_FORMAT": "text"}))

    for text in (address, "hunter@2secret"):
        assert "hunter" not in line.format(logging.makeLogRecord({"msg": "not there: %s", "args": (text,)}))
