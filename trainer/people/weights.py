"""What people's votes count in training, if not all count alike (ANNOTATOR_WEIGHTS), and what that changes."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from preference.errors import StudioError
from preference.labelling.pairs import PreferencePair
from preference.projects.annotator_names import numbers_of
from preference.report_card.people_figures import WeightsEffect
from preference.reward_model.model import RewardModel
from preference.setting_fields import annotator_weights
from preference.studio.project import LabelStudioProject
from trainer.evaluation.intervals import share
from trainer.evaluation.pair_rewards import Rewards, once_each, score_pairs

logger = logging.getLogger("pairloop.rounds")


def weighed(project: LabelStudioProject, pairs: Sequence[PreferencePair], setting: str) -> list[PreferencePair]:
    """The pairs that are trained on, each with its annotator's weight. Who cannot be told is named in the log.

    Raises:
        StudioError: Label Studio does not answer, or refuses, and somebody is not named by a number.
    """
    named = annotator_weights(setting)
    if not named:
        return list(pairs)
    judged = {pair.annotator_id for pair in pairs if pair.annotator_id is not None}
    try:
        users = project.users()
    except StudioError:
        if not all(map(str.isdecimal, named)):
            raise
        users = {}  # numbers need no list
    numbers, problem = numbers_of(named, {**dict.fromkeys(judged, ("", "")), **users})
    by_number = {number: named[name] for name, number in numbers.items()}
    if problem:
        logger.warning(
            "project %d: ANNOTATOR_WEIGHTS names %s; give each one's number or e-mail address, once", project.id, problem
        )
    for who in by_number.keys() - judged:
        logger.info(
            "project %d: annotator %d has a weight, and no judgement that is trained on: it makes no difference", project.id, who
        )
    return [replace(pair, trust=by_number.get(pair.annotator_id or 0, 1.0)) for pair in pairs]


def weights_effect(
    pairs: Sequence[PreferencePair], setting: str, *, holdout: Sequence[PreferencePair], rewards: Rewards | None,
    unweighted: RewardModel | None,
) -> WeightsEffect | None:  # fmt: skip
    """What the weights of `pairs`, which were trained on, change; None without the setting.

    `holdout`: one pair for each comparison; `rewards`: the trained model's of these; `unweighted`: a model for which all votes count alike.
    """
    if not setting:
        return None
    by_annotator = {str(pair.annotator_id): pair.trust for pair in pairs if pair.trust != 1.0}
    right = [rewards, score_pairs(unweighted, holdout) if unweighted is not None else None]
    weighted, alike = (share(once_each(each.right, holdout)) if each is not None and holdout else None for each in right)
    return WeightsEffect(by_annotator, weighted, alike)
