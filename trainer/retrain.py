"""One round: judgements -> pairs -> challenger -> verdict -> publish -> promote."""

import importlib.metadata
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from preference.errors import PairloopError, RegistryError, StudioUnreachable
from preference.features import Extractors
from preference.layout import LabelingLayout
from preference.pairs import is_held_out, pairs_of_task, split_holdout
from preference.probe import load_version, take_probe
from preference.registry import ModelCard, Registry
from preference.reward_model import RewardModel
from preference.settings import Settings
from preference.studio import LabelStudioProject
from trainer.challenger import train_challenger
from trainer.judge import judge
from trainer.recipes import RECIPES
from trainer.report import model_card

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Round:
    """How one round of one project ended."""

    outcome: Literal["promoted", "rejected", "skipped", "failed"]
    reason: str
    version: str | None = None  # the version that was published, if one was


def new_judgements(registry: Registry, num_annotations: int) -> int:
    """How many annotations came since the latest version, promoted or not, was trained.

    A damaged card is passed over: it must not keep the project from the round that would replace its version.
    """
    latest = next(_cards(registry), None)
    return num_annotations - (latest.num_annotations if latest else 0)


def retrain(
    project: LabelStudioProject, registry: Registry, settings: Settings, *, extractors: Extractors, device: torch.device
) -> Round:
    """Runs one round and says how it ended, in one log line.

    Raises:
        StudioUnreachable: Label Studio did not answer; the round is worth trying again as it is.
    """
    try:
        ended = _round(project, registry, settings, extractors=extractors, device=device)
    except StudioUnreachable:
        raise
    except PairloopError as error:
        ended = Round("failed", str(error))
    except Exception as error:  # one of the two doors: a round must not take the daemon down
        logger.exception("project %d: the round failed", project.id)
        ended = Round("failed", f"{type(error).__name__}; the log above has the trace")
    level = logging.ERROR if ended.outcome == "failed" else logging.INFO
    logger.log(
        level, "project %d: round %s%s: %s", project.id, ended.outcome, f" {ended.version}" if ended.version else "", ended.reason
    )
    return ended


def _round(
    project: LabelStudioProject, registry: Registry, settings: Settings, *, extractors: Extractors, device: torch.device
) -> Round:
    started = time.monotonic()
    state = project.read()
    layout = LabelingLayout.from_label_config(state["label_config"])
    dropped: Counter[str] = Counter()
    pairs = [pair for task in project.annotated_tasks() for pair in pairs_of_task(task, layout, dropped=dropped)]
    train, holdout = split_holdout(pairs, settings.holdout_fraction)
    # A larger HOLDOUT_FRACTION than before holds out prompts that older versions were trained on.
    smallest = min([settings.holdout_fraction, *_earlier_fractions(registry)])
    holdout = [pair for pair in holdout if is_held_out(pair.prompt, smallest)]
    read = time.monotonic()
    if len(pairs) < settings.min_pairs or not train:
        left_out = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "nothing"
        return Round("skipped", f"{len(pairs)} pairs, MIN_PAIRS={settings.min_pairs} are needed; left out: {left_out}")
    recipe = RECIPES[settings.recipe](len(train))
    with tempfile.TemporaryDirectory(prefix="pairloop-round-") as scratch:
        folder = Path(scratch)
        challenger = train_challenger(
            train, recipe, folder, base=settings.reward_base, model_dir=settings.model_dir,
            extractors=extractors, device=device, seed=settings.seed,
        )  # fmt: skip
        trained = time.monotonic()
        champion_version = registry.champion()
        champion = _load_champion(registry, champion_version, extractors=extractors, device=device)
        verdict = judge(challenger, champion, holdout, seed=settings.seed)
        card = ModelCard(
            project_id=project.id,
            recipe=recipe.name,
            base=settings.reward_base,
            num_annotations=int(state.get("total_annotations_number") or 0),
            num_train_pairs=len(train),
            num_holdout_pairs=len(holdout),
            dropped=dict(dropped),
            metrics=verdict.metrics,
            promoted=verdict.promoted,
            reason=verdict.reason,
            probe=take_probe(challenger),
            seed=settings.seed,
            holdout_fraction=settings.holdout_fraction,
            seconds={
                "read": round(read - started, 3),
                "train": round(trained - read, 3),
                "judge": round(time.monotonic() - trained, 3),
            },
            compared_with=champion_version if champion is not None else None,
            libraries={name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl")},
        )
        (folder / "README.md").write_text(model_card(card), encoding="utf-8")
        version = registry.publish(folder, card)
    if verdict.promoted:
        registry.promote(version)
    return Round("promoted" if verdict.promoted else "rejected", verdict.reason, version)


def _earlier_fractions(registry: Registry) -> list[float]:
    return [card.holdout_fraction for card in _cards(registry)]


def _cards(registry: Registry) -> Iterator[ModelCard]:
    """The cards of all versions, latest first; a damaged one is passed over."""
    for version in reversed(registry.versions()):
        try:
            yield registry.card(version)
        except RegistryError as error:
            logger.warning("project %d: %s", registry.project_id, error)


def _load_champion(
    registry: Registry, version: str | None, *, extractors: Extractors, device: torch.device
) -> RewardModel | None:
    if version is None:
        return None
    try:
        return load_version(registry, version, extractor=extractors, device=device)
    except PairloopError as error:
        logger.warning("the champion %s cannot be loaded, so the challenger is judged without it: %s", version, error)
        return None
