"""The judgements of a project as pairs: those that a round trains on, and those that it is judged on."""

import logging
from collections import Counter
from dataclasses import dataclass

from preference.errors import NoComparison, RegistryError
from preference.labelling.controls.criteria import applying
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import judged_layout_of
from preference.labelling.pairs import PreferencePair, majority, num_votes
from preference.labelling.task_data import named_fields
from preference.labelling.task_pairs import pairs_of_repeat, pairs_of_task
from preference.projects.answer_sides import check_sides, fields_of
from preference.projects.guidelines import Guidelines, note_instruction
from preference.studio.task import ProjectFields
from trainer.duels.duels import Duel, judged_duels
from trainer.judgements.blind_pairs import blind_pairs
from trainer.judgements.cache_file import JudgedTask
from trainer.judgements.field_values import FieldValues, field_values
from trainer.judgements.new_judgements import reach_of
from trainer.judgements.reader import read_judgements
from trainer.rounds.evidence import Evidence
from trainer.rounds.reading_context import ReadingContext

logger = logging.getLogger("pairloop.rounds")
_WRITTEN = "nothing is trained; pairloop-trainer export --format sft writes them"


@dataclass(frozen=True)
class Reading:
    """All judgements as they stand now."""

    pairs: list[PreferencePair]
    train: list[PreferencePair]
    votes: list[PreferencePair]  # on held-out prompts
    holdout: list[PreferencePair]  # one for each comparison among them: the side that most votes took
    num_annotations: int  # as Label Studio counts them
    newest_annotation: int | None  # the highest id
    newest_change: str | None  # when the last of them was made or edited, by Label Studio's clock
    dropped: dict[str, int]  # how many judgements give no pair, by the reason
    fields: dict[str, str]  # of a task's data: "prompt", and "left" and "right" for the answers
    layout: LabelingLayout
    duels: list[Duel]  # that people judged
    blind: list[PreferencePair]  # blind judgements of tasks that were served by lot, as blind_pairs has them
    holds_out: Holdout
    evidence: Evidence
    again: list[PreferencePair]  # judgements of repeats, as pairs of the tasks that they repeat; nothing learns from them
    values: FieldValues  # what tasks hold in the fields that SLICE_BY names


def read_pairs(context: ReadingContext) -> Reading:
    """What people judged until now.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        NoComparison: the project collects demonstrations.
        LayoutError: no pairs can be made under the project's label config, or it turns earlier judgements round.
    """
    training = context.settings.training
    state, tasks = _read_together(context)
    layout = judged_layout_of(state["label_config"], instead=_WRITTEN)
    check_sides(layout, context.cards)
    where = applying(training.judgements_where, layout.criteria)
    dropped: Counter[str] = Counter()
    pairs = [
        pair
        for task in tasks
        for pair in pairs_of_task(
            task,
            layout=layout,
            dropped=dropped,
            ties=training.ties,
            prefer_ground_truth=training.prefer_ground_truth,
            where=where,
        )
    ]
    pairs = _guidelines(context, state).of(pairs)
    blind = blind_pairs(
        tasks,
        layout,
        control=context.control,
        prefer_ground_truth=training.prefer_ground_truth,
        where=where,
    )
    holds_out, num_held_out = context.holdout.with_evidence(pairs)
    train, votes = holds_out.split(pairs)
    reach = reach_of(tasks)
    return Reading(
        pairs,
        train,
        votes,
        majority(votes),
        num_annotations=int(state.get("total_annotations_number") or 0),
        newest_annotation=reach.newest_annotation,
        newest_change=reach.newest_change,
        dropped=dict(dropped),
        fields=fields_of(layout),
        layout=layout,
        duels=judged_duels(
            tasks,
            layout,
            lambda task: pairs_of_task(
                task, layout, dropped=Counter(), prefer_ground_truth=training.prefer_ground_truth, where=where
            ),
        ),
        blind=blind,
        holds_out=holds_out,
        evidence=Evidence.of(pairs, num_held_out=num_held_out, min_pairs=training.min_pairs),
        again=[pair for task in tasks for pair in pairs_of_repeat(task, layout, ties=training.ties, where=where)],
        values=field_values(tasks, named_fields(training.slice_by)),
    )


def holdout_now(context: ReadingContext) -> Holdout:
    """What is held out for whoever exports: as the served version has it, and before the first what its round would hold out now.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
        LayoutError: as `read_pairs`.
    """
    if context.cards:
        return context.served_holdout
    try:
        return read_pairs(context).holds_out
    except NoComparison:
        return context.holdout


def _guidelines(context: ReadingContext, state: ProjectFields) -> Guidelines:
    """The versions of the project's guidelines; none if they cannot be read or kept, since no round is lost for that."""
    try:
        return note_instruction(context.folder, state.get("expert_instruction"), now=context.clock())
    except RegistryError as error:
        logger.warning("project %d: no judgement's guidelines are known: %s", context.project.id, error)
        return Guidelines()


def _read_together(context: ReadingContext) -> tuple[ProjectFields, list[JudgedTask]]:
    """The project and its judgements, read anew if somebody changed the label config in between: they would not fit."""
    project, before = context.project, context.project.read()
    while True:
        tasks = read_judgements(project, context.folder.path, state=before, now=context.clock())
        after = project.read()
        if after["label_config"] == before["label_config"]:
            return before, tasks
        logger.info("project %d: the label config was changed meanwhile; the judgements are read anew", project.id)
        before = after


def reason_to_skip(reading: Reading) -> str | None:
    """Why a round could not end with a verdict; None if it can."""
    if missing := reading.evidence.missing:
        excluded = ", ".join(f"{count} {reason}" for reason, count in reading.dropped.items()) or "nothing"
        return f"{missing}; excluded: {excluded}"
    if not reading.train:
        return f"all {num_votes(reading.pairs)} pairs are of prompts that are held out; judge other prompts"
    return None
