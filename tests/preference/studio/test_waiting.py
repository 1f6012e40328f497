import math

from preference.studio.waiting import Waiting


def test_the_first_one_waits_for_no_other_and_the_next_ones_for_a_full_group() -> None:
    waiting = Waiting[int](rest_seconds=3600)
    assert waiting.take(3, is_last=True) == []  # which is no group: the first one still waits for nothing
    waiting.append(1)
    assert waiting.take(3, is_last=False) == [1]

    waiting += [2, 3]
    assert waiting.take(3, is_last=False) == []
    assert 3500 < waiting.seconds_left <= 3600
    waiting += [4, 5]
    assert (waiting.take(3, is_last=False), list(waiting)) == ([2, 3, 4], [5])


def test_what_there_is_goes_after_a_rest_or_if_no_more_come() -> None:
    waiting, rested = Waiting[int](rest_seconds=3600), Waiting[int](rest_seconds=0)
    for each in (waiting, rested):
        each.append(1)
        each.take(3, is_last=False)
        each.append(2)

    assert rested.seconds_left == math.inf, "what could go already waits for something else"
    assert rested.take(3, is_last=False) == [2]
    assert waiting.take(3, is_last=False) == []
    assert waiting.take(3, is_last=True) == [2]
    assert waiting.seconds_left == math.inf, "nothing waits"


def test_what_is_put_back_goes_first_and_at_once() -> None:
    waiting = Waiting[int](rest_seconds=3600)
    waiting += [1, 2, 3]
    taken = waiting.take(2, is_last=False)

    waiting.put_back(taken)

    assert waiting.take(5, is_last=False) == [1, 2, 3]
