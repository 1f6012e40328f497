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
from typing import Any

from preference.atomic_files import DISK_FULL, writing
from preference.errors import CannotLearn, ChampionChanged, NoComparison, PairloopError, StudioUnreachable, TrainingError
from preference.labelling.label_config import LabelingLayout
from preference.models.files import EMBEDDED
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
from trainer.rounds.outcome import Round
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


def run_alignment(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, recipe: AlignRecipe, **options: Any
) -> Round:
    """How an alignment ended, which is logged in one line. The caller holds the project's lock (`only_one`).

    `options`: as `align` takes them.

    Raises:
        StudioUnreachable: Label Studio did not answer; it is worth trying again as it is.
    """
    try:
        aligned = align(project, folder, settings, recipe, **options)
        ended = Round("promoted" if aligned.promoted else "rejected", aligned.reason, aligned.version)
    except StudioUnreachable:
        raise
    except (CannotLearn, NoComparison) as error:
        ended = Round("skipped", str(error))
    except PairloopError as error:
        ended = Round("failed", str(error))
    except Exception as error:  # the outermost call, as in trainer/rounds/round.py
        logger.exception("project %d: the alignment failed", folder.project_id)
        ended = Round("failed", f"{type(error).__name__}; the log above has the trace")
    level = logging.ERROR if ended.outcome == "failed" else logging.INFO
    logger.log(level, "project %d: alignment %s", folder.project_id, ended)
    return ended


def align(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, recipe: AlignRecipe, *, extractors: Extractors,
    minutes: float | None = None, say: Callable[[str], object] = logger.info, clock: Callable[[], float] = time.monotonic,
) -> Alignment:  # fmt: skip
    """Lets the project's generator learn from its judgements, and publishes what came of it. The caller holds the lock, as above.

    `minutes`: for the steps; None is ALIGN_MINUTES. `say` takes a line for whoever waits: the budget before the first step, for one.

    Raises:
        PairloopError: there is nothing to learn from, the base cannot learn, Label Studio does not answer, MODEL_DIR is full or not
            writable; no version is published.
    """
    round_context = RoundContext(project, folder, settings, extractors)
    context = AlignContext(round_context, recipe, minutes or settings.training.align_minutes, say, clock)
    try:
        with _draft(folder) as draft:
            return _align(context, draft)
    except OSError as error:
        fix = "free some space" if error.errno in DISK_FULL else "fix or remove it"
        raise TrainingError(f"{error.filename or folder.path} cannot be read or written ({error.strerror}); {fix}.") from error


def _align(context: AlignContext, draft: Path) -> Alignment:
    generation = context.settings.generator
    if generation.engine == "echo":
        raise CannotLearn(
            "GENERATOR_ENGINE=echo writes with no model that could learn; set GENERATOR_ENGINE=huggingface or openai."
        )
    if generation.engine == "openai" and generation.model == EMBEDDED:
        raise CannotLearn(
            "GENERATOR_ENGINE=openai, and GENERATOR_MODEL does not say which model the server has; set it to the id or folder by which "
            "both the server and this machine know it, or write the pairs for another trainer with `pairloop-trainer export --format dpo`."
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
        newest_annotation=reading.newest_annotation,
        newest_change=reading.newest_change,
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
    return Alignment(version, promoted, card.reason)


@contextmanager
def _draft(folder: ProjectFolder) -> Iterator[Path]:
    """An empty folder for what will be published, which is removed at the end; it holds what was learnt from people's texts."""
    folder.create()
    path = folder.path / "aligning"
    shutil.rmtree(path, ignore_errors=True)
    with writing(folder.path):
        path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
