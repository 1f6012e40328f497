"""What people reward, in words: which kinds of answers they choose more often than the other one.

A kind is a direction among the base's features (trainer/training/concepts.toml): an answer is more of that kind than another if it lies
further along. Such a direction is learnt from eight short answers, so that it is a hint, and no measurement of what a reader would say.
There are 48 of them, so that by 95 % intervals two or three would seem to matter by chance alone. The intervals here are as wide as they
must be for none to seem so in 95 % of projects (Bonferroni).
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from preference.labelling.pairs import PreferencePair
from preference.report_card.people_figures import KindFigures
from preference.reward_model.feature_extractor import FeatureExtractor
from trainer.evaluation.intervals import share
from trainer.training.concepts import concept_directions, concept_names

_AT_LEAST = 20  # votes
_MOST_ANNOTATORS, _MOST_VOTES = 10, 5000


def kinds_rewarded(pairs: Sequence[PreferencePair], extractor: FeatureExtractor) -> tuple[KindFigures, ...]:
    """The kinds that people choose or avoid beyond chance, the surest first; of each, how often the chosen answer is more of it.

    Votes on two answers count, and no ties, rankings or written answers. By annotator: those with 20 votes, the most active ten. Of more than 5,000 votes, the last count.
    """
    votes = [pair for pair in pairs if pair.kind == "vote" and pair.chosen != pair.rejected][-_MOST_VOTES:]
    if len(votes) < _AT_LEAST:
        return ()
    prompts = [vote.prompt for vote in votes]
    gap = extractor.features(prompts, [vote.chosen for vote in votes]) - extractor.features(
        prompts, [vote.rejected for vote in votes]
    )
    directions, names = concept_directions(extractor), concept_names()
    is_more = ((gap @ directions.T).numpy() > 0).astype(float)  # (num_votes, num_kinds)
    z = float(norm.ppf(1 - 0.025 / len(names)))
    rows = defaultdict[int, list[int]](list)
    for row, vote in enumerate(votes):
        if vote.annotator_id is not None:
            rows[vote.annotator_id].append(row)
    listed = sorted((who for who in rows if len(rows[who]) >= _AT_LEAST), key=lambda who: -len(rows[who]))[:_MOST_ANNOTATORS]
    figures = []
    for kind, name in enumerate(names):
        people = share(is_more[:, kind], z=z)
        low, high = people.interval or (0.0, 1.0)
        if low > 0.5 or high < 0.5:
            by = {str(who): share(is_more[np.array(rows[who]), kind], z=z) for who in listed}
            figures.append(KindFigures(name, people, by))
    return tuple(sorted(figures, key=_strength, reverse=True))


def _strength(row: KindFigures) -> float:
    value = row.people.value if row.people else None
    return abs(value - 0.5) if value is not None else 0.0
