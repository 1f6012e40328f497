from typing import Any

from trainer.judgements.cache_file import JudgedTask
from trainer.judgements.field_values import field_values


def judged(number: int, **held: Any) -> JudgedTask:
    return {"id": number, "updated_at": "", "data": {"prompt": "Why?", **held}, "annotations": [], "predictions": []}


def test_values_are_shown_in_one_line_of_some_length_as_label_studio_shows_them() -> None:
    tasks = [judged(1, source={"kind": "a\nb"}), judged(2, source={"kind": 2.0}), judged(3, source={"kind": "x" * 500})]

    (values,) = field_values(tasks, ["source.kind"]).values()

    assert values == {1: "a b", 2: "2", 3: f"{'x' * 59}…"}


def test_a_task_without_a_value_has_none() -> None:
    tasks = [judged(1), judged(2, topic=None), judged(3, topic=" "), judged(4, topic={}), judged(5, topic=False)]

    assert field_values(tasks, ["topic", "source.kind"]) == {"topic": {5: "false"}, "source.kind": {}}
