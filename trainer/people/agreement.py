"""How far people agree, and a row for each annotator."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain

import krippendorff
import numpy as np

from preference.report_card.people_figures import People
from trainer.evaluation.intervals import share
from trainer.people.annotators import annotator_figures, ground_truth
from trainer.people.judgements import MIN_SHARED, Judgement, Outcome, outcomes_by_task

_MOST_LISTED = 50


def people_figures(judgements: Sequence[Judgement], *, again: Sequence[Judgement] = ()) -> People:
    """How far people agree, and a row for each annotator, those with most judgements first.

    `agreement`: how often two annotators of one comparison agree (left, right or tie), each comparison counted once.
    `alpha`: Krippendorff's, nominal; 1 is perfect, 0 is chance. `num_shared`: comparisons that several judged. Both are None
    below MIN_SHARED of them. If one annotator judged a task twice, the later judgement counts for agreement.

    `again`: judgements of repeats, each as one of the task that it repeats. They count for agreement: with themselves if that annotator
    judged the same answers before, else with the others, unless that task compares other answers: somebody edited it, or both came from
    another project, where it had another number.
    """
    first = {(judgement.texts, judgement.annotator_id) for judgement in judgements}
    texts = {judgement.comparison: judgement.texts for judgement in judgements if judgement.texts is not None}
    repeated = defaultdict[int | None, list[Judgement]](list)
    of_others = defaultdict[int | None, list[Judgement]](list)
    for judgement in again:
        if (judgement.texts, judgement.annotator_id) in first:
            repeated[judgement.annotator_id].append(judgement)
        elif texts.get(judgement.comparison, judgement.texts) == judgement.texts:
            of_others[judgement.annotator_id].append(judgement)
    shared = outcomes_by_task([*judgements, *chain.from_iterable(of_others.values())])
    truth = ground_truth(judgements)
    counts = [Counter(outcomes.values()) for outcomes in shared.values()]
    by_annotator: dict[int | None, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_annotator[judgement.annotator_id].append(judgement)
    ordered = sorted(by_annotator.items(), key=lambda item: (-len(item[1]), str(item[0])))
    return People(
        num_annotators=len(by_annotator),
        num_shared=len(shared),
        agreement=share([_alike(count) for count in counts], at_least=MIN_SHARED),
        alpha=_alpha(counts),
        annotators=tuple(
            annotator_figures(
                annotator, made, again=repeated[annotator], of_others=of_others[annotator], shared=shared, truth=truth
            )
            for annotator, made in ordered[:_MOST_LISTED]
        ),
    )


def _alike(count: Counter[Outcome]) -> float:
    """The share of pairs of annotators that judged one comparison alike."""
    total = count.total()
    return sum(n * (n - 1) for n in count.values()) / (total * (total - 1))


def _alpha(counts: Sequence[Counter[Outcome]]) -> float | None:
    """Krippendorff's alpha; None for few comparisons, and if all have one outcome, so that chance agreement is certain."""
    values = sorted({outcome for count in counts for outcome in count})
    if len(counts) < MIN_SHARED or len(values) < 2:
        return None
    table = np.array([[count[value] for value in values] for count in counts])
    return round(float(krippendorff.alpha(value_counts=table, level_of_measurement="nominal")), 4)
