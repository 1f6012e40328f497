"""How a process writes its log: one event a line, as text or as JSON, without secrets. Set up once, when a process starts."""

import json
import logging
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from preference.redaction import trace
from preference.settings import Settings, variables

_SHORTEST_SECRET = 4  # a shorter one may be a part of common words


def set_up_logging(settings: Settings) -> None:
    """Sends every event of this process to stderr; does nothing if somebody has set up logging before.

    Exceptions that nobody catches are logged, too, those of threads among them; with LOG_FORMAT=json, also warnings.
    """
    if logging.root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(log_line(settings))
    logging.basicConfig(level=settings.log_level, handlers=[handler])
    logging.captureWarnings(settings.log_format == "json")
    sys.excepthook = _uncaught
    threading.excepthook = lambda of: _uncaught(of.exc_type, of.exc_value, of.exc_traceback)
    for name in ("httpx", "httpx2"):  # a line for each request; its URL may hold a password
        logging.getLogger(name).setLevel(logging.WARNING)


def log_line(settings: Settings) -> logging.Formatter:
    """What makes a line of an event; in JSON a traceback is a field of it, in text it follows."""
    values = [settings.value_of(variable) for variable in variables()]
    secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
    for address in (value for value in values if isinstance(value, str) and "://" in value):  # https://user:password@host
        quoted = urlsplit(address).password or ""
        secrets += [quoted, unquote(quoted)]
    return (_JsonLine if settings.log_format == "json" else _TextLine)(secrets, is_debug=settings.log_level == "DEBUG")


class _TextLine(logging.Formatter):
    def __init__(self, secrets: Iterable[str], *, is_debug: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._is_debug = is_debug
        # The longest first: one may be a part of another.
        self._secrets = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        return self._hidden(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """A traceback, without the errors' messages above DEBUG: they may quote a prompt."""
        return super().formatException(ei) if self._is_debug or ei[1] is None else trace(ei[1])

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "****")
        return text


class _JsonLine(_TextLine):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": self._hidden(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self._hidden(self.formatException(record.exc_info))
        return json.dumps(line)  # in ASCII: whatever a message holds, the line is one line in every encoding


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if kind is not SystemExit:  # ends a thread without a word
        logging.getLogger("pairloop.logs").critical("not caught", exc_info=(kind, error or kind(), trace))
