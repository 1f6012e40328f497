"""Which project gets a round now: after a training request, after a round that was killed, on enough new judgements."""

import logging
import time
from collections.abc import Callable, Iterable, Set
from contextlib import suppress
from typing import Any

from preference.errors import PairloopError, RegistryError
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.guidelines import note_instruction
from preference.projects.problems import ProjectProblems
from preference.projects.status_files import ProjectCounts, write_project_counts
from preference.projects.versions import Versions
from preference.setting_groups import StudioSettings
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.daemon.failures import Failures
from trainer.daemon.first_round import FirstRounds, ReadEvidence, evidence_by
from trainer.judgements.new_judgements import NewJudgements
from trainer.rounds.lock import is_running
from trainer.rounds.outcome import Round
from trainer.rounds.unfinished import MAX_ATTEMPTS, UnfinishedRound

logger = logging.getLogger("pairloop.daemon")
# What is written of a project, and Label Studio's name for it.
_FIELDS = {
    "title": "title",
    "num_tasks": "task_number",
    "num_judged_tasks": "num_tasks_with_annotations",
    "num_judgements": "total_annotations_number",
}
RunRound = Callable[[LabelStudioProject, ProjectFolder], Round]
OpenProject = Callable[[StudioSettings, int], LabelStudioProject]


def open_project(studio: StudioSettings, project_id: int) -> LabelStudioProject:
    """A project to look at. If Label Studio does not answer now, it is asked again at the next look."""
    return LabelStudioProject.for_command(studio, project_id)


class DueRounds:
    """Decides which projects get a round now."""

    def __init__(
        self, settings: Settings, run_round: RunRound, *, open_project: OpenProject = open_project,
        clock: Callable[[], float] = time.time, read_evidence: ReadEvidence | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._run_round, self._open_project, self._clock = settings, run_round, open_project, clock
        self.is_stopping = False
        # project id -> the name of its latest version, and the judgements that are new since that
        self._new: dict[int, tuple[str | None, NewJudgements]] = {}
        self._failures: dict[int, Failures] = {}
        self._first_rounds = FirstRounds(read_evidence or evidence_by(settings, clock))
        self.problems = ProjectProblems(settings.model_dir, "trainer", logger)
        self._written: dict[int, ProjectCounts] = {}  # project id -> what was written of it last

    def scheduled(self) -> None:
        """A round for each project with a judgement that was made or edited since its latest version, if its first can end."""
        self._each(1)

    def look(self) -> None:
        """A round for each project that asked for one, whose last one was killed, or that has MIN_NEW_PAIRS new judgements.

        A first round begins as soon as it can end with a verdict, and not before, however many judgements there are.
        """
        self._each(self._settings.training.min_new_pairs, is_due_at_once=_is_asked_for)

    def _each(self, num_needed: int, *, is_due_at_once: Callable[[ProjectFolder], bool] = lambda folder: False) -> None:
        """`num_needed`: new judgements of a project that start a round of it."""
        looked_at = set()
        for folder in known_projects(self._settings.model_dir):
            if self.is_stopping:
                return
            looked_at.add(folder.project_id)
            try:
                self._consider(folder, 0 if is_due_at_once(folder) else num_needed)
                self.problems.note(folder.project_id, "look")
            except (PairloopError, OSError) as error:
                self.problems.note(folder.project_id, "look", str(error))
            except Exception:  # the outermost call: what fails one project must not stop the others
                self.problems.note(folder.project_id, "look", "the trainer failed to look at it", has_trace=True)
        self._forget_all_but(looked_at)

    def _forget_all_but(self, project_ids: Set[int]) -> None:
        """A project whose folder was deleted begins anew if it comes back, without the waits of the one before."""
        known: Iterable[dict[int, Any]] = (self._new, self._failures, self._written)
        for by_project in known:
            for project_id in by_project.keys() - project_ids:
                del by_project[project_id]
                self._first_rounds.forget(project_id)

    def _consider(self, folder: ProjectFolder, num_needed: int) -> None:
        self._end_killed_round(folder)
        if folder.project_id not in self._failures:
            self._failures[folder.project_id] = Failures.of_earlier_trainer(folder.path)
        project = self._open_project(self._settings.studio, folder.project_id)
        state = project.read()
        with suppress(RegistryError):  # written at the next look; `status` names a damaged file
            note_instruction(folder, state.get("expert_instruction"), now=self._clock())
        num_annotations = int(state.get("total_annotations_number") or 0)
        latest, new_judgements = self._since_latest_version(folder)
        num_new = new_judgements.count(project, num_annotations)
        failures = self._failures[folder.project_id] = self._failures[folder.project_id].unless_well(folder.path)
        not_before = failures.waits_until(self._clock())
        is_first = not Versions(folder).has_trained
        missing = self._first_rounds.missing(project, folder, num_annotations) if is_first else None
        known = {name: state.get(field) for name, field in _FIELDS.items()}
        counts = ProjectCounts(num_new_judgements=num_new, not_before=not_before, missing=missing or None, **known)
        self._write(folder, counts)
        if missing is not None:
            num_needed = min(num_needed, self._settings.training.min_pairs)
        if num_new < num_needed or (num_needed and (missing or not_before is not None)):
            return
        cause = f"{num_new} new judgements" if num_needed else "a training request"
        ended = self._run(project, folder, counts, cause=cause, is_asked_for=num_needed == 0)
        if ended.outcome == "skipped":  # it would end the same again
            self._new[folder.project_id] = (latest, new_judgements.later(num_annotations))
        self._failures[folder.project_id] = failures = failures.then(ended, now=self._clock())
        if failures.num and not _may_be_taken_up(UnfinishedRound(folder)):
            logger.info("project %d: %s", folder.project_id, failures)

    def _run(
        self, project: LabelStudioProject, folder: ProjectFolder, counts: ProjectCounts, *, cause: str, is_asked_for: bool
    ) -> Round:  # fmt: skip
        """How a round ended that begins now."""
        unfinished = UnfinishedRound(folder)
        if unfinished.exists and unfinished.num_attempts:
            cause = "the one before was killed"
        logger.info("project %d: round begins (%s)", folder.project_id, cause)
        unfinished.announce()  # what is killed from here on is taken up
        is_asked_for = folder.take_request("train") or is_asked_for
        self._write(folder, counts.model_copy(update={"training_since": round(self._clock(), 1)}))
        try:
            ended = self._run_round(project, folder)
        except (PairloopError, OSError):
            if is_asked_for:  # it stays asked for
                with suppress(RegistryError):
                    folder.request("train")
            raise
        finally:
            self._write(folder, counts)
        if unfinished.exists and not unfinished.num_attempts:  # its process could not even begin, and logged that
            unfinished.remove()
        return ended

    def _end_killed_round(self, folder: ProjectFolder) -> None:
        """Corrects the file of a trainer that was killed in a round, which says that the round is running.

        That comes before Label Studio is asked, which may not answer.
        """
        if folder.project_id in self._written:
            return
        with suppress(OSError):  # written at the next look
            counts = ProjectCounts.read(folder.path)
            if counts.training_since is not None:
                self._write(folder, counts.model_copy(update={"training_since": None}))

    def _write(self, folder: ProjectFolder, counts: ProjectCounts) -> None:
        if self._written.get(folder.project_id) == counts and (folder.path / "waiting.json").exists():  # it may have been deleted
            return
        with suppress(OSError):  # written at the next look; the round matters more
            write_project_counts(folder, counts)
            self._written[folder.project_id] = counts

    def _since_latest_version(self, folder: ProjectFolder) -> tuple[str | None, NewJudgements]:
        """The latest version's name, and the judgements that are new since it was trained, promoted or not.

        A damaged card does not count: it must not keep the project from the round that would replace its version.
        """
        versions = Versions(folder)
        latest, known = next(reversed(versions.all()), None), self._new.get(folder.project_id)
        if known is None or known[0] != latest:
            known = self._new[folder.project_id] = (latest, NewJudgements.since(next(versions.cards(), None)))
        return known


def _is_asked_for(folder: ProjectFolder) -> bool:
    """Whether a round is to begin whatever the number of new judgements."""
    return folder.is_requested("train") or _is_to_be_taken_up(folder)


def _is_to_be_taken_up(folder: ProjectFolder) -> bool:
    """Whether a round was killed before it ended and may be tried again; one that may not is removed."""
    unfinished = UnfinishedRound(folder)
    if not unfinished.exists or is_running(folder):
        return False
    if _may_be_taken_up(unfinished):
        return True
    unfinished.give_up()
    return False


def _may_be_taken_up(unfinished: UnfinishedRound) -> bool:
    return unfinished.exists and unfinished.num_attempts < MAX_ATTEMPTS
