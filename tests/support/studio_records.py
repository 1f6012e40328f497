"""What a double of Label Studio holds, and what becomes of it, as label-studio 1.23.2 did it.

Its records start from data/label_studio_1.23.2_records.json, recorded there.
"""

import copy
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from defusedxml.ElementTree import fromstring

from tests.support.studio_lists import cut, inside, matching, versions

DATA = Path(__file__).parent.parent / "data"
RECORDS: dict[str, Any] = json.loads((DATA / "label_studio_1.23.2_records.json").read_text(encoding="utf-8"))
LABEL_CONFIG = (Path(__file__).parent.parent.parent / "label_config.xml").read_text(encoding="utf-8")
Fields = dict[str, Any]


class Refusal(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.body = status, {"status_code": status, "version": "1.23.2", "detail": detail, "exc_info": None, **more}


class StudioRecords:
    """Projects, tasks, rows of backends and webhooks, which tests may read and write between requests."""

    def __init__(self, *, first_id: int = 1) -> None:
        self.projects: dict[int, Fields] = {}
        self.tasks: dict[int, Fields] = {}
        self.rows: dict[int, Fields] = {}
        self.hooks: dict[int, Fields] = {}
        self.tabs: dict[int, Fields] = {}  # of the Data Manager
        self.clock: Callable[[], float] = time.time
        self.refuses_private = False  # as with ML_BLOCK_LOCAL_IP=false alone: 403, and a half-made row stays
        self.blocks_private = False  # as with ML_BLOCK_LOCAL_IP=true: no backend of a private address is called
        self.calls_backends = False  # asks /health and /setup of a row that is added, changed or listed
        self.members = {1: "admin@example.com"}  # of the organization, by number
        self.may_change = True  # whether the key's user may change projects
        self._last_id = first_id - 1

    # What a person does in the browser

    def add_project(self, label_config: str = LABEL_CONFIG, **fields: Any) -> int:
        project_id = self._new_id()
        record = {**copy.deepcopy(RECORDS["project"]), "model_version": "", **fields}
        self.projects[project_id] = {**record, "id": project_id, "label_config": label_config}
        return project_id

    def add_tab(self, project_id: int, data: Fields) -> int:
        tab_id = self._new_id()
        self.tabs[tab_id] = {"id": tab_id, "project": project_id, "data": data}
        return tab_id

    def add_tasks(self, project_id: int, *datas: Fields, meta: Fields | None = None) -> list[int]:
        ids = []
        for data in datas:
            ids.append(self._new_id())
            record = copy.deepcopy(RECORDS["task"])
            counts = {"total_annotations": 0, "cancelled_annotations": 0, "total_predictions": 0}
            times = {"created_at": self._now(), "updated_at": self._now()}
            self.tasks[ids[-1]] = {
                **record, **counts, **times, "id": ids[-1], "project": project_id, "data": data, "meta": meta or {}
            }  # fmt: skip
        return ids

    def annotate(self, task_id: int, result: list[Fields], *, is_skip: bool = False, **fields: Any) -> Fields:
        made = {"id": self._new_id(), "task": task_id, "result": result, "was_cancelled": is_skip, "created_at": self._now()}
        record = copy.deepcopy(RECORDS["annotation"])
        self.tasks[task_id]["annotations"].append({**record, **made, "updated_at": self._now(), **fields})
        self._touch(task_id)
        return dict(self.tasks[task_id]["annotations"][-1])

    def edit(self, annotation_id: int, **fields: Any) -> None:
        """PATCH of an annotation; a task has one ground truth at most."""
        task, annotation = self._annotation(annotation_id)
        if fields.get("ground_truth"):
            for other in task["annotations"]:
                other["ground_truth"] = False
        annotation.update(fields, updated_at=self._now())
        self._touch(task["id"])

    def delete_annotation(self, annotation_id: int) -> None:
        task, annotation = self._annotation(annotation_id)
        task["annotations"].remove(annotation)
        self._touch(task["id"])

    def remove_duplicate(self, task_id: int, *, twin: int) -> None:
        """The Data Manager's "Remove Duplicates": no task's `updated_at` moves."""
        self.tasks[twin]["annotations"] += self.tasks.pop(task_id)["annotations"]
        self._count(twin)

    def add_row(self, project_id: int, url: str, title: str, *, named: str = "vX") -> int:
        """`named`: the version that the backend answered to /setup, which Label Studio asks before it keeps the row."""
        row_id = self._new_id()
        row = {"id": row_id, "project": project_id, "url": url, "title": title, "model_version": named}
        self.rows[row_id] = {**RECORDS["connection"], **row}
        return row_id

    def add_hook(self, project_id: int, **fields: Any) -> int:
        if self.refuses_private:
            raise Refusal(403, RECORDS["errors"]["403"]["detail"])
        hook_id = self._new_id()
        self.hooks[hook_id] = {**copy.deepcopy(RECORDS["webhook"]), **fields, "id": hook_id, "project": project_id}
        return hook_id

    def remove_project(self, project_id: int) -> None:
        for records in (self.tasks, self.rows, self.hooks):
            for number in [number for number, record in records.items() if record["project"] == project_id]:
                del records[number]
        del self.projects[project_id]

    def versions_of(self, task_id: int) -> list[str]:
        return [prediction["model_version"] for prediction in self.tasks[task_id]["predictions"]]

    # What it keeps

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _now(self) -> str:
        return datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _annotation(self, annotation_id: int) -> tuple[Fields, Fields]:
        """An annotation behind its task."""
        every = ((task, annotation) for task in self.tasks.values() for annotation in task["annotations"])
        return next(pair for pair in every if pair[1]["id"] == annotation_id)

    def _touch(self, task_id: int) -> None:
        self._count(task_id)
        self.tasks[task_id]["updated_at"] = self._now()

    def _count(self, task_id: int) -> None:
        task = self.tasks[task_id]
        task["cancelled_annotations"] = sum(annotation["was_cancelled"] for annotation in task["annotations"])
        task["total_annotations"] = len(task["annotations"]) - task["cancelled_annotations"]

    def _numbers(self, project_id: int) -> Fields:
        """What a project says of its tasks and annotations: these are counted one by one, unlike its tasks' own counts."""
        tasks = self._tasks_of(project_id)
        skips = [annotation["was_cancelled"] for task in tasks for annotation in task["annotations"]]
        return {
            "task_number": len(tasks),
            "num_tasks_with_annotations": sum(not all(each["was_cancelled"] for each in task["annotations"]) for task in tasks),
            "total_annotations_number": len(skips) - sum(skips),
            "skipped_annotations_number": sum(skips),
        }

    def _update_project(self, project: Fields, body: Fields) -> Fields:
        if not self.may_change:
            raise Refusal(403, "You do not have permission to perform this action.")
        version = body.get("model_version")
        known = {row["title"] for row in self.rows.values() if row["project"] == project["id"]}
        known |= {version for task in self._tasks_of(project["id"]) for version in self.versions_of(task["id"])}
        if version is not None and version not in known:
            raise _invalid("model_version", "Model version doesn't exist either as live model or as static predictions.")
        return changed(project, body)

    def _import_tasks(self, project: Fields, body: list[Fields]) -> Fields:
        for place, task in enumerate(body):
            # Of tags that have a name alone (label_config.py, extract_data_types): <Markdown> has none.
            for field in re.findall(r'\bname="[^">]*"[^>]*\bvalue="\$([\w.]+)"', project["label_config"]):
                if inside(task["data"], field.split("."))[1] is None:
                    raise _invalid("non_field_errors", f'Error at item {place}: "{field}" key is expected in task data')
        made = [annotation for task in body for annotation in task.get("annotations", [])]
        for annotation in made:
            if (who := annotation.setdefault("completed_by", 1)) not in self.members:
                raise Refusal(400, f"Import data contains completed_by={who} which is not a valid annotator's email or ID")
            annotation.setdefault("ground_truth", True)
        ids = [self.add_tasks(project["id"], task["data"], meta=task.get("meta"))[0] for task in body]
        for task_id, task in zip(ids, body, strict=True):
            for prediction in task.get("predictions", []):
                self._predict(task_id, prediction)
            for annotation in task.get("annotations", []):
                fields = {key: annotation.get(key) for key in ("completed_by", "ground_truth", "lead_time")}
                self.annotate(task_id, annotation["result"], is_skip=annotation.get("was_cancelled", False), **fields)
        return {"task_count": len(ids), "annotation_count": len(made), "prediction_count": 0, "duration": 0.01, "task_ids": ids}

    def _import_predictions(self, project: Fields, body: list[Fields]) -> Fields:
        here = {task["id"] for task in self._tasks_of(project["id"])}
        for prediction in body:
            if prediction["task"] not in here:  # one deleted task fails them all
                raise _invalid("non_field_errors", f'{prediction} contains invalid "task" field: corresponding task ID ...')
        controls = {tag.get("name"): tag for tag in fromstring(project["label_config"]).iter() if tag.get("toName")}
        kept = [prediction for prediction in body if _is_valid(prediction, controls)]
        for prediction in kept:
            self._predict(prediction["task"], prediction)
        return {"created": len(kept)}

    def _predict(self, task_id: int, prediction: Fields) -> None:
        kept = {key: prediction.get(key) for key in ("result", "score", "model_version")}
        made = {"id": self._new_id(), "task": task_id, "created_at": self._now()}
        self.tasks[task_id]["predictions"].append({**RECORDS["prediction"], **made, **kept})

    def _connect(self, body: Fields) -> Fields:
        self._check_backend(body)
        row = self.rows[self.add_row(body["project"], body["url"], body["title"])]
        row.update(auth_in(body))
        hook = f"{body['url'].rstrip('/')}/webhook"
        if not any((held["project"], held["url"]) == (body["project"], hook) for held in self.hooks.values()):
            self.add_hook(body["project"], url=hook)
        project = self.projects[body["project"]]
        project["model_version"] = project["model_version"] or body["title"]
        return self._look_at(row)

    def _check_backend(self, row: Fields) -> None:
        """Before a row is kept."""
        if row.get("auth_method") == "BASIC_AUTH" and not row.get("basic_auth_pass"):
            raise _invalid("non_field_errors", "Authentication username and password is required for Basic Authentication.")
        state, problem = self._state(row)
        if state == "DI":
            raise _invalid("non_field_errors", f"Can't connect to ML backend {row['url']}, health check failed. ...")
        if state == "ER":
            raise _invalid(
                "non_field_errors",
                f"Successfully connected to {row['url']} but it doesn't look like a valid ML backend. Reason: {problem}.",
            )

    def _look_at(self, row: Fields) -> Fields:
        """The row as it is answered: its state is new, and its password hidden."""
        row["state"], problem = self._state(row)
        row["error_message"] = row["error_message"] if row["state"] == "DI" else problem
        listed = {key: value for key, value in row.items() if key != "basic_auth_pass"}
        return {**listed, "basic_auth_pass_is_set": bool(row.get("basic_auth_pass"))}

    def _state(self, row: Fields) -> tuple[str, str | None]:
        """How the backend of a row answers, with what is wrong in its /setup."""
        if self.blocks_private:
            return "DI", None
        if not self.calls_backends:
            return "CO", None
        project = self.projects[row["project"]]
        auth = (row["basic_auth_user"], row["basic_auth_pass"]) if row.get("basic_auth_pass") else None
        setup = {"project": f"{project['id']}.1792000000", "schema": project["label_config"], "hostname": "", "access_token": "x"}
        try:
            httpx.get(f"{row['url'].rstrip('/')}/health", timeout=5, auth=auth, verify=False).raise_for_status()
        except httpx.HTTPError:
            return "DI", None
        try:
            answer = httpx.post(f"{row['url'].rstrip('/')}/setup", json=setup, timeout=10, auth=auth, verify=False)
        except httpx.HTTPError as error:
            return "ER", str(error)
        if answer.is_error:
            kind = "Client" if answer.is_client_error else "Server"
            return "ER", f"{answer.status_code} {kind} Error: {answer.reason_phrase} for url: {answer.url}"
        row["model_version"] = answer.json()["model_version"]
        return "CO", None

    def _follow(self, row: Fields, title: str) -> None:
        """project.model_version follows a row's title if it was that title."""
        project = self.projects[row["project"]]
        if project["model_version"] == row["title"]:
            project["model_version"] = title

    def _tasks_of(self, project_id: int) -> list[Fields]:
        return [task for task in list(self.tasks.values()) if task["project"] == project_id]  # tests add some meanwhile

    def _shown_score(self, task: Fields) -> float | None:
        """A task's score column: that of the version which its project shows."""
        version = self.projects[task["project"]]["model_version"]
        scores = [p["score"] for p in task["predictions"] if p["model_version"] == version]
        return sum(scores) / len(scores) if scores else None

    def _list_tasks(self, query: Fields) -> Fields:
        record_of(self.projects, int(query["project"]), "Project")
        asked, size = json.loads(query["query"]), int(query["page_size"])
        orders = {
            "tasks:id": lambda task: int(task["id"]),
            "tasks:predictions_score": lambda task: self._shown_score(task) or -1.0,
        }
        order, start = orders[asked["ordering"][0]], (int(query["page"]) - 1) * size
        try:
            every = self._tasks_of(int(query["project"]))
            tasks = matching(every, asked["filters"])
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        if not every and "tasks:predictions_score" in asked["ordering"]:
            raise Refusal(500, "Cannot resolve keyword 'predictions_score' into field.")
        page = sorted(tasks, key=order)[start : start + size]
        if not page and start:
            raise Refusal(404, "Invalid page.")
        page = [
            {**task, "predictions_model_versions": versions(task), "predictions_score": self._shown_score(task)} for task in page
        ]
        if query.get("fields") != "all":
            uncomputed = {"predictions_model_versions": "", "predictions_score": None}
            page = [{key: task[key] for key in task if key not in ("annotations", "predictions")} | uncomputed for task in page]
        if "include" in query:
            page = [cut(task, query["include"].split(",")) for task in page]
        return {"total_annotations": 0, "total_predictions": 0, "total": len(tasks), "tasks": page}


def record_of(records: dict[int, Fields], number: int, kind: str) -> Fields:
    if number not in records:
        raise Refusal(404, f"No {kind} matches the given query.")
    return records[number]


def _invalid(field: str, message: str) -> Refusal:
    return Refusal(400, "Validation error", validation_errors={field: [message]})


def auth_in(body: Fields) -> Fields:
    """What is kept of a row's user and password."""
    return {key: value for key, value in body.items() if "auth" in key}


def changed(record: Fields, body: Fields) -> Fields:
    record.update(body)
    return record


def _is_valid(prediction: Fields, controls: dict[str | None, Any]) -> bool:
    """`to_name` must be one of the tags that the control names, and never the control itself; a score is in 0..1."""
    if not 0 <= (prediction.get("score") or 0) <= 1:
        return False
    for region in prediction["result"]:
        control = controls.get(region["from_name"])
        if control is None or region["to_name"] not in control.get("toName").split(",") or region["type"] != control.tag.lower():
            return False
    return True
