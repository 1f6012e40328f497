"""The served reward model of each project in this process, kept equal to the champion pointer.

A request reads one reference, `serving`, once: the model and its version always belong together. A new version is
loaded beside the old one and takes its place only if it recomputes its card's probe; otherwise the old one serves on. It does so, too,
if the pointer is damaged or MODEL_DIR is away. If the pointer was deleted, alone or with the project's folder, nothing is served, until
REWARD_MODEL (first_version.py), if it is set, is the champion.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from backend.monitoring.metrics import Metrics
from backend.scoring.first_version import FirstVersion
from preference.labelling.holdout import Holdout
from preference.log_once import LogOnce
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import UNTRAINED, Versions
from preference.reward_model.extractors import process_extractors
from preference.reward_model.model import RewardModel
from preference.reward_model.probe import load_version
from preference.reward_model.version_zero import publish_version_zero
from preference.setting_groups import TrainingSettings

logger = logging.getLogger("pairloop.scoring")
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 30.0, 900.0  # from a refusal to the next try
LoadVersion = Callable[[ProjectFolder, str], RewardModel]


@dataclass(frozen=True)
class ServedVersion:
    """A reward model and the name of its version."""

    model: RewardModel
    version: str
    suggest_from: float | None = 0.5  # as ReportCard has it
    holdout: Holdout | None = None  # the prompts of which versions may be judged; None is none
    # The latest confidences that this process gave: from them the scores of tasks are drawn that get their places by lot.
    scores: deque[float] = field(default_factory=lambda: deque(maxlen=10_000), compare=False, repr=False)


class Champion:
    """One project's served version. `serving` may be read from any thread; one thread calls `refresh`."""

    def __init__(
        self, folder: ProjectFolder, load: LoadVersion, metrics: Metrics, *, clock: Callable[[], float] = time.monotonic,
        holdout_fraction: float = 0.0,
    ) -> None:  # fmt: skip
        """`clock` gives seconds; `holdout_fraction`: HOLDOUT_FRACTION; a version may hold out other numbers of prompts."""
        self.serving: ServedVersion | None = None
        self.problem: str | None = None  # why the version that the pointer names is not served
        self._folder, self._load, self._metrics, self._clock = folder, load, metrics, clock
        self._holdout_fraction = holdout_fraction
        self._refused: str | None = None
        self._num_refusals, self._next_try = 0, 0.0

    @property
    def version(self) -> str:
        """The version to name to Label Studio: the served one, else the one that is being loaded, else UNTRAINED.

        UNTRAINED also if the pointer cannot be read, which preference/projects/status.py reports.
        """
        serving = self.serving
        if serving is not None:
            return serving.version
        try:
            pointed = Versions(self._folder).champion()
        except OSError:
            pointed = None
        return UNTRAINED if pointed is None or pointed == self._refused else pointed

    def refresh(self) -> bool:
        """Whether another version is served now than before, or none any more."""
        pointed = Versions(self._folder).champion()
        if pointed != self._refused:
            self._refused = self.problem = None
            self._num_refusals = 0
        if self.serving and pointed is None and Versions(self._folder).has_no_pointer:
            self._end(self.serving)
            return True
        if pointed is None or (self.serving and pointed == self.serving.version):
            return False
        if pointed == self._refused and self._clock() < self._next_try:
            return False
        try:
            model, card = self._load(self._folder, pointed), Versions(self._folder).card(pointed, promotions=())
            holdout = Holdout.after([card.holdout], self._holdout_fraction).with_served(card.holdout)
            self.serving = ServedVersion(model, pointed, card.suggest_from, holdout)
        except Exception as error:  # a damaged version may raise anything, and the other projects must be followed on
            self._refuse(pointed, error)
            return False
        self._refused = self.problem = None
        self._metrics.served(self._folder.project_id, pointed)
        logger.info("project %d: serving %s", self._folder.project_id, pointed)
        return True

    def _end(self, served: ServedVersion) -> None:
        logger.warning(
            "project %d: its champion file was deleted; %s is not served any more", self._folder.project_id, served.version
        )
        self.serving = None
        self._metrics.ended(self._folder.project_id)

    def _refuse(self, version: str, error: Exception) -> None:
        """Logs and counts a refusal once. The version is tried again after growing waits: storage may be away for a moment, say."""
        if version != self._refused:
            self._refused, self.problem = version, f"{version} is not served: {error}"
            self._metrics.refused(self._folder.project_id)
            kept = f"{self.serving.version} serves on" if self.serving else "nothing is suggested"
            logger.error("project %d: %s; %s. Promote another version.", self._folder.project_id, self.problem, kept)
        self._next_try = self._clock() + min(_FIRST_WAIT_SECONDS * 2 ** min(self._num_refusals, 10), _LONGEST_WAIT_SECONDS)
        self._num_refusals += 1


class Champions:
    """The champion of every project on one MODEL_DIR, refreshed in the background."""

    def __init__(
        self,
        model_dir: Path,
        *,
        device: torch.device,
        metrics: Metrics | None = None,
        training: TrainingSettings | None = None,
    ) -> None:
        """`training`: says which REWARD_MODEL there is, in which number format, and how many prompts are held out; None is none."""
        self._model_dir, self._device, self._metrics = model_dir, device, metrics or Metrics()
        self._extractors = process_extractors(model_dir, device, "float32" if training is None else training.reward_dtype)
        self.first: FirstVersion | None = None
        if training is not None and training.reward_model:
            self.first = FirstVersion(partial(publish_version_zero, training=training, extractors=self._extractors))
        self._holdout_fraction = training.holdout_fraction if training is not None else 0.0
        self._champions: dict[int, Champion] = {}
        self._comparing = set[int]()
        self._adding = threading.Lock()

    def of(self, project_id: int) -> Champion:
        """The project's champion; never waits for a model."""
        with self._adding:
            if project_id not in self._champions:
                folder = ProjectFolder(self._model_dir, project_id)
                self._champions[project_id] = Champion(folder, self.load, self._metrics, holdout_fraction=self._holdout_fraction)
            return self._champions[project_id]

    def all(self) -> dict[int, Champion]:
        """Every champion that this process knows of, by project id."""
        with self._adding:
            return dict(self._champions)

    def compares(self, project_id: int) -> None:
        """Notes that a project compares answers, and is no collection of demonstrations, which REWARD_MODEL would only name anew."""
        self._comparing.add(project_id)

    @property
    def problems(self) -> list[str]:
        """A sentence for each version that is not served."""
        of_projects = [f"Project {number}: {champion.problem}" for number, champion in self.all().items() if champion.problem]
        return [self.first.problem, *of_projects] if self.first and self.first.problem else of_projects

    def keep_fresh(self, stop: threading.Event, *, every_seconds: float = 0.5) -> None:
        """Follows the pointers of all projects until `stop`."""
        _go_on(self._followed, lambda folder: self.of(folder.project_id).refresh(), stop, every_seconds)

    def keep_providing(self, stop: threading.Event, *, every_seconds: float = 0.5) -> None:
        """Gives REWARD_MODEL to the projects that are to have it until `stop`, in a thread of its own: no pointer waits for it."""
        _go_on(partial(known_projects, self._model_dir), self._provide, stop, every_seconds)

    def _provide(self, folder: ProjectFolder) -> None:
        if self.first is not None and folder.project_id in self._comparing and not folder.is_disconnected:
            self.first.provide(folder)

    def _followed(self) -> list[ProjectFolder]:
        """Every known project, and each whose folder was deleted while a version of it is served."""
        known = list(known_projects(self._model_dir))
        numbers = {folder.project_id for folder in known}
        served = (number for number, champion in self.all().items() if champion.serving and number not in numbers)
        others = (ProjectFolder(self._model_dir, number) for number in served)
        return [*known, *(folder for folder in others if not folder.is_disconnected)]

    def load(self, folder: ProjectFolder, version: str) -> RewardModel:
        """The model of a version.

        Raises:
            PairloopError: it cannot be loaded, or it does not recompute the reward of its card's probe.
        """
        return load_version(folder, version, extractor=self._extractors, device=self._device)


def _go_on(
    projects: Callable[[], Iterable[ProjectFolder]],
    look: Callable[[ProjectFolder], object],
    stop: threading.Event,
    every_seconds: float,
) -> None:
    """Looks at each project until `stop`. If a pointer cannot be read, what is served stays, and the others are looked at."""
    log_once = LogOnce()
    while not stop.is_set():
        try:
            for folder in projects():
                if stop.is_set():
                    return
                try:
                    look(folder)
                    log_once.forget(folder.project_id)
                except (OSError, ValueError) as error:
                    if log_once.is_news(folder.project_id, str(error)):
                        logger.warning("project %d: its champion cannot be looked up (%s)", folder.project_id, error)
            log_once.forget("MODEL_DIR")
        except OSError as error:  # MODEL_DIR is away for a moment
            if log_once.is_news("MODEL_DIR", str(error)):
                logger.warning("the champions cannot be looked up (%s)", error)
        stop.wait(every_seconds)
