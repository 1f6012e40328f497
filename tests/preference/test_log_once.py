from concurrent.futures import ThreadPoolExecutor

from preference.log_once import LogOnce


def test_a_problem_is_news_until_it_is_known() -> None:
    log_once = LogOnce()

    assert log_once.is_news(7, "no space left")
    assert not log_once.is_news(7, "no space left")


def test_another_problem_is_news_and_so_is_the_first_one_after_it() -> None:
    log_once = LogOnce()

    assert [log_once.is_news(7, problem) for problem in ("full", "read-only", "full")] == [True, True, True]


def test_each_subject_has_problems_of_its_own() -> None:
    log_once = LogOnce()

    assert log_once.is_news(7, "full") and log_once.is_news(8, "full")
    log_once.forget(8)
    assert not log_once.is_news(7, "full")


def test_a_problem_that_returns_is_news_again() -> None:
    log_once = LogOnce()
    log_once.forget("MODEL_DIR")  # which had no problem yet

    assert log_once.is_news("MODEL_DIR")
    assert not log_once.is_news("MODEL_DIR")
    log_once.forget("MODEL_DIR")
    assert log_once.is_news("MODEL_DIR")


def test_of_many_threads_one_has_the_news() -> None:
    log_once = LogOnce()

    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(lambda _: log_once.is_news("Label Studio"), range(200)))

    assert sum(news) == 1
