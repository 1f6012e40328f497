"""Projects and versions as the commands show them: as cells of a table, or as a sentence. What is not known is an empty cell."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from preference.commands.version_summary import VersionSummary
from preference.formatting import duration, plural
from preference.projects.status import ProjectStatus, TrainerStatus, moment, outcome_in_words
from preference.projects.status_files import LastRound

if TYPE_CHECKING:
    from preference.report_card.card import Promotion

# The last five of a project and the last two of a version are texts of any length.
PROJECT_HEADER = (
    "project",
    "champion",
    "versions",
    "waiting",
    "training",
    "requests",
    "last round",
    "last alignment",
    "problem",
    "guidelines",
    "certificate",
)
VERSION_HEADER = ("project", "version", "champion", "recipe", "pairs", "accuracy", "verdict", "made champion")
NO_WEIGHTS = " (its weights were removed under KEEP_VERSIONS)"


def project_row(status: ProjectStatus) -> list[str]:
    """The cells of a project, by PROJECT_HEADER."""
    num_new = status.num_new_judgements
    return [
        str(status.project_id),
        status.champion or "none yet",
        str(len(status.versions)),
        status.counts.missing or ("" if num_new is None else f"{num_new} of {status.trainer.num_needed}"),
        "; ".join(_work(status)),
        ", ".join(status.requests),
        _ended(status.last_round) if status.last_round.outcome else "",
        _ended(status.last_alignment) if status.last_alignment.outcome else "",
        "; ".join(status.problems),
        status.guidelines,
        str(status.certified or ""),
    ]


def project_values(status: ProjectStatus) -> dict[str, Any]:
    """A project for programs."""
    return {
        "project": status.project_id,
        "title": status.counts.title,
        "champion": status.champion,
        "num_versions": len(status.versions),
        "num_waiting": status.num_new_judgements,
        "missing": status.counts.missing,
        "training_since": status.training_since,
        "is_training": status.is_training,
        "is_unfinished": status.is_unfinished,
        "is_aligning": status.is_aligning,
        "is_measuring": status.is_measuring,
        "interrupted": status.interrupted,
        "requests": status.requests,
        "last_round": _last_values(status.last_round),
        "last_alignment": _last_values(status.last_alignment),
        "problem": "; ".join(status.problems),
        "guidelines": status.guidelines,
        "certificate": str(status.certified or ""),
    }


def version_row(version: VersionSummary) -> list[str]:
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
        f"{version.verdict}: {version.reason}{'' if version.has_weights else NO_WEIGHTS}",
        "; ".join(promoted_in_words(entry) for entry in version.promotions),
    ]


def alignments_in_words(trainer: TrainerStatus) -> str:
    """When the trainer lets generators learn; empty if it never does by itself."""
    if not trainer.align_schedule:
        return ""
    at = moment(trainer.next_alignment_at)
    return f"alignments: on schedule ({trainer.align_schedule})" + (f", next at {_as_text(at)}, in {_span(at)}" if at else "")


def forecast(status: ProjectStatus) -> str:
    """What begins the project's next round."""
    trainer, num_new = status.trainer, status.num_new_judgements
    if status.training_since is not None:
        return f"a round is running for {_span(status.training_since)}"
    if "train" in status.requests:
        return "a round is asked for"
    if status.is_training:
        return "a round is running, which a command began"
    if "round" in status.interrupted:
        return "a round was interrupted, and the next one takes it up"
    new = "new judgements are not counted yet" if num_new is None else f"{num_new} new {plural(num_new, 'judgement')}"
    at = moment(trainer.next_round_at)
    schedule = f"; the schedule ({trainer.schedule}) looks at {_as_text(at)}, in {_span(at)}" if at else ""
    after = moment(status.counts.not_before)
    wait = f"; not before {_as_text(after)}, as the last one failed" if after and after > datetime.now(UTC) else ""
    if status.counts.missing:
        return f"{new}; the first round has {status.counts.missing}{wait}"
    return f"{new}, {trainer.num_needed} start a round{schedule}{wait}"


def _work(status: ProjectStatus) -> Iterator[str]:
    """What is done for the project now, and what was to be done and was killed."""
    if (since := status.training_since) is not None:
        yield f"for {_span(since)}"
    elif status.is_training:
        yield "running"
    if status.is_aligning:
        yield "aligning"
    if status.is_measuring:
        yield "measuring best of n"
    for name in status.interrupted:
        yield f"{name} interrupted, the next one takes it up"


def _last_values(last: LastRound) -> dict[str, Any] | None:
    return {**last.model_dump(), "at": moment(last.at)} if last.outcome else None


def _ended(last: LastRound) -> str:
    what = " ".join(filter(None, [outcome_in_words(last.outcome), last.version]))
    at = f", {_as_text(ended)}" if (ended := moment(last.at)) else ""
    return f"{what}{at}: {last.reason}"


def promoted_in_words(promotion: "Promotion") -> str:
    """When a version became the served one, by whom, after which, and why."""
    after = f" after {promotion.before}" if promotion.before else ""
    why = f": {promotion.reason}" if promotion.reason else ""
    at = (promotion.at or "")[:16].replace("T", " ")
    return f"{at} UTC by {promotion.by}{after}{why}"


def _as_text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(moment: datetime) -> str:
    """How far a moment is from now, either way."""
    return duration(abs((moment - datetime.now(UTC)).total_seconds()))
