import threading
from pathlib import Path

from filelock import FileLock

from preference.file_locks import is_held


def test_a_lock_is_held_while_some_process_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "round.lock"
    assert not is_held(lock) and not lock.exists(), "nobody ever took it"

    with FileLock(lock):
        assert is_held(lock)

    assert not is_held(lock)


def test_it_may_be_asked_where_nothing_may_be_written(tmp_path: Path) -> None:
    lock = tmp_path / "round.lock"
    with FileLock(lock):
        lock.chmod(0o444)
        tmp_path.chmod(0o555)
        assert is_held(lock)
    assert not is_held(lock)
    tmp_path.chmod(0o755)


def test_those_who_ask_do_not_see_each_other(tmp_path: Path) -> None:
    lock = tmp_path / "round.lock"
    lock.touch()
    answers: list[bool] = []

    def ask() -> None:
        answers.extend(is_held(lock) for _ in range(200))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()

    assert answers == [False] * 800


def test_a_folder_that_is_none_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "projects").touch()

    assert not is_held(tmp_path / "projects" / "round.lock")
