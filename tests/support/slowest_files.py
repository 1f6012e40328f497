"""A pytest plugin: who takes which file when, and which files took longest."""

import os
from collections.abc import Generator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from xdist.scheduler import LoadFileScheduling

NUM_LISTED = 15
# Begun first, so that no worker is left with minutes of work at the end.
LONGEST_FIRST = (
    "tests/end_to_end/test_l", "tests/end_to_end/", "tests/processes/", "tests/preference/models/", "tests/trainer/rounds/", "tests/trainer/training/",
    "tests/backend/generators/", "tests/backend/test_model.py", "tests/repository/",
)  # fmt: skip
# One worker takes all of them, as they share one Label Studio.
TOGETHER = tuple(
    f"tests/end_to_end/test_{name}.py"
    for name in (
        "label_page", "label_studio_database", "loop", "conversations", "guidelines", "importing", "ranker", "real_label_studio",
        "suggestions", "what_is_shown",
    )
)  # fmt: skip
_SO_FAR = pytest.StashKey[float]()
_IS_LAST = pytest.StashKey[bool]()


class Files(LoadFileScheduling):  # type: ignore[misc]
    """Gives a worker a whole file at a time, or all of TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return TOGETHER[0] if file in TOGETHER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Files:
    """Files in the order of LONGEST_FIRST, not by their number of tests."""
    config.option.loadscopereorder = False
    return Files(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the tests by the place of their file in LONGEST_FIRST; the others follow in the order of collection."""
    items.sort(key=lambda item: next((n for n, start in enumerate(LONGEST_FIRST) if item.nodeid.startswith(start)), 99))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Notes whether the test is the last one of its file here."""
    item.config.stash.setdefault(_SO_FAR, _processor_seconds())
    item.config.stash[_IS_LAST] = nextitem is None or nextitem.path != item.path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Adds to the last report of a file what the file took of a processor, here and in all processes that it started."""
    report = yield
    if call.when == "teardown" and item.config.stash[_IS_LAST]:
        seconds = _processor_seconds()
        report.processor_seconds = max(0.0, seconds - item.config.stash[_SO_FAR])  # less if one ended together with its parent
        item.config.stash[_SO_FAR] = seconds
    return report


def _processor_seconds() -> float:
    """Those of this process and of all that descend from it, ended or alive."""
    seconds = sum(os.times()[:4])
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            seconds += sum(process.cpu_times()[:4])  # its own, and its ended children's
    return seconds


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Lists the slowest files."""
    seconds: dict[str, list[float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                of_file = seconds.setdefault(report.nodeid.partition("::")[0], [0.0, 0.0])
                of_file[0] += report.duration
                of_file[1] += getattr(report, "processor_seconds", 0.0)
    every = [sum(values) for values in zip(*seconds.values(), strict=True)]
    terminalreporter.section(f"slowest {NUM_LISTED} files")
    if every:
        terminalreporter.write_line(f"{every[0]:7.1f} s {every[1]:7.1f} s of a processor  all {len(seconds)} files")
    for name, (wall, processor) in sorted(seconds.items(), key=lambda file: -file[1][0])[:NUM_LISTED]:
        terminalreporter.write_line(f"{wall:7.1f} s {processor:7.1f} s of a processor  {name}")
