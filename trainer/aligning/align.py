"""One alignment: judgements -> pairs -> adapters -> answers beside those of the served generator -> a version, promoted or kept back.

Covered: one at a time for each project; a person who promotes a generator meanwhile (the new one is judged anew, beside that one); a
version is published whole or not at all.
A kill: the next call goes on after the last checkpoint, or judges what was trained, if judgements, recipe and base are as they were.
"""

import hashlib
import importlib.metadata
import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from preference.atomic_files import DISK_FULL, sync_all, write_whole
from preference.errors import (
    CannotLearn,
    ChampionChanged,
    NoComparison,
    PairloopError,
    RegistryError,
    StudioUnreachable,
    TrainingError,
)
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.models.fingerprint import fingerprint
from preference.models.pretrained import load_tokenizer, locate
from preference.projects.folder import ProjectFolder
from preference.report_card.generator_card import GeneratorCard
from preference.reward_model.extractors import Extractors
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.aligning.context import AlignContext
from trainer.aligning.learning import learn
from trainer.aligning.trial import Trial
from trainer.aligning.writing import prompts_to_answer
from trainer.generator_training.preferences import check_base, check_engine, to_learn_from
from trainer.generator_training.recipe import AlignRecipe
from trainer.rounds.context import RoundContext
from trainer.rounds.outcome import Round
from trainer.rounds.reading import Reading, read_pairs

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
    checkpoint_seconds: float = 180,
) -> Alignment:  # fmt: skip
    """Lets the project's generator learn from its judgements, and publishes what came of it. The caller holds the lock, as above.

    `minutes`: for the steps; None is ALIGN_MINUTES. `say` takes a line for whoever waits: the budget before the first step, for one.

    Raises:
        PairloopError: there is nothing to learn from, the base cannot learn, Label Studio does not answer, MODEL_DIR is full or not
            writable; no version is published.
    """
    round_context = RoundContext(project, folder, settings, extractors)
    minutes = minutes or settings.training.align_minutes
    context = AlignContext(round_context, recipe, minutes, say, clock, checkpoint_seconds)
    folder.create()
    context.unfinished.begin()
    try:
        aligned = _align(context)
    except (StudioUnreachable, KeyboardInterrupt):
        context.unfinished.put_off()
        raise
    except OSError as error:
        context.unfinished.remove()
        fix = "free some space" if error.errno in DISK_FULL else "fix or remove it"
        raise TrainingError(f"{error.filename or folder.path} cannot be read or written ({error.strerror}); {fix}.") from error
    except Exception:
        context.unfinished.remove()
        raise
    context.unfinished.remove()
    return aligned


def _align(context: AlignContext) -> Alignment:
    generation = context.settings.generator
    check_engine(generation)
    started = context.clock()
    check_base(load_tokenizer(locate(generation.model, context.settings.model_dir)), generation)
    reading = read_pairs(context.round)
    learnt = to_learn_from(reading.train, held_out=reading.holdout, written=context.recipe.is_of_written)
    prompts = _prompts(context, learnt, reading)
    context.unfinished.take_up(_key(context, learnt, prompts))
    read = context.clock()
    card = replace(
        _trained(context, learnt, prompts, reading.layout),
        num_annotations=reading.num_annotations,
        newest_annotation=reading.newest_annotation,
        newest_change=reading.newest_change,
        num_held_back=len(reading.votes),
        dropped=reading.dropped,
        holdout_fraction=reading.holds_out.fraction,
        holdout_rule=reading.holds_out.rule,
        libraries=_libraries(context.recipe),
    )
    trained = context.clock()
    draft = context.unfinished.version
    trial = Trial(context, reading, draft, learnt=learnt)
    while True:
        judged = trial.judged(card)
        seconds = {"read": read - started, "train": trained - read, "judge": context.clock() - trained}
        judged = replace(judged, seconds={phase: round(spent, 3) for phase, spent in seconds.items()})
        try:
            return _publish(context, draft, judged, judged_against=trial.pointed)
        except ChampionChanged as error:  # by hand, meanwhile
            logger.info("project %d: the generator is judged anew: %s", context.round.project.id, error)


def _prompts(context: AlignContext, pairs: Sequence[PreferencePair], reading: Reading) -> list[Prompt]:
    """What it answers to learn from rewards; nothing if it learns from the pairs."""
    if not context.recipe.answers_a_prompt:
        return []
    return prompts_to_answer(context.round.project, reading.layout, reading.holds_out, judged=[pair.prompt for pair in pairs])


def _trained(
    context: AlignContext, pairs: Sequence[PreferencePair], prompts: Sequence[Prompt], layout: LabelingLayout
) -> GeneratorCard:
    """What the card says of the training, whose adapters lie in the unfinished alignment's `version` folder; it may have ended before a kill."""
    kept = context.unfinished.folder / "trained.json"
    if kept.exists():
        with suppress(RegistryError):
            card = GeneratorCard.read(kept)
            logger.info("project %d: it had learnt before the kill, and is judged", context.round.project.id)
            return card
    draft = context.unfinished.version_folder()
    card = learn(context, pairs, prompts, layout, draft)
    try:
        sync_all(draft)
        write_whole(kept, card.to_json())
    except OSError as error:  # a full disk costs a killed alignment's time, and not the alignment
        logger.warning("%s cannot be written (%s)", kept, error.strerror)
    return card


def _key(context: AlignContext, pairs: Sequence[PreferencePair], prompts: Sequence[Prompt]) -> dict[str, Any]:
    """Everything that decides the weights, by what a person would call it."""
    settings, generation = context.settings, context.settings.generator
    reading: list[Any] = [
        generation.dtype, generation.max_prompt_tokens, generation.max_new_tokens, generation.system_prompt, generation.template_options,
    ]  # fmt: skip
    if context.recipe.answers_a_prompt:
        reading += [generation.temperature, generation.top_p, generation.top_k]
    key = {
        "judgements": _digest([(pair.prompt, pair.chosen, pair.rejected, pair.margin, pair.task_id) for pair in pairs]),
        "prompts": _digest(prompts),
        "recipe": asdict(context.recipe),
        "base": fingerprint(generation.model, model_dir=settings.model_dir),
        "settings": reading,
        "seed": settings.seed,
        "reward model": context.round.champion if context.recipe.answers_a_prompt else None,
        "libraries": _libraries(context.recipe),
    }
    read_back: dict[str, Any] = json.loads(json.dumps(key))  # lists, no tuples
    return read_back


def _digest(texts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _libraries(recipe: AlignRecipe) -> dict[str, str]:
    names = ["torch", "transformers", "peft", *(["trl"] if recipe.answers_a_prompt else [])]
    return {name: importlib.metadata.version(name) for name in names}


def _publish(context: AlignContext, draft: Path, card: GeneratorCard, *, judged_against: str | None) -> Alignment:
    promoted = card.promoted is True
    version = context.generators.publish(
        draft, card, judged_against=judged_against, promote=promoted, keep=context.settings.training.keep_versions
    )
    return Alignment(version, promoted, card.reason)
