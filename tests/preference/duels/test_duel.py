import pytest

from preference.duels.duel import DuelRecord, is_drawn


def test_a_tenth_of_the_tasks_is_drawn_and_always_the_same() -> None:
    drawn = {task_id for task_id in range(1, 20_001) if is_drawn(3, task_id, 10)}

    assert 0.09 < len(drawn) / 20_000 < 0.11
    assert drawn < {task_id for task_id in range(1, 20_001) if is_drawn(3, task_id, 20)}
    assert 0.005 < sum(is_drawn(4, task_id, 10) for task_id in drawn) / 20_000 < 0.015, "another project draws others"
    assert not any(is_drawn(3, task_id, 0) for task_id in drawn)


@pytest.mark.parametrize("value", [None, [], {}, {"new": "g1", "other": "base"}, {"new": "g1", "other": 3, "new_in": "answer1"}])
def test_what_is_no_record_is_none(value: object) -> None:
    assert DuelRecord.of(value) is None


def test_a_record_is_read_as_it_was_written() -> None:
    record = DuelRecord("g2-20261121-062026", "base", "answer2")

    assert DuelRecord.of(record.to_values()) == record
