import threading
import time

from preference.reward_model.turns import Turns


def _wait_for(turns: Turns, count: int) -> None:
    end = time.monotonic() + 20
    while turns.num_waiting != count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_waits_is_called_in_the_order_of_asking_before_who_has_just_had_a_turn() -> None:
    turns, had = Turns(), list[int]()

    def take(number: int) -> None:
        with turns:
            had.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(5)]
    with turns:
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            _wait_for(turns, waiting)
    take(-1)
    for thread in threads:
        thread.join()

    assert had == [0, 1, 2, 3, 4, -1]


def test_one_has_a_turn_at_a_time_and_it_is_given_back_after_a_failure() -> None:
    turns, num_inside, most = Turns(), 0, 0

    def take() -> None:
        nonlocal num_inside, most
        for _ in range(50):
            try:
                with turns:
                    num_inside += 1
                    most = max(most, num_inside)
                    time.sleep(0)
                    num_inside -= 1
                    raise ValueError
            except ValueError:
                pass

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, num_inside, turns.num_waiting) == (1, 0, 0)
    with turns:
        pass
