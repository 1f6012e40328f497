"""What a real Label Studio shows, finds and takes of tasks that hold more than flat texts, beside what Pairloop reads of them."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from backend.connecting.connect import connect
from demo.stack import Stack
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_data import is_path, shown_text, value_at
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.task import Task
from tests.support.browser import logged_in
from tests.support.loop_stack import LABEL_CONFIG, are_answered, call, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
NESTED = LABEL_CONFIG.replace('value="$answer1"', 'value="$out.left"').replace('value="$answer2"', 'value="$answers[0].text"')
SHOWN: dict[str, Any] = {
    "whole": 4, "same": 4.0, "tenth": 0.1, "small": 1e-7, "large": 1e21, "long": 2**53 + 1, "yes": True, "no": False, "nothing": None,
    "list": ["a", 2, None, True], "empty": [], "lists": [["a", ["b"]], "c"], "marks": "<b>&amp;</b>",
    "out": {"left": "nested", "flat.key": "hidden", "list": [{"text": "in a list"}]}, "flat": {"key": "hidden"}, "flat.key": "flat",
}  # fmt: skip
PATHS = [name for name, value in SHOWN.items() if not isinstance(value, dict)] + [
    "out.left",
    "out.list[0].text",
]


def test_a_field_is_read_as_the_editor_shows_it(label_studio: Stack, browser: Browser) -> None:
    """One page with a box for each field, and one for a name that the editor does not take."""
    paths = [*PATHS, "answer-a", "réponse"]
    boxes = "".join(f'<View className="box{n}"><Text name="text{n}" value="${path}"/></View>' for n, path in enumerate(paths))
    config = f'<View>{boxes}<Choices name="c" toName="text0"><Choice value="x"/></Choices></View>'
    project = Account(Settings.from_environ(label_studio.environ).studio).create_project(title="Shown", label_config=config)
    data: dict[str, Any] = dict.fromkeys([*SHOWN, "answer-a", "réponse"], "") | {"out": SHOWN["out"], "flat": SHOWN["flat"]}
    (task_id,) = project.import_tasks([{"data": data}])
    project.store_answers(task_id, data={**SHOWN, "answer": "A", "answer-a": "B", "r": "C", "réponse": "D"}, meta=None)
    page = logged_in(browser, label_studio.url)
    page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task_id}")
    page.wait_for_selector(".box0 .htx-richtext, .box0 [class*=richtext]", timeout=60_000)

    shown = {path: page.locator(f".box{n}").inner_text().strip() for n, path in enumerate(paths)}
    page.close()

    assert {path: shown_text(value_at(SHOWN, path)) for path in PATHS} == {path: shown[path] for path in PATHS}
    assert (shown["answer-a"], shown["réponse"]) == ("A-a", "Céponse")
    assert [path for path in paths if not is_path(path)] == ["answer-a", "réponse"]


def test_no_task_keeps_label_studio_from_finding_the_unanswered_ones(stack: Stack, settings: Settings) -> None:
    project = Account(settings.studio).create_project(title="Odd tasks", label_config=LABEL_CONFIG)
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    answered: list[dict[str, Any]] = [
        {"answer1": "[1, 2]", "answer2": '["a"]'},
        {"answer1": "a", "answer2": "b"},
        {"answer1": 0, "answer2": False},
    ]
    unanswered: list[dict[str, Any]] = [{"answer1": "a"}, {"answer1": " \n", "answer2": "b"}, {"answer1": [], "answer2": "b"}, {}]
    ids = project.import_tasks([{"data": {"prompt": "p", "answer1": "", "answer2": ""}}] * (len(answered) + len(unanswered)))
    for task_id, held in zip(ids, [*answered, *unanswered], strict=True):
        project.store_answers(task_id, data={"prompt": "p", **held}, meta=None)
    call(stack, "PATCH", f"/api/tasks/{ids[0]}/", json={"meta": ["a", "list"]})

    def found() -> list[int]:
        return [task["id"] for page, _ in project.unanswered_tasks(layout) for task in page]

    assert found() == ids[len(answered) :], "whatever the first task holds"
    project.store_answers(ids[0], data={"prompt": "p", "answer1": ["a"], "answer2": ["b"]}, meta=None)
    assert found() == ids[len(answered) :]
    assert project.num_unanswered(layout) == len(unanswered)
    assert project.tasks(ids[:1])[ids[0]]["meta"] == ["a", "list"]


def test_nested_answers_are_filled_and_a_persons_stay(stack: Stack, settings: Settings) -> None:
    project = Account(settings.studio).create_project(title="Nested", label_config=NESTED)
    layout = LabelingLayout.from_label_config(NESTED)
    list(connect(project, ProjectFolder(settings.model_dir, project.id), settings))
    persons = {"prompt": "Name a tree.", "out": {"left": "Oak, by a person"}, "answers": [{"text": "Elm, by a person"}]}
    half = {
        "prompt": "Name a bird.",
        "out": {"left": "", "by": "Ada"},
        "answers": [{"text": "A wren, by a person", "id": 7}, "more"],
    }
    tasks: list[Task] = [{"data": persons}, {"data": half}, {"data": layout.task_data({"prompt": "Name a fish."})}]
    ids = project.import_tasks(tasks)

    eventually(stack, lambda: are_answered(project, ids, layout), what="the nested answers to be written")

    first, second, third = (task["data"] for task in project.tasks(ids).values())
    assert first == persons
    assert second == {**half, "out": {"left": second["out"]["left"], "by": "Ada"}}
    assert set(third) == {"prompt", "out", "answers"} and all(layout.answers(third))
    assert project.num_unanswered(layout) == 0
