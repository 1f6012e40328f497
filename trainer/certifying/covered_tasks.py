"""The open tasks that the champion's certificate covers now, as the champion would decide them. Nobody judged any of them."""

from dataclasses import dataclass

from preference.errors import TrainingError
from preference.labelling.holdout import Holdout
from preference.labelling.pairs import PreferencePair
from preference.report_card.certificate import Certificate, read_standing
from trainer.certifying.open_tasks import decide_open_tasks
from trainer.rounds.audit import audit, known_prompts, since_withdrawn
from trainer.rounds.blind_votes import blind_votes, first_votes
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs


@dataclass(frozen=True)
class CoveredTasks:
    """Open tasks under one certificate."""

    certificate: Certificate
    pairs: list[PreferencePair]  # by task id; `chosen`: the answer that the champion prefers
    confidence: list[float]  # of each, .5..1
    num_others: int  # open tasks of which it is not sure enough
    holds_out: Holdout  # the prompts by which versions are judged, as `export` has them


def covered_tasks(context: RoundContext) -> CoveredTasks:
    """Those of now, after the certificate was audited by all that was judged until now.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        NoComparison, LayoutError: there are no comparisons.
        TrainingError: no certificate covers open tasks now.
        ModelError, RegistryError: the champion cannot be loaded, or MODEL_DIR is full or not writable.
    """
    reading, number = read_pairs(context), context.project.id
    audit(context, reading)
    standing = read_standing(context.folder.path, context.champion, now=context.clock())
    if standing is None:
        raise TrainingError(f"Project {number} has no certificate; `pairloop-trainer certify --project {number}` looks for one.")
    if standing.problem:
        raise TrainingError(f"No certificate covers open tasks of project {number} now: {standing}.")
    certificate, model = standing.certificate, context.load(standing.certificate.version)
    tasks = decide_open_tasks(context.project, reading.layout, model)
    threshold = certificate.certified_from or 1.0
    judged = first_votes(reading.blind, known=known_prompts(context, reading), above=since_withdrawn(context))
    if tasks.are_less_sure_than(blind_votes(judged, model), above=threshold):
        raise TrainingError(
            f"The open tasks of project {number} are others than when it was certified: {certificate.version} is less sure of those that "
            f"{certificate.name} would cover than of those that were judged blind. Judge some of them, and certify it again."
        )
    rows = [place for place, sure in enumerate(tasks.confidence) if sure >= threshold]
    return CoveredTasks(
        certificate,
        [tasks.pairs[place] for place in rows],
        [float(tasks.confidence[place]) for place in rows],
        num_others=len(tasks.pairs) - len(rows),
        holds_out=context.served_holdout,
    )
