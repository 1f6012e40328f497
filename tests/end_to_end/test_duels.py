"""Duels in a real Label Studio: filled, shown to an annotator, judged and read; a version that people like less is rolled back."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page

from backend.scoring.champion import ServedVersion
from backend.scoring.predictions import predict_tasks
from demo.process import wait_until
from demo.stack import Stack
from preference.duels.duel import is_drawn
from preference.duels.figures import read_duels
from preference.projects.generators import BASE, Generators
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.task import META_KEY, entry_of
from tests.support.browser import LIT, SUBMIT, logged_in
from tests.support.filling_house import LAYOUT, House, RecordingGenerator
from tests.support.generator_versions import publish
from tests.support.judged_duels import without_names
from tests.support.judgement_house import LEFT, RIGHT
from tests.support.known_rewards import KnowsRewards
from tests.support.loop_stack import LABEL_CONFIG
from trainer.rounds.context import RoundContext
from trainer.rounds.duel_reading import judge_duels
from trainer.rounds.reading import read_pairs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def _is_lit(page: Page, lit: list[bool]) -> bool:
    return bool(page.evaluate(LIT) == lit)


def test_a_duel_is_filled_blind_judged_and_read(label_studio: Stack, browser: Browser, tmp_path: Path) -> None:
    settings = Settings.from_environ({**label_studio.environ, "MODEL_DIR": str(tmp_path), "DUEL_PERCENT": "50"})
    project = Account(settings.studio).create_project(title="Answers", label_config=LABEL_CONFIG)
    every = project.import_tasks([{"data": {"prompt": f"Prompt {n}", "answer1": "", "answer2": ""}} for n in range(80)])
    drawn = [task_id for task_id in every if is_drawn(project.id, task_id, 50)][:22]
    ids = [*drawn, next(task_id for task_id in every if not is_drawn(project.id, task_id, 50))]
    nobody: Any = None
    with House(nobody, settings, project_id=project.id) as house:
        house.generator = RecordingGenerator(write=without_names)
        version = publish(house.folder, promote=True)
        assert house.stream().run(iter(project.tasks(ids).values()), should_stop=lambda: False)

    tasks = project.tasks(ids)
    records = {task_id: entry_of(task, META_KEY).get("duel") for task_id, task in tasks.items()}
    duels = {task_id: record for task_id, record in records.items() if record}
    assert list(duels) == drawn and {record["new"] for record in duels.values()} == {version}
    rewards: dict[str, float] = {
        text: len(text) + text.count("e") for task in tasks.values() for text in LAYOUT.comparable_answers(task["data"])
    }
    serving = ServedVersion(KnowsRewards(rewards), "v1")
    predictions: list[Any] = predict_tasks(list(tasks.values()), LAYOUT, serving, suggesting=settings.suggesting, least_others=0)
    project.store_predictions([{"task": task_id, **made} for task_id, made in zip(tasks, predictions, strict=True)])
    project.update(model_version="v1")

    page = logged_in(browser, label_studio.url)
    duel = next(iter(duels))
    for task_id, lit in ((ids[-1], 1), (duel, 0)):
        page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task_id}")
        page.wait_for_selector(SUBMIT, timeout=60_000)
        side = rewards[tasks[task_id]["data"]["answer2"]] > rewards[tasks[task_id]["data"]["answer1"]]
        wait_until(
            partial(_is_lit, page, [bool(lit) and not side, bool(lit) and side]),
            timeout_seconds=20, what=f"what is suggested of task {task_id}", every_seconds=0.05,
        )  # fmt: skip
        shown = page.locator("body").inner_text()
        assert tasks[task_id]["data"]["answer1"] in shown and version not in shown and "duel" not in shown.lower()
    page.close()

    *judged, last = duels
    for task_id in judged:
        project.annotate(task_id, RIGHT if duels[task_id]["new_in"] == "answer1" else LEFT)
    extractors = Extractors(settings.model_dir, torch.device("cpu"))
    context = RoundContext(project, house.folder, settings, extractors)
    reading = read_pairs(context)
    judge_duels(context, reading)

    (known,) = read_duels(house.folder.path)
    assert (known.new, known.other, known.preferred) == (version, BASE, BASE)
    assert (known.wins.value, known.wins.count) == (0.0, len(judged))
    assert Generators(house.folder).champion() == BASE
    assert [task["id"] for task in project.open_tasks(above=last - 1, most=10)][:1] == [last]
