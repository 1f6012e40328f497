"""The loop on a real Label Studio 1.23.2, real gunicorn with two workers, a real trainer, real weights and a real browser.

The tests of this file share one stack and build on each other, in their order."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from backend.new_tasks.new_answers import META_KEY as NEW_ANSWERS
from demo.process import wait_until
from demo.stack import REPOSITORY, Stack
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task
from tests.support.browser import LIT, SUBMIT, logged_in
from tests.support.forked import run_forked
from tests.support.loop_stack import LABEL_CONFIG, are_answered, call, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def pairloop_backend(stack: Stack, *arguments: str) -> str:
    """What a command printed; it must succeed."""
    program = "from backend.__main__ import main; main(prog_name='pairloop-backend')"
    ran = run_forked(program, *arguments, environ=stack.environ)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_prompts_are_answered_and_nothing_else_is_touched(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    prompts = ["Why is the sky blue?", "🐈‍⬛ مرحبا، كيف حالك؟", "word " * 20_000, "Name a colour."]
    ids = project.import_tasks([{"data": {"prompt": text, "answer1": "", "answer2": "", "note": 7}} for text in prompts])
    half = project.import_tasks([{"data": {"prompt": "Name a bird.", "answer1": "A wren.", "answer2": ""}}])
    blank = project.import_tasks([{"data": {"prompt": "  ", "answer1": "", "answer2": ""}}])
    eventually(stack, lambda: are_answered(project, ids + half, layout), what="five tasks to be answered")
    heard = 'pairloop_requests_total{route="/webhook",status="201"}'
    assert heard in httpx.get(f"{stack.backend_url}/metrics").text, "Label Studio announced TASKS_CREATED"
    tasks = project.tasks(ids + half + blank)
    for task_id in ids:
        data, record = tasks[task_id]["data"], tasks[task_id]["meta"][META_KEY]
        assert data["answer1"] != data["answer2"] and data["note"] == 7
        assert record["generator"] == "SmolLM2-135M-Instruct" and record["left_sample"] in (0, 1) and record["seed"] >= 0
        assert record["sampling"] == {"temperature": 0.7, "top_k": 50, "top_p": 1.0, "max_new_tokens": 8}
    assert tasks[ids[2]]["meta"][META_KEY]["prompt_tokens_cut"] > 10_000
    assert tasks[half[0]]["data"]["answer1"] == "A wren." and tasks[half[0]]["meta"][META_KEY]["filled"] == ["answer2"]
    assert tasks[blank[0]]["data"]["answer1"] == ""
    counted = "1 (prompt missing, empty or not text)"
    eventually(stack, lambda: counted in stack.backend.log.read_text(), what="the blank prompt to be named")


def test_judgements_become_a_version_that_both_workers_serve(
    stack: Stack, project: LabelStudioProject, folder: ProjectFolder, judged: list[int]
) -> None:
    for i, task_id in enumerate(judged[:34]):
        side = "left" if i % 2 else "right"
        region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
        project.annotate(task_id, [region] if i else [], skip=i == 0)
    eventually(stack, lambda: Versions(folder).champion() is not None, what="a promoted version")
    version = Versions(folder).champion() or ""
    card = Versions(folder).card(version)
    assert card.promoted and (card.metrics.accuracy or 0) >= 0.9
    assert (card.num_train_pairs or 0) + (card.num_holdout_pairs or 0) >= 28 and card.dropped.get("skipped") == 1
    serving = f"project {project.id}: serving {version}"
    eventually(stack, lambda: stack.backend.log.read_text().count(serving) == 2, what="both workers to serve it")
    assert stack.backend.log.read_text().count("Booting worker") == 2
    for _ in range(20):
        assert httpx.get(f"{stack.backend_url}/health").json()["versions"][str(project.id)] == version


def test_open_tasks_carry_its_suggestion_under_one_version_string(
    stack: Stack, project: LabelStudioProject, folder: ProjectFolder, judged: list[int]
) -> None:
    version = Versions(folder).champion() or ""

    def named() -> set[str]:
        backend = call(stack, "GET", f"/api/ml?project={project.id}")[0]
        return {backend["title"], call(stack, "GET", f"/api/projects/{project.id}")["model_version"]}

    eventually(stack, lambda: named() == {version}, what="title and project.model_version to be the version")
    body = {"project": f"{project.id}.1", "schema": LABEL_CONFIG}
    assert httpx.post(f"{stack.backend_url}/setup", json=body).json() == {"model_version": version}
    for task_id in judged[34:]:
        task = call(stack, "GET", f"/api/tasks/{task_id}")
        (prediction,) = [p for p in task["predictions"] if p["model_version"] == version]
        regions = {region["from_name"]: region for region in prediction["result"]}
        good = "answer1" if "You will like" in task["data"]["answer1"] else "answer2"
        assert regions["comparison"]["value"] == {"selected": "left" if good == "answer1" else "right"}
        assert regions["comparison"]["to_name"] == "answer1" and 0.5 <= prediction["score"] <= 1
        rewards = [regions[name]["value"]["number"] for name in ("reward1", "reward2")]
        assert (rewards[0] > rewards[1]) == (good == "answer1")
    # A judged task keeps what its annotator saw. (To GET /api/tasks/ID would make Label Studio ask for a prediction.)
    assert not project.tasks([judged[1]])[judged[1]]["predictions_model_versions"]


def test_new_tasks_are_answered_and_scored_by_it(stack: Stack, project: LabelStudioProject, folder: ProjectFolder) -> None:
    ids = project.import_tasks([{"data": {"prompt": f"Name a tool, {i}.", "answer1": "", "answer2": ""}} for i in range(3)])
    version = Versions(folder).champion() or ""

    def scored() -> bool:
        return all(version in (task["predictions_model_versions"] or "") for task in project.tasks(ids).values())

    eventually(stack, scored, what="new tasks to be scored")


def test_a_page_that_is_opened_before_its_answers_are_there_shows_no_error(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    ids = project.import_tasks([{"data": {"prompt": f"Name a spice, {i}.", "answer1": "", "answer2": ""}} for i in range(4)])
    for task_id in ids:
        task = call(stack, "GET", f"/api/tasks/{task_id}")
        assert bool(task["data"]["answer1"]) == bool(task["data"]["answer2"])
    eventually(stack, lambda: are_answered(project, ids, layout), what="the opened tasks to be answered")


def test_an_import_brings_tasks_that_are_answered_and_scored_once(
    stack: Stack, project: LabelStudioProject, folder: ProjectFolder, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Name a bridge.\nName a lake.\n\nName a bridge.\n", encoding="utf-8")
    before = max(task["id"] for task in project.all_tasks())
    first = pairloop_backend(stack, "import", "--project", str(project.id), str(path))
    assert "2 imported" in first and "1 skipped, the project holds the prompt" in first
    tasks = project.tasks([task["id"] for task in project.all_tasks(above=before)])
    assert sorted(task["data"]["prompt"] for task in tasks.values()) == ["Name a bridge.", "Name a lake."]
    for task in tasks.values():
        assert task["data"]["answer1"] and task["data"]["answer2"] and task["data"]["answer1"] != task["data"]["answer2"]
        assert task["predictions_model_versions"] == Versions(folder).champion()
        assert task["meta"][META_KEY]["generator"] == "SmolLM2-135M-Instruct"
    assert "3 skipped, the project holds the prompt" in pairloop_backend(stack, "import", "--project", str(project.id), str(path))


def test_fill_follows_the_backend_that_fills_already(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    ids = project.import_tasks([{"data": {"prompt": f"Name a river, {i}.", "answer1": "", "answer2": ""}} for i in range(12)])
    pairloop_backend(stack, "fill", "--project", str(project.id))
    assert are_answered(project, ids, layout)

    def has_ended() -> bool:  # Label Studio's own requests may begin another pass at once, which finds nothing
        filling = httpx.get(f"{stack.backend_url}/health").json()["filling"][str(project.id)]
        assert filling["tasks_left"] == 0
        return filling["is_filling"] is False

    eventually(stack, has_ended, what="the last pass to end")
    metrics = httpx.get(f"{stack.backend_url}/metrics").text
    assert re.search(r"^pairloop_tokens_written_total [1-9]", metrics, re.MULTILINE), metrics
    assert f'pairloop_tasks_unanswered{{project="{project.id}"}} 0.0' in metrics


def test_the_annotators_page_shows_both_answers_and_the_suggested_side(
    stack: Stack, project: LabelStudioProject, browser: Browser
) -> None:
    page = logged_in(browser, stack.url)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    with page.expect_response(re.compile(r"/api/dm/actions\?id=next_task")) as answer:
        page.goto(f"{stack.url}/projects/{project.id}/data?labeling=1")
    task: Task = answer.value.json()
    shots = REPOSITORY / ".cache" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    page.wait_for_selector(SUBMIT, timeout=60_000)
    wait_until(lambda: any(page.evaluate(LIT)), timeout_seconds=20, what="the suggestion to be lit", every_seconds=0.05)
    page.screenshot(path=shots / "label-stream.png")
    text = "".join((page.text_content("body") or "").split())  # as it was written and as Markdown
    for field in ("prompt", "answer1", "answer2"):
        assert "".join(task["data"][field].split())[:60] in text
    # Submitting what is preselected makes an annotation that carries the suggested side.
    suggested = next(r for r in task["predictions"][0]["result"] if r["type"] == "pairwise")["value"]["selected"]
    with page.expect_response(re.compile(rf"/api/tasks/{task['id']}/annotations")) as submitted:
        page.get_by_test_id("bottombar-submit-button").click()
    made = submitted.value.json()
    assert next(r for r in made["result"] if r["type"] == "pairwise")["value"] == {"selected": suggested}
    assert made["parent_prediction"] == task["predictions"][0]["id"]
    assert errors == []
    assert call(stack, "GET", f"/api/tasks/{task['id']}")["total_annotations"] == 1
    page.close()


def test_an_annotator_gets_new_answers_to_a_prompt_and_the_old_ones_stay(
    stack: Stack, project: LabelStudioProject, folder: ProjectFolder
) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    task_id = project.import_tasks(
        [{"data": {"prompt": "Name a poet.", "answer1": "No.", "answer2": "Why?", "source": "forum"}}]
    )[0]
    project.annotate(
        task_id, [{"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["new_answers"]}}]
    )
    call(stack, "POST", f"/api/dm/actions?id=next_task&project={project.id}", json={})  # opens the label stream's next task

    def new_tasks() -> list[int]:
        later = project.all_tasks(above=task_id)
        return [task["id"] for task in later if task["data"]["prompt"] == "Name a poet."]

    eventually(stack, lambda: new_tasks() and are_answered(project, new_tasks(), layout), what="new answers")
    (new_id,) = new_tasks()
    eventually(
        stack,
        lambda: project.tasks([new_id])[new_id]["predictions_model_versions"] == Versions(folder).champion(),
        what="their scores",
    )
    old, new = (project.tasks([each])[each] for each in (task_id, new_id))
    assert (old["data"]["answer1"], old["data"]["answer2"], old["total_annotations"]) == ("No.", "Why?", 1)
    assert old["meta"][NEW_ANSWERS] == {"in_task": new_id} and new["meta"][NEW_ANSWERS]["for_task"] == task_id
    assert new["data"]["source"] == "forum" and new["data"]["answer1"] not in ("", "No.", "Why?")


def test_start_training_makes_a_round_without_new_judgements(
    stack: Stack, project: LabelStudioProject, folder: ProjectFolder
) -> None:
    before = Versions(folder).all()
    backend = call(stack, "GET", f"/api/ml?project={project.id}")[0]
    call(stack, "POST", f"/api/ml/{backend['id']}/train", json={})
    eventually(stack, lambda: len(Versions(folder).all()) == len(before) + 1, what="a new version")
    assert "round begins (a training request)" in stack.trainer.log.read_text()


def test_filling_goes_on_after_label_studio_was_away(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    stack.label_studio.stop()
    ProjectFolder(stack.model_dir, project.id).request("fill")
    eventually(stack, lambda: "does not answer; trying again" in stack.backend.log.read_text(), what="the filler to notice")
    stack.label_studio.start()
    stack.label_studio.wait_until_up(timeout_seconds=120)
    ids = project.import_tasks([{"data": {"prompt": "Name a tree.", "answer1": "", "answer2": ""}}])
    eventually(stack, lambda: are_answered(project, ids, layout), what="the task to be answered")
