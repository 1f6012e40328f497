"""Has a rater judge what people judged, and says how far it agrees with them, beside people and beside the champion.

The comparisons are the held-out ones of a round, as most people decided them. The rater sees each in both orders; if it does not say
the same both times, that is a tie. With JUDGE_WEIGHT, it is also asked about the comparisons that are trained on (rated_pairs.py).
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from preference.errors import PairloopError, TrainingError
from preference.labelling.pairs import PreferencePair
from preference.report_card.raters import RaterFigures, rater_path, write_rater
from preference.report_card.shares import Share
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import once_each, score_pairs
from trainer.llm_judge.rater import Comparison, Rater
from trainer.people.agreement import people_figures
from trainer.people.judgements import judgements_of
from trainer.rating.opinions import opinion_of
from trainer.rating.rated_pairs import compared
from trainer.rating.replies import Replies
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs

logger = logging.getLogger("pairloop.rating")


def rate(context: RoundContext, rater: Rater) -> RaterFigures:
    """The figures, after all held-out comparisons were judged; they are kept in the project's folder.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        NoComparison, LayoutError: there are no comparisons to judge.
        TrainingError: nothing is held out yet.
        ModelError: the rater does not answer; its replies are kept.
        RegistryError: MODEL_DIR is full or not writable.
    """
    reading = read_pairs(context)
    if not reading.holdout:
        raise TrainingError(
            f"Project {context.project.id} has no held-out comparison that people agree on yet; judge more tasks."
        )
    replies = Replies(rater_path(context.folder.path, rater.model, ".replies.jsonl"))
    others = compared(reading.train) if context.settings.training.judge_weight else []
    num_asked = rater.ask((Comparison(pair.prompt, pair.chosen, pair.rejected) for pair in (*reading.holdout, *others)), replies)
    logger.info("project %d: %s was asked %d times", context.project.id, rater.model, num_asked)
    opinions = [opinion_of(pair, replies) for pair in reading.holdout]
    known = [(pair, opinion.value) for pair, opinion in zip(reading.holdout, opinions, strict=True) if opinion.value is not None]
    pairs = [pair for pair, _ in known]
    people = people_figures(judgements_of([*reading.train, *reading.votes]))
    figures = RaterFigures(
        rater=rater.model,
        judged_at=datetime.now(UTC).isoformat(timespec="seconds"),
        agreement=share(once_each(np.array([value for _, value in known]), pairs)),
        num_ties=sum(value == 0.5 for _, value in known),
        num_unreadable=sum(opinion.value is None and not opinion.is_refused for opinion in opinions),
        num_refused=sum(opinion.is_refused for opinion in opinions),
        first_rate=share([won for opinion in opinions for won in opinion.first_wins]),
        people=people.agreement or Share(),
        champion=context.champion,
        champion_accuracy=_champion_accuracy(context, pairs),
    )
    write_rater(context.folder.path, figures)
    return figures


def _champion_accuracy(context: RoundContext, pairs: Sequence[PreferencePair]) -> Share:
    """How often the champion is right about the same comparisons."""
    if context.champion is None:
        return Share()
    try:
        return share(once_each(score_pairs(context.load(context.champion), pairs).right, pairs))
    except PairloopError as error:
        logger.warning("the champion %s cannot be loaded, so the rater is not compared with it: %s", context.champion, error)
        return Share()
