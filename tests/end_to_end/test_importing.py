"""What a real Label Studio exports, and files of public preference data, brought into it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.commands.import_prompts import import_prompts
from demo.stack import Stack
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from tests.support.loop_stack import LABEL_CONFIG, call
from tests.support.screen import Screen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
EGG = "How do I boil an egg?"


@pytest.fixture(scope="module")
def settings(label_studio: Stack) -> Settings:
    return Settings.from_environ({**label_studio.environ, "GENERATOR_ENGINE": "echo"})


@pytest.fixture(scope="module")
def source(label_studio: Stack, settings: Settings) -> LabelStudioProject:
    """A project of judged tasks."""
    project = new_project(settings, "Source")
    texts = [("Name a tree.", "Oak.", "No."), ("Name a bird.", "Crow.", "A wren; it sings."), ("Name a sea.", "", "")]
    datas = [{"prompt": prompt, "answer1": left, "answer2": right} for prompt, left, right in texts]
    ids = project.import_tasks([{"data": data, "meta": {"from": "us"}} for data in datas])
    shown = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
    assert project.store_predictions([{"task": ids[0], "result": shown, "score": 0.75, "model_version": "v1"}]) == 1
    left = [{"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}]
    tie = [{"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["tie"]}}]
    strength = [{"from_name": "strength", "to_name": "prompt", "type": "rating", "value": {"rating": 3}}]
    better = [{"from_name": "better_answer", "to_name": "prompt", "type": "textarea", "value": {"text": ["Ash."]}}]
    project.annotate(ids[0], left + strength, lead_seconds=4.5)
    project.annotate(ids[0], tie + better)
    project.annotate(ids[1], left)
    project.annotate(ids[1], [], skip=True)
    (judged,) = project.annotated_among([ids[1]])
    truth = next(made["id"] for made in judged["annotations"] if not made["was_cancelled"])
    call(label_studio, "PATCH", f"/api/annotations/{truth}/", json={"ground_truth": True})
    return project


def new_project(settings: Settings, title: str) -> LabelStudioProject:
    return Account(settings.studio).create_project(title=title, label_config=LABEL_CONFIG)


def brought(settings: Settings, path: Path, *, judged: bool = False) -> tuple[LabelStudioProject, list[str]]:
    """A new project with the file's tasks, and what `import` printed of it."""
    project, screen = new_project(settings, path.name), Screen()
    ProjectFolder(settings.model_dir, project.id).create()
    ProjectFolder(settings.model_dir, project.id).disconnect()  # else the stack's trainer begins a round of what was brought
    import_prompts(project, settings, path, console=screen.console, judged=judged)
    return project, screen.lines


def judgements(project: LabelStudioProject) -> list[tuple[Any, ...]]:
    """What each judgement of the project says."""
    dropped: Counter[str] = Counter()
    pairs = [pair for task in project.annotated_tasks() for pair in pairs_of_task(task, LAYOUT, dropped=dropped)]
    fields = ("prompt", "chosen", "rejected", "kind", "weight", "margin", "annotator_id", "is_ground_truth", "lead_seconds")
    return sorted((tuple(getattr(pair, name) for name in fields) for pair in pairs), key=str) + sorted(dropped.items())


def exported(stack: Stack, project: LabelStudioProject, kind: str) -> bytes:
    header = {"Authorization": f"Token {stack.token}"}
    address = f"{stack.url}/api/projects/{project.id}/export?exportType={kind}&download_all_tasks=true"
    return httpx.get(address, headers=header, timeout=60).raise_for_status().content


def test_an_export_as_json_comes_back_whole(
    label_studio: Stack, settings: Settings, source: LabelStudioProject, tmp_path: Path
) -> None:
    options = {"predictions": {"only_id": False}, "annotations__completed_by": {"only_id": False}}
    made = call(label_studio, "POST", f"/api/projects/{source.id}/exports/", json={"serialization_options": options})
    snapshot = call(label_studio, "GET", f"/api/projects/{source.id}/exports/{made['id']}/download?exportType=JSON")
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(snapshot), encoding="utf-8")

    project, printed = brought(settings, path)

    assert judgements(project) == judgements(source) and len(judgements(source)) > 5
    first, second, third = (project.tasks([task["id"]])[task["id"]] for task in project.all_tasks())
    assert first["meta"] == second["meta"] == {"from": "us"} and third["meta"]["from"] == "us"
    assert first["predictions_model_versions"] == "v1"
    assert third["data"]["answer1"].startswith("Echo ") and third["total_annotations"] == 0
    who = Account(settings.studio).name()
    assert printed[1:3] == [f"4 judgements come along, as {who}", "1 prediction comes along"]
    assert f"4 judgements imported, as {who}" in printed


def test_the_usual_export_says_what_it_lacks(
    label_studio: Stack, settings: Settings, source: LabelStudioProject, tmp_path: Path
) -> None:
    path = tmp_path / "usual.json"
    path.write_bytes(exported(label_studio, source, "JSON"))

    project, printed = brought(settings, path)

    assert judgements(project) == judgements(source)
    assert "1 left behind, a prediction of which the file has only the number" in printed


@pytest.mark.parametrize("kind", ["JSON_MIN", "CSV", "TSV"])
def test_a_short_export_brings_the_judgements_that_it_has(
    label_studio: Stack, settings: Settings, source: LabelStudioProject, tmp_path: Path, kind: str
) -> None:
    """It has no skips, and does not say which judgement is the ground truth."""
    path = tmp_path / f"short.{'json' if kind == 'JSON_MIN' else kind.lower()}"
    path.write_bytes(exported(label_studio, source, kind))

    project, _ = brought(settings, path)

    expected = [(*held[:7], False, held[8]) if len(held) > 2 else held for held in judgements(source) if held[0] != "skipped"]
    assert judgements(project) == expected
    held = {task["data"]["prompt"]: task["data"] for task in project.all_tasks()}
    assert held["Name a tree."] == LAYOUT.laid_out({"prompt": "Name a tree.", "answer1": "Oak.", "answer2": "No."})


def test_comparisons_of_one_prompt_come_in_their_order_and_once(settings: Settings, tmp_path: Path) -> None:
    rows = [{"prompt": EGG, "chosen": f"{n} minutes.", "rejected": "Ask a chef."} for n in range(250)]
    path = tmp_path / "chosen.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    project, printed = brought(settings, path, judged=True)

    chosen = [pair.chosen for task in project.annotated_tasks() for pair in pairs_of_task(task, LAYOUT, dropped=Counter())]
    assert chosen == [row["chosen"] for row in rows]
    assert printed[1] == f"250 judgements come along, as {Account(settings.studio).name()}, the account of LABEL_STUDIO_API_KEY"
    screen = Screen()
    import_prompts(project, settings, path, console=screen.console, judged=True)
    assert screen.lines[-1] == "250 skipped, with its judgements, the project holds the comparison"


def test_an_address_in_a_tasks_data_is_listed_as_it_is(settings: Settings) -> None:
    """Label Studio puts one of its own in its place, which whoever writes the data back would store."""
    project = new_project(settings, "Addresses")
    data = {"prompt": EGG, "answer1": "", "answer2": "", "source": "https://example.org/eggs.html"}
    project.import_tasks([{"data": data}])
    project.update(task_data_login="reader", task_data_password="secret")

    assert [task["data"] for task in project.all_tasks()] == [data]
    assert [task["data"] for page, _ in project.unanswered_tasks(LAYOUT) for task in page] == [data]
