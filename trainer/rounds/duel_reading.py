"""What a round makes of the duels: figures for everybody, the end of a trial, and a rollback if people like a version less.

Covered: a person who promotes or rolls back meanwhile is obeyed; a kill before the rollback: the next round rolls back. A version that
was rolled back and promoted again by hand stays, as it has no trial any more; no version is ever promoted here.
Not covered: duels of tasks whose answers somebody edited in place; they count as if the generators had written that.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

from preference.duels.figures import DuelFigures, figures_of, read_duels, write_duels
from preference.duels.on_trial import OnTrial, on_trial
from preference.errors import PairloopError
from preference.labelling.prompts import normalised, opening
from preference.models.pretrained import locate
from preference.projects.generators import Generators
from preference.report_card.shares import Share
from preference.reward_model.model import RewardModel
from trainer.duels.duels import Duel, open_duels
from trainer.duels.prediction_powered import powered_share
from trainer.duels.verdict import prefer
from trainer.evaluation.intervals import Array, share
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import Reading
from trainer.training.frozen_head import feature_recipe, train_head
from trainer.training.recipes import FROZEN, RECIPES

logger = logging.getLogger("pairloop.rounds")
_LEAST_POWERED = 30  # duels that people judged, and as many that wait, for the reward model to have a word
_LEAST_PAIRS = 30  # for that model to be trained
_MOST_OPEN_TASKS = 2000  # among which open duels are looked for


def judge_duels(context: RoundContext, reading: Reading) -> None:
    """Writes what people say in the duels, and rolls back the version on trial if they like it less.

    No round is lost for that: what fails is logged.
    """
    try:
        known = read_duels(context.folder.path)
        if not reading.duels and not known:
            return
        figures = _figures(context, reading, known)
        write_duels(context.folder.path, figures)
        trial = on_trial(context.folder, ())
        if trial is not None:
            _end(context, trial, figures, known)
    except (PairloopError, OSError) as error:
        logger.warning("project %d: what people say in duels cannot be read: %s", context.project.id, error)


def _figures(context: RoundContext, reading: Reading, known: Sequence[DuelFigures]) -> list[DuelFigures]:
    """Those of every two generators that met, the latest first."""
    latest = {duel.between: duel for duel in sorted(reading.duels, key=lambda duel: duel.task_id)}
    waiting = _open(context, reading) if len(reading.duels) >= _LEAST_POWERED else []
    guess = _Guesses(context, reading, waiting)
    made = []
    for duel in sorted(latest.values(), key=lambda duel: duel.task_id, reverse=True):
        judged, open_ = _of(duel, reading.duels), _of(duel, waiting)
        outcomes = np.array([each.outcome for each in judged], dtype=float)
        before = figures_of(known, duel.new, duel.other)
        preferred = {1.0: duel.new, 0.0: duel.other}.get(prefer(outcomes), "")
        made.append(
            DuelFigures(
                duel.new,
                duel.other,
                share(outcomes),
                guess.powered(judged, outcomes, open_),
                num_open=len(open_),
                preferred=(before.preferred if before else "") or preferred,
                read_at=datetime.fromtimestamp(context.clock(), UTC).isoformat(timespec="seconds"),
            )
        )
    return made


def _of(like: Duel, duels: Iterable[Duel]) -> list[Duel]:
    """Those between the same two, each turned so that the same one is the new one."""
    return [duel if duel.new == like.new else duel.turned() for duel in duels if duel.between == like.between]


def _open(context: RoundContext, reading: Reading) -> list[Duel]:
    above = min(duel.task_id for duel in reading.duels) - 1
    return list(open_duels(context.project, reading.layout, above=above, most=_MOST_OPEN_TASKS))


class _Guesses:
    """What a reward model guesses of duels that it knows nothing of: it is trained on the judgements of other prompts."""

    def __init__(self, context: RoundContext, reading: Reading, waiting: Sequence[Duel]) -> None:
        self._context, self._reading = context, reading
        self._prompts = {_twin(duel) for duel in (*reading.duels, *waiting)}
        self._model: RewardModel | None = None

    def powered(self, judged: Sequence[Duel], outcomes: Array, waiting: Sequence[Duel]) -> Share:
        """The share with its help; unknown if there are too few duels, or too few other judgements to train it on, or if it fails."""
        try:
            return self._powered(judged, outcomes, waiting)
        except (PairloopError, RuntimeError, MemoryError) as error:  # what people alone say decides, and is not to wait for it
            logger.warning("project %d: the reward model has no word on duels: %s", self._context.project.id, error)
            return Share()

    def _powered(self, judged: Sequence[Duel], outcomes: Array, waiting: Sequence[Duel]) -> Share:
        if min(len(judged), len(waiting)) < _LEAST_POWERED or (model := self._trained()) is None:
            return Share()
        duels = [*judged, *waiting]
        prompts = [duel.prompt for duel in duels]
        gaps = (
            model.score(prompts, [duel.new_answer for duel in duels])
            - model.score(prompts, [duel.other_answer for duel in duels])
        ).numpy()  # (num_duels,)
        guesses: Array = 1 / (1 + np.exp(-(gaps / model.description.temperature).clip(-50, 50)))
        return powered_share(outcomes, guesses[: len(judged)].astype(float), guesses[len(judged) :].astype(float))

    def _trained(self) -> RewardModel | None:
        """`frozen`, which takes seconds, whatever RECIPE is; None if there is too little to train on."""
        pairs = [pair for pair in self._reading.train if normalised(opening(pair.question)) not in self._prompts]
        if self._model is None and len(pairs) >= _LEAST_PAIRS:
            training, extractors = self._context.settings.training, self._context.extractors
            if RECIPES[training.recipe].kind != "frozen":  # whose training needs the memory that the base takes
                extractors = extractors.with_nothing_loaded()
            path = locate(training.reward_base, self._context.settings.model_dir)
            self._model = train_head(
                pairs, FROZEN, extractors(feature_recipe(FROZEN, base=training.reward_base, path=path))
            ).model
        return self._model


def _twin(duel: Duel) -> str:
    return normalised(opening(duel.prompt))


def _end(context: RoundContext, trial: OnTrial, figures: Sequence[DuelFigures], known: Sequence[DuelFigures]) -> None:
    """Ends the trial if people have decided."""
    decided = figures_of(figures, trial.version, trial.other)
    if decided is None or not decided.preferred:
        return
    if decided.preferred == trial.other:
        # A person who chose another version meanwhile is obeyed.
        back = Generators(context.folder).rollback(reason=str(decided), seen=trial.version)
        logger.info("project %d: %s is rolled back to %s: %s", context.project.id, trial.version, back, decided)
    elif (before := figures_of(known, trial.version, trial.other)) is None or not before.preferred:
        logger.info("project %d: the trial of %s is over: %s", context.project.id, trial.version, decided)
