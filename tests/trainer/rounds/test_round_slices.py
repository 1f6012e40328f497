"""SLICE_BY: the accuracy by what tasks hold in a field."""

from preference.labelling.holdout import Holdout
from tests.support.lab import HOLDOUT, Lab, judged_tasks


def test_the_card_has_the_accuracy_by_the_fields_that_are_named(lab: Lab) -> None:
    lab.settings = lab.settings.replace(slice_by="source.kind,topic")
    tasks = judged_tasks(120)
    for task in tasks:
        task["data"] |= {"source": {"kind": "mail" if task["id"] % 3 else "chat"}, "topic": "law"}

    card = lab.card(lab.round(tasks))

    held_out = [task["id"] % 3 > 0 for task in tasks if Holdout(HOLDOUT).has(task["data"]["prompt"])]
    rows = {row.name: row.accuracy for row in card.report.slices}
    by_kind = {name: figure.count for name, figure in rows.items() if figure and "source" in name}
    assert by_kind == {"source.kind: mail": sum(held_out), "source.kind: chat": len(held_out) - sum(held_out)}
    assert card.metrics.accuracy is not None
    right = sum((figure.value or 0) * (figure.count or 0) for name, figure in rows.items() if figure and name in by_kind)
    assert abs(right - card.metrics.accuracy * len(held_out)) < 0.1
    assert not any("topic" in name for name in rows), "which is the same in all tasks"
