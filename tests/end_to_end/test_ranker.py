"""Lists that people order, in a real Label Studio and a real browser: Label Studio's own template as it is, and a <Ranker> without buckets."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from backend.connecting.connect import connect
from demo.process import wait_until
from demo.stack import REPOSITORY, Stack
from preference.labelling.controls.ranker import items_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.results import Ranking
from preference.labelling.task_pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from tests.support.browser import SUBMIT, logged_in
from tests.support.contrast import contrast
from tests.support.loop_stack import are_answered, call, eventually
from tests.support.ranked_lists import ORDER

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SHOWN = """() => [...document.querySelectorAll(".htx-ranker-column")].map(
    column => [...column.querySelectorAll("[data-ranker-id]")].map(item => item.dataset.rankerId))"""
COLOURS = """() => [...document.querySelectorAll(".htx-ranker-item")].flatMap(item => [...item.querySelectorAll("p")].map(
    text => [getComputedStyle(text).color, getComputedStyle(item).backgroundColor]))"""
TEXTS = ["It purrs,\n\nand sleeps.", "<b>Nobody</b> knows.", "Ask the cat."]


def template(stack: Stack) -> str:
    """The label config of Label Studio's template for language models' answers."""
    (config,) = [one["config"] for one in call(stack, "GET", "/api/templates/")["templates"] if one["title"] == "LLM Ranker"]
    return str(config)


class Lists:
    """A project whose tasks suggest the order c, a, b, and a page on which an annotator judges them."""

    def __init__(self, stack: Stack, page: Page, config: str, *, count: int) -> None:
        self.layout = LabelingLayout.from_label_config(config)
        self.project = Account(Settings.from_environ(stack.environ).studio).create_project(title="Lists", label_config=config)
        data = {"prompt": "Why do cats purr?", "task": "Order the answers.", "items": items_of(TEXTS)}
        ids = self.project.import_tasks([{"data": data}] * count)
        suggestion = Ranking.suggestion(self.layout, data, [0.1, -1.0, 0.7])
        predictions = [{"task": task, "result": suggestion, "score": 0.7, "model_version": "v1"} for task in ids]
        assert self.project.store_predictions(predictions) == count
        self.project.update(model_version="v1")
        self.page, self.url = page, f"{stack.url}/projects/{self.project.id}/data"

    def open(self, shown: list[list[str]]) -> None:
        """Opens the label stream, which must show these answers by their ids in each column."""
        self.page.goto(f"{self.url}?labeling=1")
        self.page.wait_for_selector(SUBMIT, timeout=60_000)
        self.wait_for(shown)

    def wait_for(self, shown: list[list[str]]) -> None:
        wait_until(lambda: self.page.evaluate(SHOWN) == shown, timeout_seconds=20, what=f"{shown}", every_seconds=0.05)

    def move(self, answer: str, *keys: str, shown: list[list[str]]) -> None:
        """Moves one answer by the keyboard; a move ends with the next frame or so."""
        self.page.locator(f'[data-ranker-id="{answer}"]').focus()
        for key in ("Space", *keys, "Space"):
            self.page.keyboard.press(key)
            self.page.wait_for_timeout(80)
        self.wait_for(shown)

    def submit(self) -> None:
        with self.page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
            self.page.click(SUBMIT)

    def judged(self) -> tuple[list[dict[str, Any]], list[PreferencePair]]:
        """What was submitted, oldest first, and the pairs of that."""
        tasks = list(self.project.annotated_tasks())
        pairs = [pair for task in tasks for pair in pairs_of_task(task, self.layout, dropped=Counter())]
        made = sorted((made for task in tasks for made in task["annotations"]), key=lambda annotation: annotation["id"])
        return [annotation["result"][0] for annotation in made], pairs


@pytest.fixture(scope="module")
def page(label_studio: Stack, browser: Browser) -> Any:
    page = logged_in(browser, label_studio.url)
    yield page
    page.close()


def compared(pairs: list[PreferencePair], *, of: int) -> set[tuple[str, str]]:
    ids = {text: key for key, text in zip("abc", TEXTS, strict=True)}
    annotations = sorted({pair.annotation_id or 0 for pair in pairs})
    return {(ids[pair.chosen], ids[pair.rejected]) for pair in pairs if pair.annotation_id == annotations[of]}


def test_a_list_is_shown_in_the_suggested_order_and_what_people_make_of_it_becomes_pairs(label_studio: Stack, page: Page) -> None:
    lists = Lists(label_studio, page, ORDER, count=2)
    lists.open([["c", "a", "b"]])
    assert "<b>Nobody</b> knows." in page.inner_text("body"), "an answer is text"
    lists.move("b", "ArrowUp", shown=[["c", "b", "a"]])
    lists.submit()
    lists.open([["c", "a", "b"]])
    lists.submit()

    results, pairs = lists.judged()

    assert [result["value"] for result in results] == [
        {"ranker": {"rank": ["c", "b", "a"]}},
        {"ranker": {"rank": ["c", "a", "b"]}},
    ]
    assert {(result["type"], result["from_name"], result["to_name"]) for result in results} == {("ranker", "rank", "answers")}
    assert compared(pairs, of=0) == {("c", "b"), ("c", "a"), ("b", "a")}
    assert {(pair.suggested_version, pair.suggested_confidence) for pair in pairs} == {("v1", 0.7)}
    assert Counter(pair.chosen_side == pair.suggested_side for pair in pairs) == {True: 5, False: 1}


def test_label_studios_template_becomes_pairs_as_it_is(label_studio: Stack, page: Page) -> None:
    lists = Lists(label_studio, page, template(label_studio), count=2)
    lists.open([["c", "a", "b"], [], []])
    lists.move("c", "ArrowRight", shown=[["a", "b"], ["c"], []])
    lists.move("a", "ArrowRight", "ArrowRight", shown=[["b"], ["c"], ["a"]])
    lists.submit()
    lists.open([["c", "a", "b"], [], []])
    lists.submit()

    results, pairs = lists.judged()

    sorted_, untouched = (result["value"]["ranker"] for result in results)
    assert sorted_ == {"_": ["b"], "relevant_results": ["c"], "biased_results": ["a"]}
    assert untouched["_"] == ["c", "a", "b"] and not untouched.get("relevant_results")
    assert compared(pairs, of=0) == {("c", "a")} and len(pairs) == 1


@pytest.mark.parametrize("scheme", ["Light", "Dark"])
def test_a_list_as_the_manual_has_it_can_be_read(label_studio: Stack, page: Page, scheme: str) -> None:
    """Label Studio 1.23.2 gives an item without a style white letters on white in its dark mode."""
    manual = (REPOSITORY / "docs" / "rankings.md").read_text(encoding="utf-8")
    config = re.findall(r"```xml\n(.*?)```", manual, re.DOTALL)[0]
    page.evaluate(f"localStorage.setItem('preferred-color-scheme', '{scheme}')")
    try:
        Lists(label_studio, page, config, count=1).open([["c", "a", "b"]])
        assert page.evaluate("document.documentElement.dataset.colorScheme").lower() == scheme.lower()
        colours = page.evaluate(f"({COLOURS})()")
    finally:
        page.evaluate("localStorage.removeItem('preferred-color-scheme')")

    assert colours and all(contrast(text, behind) >= 4.5 for text, behind in colours), colours


def test_the_list_of_a_connected_template_is_filled(stack: Stack, settings: Settings) -> None:
    config = template(stack)
    project: LabelStudioProject = Account(settings.studio).create_project(title="Filled lists", label_config=config)
    layout = LabelingLayout.from_label_config(config)
    list(connect(project, ProjectFolder(settings.model_dir, project.id), settings))
    theirs = items_of(["An oak, by a person.", "An elm, by a person."])
    lists = ["", [], theirs]
    datas = [{"prompt": f"Name a tree, {n}.", "task": "Sort them.", "items": held} for n, held in enumerate(lists)]
    ids = project.import_tasks([{"data": data} for data in datas])

    eventually(stack, lambda: are_answered(project, ids, layout), what="the lists to be filled")

    filled = [task["data"]["items"] for task in project.tasks(ids).values()]
    assert filled[2] == theirs
    for items in filled[:2]:
        assert [(item["id"], item["title"]) for item in items] == [("a", "Answer A"), ("b", "Answer B")], json.dumps(items)
        assert all(item["body"].strip() for item in items)
    assert project.num_unanswered(layout) == 0
