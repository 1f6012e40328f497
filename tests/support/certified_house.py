"""A project whose champion prefers longer answers, with tasks that people judge blind: what certificates are made of."""

from pathlib import Path
from typing import Any

import torch

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.certificate import Certificate, Standing, read_standing
from preference.reward_model.extractors import Extractors
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.annotations import TIE, vote, vote_with
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version
from trainer.certifying.certify import certify
from trainer.rounds.audit import audit
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs

DAY = 24 * 3600.0
SURE, UNSURE = 9, 2  # how many words the longer answer has more: the champion is .97 and .83 sure


class CertifiedHouse:
    """All tasks are in the control group, and are judged after the champion was published, unless a test says otherwise."""

    def __init__(self, studio: StudioDouble, settings_for: SettingsFactory, base: Path) -> None:
        settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
        every = settings.suggesting.model_copy(update={"control_percent": 100})  # more than the setting takes
        self.settings = settings.model_copy(update={"suggesting": every})
        self.studio = studio
        self.project = LabelStudioProject(self.settings.studio, studio.add_project(), patience_seconds=5)
        self.folder = ProjectFolder(self.settings.model_dir, self.project.id)
        self.extractors = Extractors(self.settings.model_dir, torch.device("cpu"))
        self._base, self._num_tasks = base, 0
        self.now = 0.0
        self.champion = self.publish()

    def publish(self) -> str:
        """A new champion, an hour after all that was judged."""
        read = [annotation["id"] for task in self.studio.tasks.values() for annotation in task["annotations"]]
        version = publish_version(self.folder, self._base, weight=2.0, newest_annotation=max(read, default=0))
        Versions(self.folder).promote(version)
        self.now = max(self.now, self.studio.clock()) + 3600
        self.studio.clock = lambda: self.now
        return version

    def add(self, count: int, *, more_words: int = SURE, prompt: str = "Tell me of thing {}.") -> list[int]:
        """Open tasks, scored blind; the longer answer stands on either side."""
        ids = []
        for number in range(self._num_tasks, self._num_tasks + count):
            long, short = " ".join(["yes"] * (3 + more_words)), "no no no"
            left, right = (long, short) if number % 2 else (short, long)
            ids += self.studio.add_tasks(self.project.id, {"prompt": prompt.format(number), "answer1": left, "answer2": right})
        self._num_tasks += count
        self.project.store_predictions(
            [{"task": task_id, "result": [], "score": 0.6, "model_version": self.champion} for task_id in ids]
        )
        return ids

    def judge(self, ids: list[int], *, agreeing: int, ties: int = 0, is_blind: bool = True) -> None:
        """People choose the longer answer of the first `agreeing` tasks, call the next `ties` ties, and choose the other one of the rest."""
        for place, task_id in enumerate(ids):
            task = self.studio.tasks[task_id]
            longer = "left" if len(task["data"]["answer1"]) > len(task["data"]["answer2"]) else "right"
            side = longer if place < agreeing else "right" if longer == "left" else "left"
            judged = vote_with(TIE) if agreeing <= place < agreeing + ties else vote(side)
            parent = task["predictions"][-1]["id"] if is_blind else None
            self.studio.annotate(task_id, judged["result"], parent_prediction=parent)

    def context(self, **changes: Any) -> RoundContext:
        settings = self.settings
        for group in ("suggesting", "training"):
            own = {name: value for name, value in changes.items() if hasattr(getattr(settings, group), name)}
            settings = settings.model_copy(update={group: getattr(settings, group).model_copy(update=own)})
        return RoundContext(self.project, self.folder, settings, self.extractors, clock=lambda: self.now)

    def be_sure_of_half(self) -> None:
        """Thirty judged tasks that people agree on with the champion, thirty of which it is unsure, and a certificate for the first."""
        self.judge(self.add(30), agreeing=30)
        self.judge(self.add(30, more_words=UNSURE), agreeing=12)
        self.certify()

    def certify(self, *, target: float = 0.8, confidence: float = 0.9, **changes: Any) -> Certificate:
        return certify(self.context(**changes), target=target, confidence=confidence)

    def standing(self, *, days: float = 0) -> Standing | None:
        return read_standing(self.folder.path, Versions(self.folder).champion(), now=self.now + days * DAY)

    def audit(self, **changes: Any) -> None:
        context = self.context(**changes)
        audit(context, read_pairs(context))
