"""What doctor looks at of how people judge: how many of them a task, whose word counts, and by what the card cuts it."""

from itertools import islice

from backend.connecting.overlap import in_words
from backend.doctor.check import Check, CheckFailed
from backend.doctor.project_checks import Examined
from preference.formatting import plural
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_data import named_fields, value_at
from preference.projects.annotator_names import numbers_of
from preference.projects.status_files import OpenRepeats
from preference.projects.versions import Versions
from preference.setting_fields import annotator_weights

_NUM_TASKS = 100  # that are looked at
_MOST_NAMES = 20


def _overlap(examined: Examined) -> str:
    state = examined.state
    sentence = in_words(state)
    if (state.get("maximum_annotations") or 1) == 1:
        return f"{sentence}, so nobody knows how often people agree; {examined.connect} --overlap 0.2 has a fifth judged by two"
    return f"{sentence}; whoever comes second sees what the first saw, or nothing, and gets tasks that are begun before others"


def _ground_truth(examined: Examined) -> str:
    num_true = examined.state.get("ground_truth_number") or 0
    if not examined.installation.settings.training.prefer_ground_truth:
        return f"every judgement counts alike, ground truth or not ({num_true} are)"
    num_outweighed = sum(
        sum(not each["ground_truth"] and not each["was_cancelled"] for each in task["annotations"])
        for task in examined.project.judged_by_several()
        if any(each["ground_truth"] and not each["was_cancelled"] for each in task["annotations"])
    )
    if num_outweighed:
        raise CheckFailed(
            f"PREFER_GROUND_TRUTH leaves out {num_outweighed} {plural(num_outweighed, 'judgement, whose task has', 'judgements, whose tasks have')} one that is ground truth",
            "if those were imported, and nobody reviewed them, unset it: Label Studio marks each imported judgement as ground truth",
        )
    return f"on tasks with ground truth nothing else counts ({num_true} judgements are), and nothing else was judged there"


def _slices(examined: Examined) -> str:
    fields = named_fields(examined.installation.settings.training.slice_by)
    if not fields:
        return "accuracy is given by no field of tasks' data (SLICE_BY)"
    tasks = list(islice(examined.project.all_tasks(page_size=_NUM_TASKS), _NUM_TASKS))
    unknown = [field for field in fields if all(value_at(task["data"], field) in (None, "") for task in tasks)]
    if tasks and unknown:
        known = ", ".join(sorted({name for task in tasks for name in task["data"]})[:_MOST_NAMES])
        raise CheckFailed(
            f"SLICE_BY names {', '.join(unknown)}, which none of the first {len(tasks)} tasks has; their data has {known}",
            "correct it, unless it is for another project",
        )
    return f"accuracy is given by {', '.join(fields)}"


def _repeats(examined: Examined) -> str:
    share, layout = examined.installation.settings.filling.repeats, examined.layout
    if not share:
        return "no comparison comes back, so nobody knows how often people say the same again; REPEATS=0.03 has it known"
    if not isinstance(layout, LabelingLayout) or layout.ranker is not None:
        return "no comparison comes back, as the project collects no comparisons of two answers"
    num_open = len(OpenRepeats.read(examined.folder.path).open)
    return f"{100 * share:g} % of the judgements come back with their sides exchanged ({num_open} wait now); nothing is trained on twice"


def _weights(examined: Examined) -> str:
    setting = examined.installation.settings.training.annotator_weights
    if not setting:
        return "all votes count alike in training (ANNOTATOR_WEIGHTS)"
    latest = next(Versions(examined.folder).cards(logs_damaged=False), None)
    people = latest.report.people if latest else None
    judged = [row.annotator for row in people.annotators if isinstance(row.annotator, int)] if people else []  # some left since
    _, problem = numbers_of(annotator_weights(setting), {**dict.fromkeys(judged, ("", "")), **examined.project.users()})
    if problem:
        raise CheckFailed(f"ANNOTATOR_WEIGHTS names {problem}", "give each one's number or e-mail address, once")
    return f"not all votes count alike in training: {setting}"


JUDGING_CHECKS: tuple[Check[Examined], ...] = (
    Check("overlap", _overlap, needs=["rights"]),
    Check("ground truth", _ground_truth, needs=["rights"]),
    Check("repeats", _repeats, needs=["label config"]),
    Check("weights", _weights, needs=["rights"]),
    Check("slices", _slices, needs=["rights"]),
)
