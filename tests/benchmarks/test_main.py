import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks import __main__ as bench
from benchmarks.row import Row
from tests.support.killed_bench import killed_or_measured


def test_a_part_that_fails_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(console: Console) -> list[Row]:
        raise RuntimeError("Label Studio did not start")

    page, results = tmp_path / "benchmarks.md", tmp_path / "results" / "latest.json"
    page.write_text("# Benchmarks\n\n## As the bench wrote it\n\nThe bench writes this.\n", encoding="utf-8")
    monkeypatch.setattr(bench, "BENCHMARKS", {"load": fail, "light": lambda console: [Row("a round", 3.0, "cpu-s")]})
    monkeypatch.setattr(bench, "_BY_CPU", ())
    monkeypatch.setattr(bench, "_PAGE", page)
    monkeypatch.setattr(bench, "_RESULTS", results)

    outcome = CliRunner().invoke(bench.main)

    assert outcome.exit_code == 1
    assert "Label Studio did not start" in outcome.stdout
    assert "not written: load" in outcome.stdout
    assert "| a round | 3 cpu-s |" in page.read_text(encoding="utf-8")
    assert [row["name"] for row in json.loads(results.read_text(encoding="utf-8"))["rows"]] == ["a round"]


@pytest.mark.timeout(120)
def test_a_part_whose_process_is_killed_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "BENCHMARKS", {"align": None, "order": None})
    monkeypatch.setattr(bench, "_BY_CPU", ("align", "order"))
    monkeypatch.setattr(bench, "_measured", killed_or_measured)

    assert sorted(bench._all_measured(), key=str) == [("align", [], 1.0), ("order", None, 0.0)]
    assert capsys.readouterr().out.startswith("order: ")
