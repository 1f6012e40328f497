"""One round: judgements -> pairs -> challenger -> verdict -> publish -> promote.

A round that is killed is taken up by the next (trainer/rounds/unfinished.py): a sequence recipe goes on after its last checkpoint,
with the pairs that it was training on.
"""

import importlib.metadata
import json
import logging
import time
from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from preference.atomic_files import DISK_FULL
from preference.errors import PairloopError, RegistryError, StudioUnreachable
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair, is_held_out, majority, num_votes, pairs_of_task, split_holdout
from preference.models.pretrained import fingerprint, locate
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ModelCard
from preference.reward_model.feature_cache import prune_features
from preference.reward_model.feature_extractor import Extractors
from preference.reward_model.model import RewardModel
from preference.reward_model.probe import load_version, take_probe
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.evaluation.judge import judge
from trainer.judgements.reader import read_judgements
from trainer.reporting.learning_curve import learning_curve
from trainer.reporting.pictures import draw_pictures
from trainer.reporting.report import model_card, report_figures
from trainer.rounds.outcome import Round, cards
from trainer.rounds.unfinished import Snapshot, UnfinishedRound
from trainer.training.recipes import LEAST_TO_SET_ASIDE, RECIPES
from trainer.training.train import train_challenger
from trainer.training.trained import Workspace

logger = logging.getLogger("pairloop.rounds")


def run_round(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, *, extractors: Extractors, device: torch.device,
    checkpoint_seconds: float = 180,
) -> Round:  # fmt: skip
    """Runs one round and says how it ended, in one log line. The caller holds the project's lock (`only_round`).

    Raises:
        StudioUnreachable: Label Studio did not answer; the round is worth trying again as it is.
    """
    unfinished = UnfinishedRound(folder)
    try:
        unfinished.begin()
        ended = _round(
            project, folder, settings, unfinished, extractors=extractors, device=device, checkpoint_seconds=checkpoint_seconds
        )
    except StudioUnreachable:
        unfinished.put_off()
        raise
    except PairloopError as error:
        ended = Round("failed", str(error))
    except Exception as error:  # one of the two doors: a round must not take the daemon down
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            ended = Round("failed", f"{error.filename or folder.path} cannot be written ({error.strerror}); free some space")
        else:
            logger.exception("project %d: the round failed", project.id)
            ended = Round("failed", f"{type(error).__name__}; the log above has the trace")
    unfinished.remove()
    prune_features(settings.model_dir, most_bytes=settings.training.features_mb * 2**20)
    level = logging.ERROR if ended.outcome == "failed" else logging.INFO
    logger.log(level, "project %d: round %s", project.id, ended)
    return ended


def _round(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, unfinished: UnfinishedRound, *,
    extractors: Extractors, device: torch.device, checkpoint_seconds: float,
) -> Round:  # fmt: skip
    started = time.monotonic()
    state = project.read()
    layout = LabelingLayout.from_label_config(state["label_config"])
    dropped: Counter[str] = Counter()
    tasks = read_judgements(project, folder.path, state=state, now=time.time())
    of_task = partial(
        pairs_of_task,
        layout=layout,
        dropped=dropped,
        ties=settings.training.ties,
        prefer_ground_truth=settings.training.prefer_ground_truth,
    )
    pairs = [pair for task in tasks for pair in of_task(task)]
    train, votes = split_holdout(pairs, settings.training.holdout_fraction)
    earlier = list(cards(folder))
    # A larger HOLDOUT_FRACTION than before holds out prompts that older versions were trained on.
    smallest = min([settings.training.holdout_fraction, *(card.holdout_fraction for card in earlier)])
    votes = [pair for pair in votes if is_held_out(pair.prompt, smallest)]
    holdout = majority(votes)
    read = time.monotonic()
    if sum(pair.weight for pair in pairs) < settings.training.min_pairs:
        left_out = ", ".join(f"{count} {reason}" for reason, count in dropped.items()) or "nothing"
        return Round(
            "skipped",
            f"{sum(pair.weight for pair in pairs):g} pairs, MIN_PAIRS={settings.training.min_pairs} are needed; left out: {left_out}",
        )
    if not train:
        return Round("skipped", f"all {num_votes(pairs)} pairs are of prompts that are held out; judge other prompts")
    champion_version = Versions(folder).champion()
    warm_start = _warm_start(folder, champion_version, settings)
    told = {"num_annotations": int(state.get("total_annotations_number") or 0), "dropped": dict(dropped)}
    data = _taken_up(unfinished, train, told, settings, warm_start)
    recipe = RECIPES[settings.training.recipe](len(data.pairs))
    draft = unfinished.version_folder()
    trained = train_challenger(
        data.pairs, recipe, draft, base=settings.training.reward_base, model_dir=settings.model_dir,
        extractors=extractors, device=device, seed=settings.seed,
        place=Workspace(
            unfinished.folder, folder.path / "curves" / f"{unfinished.began_at:%Y%m%d-%H%M%S}",
            champion=warm_start, report_to=settings.training.report_to, checkpoint_seconds=checkpoint_seconds,
        ),
    )  # fmt: skip
    challenger = trained.model
    trained_at = time.monotonic()
    champion = _load_champion(folder, champion_version, extractors=extractors, device=device)
    champion_card = Versions(folder).card(champion_version) if champion_version and champion is not None else None
    verdict = judge(
        challenger, champion, holdout, train=data.pairs, seed=settings.seed,
        num_train_before=champion_card.num_train_pairs if champion_card else None,
        owed=float(champion_card.metrics.get("owed", 0)) if champion_card else 0.0,
    )  # fmt: skip
    reason = verdict.reason
    if champion_version is not None and champion is None:
        reason = reason.replace("there was no champion", f"the champion {champion_version} cannot be loaded")
    card = ModelCard(
        project_id=project.id,
        recipe=recipe.name,
        base=settings.training.reward_base,
        num_annotations=data.told["num_annotations"],
        num_train_pairs=num_votes(data.pairs),
        num_holdout_pairs=len(holdout),
        dropped=data.told["dropped"],
        metrics=verdict.metrics,
        promoted=verdict.promoted,
        reason=reason,
        probe=take_probe(challenger),
        seed=settings.seed,
        holdout_fraction=settings.training.holdout_fraction,
        seconds={
            "read": round(read - started, 3),
            "train": round(trained_at - read, 3),
            "judge": round(time.monotonic() - trained_at, 3),
        },
        compared_with=champion_version if champion is not None else None,
        start=trained.start,
        libraries={name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl")},
    )
    curve = learning_curve(data.pairs, holdout, recipe, challenger.description, extractors=extractors, metrics=verdict.metrics)
    figures = report_figures(
        verdict, challenger, train=data.pairs, holdout=holdout, votes=votes, gaps=trained.gaps,
        champion=champion, champion_card=champion_card, earlier=earlier, dropped=card.dropped,
        learning_curve=curve, project_url=f"{settings.studio.page}/projects/{project.id}",
        load=partial(load_version, folder, extractor=extractors, device=device),
    )  # fmt: skip
    card = replace(card, report=figures)
    (draft / "README.md").write_text(model_card(card, draw_pictures(card, draft)), encoding="utf-8")
    version = Versions(folder).publish(draft, card)
    if verdict.promoted:
        try:
            Versions(folder).promote(version, reason=card.reason)
        except RegistryError as error:
            mend = f"Then `pairloop-trainer promote --project {project.id} {version}`"
            return Round("failed", f"{card.reason}; but it cannot be promoted: {error} {mend}", version)
    return Round("promoted" if verdict.promoted else "rejected", card.reason, version)


def _taken_up(
    unfinished: UnfinishedRound, train: list[PreferencePair], told: dict[str, Any], settings: Settings, warm_start: Path | None
) -> Snapshot:
    """What this round trains on: what a killed one did, where everything that decides its weights is as it was."""
    if RECIPES[settings.training.recipe](len(train)).kind == "frozen":
        return Snapshot(train, {}, told)  # seconds of work, and no checkpoint to go on from
    found = unfinished.snapshot()
    if found is not None:
        if found.key != _key(settings, len(found.pairs), warm_start):
            reason = "recipe, base, seed, champion, the reading's settings or a library changed"
        elif split_holdout(found.pairs, settings.training.holdout_fraction)[1]:
            reason = "HOLDOUT_FRACTION now holds out prompts that it trains on"
        else:
            logger.info("%s: taking up the round that was killed (attempt %d)", unfinished.folder, unfinished.num_attempts)
            return found
        logger.info("%s: the round that was killed is not taken up: %s", unfinished.folder, reason)
        unfinished.restart()
    new = Snapshot(train, _key(settings, len(train), warm_start), told)
    unfinished.keep(new)
    return new


def _key(settings: Settings, num_pairs: int, warm_start: Path | None) -> dict[str, Any]:
    """Everything beside the pairs that decides the weights, or what the pairs were made of."""
    locate(settings.training.reward_base, settings.model_dir)  # says what to do where the embedded model is not installed
    return {
        "recipe": json.loads(
            json.dumps(asdict(RECIPES[settings.training.recipe](num_pairs)))
        ),  # as it is read back: lists, no tuples
        "base": fingerprint(settings.training.reward_base),
        "seed": settings.seed,
        "warm_start": warm_start.name if warm_start else None,
        "ties": settings.training.ties,
        "prefer_ground_truth": settings.training.prefer_ground_truth,
        "libraries": {name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl", "peft")},
    }


def _warm_start(folder: ProjectFolder, champion: str | None, settings: Settings) -> Path | None:
    """The champion's folder, where training can start from it: it is a sequence model of the same base.

    And one that had pairs set aside: else it trained on those that are to choose between it and the base.
    """
    card = next((card for card in cards(folder) if card.version == champion), None)
    if (
        card is None
        or card.base != settings.training.reward_base
        or card.recipe not in RECIPES
        or card.num_train_pairs < LEAST_TO_SET_ASIDE
    ):
        return None
    return Versions(folder).path(card.version) if RECIPES[card.recipe](1).kind == "sequence" else None


def _load_champion(
    folder: ProjectFolder, version: str | None, *, extractors: Extractors, device: torch.device
) -> RewardModel | None:
    if version is None:
        return None
    try:
        return load_version(folder, version, extractor=extractors, device=device)
    except PairloopError as error:
        logger.warning("the champion %s cannot be loaded, so the challenger is judged without it: %s", version, error)
        return None
