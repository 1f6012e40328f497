"""The dashboard as a browser reads it, its buttons, and hostile texts for it."""

import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.serving.process import Backend
from backend.web.app import create_app
from preference.settings import Settings
from tests.support.dashboard_house import PROJECT

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = "<script>pwned=1</script>\"'><img src=x onerror=pwned=1>{{7*7}}"


def app_on(model_dir: Path, **changes: Any) -> Flask:
    """A backend that was never started, whose Label Studio nobody could reach."""
    plain: dict[str, Any] = {"model_dir": model_dir, "device": "cpu", "generator_engine": "echo", "torch_threads": 1}
    return create_app(Backend(Settings.of(**{**plain, "label_studio_url": "http://127.0.0.1:1", **changes})))


class Page(HTMLParser):
    """What a browser makes of the page: its words, its tags, and each form's fields."""

    def __init__(self, answer: TestResponse, *, status: int = 200) -> None:
        super().__init__()
        self.answer, self.html = answer, answer.text
        self.words, self.tags, self.handlers = "", list[str](), list[str]()
        self.forms: list[dict[str, str]] = []
        self._is_hidden = False
        assert answer.status_code == status, answer.text
        assert answer.content_type == "text/html; charset=utf-8"
        self.feed(self.html)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.handlers += [name for name in attributes if name.startswith("on")]
        self._is_hidden = tag in ("style", "script")
        if tag == "form":
            self.forms.append({})
        elif tag in ("input", "button") and "name" in attributes:
            self.forms[-1][attributes["name"]] = attributes["value"]

    def handle_endtag(self, tag: str) -> None:
        self._is_hidden = False

    def handle_data(self, data: str) -> None:
        self.words += "" if self._is_hidden else f" {data}"

    def button(self, name: str) -> dict[str, str]:
        """What the form of a button sends."""
        return next(form for form in self.forms if form["button"] == name)


def page(client: FlaskClient, query: str = "", **headers: str) -> Page:
    return Page(client.get(f"/{query}", headers={**BROWSER, **headers}))


def words_of(answer: TestResponse) -> str:
    """The words of a page as `Page` finds them, in a tenth of the time: its charts have seven hundred tags."""
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8"), answer.text
    visible = re.sub(r"<(style|script)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", visible)).split())


def press(client: FlaskClient, form: dict[str, str], **headers: str) -> TestResponse:
    return client.post("/buttons", data=form, headers={"Sec-Fetch-Site": "same-origin", **headers})


def card_file(models: Path, *, number: int = 4) -> Path:
    return next((models / "projects" / str(PROJECT) / "versions").glob(f"v{number}-*/card.json"))


def change_card(models: Path, change: Callable[[dict[str, Any]], object], *, number: int = 4) -> None:
    path = card_file(models, number=number)
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    path.write_text(json.dumps(card), encoding="utf-8")


def hostile(value: Any) -> Any:
    """The same with every text in it hostile, keys of open lists too."""
    if isinstance(value, dict):
        return {key: hostile(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return HOSTILE if isinstance(value, str) else value


def client_on(model_dir: Path, **changes: Any) -> FlaskClient:
    return app_on(model_dir, **changes).test_client()


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [here, *(place for key, inner_value in inner for place in places(inner_value, (*here, key)))]
