import subprocess
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from backend.filling.outdated_predictions import remove_outdated
from demo.stack import PROGRAMS, Stack
from preference.errors import StudioFailing, StudioKeyError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import with_confidence
from preference.labelling.task_pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from tests.support.loop_stack import LABEL_CONFIG, are_answered, call, eventually
from trainer.judgements.cache_file import JudgedTask
from trainer.judgements.new_judgements import NewJudgements, reach_of
from trainer.judgements.reader import read_judgements

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
OLDER_CONFIG = """<View>
  <Pairwise name="pw" toName="first,second"/>
  <Text name="question" value="$task"/>
  <HyperText name="first" value="$a"/>
  <Text name="second" value="$b"/>
</View>"""


def test_a_round_reads_edits_skips_and_deletions_and_not_the_rest(
    stack: Stack, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pairloop.judgements")
    other = Account(settings.studio).create_project(title="Edits", label_config=LABEL_CONFIG)
    data = {"prompt": "Name a fruit.", "answer1": "A pear.", "answer2": "Fruit."}
    left = [{"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}]
    edited, unskipped, emptied, deleted, same = other.import_tasks([{"data": data}] * 5)
    for task_id in (edited, emptied, deleted, same):
        other.annotate(task_id, left, lead_seconds=2)
    other.annotate(unskipped, [], skip=True)

    def read(folder: str = "kept") -> list[JudgedTask]:
        return read_judgements(other, tmp_path / folder, state=other.read(), now=time.time())

    first = read()
    new = NewJudgements(4, reach_of(first))

    def num_new() -> int:
        return new.count(other, other.read()["total_annotations_number"])

    assert num_new() == 0
    made = {task["id"]: task["annotations"][0]["id"] for task in first}
    assert list(made) == [edited, unskipped, emptied, deleted, same]
    right = [{**left[0], "value": {"selected": "right"}}]
    call(stack, "PATCH", f"/api/annotations/{made[edited]}/", json={"result": right})
    call(stack, "PATCH", f"/api/annotations/{made[unskipped]}/", json={"result": right, "was_cancelled": False})
    call(stack, "DELETE", f"/api/annotations/{made[emptied]}/")
    assert num_new() == 2, "the edited one and the skip that was taken back"
    annotations = {task["id"]: task["annotations"][0] for task in read()}
    assert "2 judged tasks changed, 4 are known: changes since" in caplog.messages[-1]
    assert (
        annotations[edited]["result"] == annotations[unskipped]["result"] == right and not annotations[unskipped]["was_cancelled"]
    )
    call(stack, "DELETE", f"/api/tasks/{deleted}/")
    assert [task["id"] for task in read()] == [edited, unskipped, same]
    assert "the states of all were compared, as Label Studio counted -1 judgements" in caplog.messages[-1]
    assert read() == read("from nothing")
    assert num_new() == 2
    call(stack, "DELETE", f"/api/tasks/{edited}/")
    assert num_new() == 1


def test_a_url_pasted_under_any_title_gets_its_versions_corrected(
    stack: Stack, settings: Settings, project: LabelStudioProject
) -> None:
    other = Account(settings.studio).create_project(title="Other names", label_config=OLDER_CONFIG)
    body = {"project": other.id, "url": stack.backend_url, "title": "my shiny backend"}
    assert call(stack, "POST", "/api/ml", json=body)["id"]

    def named() -> set[str]:
        (row,) = call(stack, "GET", f"/api/ml?project={other.id}")
        return {row["title"], row["model_version"], call(stack, "GET", f"/api/projects/{other.id}")["model_version"]}

    eventually(stack, lambda: named() == {UNTRAINED}, what="the pasted backend's versions to be corrected")
    ids = other.import_tasks([{"data": {"task": "Name a fish.", "a": "", "b": ""}}])
    layout = LabelingLayout.from_label_config(OLDER_CONFIG)
    eventually(stack, lambda: are_answered(other, ids, layout), what="the other project's task to be answered")
    assert Versions(ProjectFolder(settings.model_dir, other.id)).all() == []
    assert other.tasks(ids)[ids[0]]["predictions_model_versions"] in (None, "")


def test_open_tasks_are_served_least_certain_first_and_lose_replaced_predictions(settings: Settings) -> None:
    other = Account(settings.studio).create_project(title="Two versions", label_config=LABEL_CONFIG)
    with pytest.raises(StudioFailing):  # as project.py says
        list(LabelStudioProject(settings.studio, other.id, patience_seconds=0).unscored_tasks("v3-20260103-000000"))
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
    bare = [{"prompt": "p", "answer1": a, "answer2": b} for a, b in (("", ""), ("a", ""), (" ", "b"), (5, "b"))]
    *_, numbered = other.import_tasks([{"data": data} for data in bare])
    answered = [
        task["id"]
        for page in other.unscored_tasks("v3-20260103-000000", layout=LabelingLayout.from_label_config(LABEL_CONFIG))
        for task in page
    ]
    assert answered == [ids[1], ids[2], ids[0], numbered]
    now = datetime.now(UTC)
    assert remove_outdated(other, [first, second], served=second, above=0, now=now) == ids[2]
    assert versions() == [{first, second}] * 4
    assert remove_outdated(other, [first, second], served=second, above=0, now=now + timedelta(days=1, hours=1)) == ids[2]
    assert versions() == [{second}] * 3 + [{first, second}]


def test_a_task_by_lot_is_served_in_its_place_and_its_judgement_is_blind_or_keeps_the_confidence(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    other = Account(settings.studio).create_project(title="Control group", label_config=LABEL_CONFIG)
    ids = other.import_tasks([{"data": {"prompt": f"p{n}", "answer1": "a", "answer2": "b"}} for n in range(3)])
    left = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
    predictions = [
        {"task": task_id, "result": result, "score": score, "model_version": "v1"}
        for task_id, result, score in zip(ids, (with_confidence(left, 0.8), [], left), (0.9, 0.75, 0.6), strict=True)
    ]
    assert other.store_predictions(predictions) == 3
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
    assert [(pair.is_blind, pair.suggested_side, pair.suggested_confidence, pair.is_by_confidence) for pair in pairs] == [
        (False, "left", 0.8, False), (True, None, None, False), (False, "left", 0.6, True),
    ]  # fmt: skip
    assert {pair.suggested_version for pair in pairs} == {"v1"}


def test_an_unfit_label_config_is_explained_where_the_url_is_pasted(stack: Stack, settings: Settings) -> None:
    config = '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/></Choices></View>'
    unfit = Account(settings.studio).create_project(title="No pairwise", label_config=config)
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
        LabelStudioProject(wrong.studio, project.id, patience_seconds=1).read()
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
    assert LabelStudioProject(settings.studio, project.id, patience_seconds=5).read()["title"] == "Loop"


def test_a_second_annotation_of_one_unique_id_is_refused(stack: Stack, settings: Settings) -> None:
    """By which `annotate` is repeated, whatever became of the call before."""
    other = Account(settings.studio).create_project(title="Twice", label_config=LABEL_CONFIG)
    (task_id,) = other.import_tasks([{"data": {"prompt": "Name a fruit.", "answer1": "A pear.", "answer2": "Fruit."}}])
    body = {"result": [], "was_cancelled": True, "unique_id": "0d5a0a0e-6c2b-4a6e-9f0a-7f1f5d0c3a11"}
    call(stack, "POST", f"/api/tasks/{task_id}/annotations/", json=body)

    url, key = f"{stack.url}/api/tasks/{task_id}/annotations/", {"Authorization": f"Token {stack.token}"}
    assert httpx.post(url, json=body, headers=key, timeout=60).status_code == 409
    assert other.tasks([task_id])[task_id]["cancelled_annotations"] == 1
