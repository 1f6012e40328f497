"""One project of a running Label Studio. Measured on label-studio 1.23.2 with label-studio-sdk 2.1.2.

Safe to use from several threads; calls.py says what happens while Label Studio does not answer.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, Self

from preference.errors import StudioNotFound
from preference.labelling.config_tags import without_declaration
from preference.labelling.label_config import LabelingLayout
from preference.setting_groups import StudioSettings
from preference.studio.calls import Patience, StudioCalls
from preference.studio.connections import Connections
from preference.studio.tabs import Tabs
from preference.studio.task import ProjectFields, StoredPrediction, Task, is_annotated
from preference.studio.task_filters import ANNOTATED, OPEN, Line, answered, filter_query, moment_text, unanswered
from preference.studio.task_lists import TaskLists
from preference.studio.webhooks import Webhooks

_STATE = "id,updated_at,total_annotations,cancelled_annotations"
# `include` cuts the annotations as well, so their fields stand here too. Three times as fast as without it (2.1 ms a task).
_JUDGED = (
    "id,data,meta,updated_at,annotations,predictions,"
    "result,was_cancelled,ground_truth,completed_by,created_at,lead_time,parent_prediction"
)
_VERDICTS = "id,meta,updated_at,annotations,result,was_cancelled,completed_by,created_at"
_IDS_AT_ONCE = 1000
_IDS_A_REQUEST = 100  # they stand in the address, which some servers cut at 4,096 characters


class LabelStudioProject:
    """Reads and writes one project: tasks, predictions, annotations; its `connections` to backends, its `webhooks` and its `tabs`."""

    def __init__(
        self, settings: StudioSettings, project_id: int, *, patience_seconds: Patience = 120, timeout_seconds: float = 60,
        stop: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """`patience_seconds`: how long one call is repeated while Label Studio does not answer; `stop` ends that at once.

        `timeout_seconds`: how long one answer may take.
        """
        self.id = project_id
        self._calls = StudioCalls(
            settings,
            project_id,
            patience_seconds=patience_seconds,
            timeout_seconds=timeout_seconds,
            stop=stop or threading.Event(),
        )
        self._lists = TaskLists(self._calls, project_id)
        self.connections = Connections(self._calls, project_id)
        self.webhooks = Webhooks(self._calls, project_id)
        self.tabs = Tabs(self._calls, project_id)

    @classmethod
    def for_request(cls, settings: StudioSettings, project_id: int, *, stop: threading.Event) -> Self:
        """For an answer that Label Studio waits for meanwhile."""
        return cls(settings, project_id, patience_seconds=10, timeout_seconds=10, stop=stop)

    @classmethod
    def for_command(cls, settings: StudioSettings, project_id: int) -> Self:
        """For somebody who waits, and for a look that is taken again soon."""
        return cls(settings, project_id, patience_seconds=20)

    @classmethod
    def for_daemon(
        cls, settings: StudioSettings, project_id: int, *, stop: threading.Event | None = None, patience_seconds: Patience = 120
    ) -> Self:  # fmt: skip
        """For long work, which outlives a restart of Label Studio."""
        return cls(settings, project_id, patience_seconds=patience_seconds, stop=stop)

    @property
    def url(self) -> str:
        """Label Studio's address, as it was set."""
        return self._calls.url

    # The project itself

    def read(self) -> ProjectFields:
        """The project's fields, among them label_config, model_version, sampling, total_annotations_number."""
        return dict(self._calls.get(f"api/projects/{self.id}/"))

    def update(self, **fields: Any) -> None:
        """Sets fields of the project, such as `model_version` or `sampling`."""
        if "label_config" in fields:
            fields["label_config"] = without_declaration(fields["label_config"])
        self._calls.patch(f"api/projects/{self.id}/", fields)

    def remove(self) -> None:
        """Removes the project, with all that it holds."""
        self._calls.delete(f"api/projects/{self.id}/")

    def annotator_names(self) -> dict[int, str]:
        """What each user of the organization is called, by number: the first and last name, else the email address."""
        return {who: name or email for who, (name, email) in self.users().items()}

    def users(self) -> dict[int, tuple[str, str]]:
        """The first and last name, which may be empty, and the email address of each user of the organization, by number."""
        listed = self._calls.get("api/users/")
        return {
            user["id"]: (
                f"{user.get('first_name') or ''} {user.get('last_name') or ''}".strip(),
                str(user.get("email") or user.get("username") or user["id"]),
            )
            for user in listed
        }

    # Tasks

    def import_tasks(self, tasks: Sequence[Task]) -> list[int]:
        """The ids of the imported tasks, in order: each is `{"data": {...}}`, with `meta`, `annotations` and `predictions` at will."""
        answer = self._calls.post(f"api/projects/{self.id}/import?return_task_ids=true", list(tasks))
        return list(answer.get("task_ids") or [])

    def remove_task(self, task_id: int) -> None:
        """Removes one task, with all that it holds, if it is still there."""
        with suppress(StudioNotFound):
            self._calls.delete(f"api/tasks/{task_id}/")

    def has_draft(self, task_id: int) -> bool:
        """Whether somebody has begun to judge a task, and submitted nothing yet."""
        return any(task["drafts"] for task in self._among([task_id], include="id,drafts"))

    def unanswered_tasks(self, layout: LabelingLayout, *, page_size: int = 100) -> Iterator[tuple[list[Task], int]]:
        """Pages of tasks that lack an answer, by id, judged or not, each with how many more there are; one page is in memory."""
        yield from self._lists.pages(unanswered(layout), "or", page_size)

    def num_unanswered(self, layout: LabelingLayout) -> int:
        """How many tasks lack an answer, judged or not."""
        return sum(len(page) + num_more for page, num_more in islice(self._lists.pages(unanswered(layout), "or", 1), 1))

    def num_open(self, *, unscored_by: str | None = None) -> int:
        """How many tasks nobody judged; with a version, how many of them have no prediction by it."""
        unscored = [("predictions_model_versions", "not_contains", "List", [unscored_by])] if unscored_by else []
        return sum(len(page) + num_more for page, num_more in islice(self._lists.pages([*unscored, *OPEN], "and", 1), 1))

    def num_tasks(self) -> int:
        """How many tasks there are."""
        return sum(
            len(page) + num_more for page, num_more in islice(self._lists.pages([("id", "greater", "Number", 0)], "and", 1), 1)
        )

    def all_tasks(
        self, *, above: int = 0, up_to: int | None = None, since: datetime | None = None, page_size: int = 1000
    ) -> Iterator[Task]:
        """Every task, by id: its id, data and `updated_at` alone.

        `above`, `up_to`: of their ids; `since`: made or changed after that moment of Label Studio's clock.
        """
        lines: list[Line] = [("id", "greater", "Number", above)]
        if since is not None:
            lines.append(("updated_at", "greater", "Datetime", moment_text(since)))
        if up_to is not None:
            lines.append(("id", "less", "Number", up_to + 1))
        for page, _ in self._lists.pages(lines, "and", page_size, include="id,data,updated_at", fields="task_only"):
            yield from page

    def unscored_tasks(self, version: str, *, layout: LabelingLayout | None = None, page_size: int = 100) -> Iterator[list[Task]]:
        """Pages of tasks without a prediction of `version` and without an annotation, lowest score first.

        The score is that of the version which the project shows: who judges meanwhile is served in the same order.
        `layout`: only tasks that hold answers, by its fields.

        Raises:
            StudioFailing: the project has no task at all; label-studio 1.23.2 then knows no score to order by.
        """
        lines = [("predictions_model_versions", "not_contains", "List", [version]), *OPEN, *(answered(layout) if layout else ())]
        query, ids, total = filter_query(lines, "and", ordering="predictions_score"), dict[int, None](), 1
        number = 0
        while number * _IDS_AT_ONCE < total:
            number += 1
            try:
                page, total = self._lists.page(page=number, page_size=_IDS_AT_ONCE, query=query, include="id")
            except StudioNotFound:  # a page after the last: tasks were judged since the one before
                if number == 1:
                    raise
                break
            ids |= dict.fromkeys(task["id"] for task in page)
        every = list(ids)
        for start in range(0, len(every), page_size):
            current = self.tasks(every[start : start + page_size])
            yield [
                task for task_id in every[start : start + page_size] if (task := current.get(task_id)) and not is_annotated(task)
            ]
        if number > 1:  # judgements shift later pages, and if scores are equal, PostgreSQL's pages may overlap
            for page, _ in self._lists.pages(lines, "and", page_size):
                yield [task for task in page if task["id"] not in ids]

    def open_tasks(self, *, above: int, most: int) -> Iterator[Task]:
        """Tasks that nobody judged, above that id, by id, so many at most: id, data and meta alone."""
        lines = [("id", "greater", "Number", above), *OPEN]
        pages = self._lists.pages(lines, "and", min(most, _IDS_AT_ONCE), include="id,data,meta")
        return islice((task for page, _ in pages for task in page), most)

    def open_scores(self, *, most: int = 1000) -> list[float]:
        """The scores of tasks that nobody judged, by the version that the project shows; so many at most, by id."""
        columns = {"page_size": most, "include": "id,predictions_score"}
        page, _ = self._lists.page(page=1, query=filter_query(OPEN, "and", ordering="id"), **columns)
        return [float(score) for task in page if (score := task.get("predictions_score")) is not None]

    def scored_again(self, *, above: int, page_size: int = 100) -> list[Task]:
        """A page of tasks above that id, by id, that nobody judged and that have several predictions: those and drafts alone."""
        lines = [("total_predictions", "greater", "Number", 1), *OPEN, ("id", "greater", "Number", above)]
        query = filter_query(lines, "and", ordering="id")
        page, _ = self._lists.page(page=1, page_size=page_size, query=query, include="id,predictions,drafts")
        return page

    def annotated_tasks(self, *, page_size: int = 500) -> Iterator[Task]:
        """Every task that anyone judged or skipped, by id: its data, meta, annotations, predictions and `updated_at`, no more."""
        for page, _ in self._lists.pages(ANNOTATED, "or", page_size, include=_JUDGED):
            yield from page

    def annotated_among(self, task_ids: Sequence[int]) -> Iterator[Task]:
        """Those of the named tasks that have annotations, as `annotated_tasks` brings them."""
        return (task for task in self._among(task_ids, include=_JUDGED) if task["annotations"])

    def judged_since(self, moment: datetime) -> Iterator[Task]:
        """Tasks that somebody judged and that changed after that moment of Label Studio's clock: meta, annotations, `updated_at`.

        (A filter by what annotations say takes more than a minute if there are 10,000.)
        """
        lines = [("updated_at", "greater", "Datetime", moment_text(moment)), ("total_annotations", "greater", "Number", 0)]
        for page, _ in self._lists.pages(lines, "and", 500, include=_VERDICTS):
            yield from page

    def judged_by_several(self) -> Iterator[Task]:
        """Tasks with two judgements or more, by id: their annotations alone."""
        lines = [("total_annotations", "greater", "Number", 1)]
        for page, _ in self._lists.pages(lines, "and", 500, include="id,annotations,was_cancelled,ground_truth"):
            yield from page

    def judged_among(self, task_ids: Sequence[int]) -> Iterator[Task]:
        """Those of the named tasks that are still there, as `judged_since` brings them."""
        return self._among(task_ids, include=_VERDICTS)

    def tasks_made_since(self, moment: datetime) -> Iterator[Task]:
        """Tasks that were made after that moment of Label Studio's clock, by id: id and meta alone."""
        for page, _ in self._lists.pages(
            [("created_at", "greater", "Datetime", moment_text(moment))], "and", 1000, include="id,meta"
        ):
            yield from page

    def task_states(self, *, changed_since: str | None = None, page_size: int = 1000) -> Iterator[Task]:
        """Id, `updated_at` and counts of every annotated task, by id; with a time, of every task that changed after it.

        Some three times as fast as the tasks themselves. trainer/judgements/reader.py says what changes `updated_at`.
        """
        lines = ANNOTATED if changed_since is None else [("updated_at", "greater", "Datetime", changed_since)]
        for page, _ in self._lists.pages(lines, "or", page_size, include=_STATE):
            yield from page

    def tasks(self, task_ids: Sequence[int]) -> dict[int, Task]:
        """The named tasks as they are now, by id; without those that were deleted."""
        return {task["id"]: task for task in self._among(task_ids)}

    def store_answers(self, task_id: int, *, data: dict[str, Any] | None, meta: dict[str, Any] | None) -> None:
        """Replaces a task's data and meta (all keys of both). Gives up after ten seconds: what was read before grows old.

        Of what is None, the task keeps what it has.

        Raises:
            StudioNotFound: the task was deleted.
            StudioFailing: it answered 500 all the while, perhaps at what is to be stored.
        """
        given = {"data": data, "meta": meta}
        fields = {name: value for name, value in given.items() if value is not None}
        self._calls.patch(f"api/tasks/{task_id}/", fields, soon=True)

    def store_predictions(self, predictions: Sequence[StoredPrediction]) -> int:
        """How many of the predictions (`task`, `result`, `score`, `model_version`) Label Studio kept."""
        if not predictions:
            return 0
        answer = self._calls.post(f"api/projects/{self.id}/import/predictions", list(predictions))
        return int(answer.get("created") or 0)

    def remove_prediction(self, prediction_id: int) -> None:
        """Removes one prediction, if it is still there.

        An annotation that was made from it forgets so, and one that is being made from it is refused (400).
        """
        with suppress(StudioNotFound):
            self._calls.delete(f"api/predictions/{prediction_id}/")

    def model_versions(self) -> dict[str, int]:
        """How many predictions there are of each model version."""
        return dict(self._calls.get(f"api/projects/{self.id}/model-versions/"))

    def remove_predictions(self, version: str) -> None:
        """Removes all predictions of a model version, in one call."""
        self._calls.delete(f"api/projects/{self.id}/model-versions/", {"model_version": version})

    def annotate(self, task_id: int, result: Sequence[dict[str, Any]], *, skip: bool = False, lead_seconds: float = 0) -> None:
        """Submits one judgement, or a skip with an empty result: one, even if Label Studio's answer is lost."""
        judgement = {"result": list(result), "was_cancelled": skip, "lead_time": lead_seconds}
        self._calls.post_annotation(f"api/tasks/{task_id}/annotations/", judgement)

    def store_meta(self, task_id: int, meta: dict[str, Any]) -> None:
        """Replaces a task's meta (all keys); its data stays. Gives up after ten seconds, as `store_answers` does.

        Raises:
            StudioNotFound: the task was deleted.
            StudioFailing: it answered 500 all the while, perhaps at what is to be stored.
        """
        self.store_answers(task_id, data=None, meta=meta)

    def _among(self, task_ids: Sequence[int], **columns: Any) -> Iterator[Task]:
        """The named tasks, without those that were deleted. `columns`: if not the usual ones."""
        for start in range(0, len(task_ids), _IDS_A_REQUEST):
            lines = [("id", "in_list", "Number", list(task_ids[start : start + _IDS_A_REQUEST]))]
            for page, _ in self._lists.pages(lines, "and", _IDS_A_REQUEST + 1, **columns):
                yield from page
