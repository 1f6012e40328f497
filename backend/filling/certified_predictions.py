"""Predictions that are marked as certified: the champion's side of open tasks that its certificate covers (CERTIFIED_PREDICTIONS).

They stand beside the version's own predictions, under the name `Certificate.mark`. The label stream shows the predictions of the version
that the project shows, and no other. The page of one task lists all, and judges from that version's (measured on label-studio 1.23.2).
Covered: control tasks and duels, which get none: their judgements audit the certificate, and stay blind; repeats, likewise; a certificate that is
withdrawn, also while a pass marks, silent, damaged or replaced, another champion, and the setting turned off: then all of its predictions are taken back; new tasks of which
the version is less sure than of those that were judged blind.
Not covered: what somebody judges keeps its mark until the certificate ends; a task that is edited keeps it, too.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from backend.filling.shown_version import ShownVersion
from backend.scoring.champion import ServedVersion
from backend.scoring.prediction_store import PredictionStore
from backend.scoring.predictions import Prediction
from preference.duels.duel import KEY
from preference.errors import StudioError
from preference.labelling.control_group import ControlGroup
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt
from preference.labelling.results import suggestion
from preference.labelling.task_pairs import question_of
from preference.projects.folder import ProjectFolder
from preference.report_card.certificate import Certificate, read_certificates, read_standing
from preference.setting_groups import SuggestingSettings
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task, entry_of

logger = logging.getLogger("pairloop.filling")
_MARKED_TOGETHER = 100
_LESS_SURE = 0.01


class CertifiedPredictions:
    """Those of one pass over a project."""

    def __init__(
        self, project: LabelStudioProject, folder: ProjectFolder, layout: LabelingLayout, store: PredictionStore, *,
        serving: ServedVersion | None, suggesting: SuggestingSettings, shown: ShownVersion, now: float,
    ) -> None:  # fmt: skip
        """`now`: seconds since 1970."""
        self._folder, self._began, self._now = folder, time.monotonic(), now
        self._project, self._layout, self._store, self._serving, self._shown = project, layout, store, serving, shown
        self.problem = ""  # why nothing is marked or taken back; answers and scores do not wait for that
        self._marks = set[str]()
        self._live: Certificate | None = None
        try:
            # Of all looks: what a damaged file certified is not known.
            self._marks = {known.mark for known in read_certificates(folder.path)}
            if serving and layout.ranker is None and suggesting.certified_predictions:
                self._live = _live(folder, serving, now=now)
        except OSError as error:
            self.problem = f"{error.filename} cannot be read ({error.strerror}); fix or remove it"
        self._blind = ControlGroup(
            suggesting.control_percent, serving.holdout if serving and not suggesting.suggest_held_out else None
        )

    def mark_all(self, should_end: Callable[[], bool]) -> bool:
        """Takes back those of other certificates, and marks all open tasks that are covered. Returns whether it finished.

        A process does that once for each certificate: later tasks are marked as they are scored.

        Raises:
            StudioError: Label Studio does not answer.
        """
        try:
            return bool(self.problem) or self._mark_all(should_end)
        except StudioError as error:  # all else can be done without it; the next pass tries again
            if not error.is_of_one_call:
                raise
            self.problem = f"certified predictions are not as the certificate says: {error}"
            return True

    def mark_scored(self, tasks: Sequence[Task]) -> None:
        """Marks those of tasks that were just scored that are covered."""
        if self._live is not None and self._shown.certified == self._live.mark:
            self._mark(tasks)

    def _mark_all(self, should_end: Callable[[], bool]) -> bool:
        shown, name, of = self._shown, self._live.mark if self._live else "", self._project.id
        if self._marks and name != shown.certified:
            # Its own, too: with another CONTROL_PERCENT, some of these tasks are to be blind.
            for mark, count in self._project.model_versions().items():
                if mark in self._marks:
                    self._project.remove_predictions(mark)
                    logger.info("project %d: %d predictions of %s are taken back", of, count, mark)
            shown.certified, shown.marked_to = name, 0
        while self._live is not None and shown.marked_to is not None and shown.certified == name:
            page = list(self._project.open_tasks(above=shown.marked_to, most=_MARKED_TOGETHER))
            self._mark(page)
            shown.marked_to = page[-1]["id"] if page else None
            if should_end():
                return False
        if self._store.num_stored:
            logger.info("project %d: %d open tasks are marked as %s", of, self._store.num_stored, name)
        return True

    def _mark(self, tasks: Sequence[Task]) -> None:
        live, serving, layout = self._live, self._serving, self._layout
        if live is None or serving is None:
            return
        if not self._still_stands(live, serving):
            self._shown.certified = None  # the next pass takes back what is marked, and marks anew what this one leaves out
            return
        asked = [(task, prompt, texts) for task in tasks if (prompt := self._prompt(task)) is not None
                 and (texts := layout.comparable_answers(task["data"]))]  # fmt: skip
        rewards = serving.model.score(
            [p for _, p, texts in asked for _ in texts], [text for *_, texts in asked for text in texts]
        )
        covered: dict[int, Prediction] = {}
        for (task, *_), (left, right) in zip(asked, rewards.reshape(-1, 2).tolist(), strict=True):
            sure = serving.model.confidence(left, right)
            if math.isfinite(left) and math.isfinite(right) and sure >= (live.certified_from or 1.0):
                side = suggestion(layout, task["data"], [left, right], show_rewards=False)
                covered[task["id"]] = {"result": side, "score": sure, "model_version": live.mark}
        if covered and not _are_less_sure([prediction["score"] for prediction in covered.values()], live):
            self._store.store(tasks, [covered.get(task["id"], []) for task in tasks])

    def _still_stands(self, live: Certificate, serving: ServedVersion) -> bool:
        """Whether no audit has ended it since the pass began, which may be hours ago. False also if that cannot be read now."""
        try:
            known = _live(self._folder, serving, now=self._now + time.monotonic() - self._began)
        except OSError:  # the next pass says so
            return False
        return known is not None and known.mark == live.mark

    def _prompt(self, task: Task) -> Prompt | None:
        """The prompt of a task that the version can decide and that need not stay blind."""
        prompt, texts = self._layout.prompt(task["data"]), self._layout.comparable_answers(task["data"])
        if prompt is None or len(texts) != 2 or texts[0].strip() == texts[1].strip():
            return None
        if entry_of(task, META_KEY).get(KEY) or repeat_of(task) is not None:
            return None
        return None if self._blind.has(task["id"], question_of(prompt, texts)) else prompt


def _live(folder: ProjectFolder, serving: ServedVersion, *, now: float) -> Certificate | None:
    """The certificate that covers open tasks at this moment; raises OSError if a file may not be read."""
    standing = read_standing(folder.path, serving.version, now=now)
    return standing.certificate if standing and not standing.problem else None


def _are_less_sure(confidence: Sequence[float], certificate: Certificate) -> bool:
    """Whether the version is less sure of these tasks than of those that were judged blind, among those that are covered.

    As OpenTasks.are_less_sure_than in trainer/certifying, whose judged ones the curve has by a hundredth.
    """
    from scipy.stats import mannwhitneyu  # which takes a second to import, and most projects have no certificate

    above = [point for point in certificate.curve if point.threshold >= (certificate.certified_from or 1.0)]
    judged = [point.threshold for point, num in zip(above, -np.diff([*(point.count or 0 for point in above), 0]), strict=True) for _ in range(num)]  # fmt: skip
    covered = np.floor(np.array(confidence) * 100) / 100
    return len(judged) > 0 and bool(mannwhitneyu(covered, judged, alternative="less").pvalue < _LESS_SURE)
