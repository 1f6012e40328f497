"""In which order a real Label Studio serves tasks by their scores, and what of a suggestion an annotator sees."""

import re
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from backend.connecting.task_order import UNCERTAINTY
from backend.scoring.champion import ServedVersion
from backend.scoring.predictions import predict_tasks
from demo.process import wait_until
from demo.stack import Stack
from preference.labelling.label_config import LabelingLayout
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.task import Task
from tests.support.browser import LIT, SUBMIT, logged_in
from tests.support.known_rewards import KnowsRewards
from tests.support.loop_stack import LABEL_CONFIG

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
REWARDS = {"A coin.": 0.0, "Heads, a little.": 0.3, "Heads, by far.": 3.0}
# As they are imported: without answers, with two that are the same, with one by far and with one a little better.
ANSWERS = [("", ""), ("A coin.", "A coin."), ("A coin.", "Heads, by far."), ("A coin.", "Heads, a little.")]


def _is_lit(page: Page, lit: list[bool]) -> bool:
    return bool(page.evaluate(LIT) == lit)


def test_the_least_sure_comes_first_and_unlit_and_what_teaches_nothing_comes_last(label_studio: Stack, browser: Browser) -> None:
    project = Account(Settings.from_environ(label_studio.environ).studio).create_project(
        title="Suggestions", label_config=LABEL_CONFIG
    )
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    tasks: list[Task] = [{"data": {"prompt": "Which?", "answer1": left, "answer2": right}} for left, right in ANSWERS]
    ids = project.import_tasks(tasks)
    serving = ServedVersion(KnowsRewards(REWARDS), "v1", suggest_from=0.7)
    predictions: list[Any] = predict_tasks(
        list(project.tasks(ids).values()), layout, serving, suggesting=Settings.of(control_percent=0).suggesting
    )
    stored = [{"task": task, **made} for task, made in zip(ids, predictions, strict=True) if made]
    assert project.store_predictions(stored) == 3
    project.update(model_version="v1", sampling=UNCERTAINTY)

    page = logged_in(browser, label_studio.url)
    served: list[tuple[int, list[bool]]] = []
    page.goto(f"{label_studio.url}/projects/{project.id}/data")
    with page.expect_response(re.compile(r"/api/dm/actions\?id=next_task")) as answer:
        page.click("text=Label All Tasks")  # under data?labeling=1 it serves them in the order of the table
    for number in range(4):
        task = answer.value.json()
        page.wait_for_selector(f"text={task['data']['answer2'] or 'Which?'}", timeout=60_000)
        page.wait_for_selector(SUBMIT)
        lit = [False, ids.index(task["id"]) == 2]
        wait_until(partial(_is_lit, page, lit), timeout_seconds=20, what=f"{lit} to be lit", every_seconds=0.05)
        served.append((ids.index(task["id"]), lit))
        if number < 3:
            with page.expect_response(re.compile(r"/api/dm/actions\?id=next_task")) as answer:
                page.click(SUBMIT)
    page.close()

    assert served == [(3, [False, False]), (2, [False, True]), (1, [False, False]), (0, [False, False])]
