"""`pairloop-trainer judge` on a double of Label Studio and a double of a server of OpenAI's API."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from preference.projects.folder import ProjectFolder
from preference.report_card.raters import RaterFigures, read_raters
from preference.report_card.shares import Share
from tests.support.annotations import PROMPTS, vote
from tests.support.openai_double import KEY as SERVER_KEY
from tests.support.openai_double import OpenAIDouble
from tests.support.studio_double import KEY, StudioDouble
from trainer.__main__ import main
from trainer.llm_judge.judge_command import sentences


@pytest.fixture
def server() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as double:
        double.wants_key = True
        double.write = lambda question, seed: "[[A]]" if "<answer A>\nLeft" in question else "[[B]]"
        yield double


def judge(studio: StudioDouble, folder: Path, *arguments: object) -> Result:
    environ = {"MODEL_DIR": str(folder), "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "HOLDOUT_FRACTION": "0.5"}
    environ |= {"DEVICE": "cpu", "OPENAI_API_KEY": SERVER_KEY}
    return CliRunner().invoke(main, ["judge", *map(str, arguments)], env=environ)


def test_the_command_says_how_far_it_agrees_and_changes_nothing_in_label_studio(
    studio: StudioDouble, server: OpenAIDouble, tmp_path: Path
) -> None:
    project_id = studio.add_project()
    for number, prompt in enumerate(PROMPTS[:20]):
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": f"Left {number}.", "answer2": "Right."})
        studio.annotate(task_id, vote("left")["result"])
    num_annotations = sum(len(task["annotations"]) for task in studio.tasks.values())

    result = judge(studio, tmp_path, "--project", project_id, "--model", "tiny", "--url", f"{server.url}/")

    (figures,) = read_raters(ProjectFolder(tmp_path, project_id).path)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"project {project_id}: tiny agrees with people on 100.0 % (95 % interval ")
    assert figures.agreement.value == 1.0 and figures.agreement.count == len(server.requests) / 2 > 4
    assert sum(len(task["annotations"]) for task in studio.tasks.values()) == num_annotations
    assert SERVER_KEY not in result.output


def test_a_server_that_is_away_is_one_sentence(studio: StudioDouble, tmp_path: Path) -> None:
    project_id = studio.add_project()
    for prompt in PROMPTS[:20]:
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": "Left.", "answer2": "Right."})
        studio.annotate(task_id, vote("left")["result"])
    with OpenAIDouble() as away:
        pass
    result = judge(studio, tmp_path, "--project", project_id, "--model", "tiny", "--url", away.url)
    assert result.exit_code == 1
    assert re.fullmatch(rf"Error: {away.url} does not answer \(.*\); start it, or set --url\.", result.stderr.splitlines()[-1])


def test_what_is_known_of_a_rater_in_words() -> None:
    figures = RaterFigures(
        rater="tiny", agreement=Share(0.75, (0.6, 0.9), 40), num_ties=3, num_unreadable=2, num_refused=1,
        people=Share(0.8, None, 12), champion="v3-20261130-101010", champion_accuracy=Share(0.7, (0.5, 0.8), 40),
    )  # fmt: skip
    assert sentences(figures) == [
        "tiny agrees with people on 75.0 % (95 % interval 60.0 to 90.0 %) of 40 held-out comparisons, 3 of them ties; "
        "without 2 unreadable and 1 refused",
        "the champion v3-20261130-101010 agrees with people on 70.0 % (95 % interval 50.0 to 80.0 %) of 40 of these",
        "two annotators agree on 80.0 % of 12 comparisons",
    ]
    assert sentences(RaterFigures(rater="tiny", agreement=Share(count=0), num_refused=9)) == [
        "tiny agrees with people on none of 0 held-out comparisons; without 9 refused"
    ]
