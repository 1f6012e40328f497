"""The page at /: the loop of a project as it stands, its champion's report card, and three buttons.

Covered: it waits neither for Label Studio nor for a model, and is shown whatever lies in MODEL_DIR, or nothing; every text on it
is escaped; it loads nothing, and runs no script but its own; no other page may frame it.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from flask import Request, Response, redirect
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from pydantic import TypeAdapter, ValidationError
from werkzeug.exceptions import HTTPException

from backend.bodies import ButtonBody, ProjectId, read_form
from backend.buttons import Signer, check_origin, press, refusal, retry_header
from backend.charts import Chart, learning_chart, length_chart, reliability_chart, strip, versions_chart
from backend.loop import Loop, read_loop
from backend.report_card import Report, ReportCard, Share, read_card
from backend.standings import Standing, standings
from backend.suggestions import Effect, effect_in, shares_in, warning_in
from backend.wiring import Backend
from backend.wording import between, count, duration, moment, per_cent, points, short
from preference.backbone import title
from preference.errors import RegistryError
from preference.registry import Registry
from preference.standing import read_project

_FORM_BYTES = 16 * 1024
_SHOWN_ROUNDS, _SHOWN_SHARES = 8, 16
_RULES = [
    ("longer", "longer_wins", "The longer answer wins"),
    ("shorter", "shorter_wins", "The shorter answer wins"),
    ("style", "style_only", "Style alone decides"),
]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Choice:
    """One project to choose."""

    id: int
    name: str


@dataclass(frozen=True)
class Bar:
    """One row of the comparison: who, how accurate, and with which mark it is drawn."""

    name: str
    share: Share
    look: str


@dataclass(frozen=True)
class Shown:
    """All that is shown of one project."""

    id: int
    name: str
    link: str
    loop: Loop
    champion: str | None
    before: str | None  # the version that a rollback would serve
    versions: list[str]
    card: ReportCard | None  # of the champion, or of the latest version where there is none
    rounds: list[ReportCard]  # latest first
    charts: list[Chart]

    @property
    def bars(self) -> list[Bar]:
        """The card's accuracy beside what it is to be compared with."""
        return _comparison(self.card) if self.card else []

    @property
    def latest(self) -> ReportCard | None:
        """The card of the newest round, promoted or not: it knows all that people said, and how the champion's suggestions did."""
        return self.rounds[0] if self.rounds else self.card

    @property
    def followed(self) -> list[tuple[str, Share]]:
        """How often suggestions are followed, by what the card tells apart."""
        return list(islice(shares_in(self.latest.report.suggestions), _SHOWN_SHARES)) if self.latest else []

    @property
    def effect(self) -> Effect | None:
        """Judgements with a suggestion beside those without."""
        return effect_in(self._of_suggestions)

    @property
    def warning(self) -> str:
        """The card's warning that suggestions move people, if it has one."""
        return warning_in(self._of_suggestions)

    @property
    def _of_suggestions(self) -> dict[str, Any]:
        report = self.latest.report if self.latest else Report()
        return {"effect": report.suggestion_effect, "followed": report.suggestions}


class Dashboard:
    """The page of one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._settings = backend.settings

    def page(self, request: Request) -> Response:
        """The page for a browser; ?project=ID chooses, and without it the newest is shown."""
        return self._page(request.args.get("project"), said=request.args.get("said", ""))

    def pressed(self, request: Request) -> Response:
        """Back to the page, which says what came of a button; where it is refused, the page itself, with the reason.

        Raises:
            HTTPException, ValidationError, RegistryError: it is refused, and no browser asks.
        """
        body: ButtonBody | None = None
        try:
            body = read_form(request, ButtonBody, max_bytes=_FORM_BYTES)
            check_origin(request, self._settings)
            return self._press(body)
        except (HTTPException, ValidationError, RegistryError) as error:
            if not wants_page(request):
                raise
            reason, status = refusal(error)
            response = self._page(str(body.project) if body else None, refused=reason)
            response.status_code = status
            response.headers.extend(retry_header(error))
            return response

    def _page(self, project: str | None, *, said: str = "", refused: str = "") -> Response:
        """The page. `said`: what came of a button, signed; `refused`: why one did nothing."""
        model_dir = self._settings.model_dir
        found, problems = standings(model_dir)
        champions = self._backend.champions.all().items()
        problems += [f"Project {project_id}: {champion.problem}" for project_id, champion in champions if champion.problem]
        signer = _tried(problems, lambda: Signer(model_dir), None)
        wanted = _project_id(project)
        chosen = next((standing for standing in found if standing.project_id == wanted), found[-1] if found else None)
        if project is not None and found and (chosen is None or chosen.project_id != wanted):
            problems.append("The project that was asked for is not known here; another one is shown.")
        shown = self._shown(chosen, problems) if chosen else None
        nonce = secrets.token_urlsafe(16)
        html = _template().render(
            nonce=nonce,
            shown=shown,
            choices=[Choice(standing.project_id, self._name(standing)) for standing in found],
            problems=[" ".join(problem.split())[:600] for problem in problems],
            said=signer.said(said) if signer else "",
            refused=refused,
            token=signer.token(shown.id, shown.champion) if signer and shown else None,
            is_ready=self._backend.scheduler.is_ready,
            num_waiting=_tried([], lambda: self._backend.metrics.num_jobs_waiting, None),
            engine=self._settings.generator_engine,
            has_key=bool(self._settings.label_studio_api_key.get_secret_value()),
            label_studio=self._settings.label_studio_page,
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
        champion = signer.champion_of(body)
        if body.project in (standing.project_id for standing in standings(self._settings.model_dir)[0]):
            said = press(body, self._settings, champion=champion)
        else:  # a request would make it known again
            said = f"Nothing was asked for: project {body.project} is not connected any more."
        return _go(f"./?project={body.project}&said={signer.message(said)}")

    def _shown(self, standing: Standing, problems: list[str]) -> Shown:
        model_dir = self._settings.model_dir
        registry = Registry(model_dir, standing.project_id)
        nothing: list[str] = []
        no_charts: list[Chart | None] = []
        versions = _tried(problems, registry.versions, nothing)
        cards = [_card(registry, version, problems) for version in reversed(versions[-_SHOWN_ROUNDS:])]
        rounds = [card for card in cards if card is not None]
        champion = next((card for card in rounds if card.version == standing.champion), None)
        if champion is None and standing.champion in versions[:-_SHOWN_ROUNDS]:
            champion = _card(registry, standing.champion or "", problems)
        elif standing.champion is not None and standing.champion not in versions:
            problems.append(f"The champion {standing.champion!r} is not among the versions; roll back, or promote another one.")
        card = champion or (None if standing.champion else next(iter(rounds), None))
        return Shown(
            standing.project_id,
            self._name(standing),
            f"{self._settings.label_studio_page}/projects/{standing.project_id}",
            read_loop(registry, model_dir, filling=standing.filling),
            standing.champion,
            _tried(problems, lambda: _before(registry, versions), None),
            versions,
            card,
            rounds,
            [chart for chart in _tried(problems, lambda: _charts(card, rounds), no_charts) if chart is not None],
        )

    def _name(self, standing: Standing) -> str:
        title = read_project(Registry(self._settings.model_dir, standing.project_id)).get("title")
        return title.strip()[:80] if isinstance(title, str) and title.strip() else f"Project {standing.project_id}"


def wants_page(request: Request) -> bool:
    """Whether a browser asks; a program, which names no kind or any, gets JSON."""
    kinds = request.accept_mimetypes
    return kinds["text/html"] > kinds["application/json"]


@cache
def _template() -> Template:
    """The page's template, compiled once."""
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=folder, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "per_cent": per_cent, "between": between, "short": short, "duration": duration, "moment": moment, "count": count,
        "points": points, "base": title,
    }  # fmt: skip
    environment.globals["strip"] = strip
    return environment.get_template("dashboard.html.jinja")


def _go(address: str) -> Response:
    response = redirect(address, 303)
    assert isinstance(response, Response)
    response.headers["Cache-Control"] = "no-store"
    return response


def _tried(problems: list[str], read: Callable[[], _T], otherwise: _T) -> _T:
    """What is read; where something in MODEL_DIR is damaged, or away, one sentence says so."""
    try:
        return read()
    except RegistryError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename} cannot be read ({error.strerror}).")
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        problems.append(f"Something in MODEL_DIR is not what it should be ({type(error).__name__}).")
    return otherwise


def _card(registry: Registry, version: str, problems: list[str]) -> ReportCard | None:
    return _tried(problems, lambda: read_card(registry.card(version), version), None)


def _before(registry: Registry, versions: Sequence[str]) -> str | None:
    before = registry.champion_before() if registry.champion() is not None else None
    return before if before in versions else None


def _project_id(text: str | None) -> int | None:
    try:
        return TypeAdapter[int](ProjectId).validate_python(text)
    except ValidationError:
        return None


def _charts(card: ReportCard | None, rounds: Sequence[ReportCard]) -> list[Chart | None]:
    if card is None:
        return []
    newest = rounds[0] if rounds else card  # which knows of all before it
    rows = {row.version: row for row in newest.report.versions} | {newest.version: newest.row}
    people = card.report.people
    return [
        versions_chart(list(rows.values()), people.agreement if people else None),
        reliability_chart(card.report.reliability),
        length_chart(card.report.length),
        learning_chart(card.report.learning_curve, card.metrics),
    ]


def _comparison(card: ReportCard) -> list[Bar]:
    metrics, people = card.metrics, card.report.people
    bars = [Bar("This version", Share(value=metrics.accuracy, interval=metrics.interval), "model dot")]
    if (control := card.report.control_accuracy) and control.this:
        bars.append(Bar("This version, where nothing was suggested", control.this, "model ring"))
    if metrics.champion is not None:
        bars.append(
            Bar(f"The champion before it, {short(card.compared_with or '')}", Share(value=metrics.champion), "model ring")
        )
    if people and people.agreement:
        bars.append(Bar("Two annotators agree", people.agreement, "people dot"))
    for name, figure, sentence in _RULES:
        bars.append(Bar(sentence, metrics.baselines.get(name) or Share(value=getattr(metrics, figure)), "rule dot"))
    return [bar for bar in bars if bar.share.value is not None]
