from pathlib import Path

from preference.report_card.compared_answers import ComparedAnswers, read_compared, write_compared


def test_what_is_kept_comes_back_whatever_it_holds_and_nobody_else_reads_it(tmp_path: Path) -> None:
    rows = [ComparedAnswers("a\u2028b\x85c", ("one\ttab", "\ud800"), ("x\ny", "")), ComparedAnswers("d", ("e",), ("f",))]

    write_compared(tmp_path, rows)

    assert read_compared(tmp_path) == rows
    assert (tmp_path / "answers.jsonl").stat().st_mode & 0o077 == 0
    assert read_compared(tmp_path / "nowhere") == []
