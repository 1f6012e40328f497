"""`score`: of a file, in a pipe, and of texts in the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.commands import PROGRAMS
from tests.support.versions import publish_version

Score = Callable[..., Result]
WHY: dict[str, Any] = {"prompt": "Why?", "answers": ["Because.", "Because the moon looked at the cat.", "So."], "id": 7}
WHO: dict[str, Any] = {"messages": [{"role": "user", "content": "Who?"}], "answer": "The cat."}


@pytest.fixture
def version(tmp_path: Path, tiny_base: Path) -> str:
    """The served version of project 12, which prefers longer answers; the next one prefers shorter ones, and is not served."""
    versions = Versions(ProjectFolder(tmp_path / "models", 12))
    versions.promote(publish_version(versions.folder, tiny_base, weight=1))
    publish_version(versions.folder, tiny_base, weight=-1)
    return versions.find("v1")


@pytest.fixture(params=PROGRAMS)
def score(request: pytest.FixtureRequest, tmp_path: Path, version: str) -> Score:
    """Runs the command for project 12."""

    def run(*arguments: object, sent: str = "") -> Result:
        environ = {"MODEL_DIR": str(tmp_path / "models"), "DEVICE": "cpu", "TORCH_THREADS": "1", "LABEL_STUDIO_API_KEY": ""}
        words = ["score", "--project", "12", *map(str, arguments)]
        return CliRunner().invoke(PROGRAMS[request.param], words, env=environ, input=sent)

    return run


def lines(*rows: Any) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def written(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_comes_out_with_rewards_and_all_else_as_it_was(score: Score, tmp_path: Path, version: str) -> None:
    (tmp_path / "answers.jsonl").write_text(lines(WHY) + "\n" + lines(WHO), encoding="utf-8")

    result = score(tmp_path / "answers.jsonl")

    assert result.exit_code == 0, result.output
    why, who = written(result.stdout)
    middle, best, worst = why.pop("rewards")
    assert worst < middle < best
    assert why == {**WHY, "version": version}
    assert isinstance(who.pop("reward"), float) and who == {**WHO, "version": version}


def test_the_best_of_each_row_in_a_pipe(score: Score, version: str) -> None:
    result = score("--best", sent=lines(*[WHY] * 20, WHO))

    assert result.exit_code == 0, result.output
    *several, who = written(result.stdout)
    assert [(row["answer"], row["id"], row["version"]) for row in several] == [(WHY["answers"][1], 7, version)] * 20
    assert all("answers" not in row and isinstance(row["reward"], float) for row in several)
    assert who["answer"] == "The cat."


def test_one_version_is_asked_for_by_its_number(score: Score) -> None:
    result = score("--best", "--version", "v2", sent=lines(WHY))

    (row,) = written(result.stdout)
    assert row["answer"] == "So." and row["version"].startswith("v2-")


def test_texts_in_the_command_are_a_row(score: Score, version: str) -> None:
    result = score("--prompt", "Why?", "--answer", "Because.", "--answer", "So.")

    (row,) = written(result.stdout)
    assert (row["prompt"], row["answers"], row["version"]) == ("Why?", ["Because.", "So."], version)
    assert row["rewards"][0] > row["rewards"][1]


def test_a_file_may_be_scored_in_place_and_is_whole_or_as_it_was(score: Score, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(lines(*[WHY] * 40), encoding="utf-8")

    assert score(path, "--out", path).exit_code == 0
    assert [len(row["rewards"]) for row in written(path.read_text(encoding="utf-8"))] == [3] * 40

    path.write_text(lines(*[WHY] * 40, {"prompt": "Why?"}), encoding="utf-8")
    before = path.read_bytes()
    refused = score(path, "--out", path)
    assert (refused.exit_code, path.read_bytes()) == (1, before)
    assert f"{path}, line 41: no prompt with its answers" in refused.stderr
    assert [other.name for other in tmp_path.iterdir() if other.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("{", "-, line 1: not JSON; write each row as one line of JSON."),
        ("[1]", "-, line 1: not an object"),
        (lines(WHY, {"prompt": 3, "answers": ["a"]}), "-, line 2: no prompt with its answers"),
        (lines({"prompt": "Why?", "answers": []}), "-, line 1: no prompt with its answers"),
        (lines({"prompt": " ", "answer": "a"}), "-, line 1: a prompt is empty."),
        (
            lines({"prompt": [{"role": "tool", "content": "x"}], "answer": "a"}),
            "-, line 1: conversation with a role that is none of",
        ),
    ],
)
def test_a_row_that_is_none_is_named(score: Score, sent: str, why: str) -> None:
    result = score(sent=sent)

    assert result.exit_code == 1
    assert why in result.stderr and "Traceback" not in result.output


def test_what_is_not_there_is_said(score: Score, tmp_path: Path) -> None:
    assert "has no version 'v9'" in score("--version", "v9", sent=lines(WHY)).stderr
    assert "cannot be read (No such file or directory)" in score(tmp_path / "none.jsonl").stderr
    assert "cannot be written" in score("--out", tmp_path / "nowhere" / "x.jsonl", sent=lines(WHY)).stderr
    assert "--prompt and --answer go together" in score("--prompt", "Why?").stderr


def test_half_an_emoji_is_scored_and_written_as_utf_8(score: Score) -> None:
    result = score(sent='{"prompt": "Why\\ud83d?", "answer": "a\\ud83d"}\n')

    (row,) = written(result.stdout)
    assert row["answer"] == "a?" and isinstance(row["reward"], float)
