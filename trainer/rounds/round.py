"""One round: judgements -> pairs -> challenger -> verdict -> publish -> promote.

A verdict holds beside the champion that it was made beside: if a person chose another one meanwhile, the challenger is judged anew.
A round that is killed is taken up by the next (trainer/rounds/unfinished.py): a sequence recipe goes on after its last checkpoint,
with the pairs that it was training on.
"""

import importlib.metadata
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from preference.atomic_files import DISK_FULL
from preference.errors import ChampionChanged, NoComparison, PairloopError, StudioUnreachable
from preference.labelling.pairs import PreferencePair, num_votes
from preference.models.number_formats import four_bit_libraries
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.report_card.figures import ReportFigures, SuggestionEffect
from preference.report_card.people_figures import KindFigures
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_cache import prune_features
from preference.reward_model.probe import take_probe
from preference.reward_model.version_zero import publish_version_zero
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.evaluation.judge import LoadedChampion, Verdict, judge
from trainer.evaluation.pull import pull_of
from trainer.people.disagreements import list_disagreements
from trainer.people.kinds import kinds_rewarded
from trainer.people.names import note_names
from trainer.people.weights import weighed, weights_effect
from trainer.rating.rated_pairs import rated_pairs, training_rater
from trainer.reporting.learning_curve import learning_curve
from trainer.reporting.model_card import model_card
from trainer.reporting.picture_files import draw_pictures
from trainer.reporting.report import EarlierVersions, RoundPairs, report_figures
from trainer.reporting.suggestion_effect import suggestion_effect
from trainer.rounds.audit import audit_or_log
from trainer.rounds.context import RoundContext
from trainer.rounds.duel_reading import judge_duels
from trainer.rounds.nothing_new import base_fingerprint, digest, nothing_new
from trainer.rounds.outcome import Round
from trainer.rounds.reading import Reading, read_pairs, reason_to_skip
from trainer.rounds.training_pairs import pairs_to_train_on, warm_start
from trainer.rounds.unfinished import Snapshot
from trainer.training.recipes import RECIPES
from trainer.training.train import train_challenger
from trainer.training.trained import TrainingContext, TrainingResult, Workspace

logger = logging.getLogger("pairloop.rounds")


def run_round(
    project: LabelStudioProject, folder: ProjectFolder, settings: Settings, *, extractors: Extractors,
    checkpoint_seconds: float = 180, clock: Callable[[], float] = time.time,
) -> Round:  # fmt: skip
    """Runs one round, and logs in one line how it ended. The caller holds the project's lock (`only_one`).

    Raises:
        StudioUnreachable: Label Studio did not answer; the round is worth trying again as it is.
    """
    context = RoundContext(project, folder, settings, extractors, checkpoint_seconds, clock=clock)
    try:
        context.unfinished.begin()
        ended = _round(context)
    except StudioUnreachable:
        context.unfinished.put_off()
        raise
    except PairloopError as error:
        ended = Round("failed", str(error))
    except Exception as error:  # one of the two boundaries: a round must not take the daemon down
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            ended = Round("failed", f"{error.filename or folder.path} cannot be written ({error.strerror}); free some space")
        else:
            logger.exception("project %d: the round failed", project.id)
            ended = Round("failed", f"{type(error).__name__}; the log above has the trace")
    context.unfinished.remove()
    prune_features(settings.model_dir, most_bytes=settings.training.features_mb * 2**20)
    level = logging.ERROR if ended.outcome == "failed" else logging.INFO
    logger.log(level, "project %d: round %s", project.id, ended)
    return ended


@dataclass(frozen=True)
class Rated:
    """What it also trains on, if JUDGE_WEIGHT says so: the opinions of an LLM."""

    pairs: list[PreferencePair]
    rater: str = ""


@dataclass(frozen=True)
class _Challenge:
    """A challenger, what it trained on, and the champion if that can be loaded."""

    reading: Reading
    snapshot: Snapshot
    trained: TrainingResult
    rated: Rated
    effect: SuggestionEffect | None
    champion: LoadedChampion | None


def _round(context: RoundContext) -> Round:
    started = time.monotonic()
    try:
        reading = read_pairs(context)
    except NoComparison as error:
        return Round("skipped", str(error))
    judge_duels(context, reading)
    list_disagreements(context.project, reading.pairs)
    note_names(context.project, context.folder, reading.pairs, is_wanted=context.settings.annotator_names)
    audit_or_log(context, reading)
    read = time.monotonic()
    if reason := reason_to_skip(reading):
        return Round("skipped", reason)
    reading = replace(reading, train=weighed(context.project, reading.train, context.settings.training.annotator_weights))
    context = _with_version_zero(context)
    if reason := nothing_new(context, reading):
        return Round("skipped", reason)
    start = warm_start(context)
    snapshot = pairs_to_train_on(context, reading, start)
    draft = context.unfinished.version_folder()
    rated = _rated(context, snapshot)
    trained = _train(context, snapshot, rated, draft, start)
    trained_at = time.monotonic()
    every = [*snapshot.pairs, *reading.votes]
    effect = suggestion_effect(every, cards=context.cards, load=context.load, control=context.control)
    while True:
        challenge = _Challenge(reading, snapshot, trained, rated, effect, _load_champion(context))
        verdict = _judge(context, challenge)
        card = _card(context, challenge, verdict)
        seconds = {"read": read - started, "train": trained_at - read, "judge": time.monotonic() - trained_at}
        card = replace(
            card,
            seconds={phase: round(spent, 3) for phase, spent in seconds.items()},
            report=_figures(context, challenge, verdict),
        )
        try:
            return _publish(context, draft, card)
        except ChampionChanged as error:  # by hand, meanwhile
            logger.info("project %d: the challenger is judged anew: %s", context.project.id, error)
            context = replace(context)  # which reads the champion again


def _with_version_zero(context: RoundContext) -> RoundContext:
    """The context of a project that has REWARD_MODEL as its version 0, if it is to have that and no backend gave it one."""
    training = context.settings.training
    extractors = context.extractors.with_nothing_loaded()  # a training needs the memory that it takes
    try:
        version = publish_version_zero(context.folder, training, extractors) if training.reward_model else None
    except PairloopError as error:
        logger.warning("REWARD_MODEL is not there to be judged beside the challenger: %s", error)
        return context
    return replace(context) if version is not None else context  # which reads champion and cards again


def _rated(context: RoundContext, snapshot: Snapshot) -> Rated:
    rater = training_rater(context.folder.path, context.settings.training.judge_weight)
    if rater is None:
        return Rated([])
    pairs = rated_pairs(snapshot.pairs, rater)
    logger.info("project %d: also training on %d opinions of %s", context.project.id, len(pairs), rater.name)
    return Rated(pairs, rater.name if pairs else "")


def _train(context: RoundContext, snapshot: Snapshot, rated: Rated, draft: Path, start: Path | None) -> TrainingResult:
    """What is known of single pairs is of people's alone."""
    settings, unfinished = context.settings, context.unfinished
    workspace = Workspace(
        unfinished.folder, context.folder.path / "curves" / f"{unfinished.began_at:%Y%m%d-%H%M%S}",
        champion=start, report_to=settings.training.report_to, checkpoint_seconds=context.checkpoint_seconds,
    )  # fmt: skip
    training = TrainingContext(
        settings.training.reward_base, context.extractors, settings.seed, holdout_rule=context.holdout.rule,
        dtype=context.dtype, earlier=context.earlier,
    )  # fmt: skip
    pairs, count = [*snapshot.pairs, *rated.pairs], len(snapshot.pairs)
    trained = train_challenger(pairs, RECIPES[settings.training.recipe], draft, training, workspace)
    gaps = np.asarray(trained.gaps)[:count] if trained.gaps is not None else None
    smaller = tuple((round(size * count / len(pairs)), model) for size, model in trained.smaller)
    return replace(trained, gaps=gaps, smaller=smaller)


def _load_champion(context: RoundContext) -> LoadedChampion | None:
    if context.champion is None:
        return None
    try:
        return LoadedChampion(context.load(context.champion), context.champion_card)
    except PairloopError as error:
        logger.warning("the champion %s cannot be loaded, so the challenger is judged without it: %s", context.champion, error)
        return None


def _judge(context: RoundContext, challenge: _Challenge) -> Verdict:
    verdict = judge(
        challenge.trained.model,
        challenge.champion,
        challenge.reading.holdout,
        train=challenge.snapshot.pairs,
        pull=pull_of(challenge.reading.holdout, context.champion, challenge.effect),
        seed=context.settings.seed,
    )
    if context.champion is None or challenge.champion is not None:
        return verdict
    reason = verdict.reason.replace("there was no champion", f"the champion {context.champion} cannot be loaded")
    return replace(verdict, reason=reason)


def _card(context: RoundContext, challenge: _Challenge, verdict: Verdict) -> ReportCard:
    """All but the seconds and the figures."""
    settings, snapshot = context.settings, challenge.snapshot
    return ReportCard(
        project_id=context.project.id,
        recipe=settings.training.recipe,
        base=settings.training.reward_base,
        base_fingerprint=base_fingerprint(context),
        num_annotations=snapshot.num_annotations,
        newest_annotation=snapshot.newest_annotation,
        judged_until=challenge.reading.newest_annotation,
        newest_change=snapshot.newest_change,
        judgements=digest(snapshot.pairs, challenge.reading.votes),  # a round that was taken up trained on fewer
        num_train_pairs=num_votes(snapshot.pairs),
        num_rated_pairs=len(challenge.rated.pairs) or None,
        rater=challenge.rated.rater,
        num_holdout_pairs=verdict.metrics.num_pairs,
        dropped=snapshot.dropped,
        fields=challenge.reading.fields,
        metrics=verdict.metrics,
        promoted=verdict.promoted,
        reason=verdict.reason,
        probe=take_probe(challenge.trained.model),
        seed=settings.seed,
        seconds={},
        holdout_fraction=challenge.reading.holds_out.fraction,
        holdout_rule=challenge.reading.holds_out.rule,
        compared_with=context.champion if challenge.champion is not None else None,
        dtype=context.dtype,
        start=challenge.trained.start,
        learnt_from=challenge.trained.learnt_from,
        libraries={
            name: importlib.metadata.version(name)
            for name in ("torch", "transformers", "trl", *four_bit_libraries(challenge.trained.model.description.dtype))
        },
    )


def _figures(context: RoundContext, challenge: _Challenge, verdict: Verdict) -> ReportFigures:
    reading, snapshot, trained = challenge.reading, challenge.snapshot, challenge.trained
    curve = learning_curve(trained, reading.holdout, num_pairs=len(snapshot.pairs), metrics=verdict.metrics)
    return report_figures(
        trained.model,
        verdict,
        pairs=RoundPairs(
            snapshot.pairs, reading.holdout, reading.votes, snapshot.dropped, trained.gaps, reading.again, reading.values
        ),
        earlier=EarlierVersions(context.cards, challenge.champion),
        learning_curve=curve,
        project_url=f"{context.settings.studio.page}/projects/{context.project.id}",
        effect=challenge.effect,
        kinds=_kinds(context, challenge),
        weights=weights_effect(
            snapshot.pairs,
            context.settings.training.annotator_weights,
            holdout=reading.holdout,
            rewards=verdict.rewards,
            unweighted=trained.unweighted,
        ),
        control=context.control,
    )


def _kinds(context: RoundContext, challenge: _Challenge) -> tuple[KindFigures, ...]:
    """What people reward; nothing by a recipe that reads no features."""
    description, reading = challenge.trained.model.description, challenge.reading
    if description.kind != "frozen":
        return ()
    return kinds_rewarded([*reading.train, *reading.votes], context.extractors(description.feature_recipe))


def _publish(context: RoundContext, draft: Path, card: ReportCard) -> Round:
    (draft / "README.md").write_text(model_card(card, draw_pictures(card, draft)), encoding="utf-8")
    version = Versions(context.folder).publish(
        draft, card, judged_against=context.champion, promote=card.promoted is True, keep=context.settings.training.keep_versions
    )
    return Round("promoted" if card.promoted else "rejected", card.reason, version)
