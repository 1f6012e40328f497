"""The loop on a Label Studio that keeps its data in PostgreSQL, which takes less than SQLite, with a model that brings it.

The tests of this file share one Label Studio and build on each other, in their order."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.commands.import_prompts import import_prompts
from backend.prompt_files.rows import CHANGED
from demo.stack import Stack, free_port
from preference.errors import StudioFailing
from preference.generation.jobs import Job, WrittenAnswers
from preference.labelling.prompts import Prompt
from preference.projects.versions import UNTRAINED, Versions
from preference.report_card.figures import SuspectLabel
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task
from tests.support.filling_house import EMPTY, House, impatient
from tests.support.lab import CPU
from tests.support.loop_stack import LABEL_CONFIG
from tests.support.postgresql import RECORD, PostgreSQL, programs
from tests.support.screen import Screen
from tests.support.separable_pairs import separable_pairs
from trainer.reporting.suspect_labels import META_KEY, mark_suspects
from trainer.rounds.round import run_round

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (Debian: apt-get install postgresql)"),
]
PAIRS = separable_pairs(48)
BY_PROMPT = {pair.prompt: pair for pair in PAIRS}
NUL, HALF = PAIRS[40].prompt, PAIRS[41].prompt  # what the model writes to these no PostgreSQL takes


def write(job: Job) -> WrittenAnswers:
    pair, odd = BY_PROMPT[job.prompt], {NUL: "\0", HALF: "\ud83d"}.get(job.prompt, "")
    return WrittenAnswers([f"{pair.chosen}{odd}", f"{pair.rejected}{odd}"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of which Label Studio runs."""
    folder = tmp_path_factory.mktemp("postgresql")
    (folder / "label-studio").mkdir()  # without a database
    with PostgreSQL() as database:
        database.load(RECORD)
        with Stack(folder, label_studio_port=free_port(), backend_port=free_port(), settings={}) as running:
            running.label_studio.environ = {**running.label_studio.environ, **database.environ}
            running.start_label_studio()
            yield running


@pytest.fixture(scope="module")
def settings(stack: Stack, tiny_base: Path) -> Settings:
    return Settings.of(
        model_dir=stack.model_dir, label_studio_url=stack.url, label_studio_api_key=stack.token, device="cpu", torch_threads=1,
        reward_base=str(tiny_base), min_pairs=20, holdout_fraction=0.3, seed=5, control_percent=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def house(settings: Settings) -> Iterator[House]:
    """A project with forty tasks that were answered and judged elsewhere, and eight that have no answers."""
    project = Account(settings.studio).create_project(title="PostgreSQL", label_config=LABEL_CONFIG)
    tasks: list[Task] = []
    for i, pair in enumerate(PAIRS[:40]):
        left, right = (pair.chosen, pair.rejected) if i % 2 else (pair.rejected, pair.chosen)
        judgement: Any = {"result": [_vote("left" if i % 2 else "right")]}
        tasks.append({"data": {"prompt": pair.prompt, "answer1": left, "answer2": right}, "annotations": [judgement]})
    tasks += [{"data": {"prompt": pair.prompt, **EMPTY}} for pair in PAIRS[40:]]
    project.import_tasks(tasks)
    with House(None, settings, project_id=project.id) as house:  # type: ignore[arg-type]
        house.generator.write = write
        yield house


def _vote(side: str) -> dict[str, Any]:
    return {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}


def by_prompt(project: LabelStudioProject) -> dict[Prompt, Task]:
    ids = [task["id"] for task in project.all_tasks()]
    return {task["data"]["prompt"]: task for task in project.tasks(ids).values()}


def test_label_studio_fails_at_what_its_database_does_not_take_and_at_nothing_else(house: House) -> None:
    project, once = house.project(), impatient(house)
    task = by_prompt(project)[NUL]
    for odd in ("nul \0", "half \ud83d"):
        for sent in ({"data": {**task["data"], "answer1": f"A secret answer, {odd}"}}, {"data": None, "meta": {"k": odd}}):
            with pytest.raises(StudioFailing, match="keeps failing with 500") as failing:
                once.store_answers(task["id"], **{"meta": {}, **sent})
            assert failing.value.is_of_one_call and "secret" not in str(failing.value)

    kept = {"k": ["\x01\x7f\ufffe\uffff\u2028😀\N{REPLACEMENT CHARACTER}", 10**30, -0.1, None]}
    once.store_answers(task["id"], data=None, meta=kept)

    assert project.tasks([task["id"]])[task["id"]]["meta"] == kept
    once.store_answers(task["id"], data=None, meta={})


def test_every_task_is_answered_and_the_record_says_what_was_changed(house: House) -> None:
    house.filler().look(threading.Event())

    tasks = by_prompt(house.project())
    for pair in PAIRS[40:]:
        odd = "\N{REPLACEMENT CHARACTER}" if pair.prompt == HALF else ""
        data, record = tasks[pair.prompt]["data"], tasks[pair.prompt]["meta"]["pairloop"]
        assert sorted([data["answer1"], data["answer2"]]) == sorted([f"{pair.chosen}{odd}", f"{pair.rejected}{odd}"])
        assert record.get("characters_changed") == (2 if pair.prompt in (NUL, HALF) else None)
    assert house.noted() == ()


def test_judgements_become_a_champion_that_scores_the_open_tasks(house: House) -> None:
    project = house.project()
    for prompt in (NUL, PAIRS[42].prompt):
        data = by_prompt(project)[prompt]["data"]
        project.annotate(
            by_prompt(project)[prompt]["id"], [_vote("left" if data["answer1"] == BY_PROMPT[prompt].chosen else "right")]
        )

    ended = run_round(project, house.folder, house.settings, extractors=Extractors(house.settings.model_dir, CPU))
    house.champions.of(project.id).refresh()
    house.filler().look(threading.Event())

    assert ended.outcome == "promoted" and Versions(house.folder).champion() == ended.version
    scored = {prompt: task["predictions_model_versions"] for prompt, task in by_prompt(project).items()}
    assert {prompt for prompt, version in scored.items() if version == ended.version} == {
        pair.prompt for pair in PAIRS[41:] if pair is not PAIRS[42]
    }
    assert house.noted() == ()


def test_new_answers_and_marks_are_stored(house: House) -> None:
    project = house.project()
    (task_id,) = (task["id"] for prompt, task in by_prompt(project).items() if prompt == HALF)
    asks = {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["new_answers"]}}
    project.annotate(task_id, [asks])
    for _ in range(2):
        house.filler().look(threading.Event())

    (new,) = (
        task
        for task in project.tasks([each["id"] for each in project.all_tasks(above=task_id)]).values()
        if task["data"]["prompt"] == HALF
    )
    assert new["data"]["answer1"].endswith("\N{REPLACEMENT CHARACTER}") and new["meta"]["pairloop"]["characters_changed"] == 2
    suspect = SuspectLabel(task=task_id, annotation=1, annotator="an\0na", gap=-2.0, probability=0.1)
    assert mark_suspects(project, [suspect], version=UNTRAINED) == {"marked": 1}
    assert project.tasks([task_id])[task_id]["meta"][META_KEY]["annotator"] == "anna"
    assert house.noted() == ()


def test_a_nul_in_a_file_ends_no_import(house: House, tmp_path: Path) -> None:
    path, screen = tmp_path / "prompts.jsonl", Screen()
    path.write_text('{"prompt": "Name a \\u0000river.", "source": "scan \\ud83d"}\n"Name a lake."\n', encoding="utf-8")

    import_prompts(house.project(), house.settings.replace(generator_engine="echo"), path, console=screen.console)

    assert f"2 {CHANGED}" in screen.lines and "2 imported, 2 of them answered" in screen.lines
    data = by_prompt(house.project())["Name a river."]["data"]
    assert data["source"] == "scan \N{REPLACEMENT CHARACTER}" and "" not in data.values()
