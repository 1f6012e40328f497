"""The open tasks that a version can decide: nobody judged them, and they have two answers that differ.

Not covered: duels. Two generators wrote their answers, so the blind judgements are no sample of them. Repeats, which somebody judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import mannwhitneyu

from preference.duels.duel import KEY
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.task_pairs import question_of
from preference.reward_model.model import RewardModel
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, entry_of
from trainer.evaluation.intervals import Array
from trainer.evaluation.pair_rewards import score_pairs
from trainer.reporting.figures import confidences
from trainer.rounds.blind_votes import BlindVotes

_MOST = 10**9
_LESS_SURE = 0.01


@dataclass(frozen=True, eq=False)
class OpenTasks:
    """Open tasks, by id, each as the version would decide it."""

    pairs: Sequence[PreferencePair]  # `chosen`: the answer with the higher reward
    confidence: Array  # (num_tasks,) .5..1

    def are_less_sure_than(self, judged: BlindVotes, *, above: float) -> bool:
        """Whether the version is less sure of these than of judged ones, beyond noise, among those of which it is at least so sure.

        Then the judged ones say little of them (Mann and Whitney 1947, one-sided, at one per cent).
        """
        covered, seen = (each.confidence[each.confidence >= above] for each in (self, judged))
        return min(len(covered), len(seen)) > 0 and bool(mannwhitneyu(covered, seen, alternative="less").pvalue < _LESS_SURE)


def decide_open_tasks(project: LabelStudioProject, layout: LabelingLayout, model: RewardModel) -> OpenTasks:
    """All open tasks of a project, without those of which the version gives no number.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
    """
    pairs = []
    for task in project.open_tasks(above=0, most=_MOST):
        prompt, texts = layout.prompt(task["data"]), layout.comparable_answers(task["data"])
        if prompt is None or len(texts) != 2 or texts[0].strip() == texts[1].strip():
            continue
        if entry_of(task, META_KEY).get(KEY) or repeat_of(task) is not None:
            continue
        compared = "" if prompt else str(question_of(prompt, texts))
        pairs.append(PreferencePair(prompt, texts[0], texts[1], task_id=task["id"], chosen_side="left", compared=compared))
    rewards = score_pairs(model, pairs)
    rows = np.isfinite(rewards.gaps)
    decided = [_turned(pair) if gap < 0 else pair for pair, gap, is_in in zip(pairs, rewards.gaps, rows, strict=True) if is_in]
    return OpenTasks(decided, confidences(model, rewards)[rows])


def _turned(pair: PreferencePair) -> PreferencePair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen, chosen_side="right")
