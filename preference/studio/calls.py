"""Requests to a Label Studio: repeated with growing waits while it is down, restarting or busy, refused with one StudioError.

Measured on label-studio 1.23.2 with label-studio-sdk 2.1.2. Safe to use from several threads.
"""

import json
import logging
import math
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import httpx
from label_studio_sdk.core.api_error import ApiError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_exponential
from tenacity.nap import sleep_using_event

from preference.certificates import certificates
from preference.errors import StudioError, StudioFailing, StudioKeyError, StudioNotFound, StudioUnreachable
from preference.log_once import LogOnce
from preference.redaction import texts_in, unquoted
from preference.setting_groups import StudioSettings
from preference.studio.key import key_advice, name_of_key, read_key

if TYPE_CHECKING:
    from label_studio_sdk.core.client_wrapper import SyncClientWrapper

logger = logging.getLogger("pairloop.studio")
Patience = float | Callable[[], float]  # seconds, or what tells them whenever a call has failed

_GROWING = wait_exponential(multiplier=0.5, max=15)
_SOON_SECONDS = 10.0  # for what was read before: it grows old
_LONGEST_WAIT_SECONDS = 60.0  # whatever a server asks for


class StudioCalls:
    """One account's requests about one project."""

    def __init__(
        self,
        settings: StudioSettings,
        project_id: int,
        *,
        patience_seconds: Patience,
        timeout_seconds: float,
        stop: threading.Event,
    ) -> None:
        """`patience_seconds`: how long one call is repeated while Label Studio does not answer; `stop` ends that at once.

        `timeout_seconds`: how long one answer may take.
        """
        self._patience = patience_seconds if callable(patience_seconds) else lambda: patience_seconds
        self._timeout, self._stop, self._project_id = timeout_seconds, stop, project_id
        self.url, self._settings = settings.url, settings
        self._client: httpx.Client | None = None
        self._tokens: tuple[str, SyncClientWrapper] | None = None  # with the key that it exchanges
        self._log_once = LogOnce()

    @property
    def _http(self) -> httpx.Client:
        if self._client is None:
            self._client = httpx.Client(timeout=self._timeout, follow_redirects=True, verify=certificates())
            weakref.finalize(self, self._client.close)
        return self._client

    def _authorization(self) -> str:
        """What Label Studio takes as a key: the SDK exchanges a personal access token, at the first call and whenever that expires.

        Raises:
            StudioKeyError: there is no key.
            ApiError: it has expired, or is refused.
        """
        key = read_key(self._settings)
        if key.count(".") != 2:  # a JWT has three parts
            return f"Token {key}"
        if (tokens := self._tokens) is None or tokens[0] != key:
            from label_studio_sdk.core.client_wrapper import SyncClientWrapper

            wrapper = SyncClientWrapper(base_url=self.url, api_key=key, timeout=self._timeout, httpx_client=self._http)
            tokens = self._tokens = key, wrapper
        return tokens[1].get_headers()["Authorization"]

    # By path: to import the SDK's classes of tasks, projects and backends takes longer than a command takes.

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON that Label Studio answers.

        Raises:
            StudioError: Label Studio refused it (StudioKeyError, StudioNotFound), or did not answer (StudioUnreachable).
        """
        return self._repeat(_is_passing, method="GET", path=path, params=parameters)

    def patch(self, path: str, fields: Mapping[str, Any], *, soon: bool = False) -> Any:
        """The JSON that Label Studio answers after it set those fields; `soon`: given up after ten seconds.

        Raises:
            StudioError: as with `get`.
        """
        most_seconds = _SOON_SECONDS if soon else math.inf
        return self._repeat(_is_passing, most_seconds=most_seconds, method="PATCH", path=path, json=fields)

    def delete(self, path: str, fields: Mapping[str, Any] | None = None) -> None:
        """Removes what is at that path, or what of it `fields` name.

        Raises:
            StudioError: as with `get`.
        """
        named: dict[str, Any] = {"json": fields} if fields else {}
        self._repeat(_is_passing, method="DELETE", path=path, **named)

    def post(self, path: str, body: Any) -> Any:
        """The JSON that Label Studio answers after it added something: it is asked again only if it has not taken that.

        Raises:
            StudioError: as with `get`.
        """
        return self._repeat(_is_untaken, method="POST", path=path, json=body)

    def post_annotation(self, path: str, annotation: Mapping[str, Any]) -> None:
        """Adds an annotation, once: it is sent again like anything else, and Label Studio refuses a second one with its id (409).

        Raises:
            StudioError: as with `get`.
        """
        named = {**annotation, "unique_id": str(uuid.uuid4())}
        self._repeat(_is_passing, is_done=_is_double, method="POST", path=path, json=named)

    def _repeat(
        self, is_passing: Callable[[BaseException], bool], *, most_seconds: float = math.inf,
        is_done: Callable[[ApiError], bool] = lambda error: False, **request: Any,
    ) -> Any:  # fmt: skip
        def is_over(state: RetryCallState) -> bool:
            return self._stop.is_set() or stop_before_delay(min(most_seconds, self._patience()))(state)

        retrying = Retrying(
            retry=retry_if_exception(is_passing),
            wait=_wait,
            stop=is_over,
            sleep=sleep_using_event(self._stop),
            before_sleep=self._log_wait,
            reraise=True,
        )
        try:
            answer = retrying(self._ask, **request)
        except ApiError as error:
            if is_done(error):
                return None
            raise self._explain(error, _texts_of_tasks(request.get("json"))) from error
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise StudioUnreachable(
                f"Label Studio at {self.url} does not answer ({type(error).__name__}); start it, or correct LABEL_STUDIO_URL."
            ) from error
        self._log_once.forget(self.url)
        return answer

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        headers = {"Authorization": self._authorization()}
        if "json" in content:
            # Half of an emoji, which a task may hold, is no UTF-8: as an escape it is the JSON that Label Studio sent.
            sent = json.dumps(content.pop("json"), ensure_ascii=False).encode("utf-8", "backslashreplace")
            content["content"], headers["Content-Type"] = sent, "application/json"
        answer = self._http.request(method, f"{self.url}/{path}", headers=headers, **content)
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            body = answer.json()
        except ValueError:
            body = answer.text
        raise ApiError(status_code=answer.status_code, headers=dict(answer.headers), body=body)

    def _log_wait(self, state: RetryCallState) -> None:
        """One line for an outage, however many calls it meets. A 500 may be about its call alone: whoever made that is told."""
        error = state.outcome.exception() if state.outcome else None
        is_away = not (isinstance(error, ApiError) and _is_of_one_call(error))
        if is_away and state.attempt_number >= 3 and self._log_once.is_news(self.url):
            logger.warning("Label Studio at %s does not answer; trying again with growing waits", self.url)

    def _explain(self, error: ApiError, sent: Iterable[str] = ()) -> StudioError:
        detail = error.body.get("detail", error.body) if isinstance(error.body, dict) else error.body
        if isinstance(error.body, dict) and error.body.get("validation_errors"):
            detail = error.body["validation_errors"]
        detail = unquoted(str(detail).partition("CONTEXT:")[0], sent)  # where PostgreSQL quotes a text from its middle
        if len(detail) > 300:
            detail = f"{detail[:100]} ... {detail[-200:]}"  # it quotes what it was sent, and ends with what is wrong
        if detail.startswith("<"):
            detail = "it sent a page instead of JSON"
        if error.status_code == 401:
            return StudioKeyError(
                f"Label Studio at {self.url} refuses {name_of_key(self._settings)}; {key_advice(self._settings)}."
            )
        if error.status_code == 404:
            return StudioNotFound(f"Label Studio has no such thing in project {self._project_id}: {detail}")
        if _is_passing(error):
            kind = StudioFailing if _is_of_one_call(error) else StudioUnreachable
            return kind(f"Label Studio at {self.url} keeps failing with {error.status_code}: {detail}")
        return StudioError(f"Label Studio refused a request for project {self._project_id} ({error.status_code}): {detail}")


def _wait(state: RetryCallState) -> float:
    """Seconds: growing ones, or what a server that has too much to do asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked = (error.headers or {}).get("retry-after", "") if isinstance(error, ApiError) else ""
    seconds = _GROWING(state)
    return max(seconds, min(float(asked), _LONGEST_WAIT_SECONDS)) if asked.isdigit() else seconds


def _texts_of_tasks(sent: Any) -> Iterator[str]:
    """Prompts and answers in what was sent: errors are logged, so they must not quote them."""
    tasks = sent if isinstance(sent, list) else [sent or {}]
    yield from texts_in([task.get("data") for task in tasks])


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        # PATCHes meet "database is locked" (a 500) on SQLite now and then.
        return error.status_code is not None and (error.status_code == 429 or error.status_code >= 500)
    # The SDK reads the answer to a token's exchange as JSON, even if it is a proxy's error page.
    return isinstance(error, (httpx.TransportError, json.JSONDecodeError))


def _is_of_one_call(error: ApiError) -> bool:
    """Whether Label Studio itself failed, perhaps at this call alone: a proxy says 502 and 504 in its place, 503 if it is busy."""
    return error.status_code not in (429, 502, 503, 504)


def _is_untaken(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status_code in (429, 503)
    return isinstance(error, httpx.ConnectError)


def _is_double(error: ApiError) -> bool:
    return error.status_code == 409
