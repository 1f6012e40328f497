"""The page at /: the loop of a project as it stands, its champion's report card, its generator, and the buttons.

Covered: it waits neither for Label Studio nor for a model. There is a page whatever lies in MODEL_DIR, even if nothing does.
Every text on it is escaped. It loads nothing, and runs no script but its own. No other page may frame it.
"""

import secrets
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Request, Response, redirect
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from pydantic import TypeAdapter, ValidationError
from werkzeug.exceptions import HTTPException

from backend.contract.request_bodies import ButtonBody, ProjectId, read_form
from backend.contract.training_limit import retry_header
from backend.dashboard.buttons import press, refusal
from backend.dashboard.project_view import read_project_view
from backend.dashboard.reading import tried
from backend.dashboard.same_origin import check_origin
from backend.dashboard.signatures import Seen, Signer
from backend.serving.process import Backend
from preference.errors import RegistryError
from preference.formatting import between, count, duration, moment, per_cent, plural, points, short
from preference.models.files import title
from preference.projects.annotator_names import name_of
from preference.projects.folder import known_projects
from preference.projects.status import read_overview
from preference.report_card.charts import strip
from preference.report_card.svg import legend_mark
from preference.report_card.svg_document import CHART_STYLE

_FORM_BYTES = 16 * 1024


@dataclass(frozen=True)
class Choice:
    """One project to choose."""

    id: int
    name: str


class Dashboard:
    """The page of one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._settings = backend.settings

    def page(self, request: Request) -> Response:
        """The page for a browser: of the project in ?project=ID, or of the newest."""
        return self._page(request.args.get("project"), message=request.args.get("message", ""))

    def pressed(self, request: Request) -> Response:
        """Back to the page, which says what the button did; if it is refused, the page itself with the reason.

        Raises:
            HTTPException, ValidationError, RegistryError: it is refused, and no browser asks.
        """
        body: ButtonBody | None = None
        try:
            body = read_form(request, ButtonBody, max_bytes=_FORM_BYTES)
            check_origin(request)
            return self._press(body)
        except (HTTPException, ValidationError, RegistryError) as error:
            if not wants_page(request):
                raise
            reason, status = refusal(error)
            response = self._page(str(body.project) if body else None, refused=reason)
            response.status_code = status
            response.headers.extend(retry_header(error))
            return response

    def _page(self, project: str | None, *, message: str = "", refused: str = "") -> Response:
        """The page. `message`: what a button did, signed; `refused`: why one did nothing."""
        model_dir = self._settings.model_dir
        overview = read_overview(model_dir)
        projects, problems = overview.projects, list(overview.problems)
        problems += self._backend.champions.problems
        signer = tried(problems, lambda: Signer(model_dir), None)
        wanted = _project_id(project)
        chosen = next((status for status in projects if status.project_id == wanted), projects[-1] if projects else None)
        if project is not None and projects and (chosen is None or chosen.project_id != wanted):
            problems.append("The project that was asked for is not known here; this is another one.")
        view = (
            read_project_view(chosen, self._settings.studio, problems, shows_names=self._settings.annotator_names)
            if chosen
            else None
        )
        nonce = secrets.token_urlsafe(16)
        html = _template().render(
            nonce=nonce,
            view=view,
            choices=[Choice(status.project_id, status.name) for status in projects],
            problems=[" ".join(problem.split())[:600] for problem in problems],
            message=signer.read_message(message) if signer else "",
            refused=refused,
            token=signer.token(view.status.project_id, Seen(view.status.champion, view.generator.served))
            if signer and view
            else None,
            is_ready=self._backend.scheduler.is_ready,
            num_queued_prompts=tried([], lambda: self._backend.metrics.num_queued_prompts, None),
            engine=self._settings.generator.engine,
            has_key=self._settings.studio.has_key,
            label_studio=self._settings.studio.page,
            now=time.time(),
        )
        # Half an emoji in a damaged file is no UTF-8.
        response = Response(html.encode("utf-8", "replace"), content_type="text/html; charset=utf-8")
        response.headers |= {
            "Cache-Control": "no-store",
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
                "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
            ),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Referrer-Policy": "same-origin",  # without any, a browser says Origin: null of our own forms
            "X-Content-Type-Options": "nosniff",
        }
        return response

    def _press(self, body: ButtonBody) -> Response:
        signer = Signer(self._settings.model_dir)
        seen = signer.seen_by(body)
        nobody: list[int] = []
        known = tried([], lambda: [folder.project_id for folder in known_projects(self._settings.model_dir)], nobody)
        if body.project in known:
            message = press(body, self._settings, seen=seen)
        else:  # a request would make it known again
            message = f"Nothing was asked for: project {body.project} is not connected any more."
        return _go(f"./?project={body.project}&message={signer.message(message)}")


def wants_page(request: Request) -> bool:
    """Whether a browser asks. A program, which accepts anything or names nothing, gets JSON."""
    kinds = request.accept_mimetypes
    return kinds["text/html"] > kinds["application/json"]


@cache
def _template() -> Template:
    """The page's template, compiled once."""
    folder = FileSystemLoader([Path(__file__).parent / "templates", CHART_STYLE.parent])
    environment = Environment(loader=folder, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "per_cent": per_cent, "between": between, "short": short, "duration": duration, "moment": moment, "count": count,
        "points": points, "base": title, "name_of": name_of, "plural": plural,
    }  # fmt: skip
    environment.globals |= {"strip": strip, "legend_mark": legend_mark}
    return environment.get_template("dashboard.html.jinja")


def _go(address: str) -> Response:
    response = redirect(address, 303)
    assert isinstance(response, Response)
    response.headers["Cache-Control"] = "no-store"
    return response


def _project_id(text: str | None) -> int | None:
    try:
        return TypeAdapter[int](ProjectId).validate_python(text)
    except ValidationError:
        return None
