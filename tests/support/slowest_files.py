"""A pytest plugin: the files that take longest begin first, and are listed at the end."""

import os
from collections.abc import Generator
from typing import Any

import pytest

NUM_LISTED = 15
# With `--dist=loadfile --no-loadscope-reorder`, workers take files in this order, so that none is begun at the end that takes minutes.
LONGEST_FIRST = ("tests/end_to_end/", "tests/processes/", "tests/trainer/rounds/", "tests/trainer/training/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests by their folder's place in LONGEST_FIRST; those of other folders follow in the order of collection."""
    items.sort(key=lambda item: next((n for n, start in enumerate(LONGEST_FIRST) if item.nodeid.startswith(start)), 99))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Adds to a report the processor's seconds of the test and of the processes that it started and that ended."""
    report = yield
    so_far = sum(os.times()[:4])
    report.processor_seconds = so_far - item.config.stash.get(_SECONDS, so_far)
    item.config.stash[_SECONDS] = so_far
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Lists the slowest files."""
    seconds: dict[str, list[float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                of_file = seconds.setdefault(report.nodeid.partition("::")[0], [0.0, 0.0])
                of_file[0] += report.duration
                of_file[1] += getattr(report, "processor_seconds", 0.0)
    terminalreporter.section(f"slowest {NUM_LISTED} files")
    for name, (wall, processor) in sorted(seconds.items(), key=lambda file: -file[1][0])[:NUM_LISTED]:
        terminalreporter.write_line(f"{wall:7.1f} s {processor:7.1f} s of a processor  {name}")


_SECONDS = pytest.StashKey[float]()
