"""The loop on a real Label Studio 1.23.2, real gunicorn with two workers, a real trainer, real weights and a real browser.

The tests of this file share one stack and build on each other, in their order.
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.connecting.connect import connect
from backend.filling.answer_rules import META_KEY
from backend.filling.new_answers import META_KEY as NEW_ANSWERS
from backend.filling.outdated_predictions import remove_outdated
from demo.stack import PROGRAMS, REPOSITORY, Stack, free_port, wait_until
from preference.errors import StudioKeyError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject, Task
from tests.support.browser import chromium, logged_in
from trainer.judgements.reader import read_judgements

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
OLDER_CONFIG = """<View>
  <Pairwise name="pw" toName="first,second"/>
  <Text name="question" value="$task"/>
  <HyperText name="first" value="$a"/>
  <Text name="second" value="$b"/>
</View>"""
SETTINGS = {
    "WORKERS": "2",
    "TORCH_THREADS": "1",
    "MAX_NEW_TOKENS": "16",
    "MAX_PROMPT_TOKENS": "128",
    "FILL_EVERY_SECONDS": "3600",  # so that only what is heard is filled
    "LOOK_EVERY_SECONDS": "1",
    "TRAIN_SCHEDULE": "0 3 1 1 *",
    "MIN_NEW_PAIRS": "48",
    "MIN_PAIRS": "40",
    "HOLDOUT_FRACTION": "0.3",
    "CONTROL_PERCENT": "0",
}
TOPICS = [
    "tea",
    "bread",
    "rain",
    "trains",
    "gardens",
    "chess",
    "winter",
    "music",
    "lamps",
    "rivers",
    "paper",
    "clocks",
    "bees",
    "stairs",
    "maps",
    "soup",
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, embedded_dir: Path) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "models").mkdir()
    (embedded_dir / "embedded").mkdir(exist_ok=True)
    (folder / "models" / "embedded").symlink_to(embedded_dir / "embedded")
    with Stack(folder, label_studio_port=free_port(), backend_port=free_port(), settings=SETTINGS) as running:
        running.start_label_studio()
        running.start_pairloop()
        yield running
        statuses = running.stop()
    assert statuses["the backend"] == 0, running.backend.log.read_text()[-2000:]
    assert statuses["the trainer"] == 0, running.trainer.log.read_text()[-2000:]
    for process in (running.backend, running.trainer):
        assert "Traceback" not in process.log.read_text()


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    return Settings.from_environ(stack.environ)


@pytest.fixture(scope="module")
def project(stack: Stack, settings: Settings) -> LabelStudioProject:
    created = LabelStudioProject.create(settings, title="Loop", label_config=LABEL_CONFIG)
    done = connect(created, ProjectFolder(settings.model_dir, created.id), settings)
    assert done == [f"connected {stack.backend_url} as {UNTRAINED}", "switched uncertainty sampling on"]
    return created


@pytest.fixture(scope="module")
def folder(settings: Settings, project: LabelStudioProject) -> ProjectFolder:
    return ProjectFolder(settings.model_dir, project.id)


@pytest.fixture(scope="module")
def judged(project: LabelStudioProject) -> list[int]:
    """Tasks that came with answers, one of each pair plainly better; judged by the first test that needs them."""
    tasks = []
    for i in range(64):
        topic = TOPICS[i % len(TOPICS)]
        good = f"You will like {topic}. Start small, look closely, and ask someone who knows {topic} well."
        poor = f"{topic} {topic} no no no zzz ??? {topic * (i % 4)}"
        left, right = (good, poor) if i % 2 else (poor, good)
        tasks.append({"data": {"prompt": f"Tell me about {topic}, part {i}.", "answer1": left, "answer2": right}})
    return project.import_tasks(tasks)


def call(stack: Stack, method: str, path: str, **options: Any) -> Any:
    """One request to Label Studio's own API, as an administrator's browser would send it."""
    answer = httpx.request(method, stack.url + path, headers={"Authorization": f"Token {stack.token}"}, timeout=60, **options)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def pairloop_backend(stack: Stack, *arguments: str) -> str:
    """What a command printed; it must succeed."""
    command = [str(PROGRAMS / "pairloop-backend"), *arguments]
    ran = subprocess.run(command, env=stack.environ, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def eventually(stack: Stack, condition: Any, *, what: str, timeout_seconds: float = 90) -> None:
    wait_until(condition, timeout_seconds=timeout_seconds, what=what, check=stack.check, every_seconds=0.1)


def answered(project: LabelStudioProject, task_ids: list[int], layout: LabelingLayout) -> bool:
    return all(None not in layout.answers(task["data"]) for task in project.tasks(task_ids).values())


def test_prompts_are_answered_and_nothing_else_is_touched(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    prompts = ["Why is the sky blue?", "🐈‍⬛ مرحبا، كيف حالك؟", "word " * 20_000, "Name a colour."]
    ids = project.import_tasks([{"data": {"prompt": text, "answer1": "", "answer2": "", "note": 7}} for text in prompts])
    half = project.import_tasks([{"data": {"prompt": "Name a bird.", "answer1": "A wren.", "answer2": ""}}])
    blank = project.import_tasks([{"data": {"prompt": "  ", "answer1": "", "answer2": ""}}])
    eventually(stack, lambda: answered(project, ids + half, layout), what="five tasks to be answered")
    heard = 'pairloop_requests_total{route="/webhook",status="201"}'
    assert heard in httpx.get(f"{stack.backend_url}/metrics").text, "Label Studio announced TASKS_CREATED"
    tasks = project.tasks(ids + half + blank)
    for task_id in ids:
        data, record = tasks[task_id]["data"], tasks[task_id]["meta"][META_KEY]
        assert data["answer1"] != data["answer2"] and data["note"] == 7
        assert record["generator"] == "SmolLM2-135M-Instruct" and record["left_sample"] in (0, 1) and record["seed"] >= 0
        assert record["sampling"] == {"temperature": 0.7, "top_k": 50, "top_p": 1.0, "max_new_tokens": 16}
    assert tasks[ids[2]]["meta"][META_KEY]["prompt_tokens_cut"] > 10_000
    assert tasks[half[0]]["data"]["answer1"] == "A wren." and tasks[half[0]]["meta"][META_KEY]["filled"] == ["answer2"]
    assert tasks[blank[0]]["data"]["answer1"] == ""
    told = "1 (prompt missing, empty or not text)"
    eventually(stack, lambda: told in stack.backend.log.read_text(), what="the blank prompt to be named")


def test_judgements_become_a_version_that_both_workers_serve(
    stack: Stack, project: LabelStudioProject, folder: ProjectFolder, judged: list[int]
) -> None:
    for i, task_id in enumerate(judged[:56]):
        side = "left" if i % 2 else "right"
        region = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}
        project.annotate(task_id, [region] if i else [], skip=i == 0)
    eventually(stack, lambda: Versions(folder).champion() is not None, what="a promoted version")
    version = Versions(folder).champion() or ""
    card = Versions(folder).card(version)
    assert card.promoted and card.metrics["accuracy"] >= 0.9
    assert card.num_train_pairs + card.num_holdout_pairs >= 48 and card.dropped.get("skipped") == 1
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
    for task_id in judged[56:]:
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
    eventually(stack, lambda: answered(project, ids, layout), what="the opened tasks to be answered")


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


def test_fill_leaves_the_work_to_the_backend_that_is_at_it(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    ids = project.import_tasks([{"data": {"prompt": f"Name a river, {i}.", "answer1": "", "answer2": ""}} for i in range(24)])
    pairloop_backend(stack, "fill", "--project", str(project.id))
    assert answered(project, ids, layout)
    filling = httpx.get(f"{stack.backend_url}/health").json()["filling"][str(project.id)]
    assert filling["tasks_left"] == 0 and filling["is_filling"] is False
    metrics = httpx.get(f"{stack.backend_url}/metrics").text
    assert re.search(r"^pairloop_tokens_written_total [1-9]", metrics, re.MULTILINE), metrics
    assert f'pairloop_tasks_unanswered{{project="{project.id}"}} 0.0' in metrics


def test_the_annotators_page_shows_both_answers_and_the_suggested_side(stack: Stack, project: LabelStudioProject) -> None:
    with chromium() as browser:
        page = logged_in(browser, stack.url)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        with page.expect_response(re.compile(r"/api/dm/actions\?id=next_task")) as answer:
            page.goto(f"{stack.url}/projects/{project.id}/data?labeling=1")
        task: Task = answer.value.json()
        page.wait_for_selector(f"text={task['data']['answer1'][:24]}", timeout=60_000)
        shots = REPOSITORY / ".cache" / "screenshots"
        shots.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1500)
        page.screenshot(path=shots / "label-stream.png")
        text = " ".join(page.inner_text("body").split())
        for field in ("prompt", "answer1", "answer2"):
            assert " ".join(task["data"][field].split())[:60] in text
        # Submitting what is preselected makes an annotation that carries the suggested side.
        suggested = next(r for r in task["predictions"][0]["result"] if r["type"] == "pairwise")["value"]["selected"]
        with page.expect_response(re.compile(rf"/api/tasks/{task['id']}/annotations")) as submitted:
            page.get_by_test_id("bottombar-submit-button").click()
        made = submitted.value.json()
        assert next(r for r in made["result"] if r["type"] == "pairwise")["value"] == {"selected": suggested}
        assert made["parent_prediction"] == task["predictions"][0]["id"]
        assert errors == []
    assert call(stack, "GET", f"/api/tasks/{task['id']}")["total_annotations"] == 1


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

    eventually(stack, lambda: new_tasks() and answered(project, new_tasks(), layout), what="new answers")
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


def test_a_round_sees_edits_skips_and_deletions_without_reading_the_rest_again(
    stack: Stack, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pairloop.judgements")
    other = LabelStudioProject.create(settings, title="Edits", label_config=LABEL_CONFIG)
    data = {"prompt": "Name a fruit.", "answer1": "A pear.", "answer2": "Fruit."}
    left = [{"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}]
    edited, unskipped, emptied, gone, same = other.import_tasks([{"data": data}] * 5)
    for task_id in (edited, emptied, gone, same):
        other.annotate(task_id, left, lead_seconds=2)
    other.annotate(unskipped, [], skip=True)

    def read(folder: str = "kept") -> list[Task]:
        return read_judgements(other, tmp_path / folder, state=other.read(), now=time.time())

    made = {task["id"]: task["annotations"][0]["id"] for task in read()}
    assert list(made) == [edited, unskipped, emptied, gone, same]
    right = [{**left[0], "value": {"selected": "right"}}]
    call(stack, "PATCH", f"/api/annotations/{made[edited]}/", json={"result": right})
    call(stack, "PATCH", f"/api/annotations/{made[unskipped]}/", json={"result": right, "was_cancelled": False})
    call(stack, "DELETE", f"/api/annotations/{made[emptied]}/")
    found = {task["id"]: task["annotations"][0] for task in read()}
    assert "2 judged tasks changed, 4 are known: changes since" in caplog.messages[-1]
    assert found[edited]["result"] == found[unskipped]["result"] == right and not found[unskipped]["was_cancelled"]
    call(stack, "DELETE", f"/api/tasks/{gone}/")
    assert [task["id"] for task in read()] == [edited, unskipped, same]
    assert "the states of all were compared, as Label Studio counted -1 judgements" in caplog.messages[-1]
    assert read() == read("from nothing")


def test_a_url_pasted_under_any_title_gets_its_versions_mended(
    stack: Stack, settings: Settings, project: LabelStudioProject
) -> None:
    other = LabelStudioProject.create(settings, title="Other names", label_config=OLDER_CONFIG)
    body = {"project": other.id, "url": stack.backend_url, "title": "my shiny backend"}
    assert call(stack, "POST", "/api/ml", json=body)["id"]

    def named() -> set[str]:
        (row,) = call(stack, "GET", f"/api/ml?project={other.id}")
        return {row["title"], row["model_version"], call(stack, "GET", f"/api/projects/{other.id}")["model_version"]}

    eventually(stack, lambda: named() == {UNTRAINED}, what="the pasted backend to be mended")
    ids = other.import_tasks([{"data": {"task": "Name a fish.", "a": "", "b": ""}}])
    layout = LabelingLayout.from_label_config(OLDER_CONFIG)
    eventually(stack, lambda: answered(other, ids, layout), what="the other project's task to be answered")
    assert Versions(ProjectFolder(settings.model_dir, other.id)).all() == []
    assert other.tasks(ids)[ids[0]]["predictions_model_versions"] in (None, "")


def test_open_tasks_come_least_certain_first_and_lose_what_a_newer_version_replaced(settings: Settings) -> None:
    other = LabelStudioProject.create(settings, title="Two versions", label_config=LABEL_CONFIG)
    ids = other.import_tasks([{"data": {"prompt": f"p{n}", "answer1": "a", "answer2": "b"}} for n in range(4)])
    result = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
    first, second = "v1-20260101-000000", "v2-20260102-000000"
    for version in (first, second):
        scores = dict(zip(ids, (0.9, 0.6, 0.8, 0.7), strict=True))
        assert other.store_predictions(
            [{"task": task, "result": result, "score": score, "model_version": version} for task, score in scores.items()]
        ) == len(ids)  # fmt: skip
        other.update(model_version=version)
    other.annotate(ids[3], result)

    def versions() -> list[set[str]]:
        return [set(str(task["predictions_model_versions"]).split(",")) for task in other.tasks(ids).values()]

    assert [[task["id"] for task in page] for page in other.unscored_tasks("v3-20260103-000000")] == [[ids[1], ids[2], ids[0]]]
    now = datetime.now(UTC)
    assert remove_outdated(other, [first, second], served=second, above=0, now=now) == ids[2]
    assert versions() == [{first, second}] * 4
    assert remove_outdated(other, [first, second], served=second, above=0, now=now + timedelta(days=1, hours=1)) == ids[2]
    assert versions() == [{second}] * 3 + [{first, second}]


def test_a_control_task_comes_in_its_place_and_its_judgement_says_that_nothing_was_shown(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    other = LabelStudioProject.create(settings, title="Control group", label_config=LABEL_CONFIG)
    ids = other.import_tasks([{"data": {"prompt": f"p{n}", "answer1": "a", "answer2": "b"}} for n in range(3)])
    left = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
    shown = [
        {"task": task_id, "result": result, "score": score, "model_version": "v1"}
        for task_id, result, score in zip(ids, (left, [], left), (0.9, 0.75, 0.6), strict=True)
    ]
    assert other.store_predictions(shown) == 3
    other.update(model_version="v1", sampling="Uncertainty sampling")
    assert other.open_scores() == [0.9, 0.75, 0.6]
    for task_id in (ids[2], ids[1], ids[0]):
        task = call(stack, "POST", f"/api/dm/actions?id=next_task&project={other.id}", json={})
        assert task["id"] == task_id, "lowest score first"
        body = {"result": left, "parent_prediction": task["predictions"][0]["id"], "lead_time": 3}
        call(stack, "POST", f"/api/tasks/{task_id}/annotations/", json=body)
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    judged = read_judgements(other, tmp_path, state=other.read(), now=time.time())
    pairs = [pair for task in judged for pair in pairs_of_task(task, layout, dropped=Counter())]
    assert [(pair.is_blind, pair.suggested_side, pair.suggested_confidence) for pair in pairs] == [
        (False, "left", 0.9), (True, None, None), (False, "left", 0.6),
    ]  # fmt: skip
    assert {pair.suggested_version for pair in pairs} == {"v1"}


def test_an_unfit_label_config_is_explained_where_the_url_is_pasted(stack: Stack, settings: Settings) -> None:
    config = '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'
    unfit = LabelStudioProject.create(settings, title="No pairwise", label_config=config)
    body = {"project": unfit.id, "url": stack.backend_url, "title": "x"}
    answer = httpx.post(f"{stack.url}/api/ml", json=body, headers={"Authorization": f"Token {stack.token}"}, timeout=60)
    assert answer.status_code == 400
    assert (
        "The label config has no <Pairwise> tags; Pairloop needs exactly one"
        in answer.json()["validation_errors"]["non_field_errors"][0]
    )


def test_a_wrong_key_is_one_sentence_that_names_both_kinds_of_token(stack: Stack, project: LabelStudioProject) -> None:
    wrong = Settings.from_environ({**stack.environ, "LABEL_STUDIO_API_KEY": "0" * 40})
    with pytest.raises(StudioKeyError, match=r"refuses LABEL_STUDIO_API_KEY; .*personal access token.*legacy token"):
        LabelStudioProject(wrong, project.id, patience_seconds=1).read()
    command = [str(PROGRAMS / "pairloop-backend"), "connect", "--project", str(project.id)]
    environ = {**stack.environ, "LABEL_STUDIO_API_KEY": "0" * 40}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 1 and ran.stderr.startswith("Error: Label Studio at ") and "Traceback" not in ran.stderr


# label-studio-sdk 2.1.2 parses the exchanged token with pydantic 1's method.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
def test_a_personal_access_token_works_as_well(stack: Stack, project: LabelStudioProject) -> None:
    call(stack, "POST", "/api/jwt/settings", json={"api_tokens_enabled": True, "legacy_api_tokens_enabled": True})
    token = call(stack, "POST", "/api/token", json={})["token"]
    settings = Settings.from_environ({**stack.environ, "LABEL_STUDIO_API_KEY": token})
    assert LabelStudioProject(settings, project.id, patience_seconds=5).read()["title"] == "Loop"


def test_work_goes_on_after_label_studio_was_away(stack: Stack, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    stack.label_studio.stop()
    ProjectFolder(stack.model_dir, project.id).request("fill")
    eventually(stack, lambda: "does not answer; trying again" in stack.backend.log.read_text(), what="the filler to notice")
    stack.label_studio.start()
    stack.label_studio.wait_until_up(timeout_seconds=120)
    ids = project.import_tasks([{"data": {"prompt": "Name a tree.", "answer1": "", "answer2": ""}}])
    eventually(stack, lambda: answered(project, ids, layout), what="the task to be answered")
