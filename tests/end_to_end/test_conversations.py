"""Prompts that are conversations, from a list of messages through a real Label Studio, its editor and back to one."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from backend.connecting.connect import connect
from backend.connecting.default_label_config import default_label_config
from demo.stack import Stack
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Turn
from preference.labelling.task_pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from tests.support.browser import SUBMIT, logged_in
from tests.support.loop_stack import are_answered, eventually
from trainer.exporting.export import export_judgements

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
CONFIG = default_label_config(conversations=True)
LAYOUT = LabelingLayout.from_label_config(CONFIG)
SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name two trees:\n  one <b>tall</b> & one small."},
    {"role": "assistant", "content": "Oak, and a <script>alert(1)</script> birch."},
    {"role": "user", "content": "Another one."},
]


@pytest.fixture(scope="module")
def page(label_studio: Stack, browser: Browser) -> Iterator[Page]:
    page = logged_in(browser, label_studio.url)
    yield page
    page.close()


@pytest.fixture(scope="module")
def filled(stack: Stack, settings: Settings) -> LabelStudioProject:
    """A project whose one conversation the backend answered."""
    project = Account(settings.studio).create_project(title="Chats", label_config=CONFIG)
    list(connect(project, ProjectFolder(settings.model_dir, project.id), settings))
    ids = project.import_tasks([{"data": LAYOUT.task_data({"prompt": SAID})}])
    eventually(stack, lambda: are_answered(project, ids, LAYOUT), what="the conversation to be answered")
    return project


def test_the_annotator_sees_the_turns_and_two_next_ones_and_the_judgement_keeps_them(
    filled: LabelStudioProject, label_studio: Stack, page: Page, tmp_path: Path
) -> None:
    page.goto(f"{label_studio.url}/projects/{filled.id}/data?labeling=1")
    page.wait_for_selector(SUBMIT, timeout=60_000)
    shown: list[dict[str, Any]] = page.locator(".prompt [data-testid^='phrase:']").evaluate_all(
        """phrases => phrases.map(phrase => {
            const [role, text] = ["[class*=dialoguename]", "[class*=dialoguetext]"].map(part => phrase.querySelector(part));
            return {role: role.textContent, content: text.textContent, space: getComputedStyle(text).whiteSpace};
        })"""
    )
    visible = page.locator(".prompt :is(button, [class*=time--]):visible").count()
    page.keyboard.press("1")
    with page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
        page.click(SUBMIT)

    assert shown == [{**message, "space": "pre-wrap"} for message in SAID]
    assert visible == 0, "no times of an audio, and no buttons for regions"
    (judged,) = filled.annotated_tasks()
    (pair,) = pairs_of_task(judged, LAYOUT, dropped=Counter())
    left, right = LAYOUT.answers(judged["data"])
    assert judged["data"]["prompt"] == SAID
    assert (pair.prompt, pair.chosen, pair.rejected) == (tuple(Turn(m["role"], m["content"]) for m in SAID), left, right)
    path = tmp_path / "pairs.jsonl"
    export_judgements([judged], path, format_name="trl", layout=LAYOUT, holdout=Holdout(0.2), conversational=True)
    row = json.loads(path.read_text(encoding="utf-8"))
    assert (row["prompt"], row["chosen"]) == (SAID, [{"role": "assistant", "content": left}])


def test_the_community_edition_opens_no_task_with_a_chat(label_studio: Stack, page: Page) -> None:
    """The reason for a note of connect and doctor; the label config itself is taken."""
    config = CONFIG.replace("<Paragraphs", "<Chat").replace('layout="dialogue" nameKey="role" textKey="content"', "")
    project = Account(Settings.from_environ(label_studio.environ).studio).create_project(title="Chat", label_config=config)
    (task_id,) = project.import_tasks([{"data": LAYOUT.task_data({"prompt": SAID})}])

    page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task_id}")

    page.get_by_text("is not registered").first.wait_for(timeout=60_000)  # the editor's ERR_UNKNOWN_TAG
    assert page.locator(".prompt [data-testid^='phrase:']").count() == 0
