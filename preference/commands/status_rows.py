"""Projects and versions as the commands show them: as cells of a table, or as a sentence. What is not known is an empty cell."""

from datetime import UTC, datetime

from preference.projects.overview import LastRound, ProjectOverview, TrainerOverview, VersionOverview

# The last two of each are texts of any length.
PROJECT_HEADER = ("project", "champion", "versions", "waiting", "training", "requests", "last round", "problem")
VERSION_HEADER = ("project", "version", "champion", "recipe", "pairs", "accuracy", "verdict", "made champion")


def project_row(project: ProjectOverview, trainer: TrainerOverview) -> list[str]:
    """The cells of a project, by PROJECT_HEADER."""
    return [
        str(project.project),
        project.champion or "none yet",
        str(project.num_versions),
        "" if project.num_waiting is None else f"{project.num_waiting} of {trainer.num_needed}",
        f"for {_span(project.training_since)}" if project.training_since else "unfinished" if project.is_unfinished else "",
        ", ".join(project.requests),
        _ended(project.last_round) if project.last_round else "",
        project.problem,
    ]


def version_row(version: VersionOverview) -> list[str]:
    """The cells of a version, by VERSION_HEADER; the accuracy with its 95 % interval."""
    accuracy = "" if version.accuracy is None else f"{version.accuracy:.3f}"
    if version.accuracy is not None and version.interval is not None:
        accuracy += f" ({version.interval[0]:.3f} to {version.interval[1]:.3f})"
    return [
        str(version.project),
        version.version,
        "*" if version.is_champion else "",
        version.recipe,
        "" if version.num_pairs is None else str(version.num_pairs),
        accuracy,
        f"{version.verdict}: {version.reason}",
        "; ".join(_promoted(entry) for entry in version.promotions),
    ]


def forecast(project: ProjectOverview, trainer: TrainerOverview) -> str:
    """What begins the project's next round."""
    if project.training_since is not None:
        return f"a round is running for {_span(project.training_since)}"
    if "train" in project.requests:
        return "a round is asked for"
    if project.is_unfinished:
        return "a round began and has not ended"
    waiting = "new judgements are not counted yet" if project.num_waiting is None else f"{project.num_waiting} new judgements"
    schedule = ""
    if trainer.next_round_at is not None:
        schedule = (
            f"; the schedule ({trainer.schedule}) looks at {_shown(trainer.next_round_at)}, in {_span(trainer.next_round_at)}"
        )
    return f"{waiting}, {trainer.num_needed} start a round{schedule}"


def _ended(last: LastRound) -> str:
    what = " ".join(filter(None, [last.outcome, last.version]))
    at = f", {_shown(last.at)}" if last.at else ""
    return f"{what}{at}: {last.reason}"


def _promoted(entry: dict[str, str | None]) -> str:
    after = f" after {entry['before']}" if entry["before"] else ""
    why = f": {entry['reason']}" if entry["reason"] else ""
    at = (entry["at"] or "")[:16].replace("T", " ")
    return f"{at} UTC by {entry['by']}{after}{why}"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(moment: datetime) -> str:
    """How far a moment is from now, either way."""
    seconds = abs((moment - datetime.now(UTC)).total_seconds())
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.0f} h"
