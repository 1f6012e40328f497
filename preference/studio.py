"""One project of a running Label Studio. Measured on label-studio 1.23.2 with label-studio-sdk 2.1.2.

Calls that fail because Label Studio is down, restarting or busy are repeated with growing waits; every other refusal
becomes one StudioError. Safe to use from several threads.
"""

import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, stop_when_event_set, wait_exponential
from tenacity.nap import sleep_using_event

from preference.errors import StudioError, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.layout import LabelingLayout
from preference.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

Task = dict[str, Any]  # a task as Label Studio lists it: id, data, meta, total_annotations, annotations, ...
_COLUMNS = "id,data,meta,total_annotations,cancelled_annotations,predictions_model_versions"
_STATE = "id,updated_at,total_annotations,cancelled_annotations"
# `include` cuts the annotations as well, so their fields stand here too. Three times as fast as without it (2.1 ms a task).
_JUDGED = (
    "id,data,updated_at,annotations,predictions,"
    "result,was_cancelled,ground_truth,completed_by,created_at,lead_time,parent_prediction"
)
_IDS_A_REQUEST = 100  # they stand in the address, which some servers cut at 4,096 characters
_KEY_ADVICE = (
    "make a personal access token (Account & Settings > Personal Access Token), or a legacy token where the organization "
    "allows those, and set LABEL_STUDIO_API_KEY to it"
)


@dataclass(frozen=True)
class Connection:
    """A backend row of a project (Settings > Model)."""

    id: int
    url: str
    title: str


class LabelStudioProject:
    """Reads and writes one project: tasks, predictions, annotations, and its connection to a backend."""

    def __init__(
        self, settings: Settings, project_id: int, *, patience_seconds: float = 120, timeout_seconds: float = 60,
        stop: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """`patience_seconds`: how long one call is repeated while Label Studio does not answer; `stop` ends that at once.

        `timeout_seconds`: how long one answer may take.
        """
        self._timeout = timeout_seconds
        self._stop = stop or threading.Event()
        self.id = project_id
        self._url = settings.label_studio_url
        self._key = settings.label_studio_api_key.get_secret_value()
        self._patience = patience_seconds
        self._studio: LabelStudio | None = None

    @property
    def url(self) -> str:
        """Label Studio's address, as it was set."""
        return self._url

    # The project itself

    @classmethod
    def create(cls, settings: Settings, *, title: str, label_config: str) -> "LabelStudioProject":
        """A new project of that title (at least 3 characters) and label config."""
        account = cls(settings, 0)
        created = account._send(account._client.projects.create, title=title, label_config=label_config)
        return cls(settings, int(created.id or 0))

    def read(self) -> Task:
        """The project's fields, among them label_config, model_version, sampling, total_annotations_number."""
        return dict(self._call(self._client.projects.get, id=self.id).model_dump())

    def update(self, **fields: Any) -> None:
        """Sets fields of the project, such as `model_version` or `sampling`."""
        self._call(self._client.projects.update, id=self.id, **fields)

    # Tasks

    def import_tasks(self, tasks: Sequence[Task]) -> list[int]:
        """The ids of the imported tasks, in order; each task is `{"data": {...}}`, with `meta` and `predictions` at will."""
        answer: Any = self._send(self._client.projects.import_tasks, id=self.id, request=list(tasks), return_task_ids=True)
        return list(answer.task_ids or [])

    def unanswered_tasks(self, layout: LabelingLayout, *, page_size: int = 100) -> Iterator[tuple[list[Task], int]]:
        """Pages of tasks that lack an answer, by id, judged or not, each with how many more come; one is in memory."""
        yield from self._pages(_unanswered(layout), "or", page_size)

    def num_unanswered(self, layout: LabelingLayout) -> int:
        """How many tasks lack an answer, judged or not."""
        return sum(len(page) + num_more for page, num_more in islice(self._pages(_unanswered(layout), "or", 1), 1))

    def all_tasks(self, *, above: int = 0, page_size: int = 1000) -> Iterator[Task]:
        """Every task whose id is above that, by id, with its id and data alone."""
        for page, _ in self._pages([("id", "greater", "Number", above)], "and", page_size, include="id,data"):
            yield from page

    def unscored_tasks(self, version: str, *, page_size: int = 500) -> Iterator[list[Task]]:
        """Pages of tasks without a prediction of `version` and without an annotation, by id."""
        for page, _ in self._pages([("predictions_model_versions", "not_contains", "List", [version])], "and", page_size):
            yield [task for task in page if not is_annotated(task)]

    def annotated_tasks(self, *, page_size: int = 500) -> Iterator[Task]:
        """Every task that anyone judged or skipped, by id: its data, annotations, predictions and `updated_at`, no more."""
        for page, _ in self._pages(_ANNOTATED, "or", page_size, fields="all", include=_JUDGED):
            yield from page

    def annotated_among(self, task_ids: Sequence[int]) -> Iterator[Task]:
        """Those of the named tasks that have annotations, as `annotated_tasks` brings them."""
        for start in range(0, len(task_ids), _IDS_A_REQUEST):
            lines = [("id", "in_list", "Number", list(task_ids[start : start + _IDS_A_REQUEST]))]
            for page, _ in self._pages(lines, "and", _IDS_A_REQUEST + 1, fields="all", include=_JUDGED):
                yield from (task for task in page if task["annotations"])

    def task_states(self, *, changed_since: str | None = None, page_size: int = 1000) -> Iterator[Task]:
        """Id, `updated_at` and counts of every annotated task, by id; with a time, of every task that changed after it.

        Some three times as fast as the tasks themselves. trainer/judgements.py says what changes `updated_at`.
        """
        lines = _ANNOTATED if changed_since is None else [("updated_at", "greater", "Datetime", changed_since)]
        for page, _ in self._pages(lines, "or", page_size, include=_STATE):
            yield from page

    def tasks(self, task_ids: Sequence[int]) -> dict[int, Task]:
        """The named tasks as they are now, by id; those that are gone are left out."""
        found: dict[int, Task] = {}
        for start in range(0, len(task_ids), _IDS_A_REQUEST):
            lines = [("id", "in_list", "Number", list(task_ids[start : start + _IDS_A_REQUEST]))]
            found |= {task["id"]: task for page, _ in self._pages(lines, "and", _IDS_A_REQUEST + 1) for task in page}
        return found

    def store_answers(self, task_id: int, *, data: Task, meta: Task) -> None:
        """Replaces a task's data and meta (all keys of both). Soon gives up: what was read to write it grows old.

        Raises:
            StudioNotFound: the task was deleted.
        """
        self._repeat(10, _is_passing, self._client.tasks.update, id=task_id, data=data, meta=meta)

    def store_predictions(self, predictions: Sequence[Task]) -> int:
        """How many of the predictions (`task`, `result`, `score`, `model_version`) Label Studio kept."""
        if not predictions:
            return 0
        answer = self._send(self._client.projects.import_predictions, id=self.id, request=list(predictions))
        return int(answer.created or 0)

    def annotate(self, task_id: int, result: Sequence[Task], *, skip: bool = False, lead_seconds: float = 0) -> None:
        """Submits one judgement, or a skip with an empty result."""
        self._send(self._client.annotations.create, id=task_id, result=list(result), was_cancelled=skip, lead_time=lead_seconds)

    def store_meta(self, task_id: int, meta: Task) -> None:
        """Replaces a task's meta (all keys); its data stays.

        Raises:
            StudioNotFound: the task was deleted.
        """
        self._call(self._client.tasks.update, id=task_id, meta=meta)

    # The connection

    def connections(self) -> list[Connection]:
        """The project's backends."""
        rows = self._call(self._client.ml.list, project=self.id)
        return [Connection(row.id, row.url or "", row.title or "") for row in rows]

    def connect(self, url: str, *, title: str, basic_auth: tuple[str, str] | None) -> Connection:
        """Adds a backend; Label Studio asks its /health and /setup, and makes the webhook."""
        auth: dict[str, Any] = {}
        if basic_auth is not None:
            auth = {"auth_method": "BASIC_AUTH", "basic_auth_user": basic_auth[0], "basic_auth_pass": basic_auth[1]}
        row = self._send(self._client.ml.create, project=self.id, url=url, title=title, **auth)
        return Connection(row.id or 0, url, title)

    def disconnect(self, connection: Connection) -> None:
        """Removes a backend row; its webhook stays."""
        self._call(self._client.ml.delete, id=connection.id)

    def retitle(self, connection: Connection, title: str) -> None:
        """Renames a backend; `project.model_version` follows where it was the old title."""
        self._call(self._client.ml.update, id=connection.id, title=title, url=connection.url, project=self.id)

    def guard_webhook(self, backend_url: str, secret: str) -> bool:
        """Whether the webhook of that backend was found and now sends `Authorization: Bearer <secret>`."""
        for hook in self._call(self._client.webhooks.list, project=self.id):
            if hook.url.startswith(backend_url):
                # A PATCH without `actions` would clear them.
                self._call(
                    self._client.webhooks.update,
                    id=hook.id,
                    url=hook.url,
                    actions=hook.actions,
                    send_payload=True,
                    send_for_all_actions=hook.send_for_all_actions,
                    headers={"Authorization": f"Bearer {secret}"},
                )
                return True
        return False

    # How it is done

    @property
    def _client(self) -> LabelStudio:
        if not self._key:
            raise StudioKeyError(f"LABEL_STUDIO_API_KEY is not set; {_KEY_ADVICE}.")
        if self._studio is None:
            http = httpx.Client(timeout=self._timeout, follow_redirects=True)
            weakref.finalize(self, http.close)  # the SDK never closes its connections
            # A personal access token is exchanged inside this constructor's client at the first call, and renewed.
            try:
                # max_retries: _call repeats; the SDK's own two tries would add three seconds to each of its.
                self._studio = LabelStudio(
                    base_url=self._url, api_key=self._key, timeout=self._timeout, max_retries=0, httpx_client=http
                )
            except ApiError as error:  # the token has expired
                raise self._explain(error) from error
        return self._studio

    def _pages(
        self, lines: Sequence[tuple[str, str, str, Any]], conjunction: str, page_size: int, **options: Any
    ) -> Iterator[tuple[list[Task], int]]:
        """Pages by ascending id, each with how many tasks come after it.

        Each asks for ids above the last, so tasks that leave the filter shift nothing.
        """
        last_id = 0
        while True:
            above = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": last_id}
            items: list[Task] = [
                {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value, "child_filter": above}
                for column, operator, kind, value in lines
            ]
            query = json.dumps({"filters": {"conjunction": conjunction, "items": items}, "ordering": ["tasks:id"]})
            columns = options or {"include": _COLUMNS}
            page, total = self._call(self._list, page_size=page_size, query=query, **columns)
            if page:
                yield page, max(0, total - len(page))
            if len(page) < page_size:
                return
            last_id = page[-1]["id"]

    def _list(self, **arguments: Any) -> tuple[list[Task], int]:
        found: Any = self._client.tasks.list(project=self.id, page=1, **arguments)
        return [item.model_dump() for item in found.items or []], int(found.response.total)

    def _call(self, function: Callable[..., T], **kwargs: Any) -> T:
        """The answer to a request that may be sent twice."""
        return self._repeat(self._patience, _is_passing, function, **kwargs)

    def _send(self, function: Callable[..., T], **kwargs: Any) -> T:
        """The answer to a request that adds something: it is repeated only where Label Studio has not taken it."""
        return self._repeat(self._patience, _is_untaken, function, **kwargs)

    def _repeat(
        self, patience: float, is_passing: Callable[[BaseException], bool], function: Callable[..., T], **kwargs: Any
    ) -> T:
        retrying = Retrying(
            retry=retry_if_exception(is_passing),
            wait=wait_exponential(multiplier=0.5, max=15),
            stop=stop_after_delay(patience) | stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=self._log_wait,
            reraise=True,
        )
        try:
            return retrying(function, **kwargs)
        except ApiError as error:
            raise self._explain(error) from error
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise StudioUnreachable(
                f"Label Studio at {self._url} does not answer ({type(error).__name__}); start it, or correct LABEL_STUDIO_URL."
            ) from error

    def _log_wait(self, state: RetryCallState) -> None:
        if state.attempt_number == 3:
            logger.warning("Label Studio at %s does not answer; trying again with growing waits", self._url)

    def _explain(self, error: ApiError) -> StudioError:
        detail = error.body.get("detail", error.body) if isinstance(error.body, dict) else error.body
        if isinstance(error.body, dict) and error.body.get("validation_errors"):
            detail = error.body["validation_errors"]
        detail = " ".join(str(detail).split())
        if len(detail) > 300:
            detail = f"{detail[:100]} ... {detail[-200:]}"  # it quotes what it was sent, and ends with what is wrong
        if detail.startswith("<"):
            detail = "it sent a page instead of JSON"
        if error.status_code == 401:
            return StudioKeyError(f"Label Studio at {self._url} refuses LABEL_STUDIO_API_KEY; {_KEY_ADVICE}.")
        if error.status_code == 404:
            return StudioNotFound(f"Label Studio has no such thing in project {self.id}: {detail}")
        if _is_passing(error):
            return StudioUnreachable(f"Label Studio at {self._url} keeps failing with {error.status_code}: {detail}")
        return StudioError(f"Label Studio refused a request for project {self.id} ({error.status_code}): {detail}")


def _unanswered(layout: LabelingLayout) -> list[tuple[str, str, str, str]]:
    return [(f"data.{field}", *empty) for field in layout.answer_fields for empty in _EMPTY]


def is_annotated(task: Task) -> bool:
    """Whether anyone judged or skipped this task."""
    return bool(task.get("total_annotations") or task.get("cancelled_annotations"))


_ANNOTATED = (("total_annotations", "greater", "Number", 0), ("cancelled_annotations", "greater", "Number", 0))

# "empty" alone can miss "", and "equal" alone misses a missing key.
_EMPTY = (("empty", "String", "true"), ("equal", "String", ""))


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        # PATCHes meet "database is locked" (a 500) on SQLite now and then.
        return error.status_code is not None and (error.status_code == 429 or error.status_code >= 500)
    # The SDK reads the answer to a token's exchange as JSON, even where it is a proxy's error page.
    return isinstance(error, (httpx.TransportError, json.JSONDecodeError))


def _is_untaken(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status_code in (429, 503)
    return isinstance(error, httpx.ConnectError)
