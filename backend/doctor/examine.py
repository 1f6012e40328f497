"""`pairloop-backend doctor`: looks at everything that the loop needs, and says what to do if something is wrong.

It changes nothing but what any /setup of Label Studio's changes, and prints no key and no secret.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from backend.doctor.check import Finding, run_checks
from backend.doctor.installation import Installation
from backend.doctor.installation_checks import INSTALLATION_CHECKS
from backend.doctor.judging_checks import JUDGING_CHECKS
from backend.doctor.project_checks import PROJECT_CHECKS, Examined
from backend.doctor.version_checks import VERSION_CHECKS
from preference.certificates import certificates
from preference.errors import SettingsError
from preference.projects.folder import ProjectFolder, known_projects
from preference.settings import Settings
from preference.studio.project import LabelStudioProject

_SIGNS = {True: ("✓", "+", "green"), False: ("✗", "x", "bold red"), None: ("–", "-", "dim")}  # noqa: RUF001
_PROJECT_CHECKS = (*PROJECT_CHECKS, *JUDGING_CHECKS, *VERSION_CHECKS)
_NAME_WIDTH = max(len(name) for checks in (INSTALLATION_CHECKS, _PROJECT_CHECKS) for name in (check.name for check in checks))


def examine(
    project_ids: Sequence[int] = (), *, environ: Mapping[str, str] | None = None, patience_seconds: float = 10,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Finding]:  # fmt: skip
    """A finding for each check, as soon as it is there: of the installation, then of each project.

    `project_ids`: those to look at; none means all that MODEL_DIR knows. `patience_seconds`: for Label Studio's answers.
    `clock` gives seconds.
    """
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        yield Finding(
            "settings", False, "; ".join(str(error).splitlines()), "correct these variables; docs/settings.md lists them all"
        )
        return
    yield Finding("settings", True, "all are valid")
    findings = list[Finding]()
    with httpx.Client(verify=certificates()) as web:
        installation = Installation(settings, web, patience_seconds, clock)
        for finding in run_checks(INSTALLATION_CHECKS, installation):
            findings.append(finding)
            yield finding
        chosen = list(project_ids) or _known(settings)
        if not chosen:
            yield Finding("project", None, "skipped: MODEL_DIR knows no project; name one with --project")
        for project_id in chosen:
            project = LabelStudioProject(settings.studio, project_id, patience_seconds=patience_seconds)
            examined = Examined(installation, project, ProjectFolder(settings.model_dir, project_id))
            prefix = f"project {project_id}: " if len(chosen) > 1 else ""
            yield from run_checks(_PROJECT_CHECKS, examined, before=findings, prefix=prefix)


def print_findings(findings: Iterable[Finding], console: Console | None = None) -> list[Finding]:
    """Prints each finding as soon as it is there: a tick or a cross, and below a cross what to do. Returns all of them."""
    console = console or Console(highlight=False)
    printed = list[Finding]()
    for finding in findings:
        printed.append(finding)
        sign, plain, style = _SIGNS[finding.ok]
        sign = sign if console.encoding.lower().startswith("utf") else plain
        fix = f"-> {finding.fix}" if finding.fix else ""
        if console.is_terminal:
            table = Table.grid("", Column(min_width=_NAME_WIDTH), "", padding=(0, 1))
            table.add_row(Text(sign, style), Text(finding.check, "bold"), Text(finding.sentence))
            if fix:
                table.add_row("", "", Text(fix, "yellow"))
            console.print(table)
        else:  # whole lines, for what reads a pipe
            console.out(sign, finding.check.ljust(_NAME_WIDTH), finding.sentence)
            if fix:
                console.out(" ", "".ljust(_NAME_WIDTH), fix)
    counts = {ok: sum(finding.ok is ok for finding in printed) for ok in _SIGNS}
    console.print(f"{len(printed)} checks: {counts[True]} well, {counts[False]} wrong, {counts[None]} skipped")
    return printed


def as_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The same for a program: check, ok (null if it was skipped), found (the sentence), fix."""
    return [{"check": each.check, "ok": each.ok, "found": each.sentence, "fix": each.fix} for each in findings]


def _known(settings: Settings) -> list[int]:
    try:
        return [folder.project_id for folder in known_projects(settings.model_dir)]
    except OSError:  # the check of MODEL_DIR reports it
        return []
