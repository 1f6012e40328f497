from pathlib import Path

import pytest

from backend.metrics import Metrics


def test_without_gunicorn_a_processs_own_figures_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics = Metrics()
    metrics.tasks_answered.inc(3)

    assert b"pairloop_tasks_answered_total 3.0" in metrics.text()


def test_a_worker_that_is_just_starting_does_not_break_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics = Metrics()
    (tmp_path / "counter_4711.db").touch()  # prometheus-client creates the file, then gives it its size
    (tmp_path / "histogram_4711.db").write_bytes(bytes(1 << 16))  # has its size, and no figure yet

    assert metrics.text() == b""
