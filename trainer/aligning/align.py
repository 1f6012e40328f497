"""One alignment: judgements -> pairs -> adapters -> answers beside those of the served generator -> a version, promoted or kept back.

Covered: one at a time for each project; a person who promotes a generator meanwhile (the new one is judged anew, beside that one); a
version is published whole or not at all.
Not covered: a kill before the version is published: the next call begins anew.
"""

import importlib.metadata
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from preference.atomic_files import DISK_FULL, writing
from preference.errors import ChampionChanged, TrainingError
from preference.labelling.label_config import LabelingLayout
from preference.models.pretrained import load_tokenizer, locate
from preference.projects.folder import ProjectFolder
from preference.report_card.generator_card import GeneratorCard
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.aligning.context import AlignContext
from trainer.aligning.learning import learn
from trainer.aligning.preferences import check_base, halves
from trainer.aligning.recipe import AlignRecipe
from trainer.aligning.trial import Trial
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs

logger = logging.getLogger("pairloop.aligning")


@dataclass(frozen=True)
class Alignment:
    """How one alignment ended."""

    version: str
    promoted: bool
    reason: str

    def __str__(self) -> str:
        return f"{'promoted' if self.promoted else 'kept back'} {self.version}: {self.reason}"


def align(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, recipe: AlignRecipe, *, extractors: Extractors,
    minutes: float | None = None, say: Callable[[str], object] = logger.info, clock: Callable[[], float] = time.monotonic,
) -> Alignment:  # fmt: skip
    """Lets the project's generator learn from its judgements, and publishes what came of it.

    `minutes`: for the steps; None is ALIGN_MINUTES. `say` takes a line for whoever waits: the budget before the first step, for one.

    Raises:
        PairloopError: there is nothing to learn from, the base cannot learn, Label Studio does not answer, MODEL_DIR is full or not
            writable; no version is published.
    """
    round_context = RoundContext(project, folder, settings, extractors)
    context = AlignContext(round_context, recipe, minutes or settings.training.align_minutes, say, clock)
    try:
        with _only_one(folder), _draft(folder) as draft:
            return _align(context, draft)
    except OSError as error:
        fix = "free some space" if error.errno in DISK_FULL else "fix or remove it"
        raise TrainingError(f"{error.filename or folder.path} cannot be read or written ({error.strerror}); {fix}.") from error


def _align(context: AlignContext, draft: Path) -> Alignment:
    generation = context.settings.generator
    if generation.engine != "huggingface":
        raise TrainingError(
            f"GENERATOR_ENGINE={generation.engine} writes with a model that cannot be trained here; set GENERATOR_ENGINE=huggingface, or "
            "write the pairs for another trainer with `pairloop-trainer export --format dpo`."
        )
    started = context.clock()
    check_base(load_tokenizer(locate(generation.model, context.settings.model_dir)), generation)
    reading = read_pairs(context.round)
    layout = LabelingLayout.from_label_config(context.round.project.read()["label_config"])
    learnt, held_back = halves(reading.train, rule=context.round.holdout.rule)
    read = context.clock()
    card = replace(
        learn(context, learnt, layout, draft),
        num_annotations=reading.num_annotations,
        num_held_back=len(held_back),
        dropped=reading.dropped,
        holdout_fraction=context.round.holdout.fraction,
        holdout_rule=context.round.holdout.rule,
        libraries={name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")},
    )
    trained = context.clock()
    trial = Trial(context, reading, layout, draft, learnt=learnt, held_back=held_back)
    while True:
        judged = trial.judged(card)
        seconds = {"read": read - started, "train": trained - read, "judge": context.clock() - trained}
        judged = replace(judged, seconds={phase: round(spent, 3) for phase, spent in seconds.items()})
        try:
            return _publish(context, draft, judged, judged_against=trial.pointed)
        except ChampionChanged as error:  # by hand, meanwhile
            logger.info("project %d: the generator is judged anew: %s", context.round.project.id, error)


def _publish(context: AlignContext, draft: Path, card: GeneratorCard, *, judged_against: str | None) -> Alignment:
    promoted = card.promoted is True
    version = context.generators.publish(
        draft, card, judged_against=judged_against, promote=promoted, keep=context.settings.training.keep_versions
    )
    ended = Alignment(version, promoted, card.reason)
    logger.info("project %d: %s", context.round.project.id, ended)
    return ended


@contextmanager
def _only_one(folder: ProjectFolder) -> Iterator[None]:
    """Holds the lock under which one process at a time lets a project's generator learn."""
    folder.create()
    lock = FileLock(folder.path / "align.lock")
    with writing(folder.path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TrainingError(
                f"Another process lets the generator of project {folder.project_id} learn; wait for its end."
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _draft(folder: ProjectFolder) -> Iterator[Path]:
    """An empty folder for what will be published, which is removed at the end; it holds what was learnt from people's texts."""
    path = folder.path / "aligning"
    shutil.rmtree(path, ignore_errors=True)
    with writing(folder.path):
        path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
