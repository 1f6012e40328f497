"""The duels of one stream or import: which tasks are to hold one answer of each of two generators, and who the two are.

They are a version on trial and what it replaced (preference/duels/on_trial.py), or the project's generator and DUEL_WITH.
Covered: a generator that fails, or is away: its tasks are filled as ordinary ones, and so are all that follow in it, so that
nobody waits again and again for a server that does not answer. A task that somebody has opened is no duel: one generator is quicker.
"""

from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace

from backend.generators.scheduler import Scheduler
from backend.generators.served_generator import served_generator
from preference.duels.duel import is_drawn
from preference.duels.figures import read_duels
from preference.duels.on_trial import on_trial
from preference.errors import ModelError, RegistryError
from preference.generation.jobs import Adapter, WrittenAnswers
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.settings import Settings
from preference.studio.task import META_KEY, Task, with_entry


@dataclass(frozen=True)
class Side:
    """One of the two generators."""

    name: str  # a generator version, "base", or ENGINE:MODEL
    scheduler: Scheduler
    adapter: Adapter | None = None

    def own(self, written: WrittenAnswers) -> WrittenAnswers:
        """Its answers, which name it; none if the base answered in place of a version that does not fit it."""
        if written.version != (self.adapter.version if self.adapter else ""):
            return WrittenAnswers([], refused=f"{self.name} does not answer")
        return replace(written, version=self.name)


@dataclass(frozen=True)
class Duel:
    """Two generators, of which each writes one of the two answers of a task."""

    new: Side
    other: Side

    def ask(self, prompt: Prompt, *, seed: int) -> "Future[tuple[WrittenAnswers, WrittenAnswers]]":
        """The future answers, one of each, that of the new one first; fails or is cancelled as either does."""
        both: Future[tuple[WrittenAnswers, WrittenAnswers]] = Future()
        first, second = (
            side.scheduler.submit(prompt, seed=seed, num_answers=1, adapter=side.adapter) for side in (self.new, self.other)
        )

        def settle(_: object) -> None:
            try:
                both.set_result((self.new.own(first.result()), self.other.own(second.result())))
            except CancelledError:
                both.cancel()
            except ModelError as error:
                both.set_exception(error)

        first.add_done_callback(lambda _: second.add_done_callback(settle))
        return both


class Duels:
    """Those of one stream or import. Used by one thread."""

    def __init__(
        self, project_id: int, layout: LabelingLayout, settings: Settings, *, scheduler: Scheduler, rival: Scheduler | None
    ) -> None:
        """`rival`: of DUEL_WITH's generator, if that is set."""
        self.problem = ""  # why there are none, although there should be
        self._folder = ProjectFolder(settings.model_dir, project_id)
        self._layout, self._settings, self._scheduler, self._rival = layout, settings, scheduler, rival

    def of(self, task: Task) -> Duel | None:
        """The duel that this task is to be; None if it is to be none."""
        percent = self._settings.filling.duel_percent
        if self.problem or not is_drawn(self._folder.project_id, task.get("id") or task["key"], percent):
            return None
        is_empty = len(self._layout.empty_fields(task["data"])) == len(self._layout.answer_fields)
        if not is_empty or with_entry(task, META_KEY, {}) is None:  # with nowhere to keep who wrote what
            return None
        try:
            return self._with(self._rival) if self._rival is not None else self._on_trial()
        except (RegistryError, OSError) as error:
            self.give_up(str(error))
            return None

    def give_up(self, reason: str) -> None:
        """No task that follows is a duel."""
        self.problem = f"tasks that were to be duels are filled as ordinary ones: {reason}"

    def _with(self, rival: Scheduler) -> Duel | None:
        settings = self._settings
        adapter = served_generator(settings, self._folder.project_id).adapter
        own = adapter.version if adapter else f"{settings.generator.engine}:{settings.generator.model}"
        if own == settings.filling.duel_with:
            self.give_up(f"DUEL_WITH={own} is the generator itself; name another.")
            return None
        return Duel(Side(own, self._scheduler, adapter), Side(settings.filling.duel_with, rival))

    def _on_trial(self) -> Duel | None:
        if self._settings.generator.engine == "echo":  # which writes as no version
            return None
        trial = on_trial(self._folder, read_duels(self._folder.path))
        if trial is None:
            return None
        generators = Generators(self._folder)
        return Duel(*(Side(name, self._scheduler, generators.adapter(name)) for name in (trial.version, trial.other)))
