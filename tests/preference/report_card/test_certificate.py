from pathlib import Path

import pytest

from preference.report_card.certificate import (
    Audit,
    Certificate,
    read_audit,
    read_certificates,
    read_standing,
    write_audit,
    write_certificate,
)
from tests.support.certificates import CERTIFICATE

NOW = 1_790_000_000.0  # 21 September 2026
FIRST = CERTIFICATE


def test_a_certificate_is_read_as_it_was_written_and_says_what_it_covers(tmp_path: Path) -> None:
    write_certificate(tmp_path, FIRST)

    (read,) = read_certificates(tmp_path)

    assert read == FIRST and read.point is not None and read.point.threshold == 0.74
    assert str(read) == (
        "v3-20260920-120000 is certified from confidence 0.74 on: people choose its side in at least 80.0 % of such tasks, with "
        "90.0 % confidence; that is 46.0 % of the 1300 open tasks; 300 more blind judgements may certify 63.0 %"
    )
    assert [path.name for path in (tmp_path / "certificates").iterdir()] == ["v3-20260920-120000-c1.json"]


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ("", "target"),
        ("[" * 100_000, "target"),
        ('{"target": 8, "certified_from": 0.7, "curve": [{"threshold": "x"}, 7]}', "target"),
        ('{"target": 0.8, "certified_from": NaN}', "certified_from"),
    ],
)
def test_a_damaged_file_certifies_nothing_and_still_counts_as_a_look(tmp_path: Path, content: str, missing: str) -> None:
    write_certificate(tmp_path, FIRST)
    (tmp_path / "certificates" / "v3-20260920-120000-c2.json").write_text(content)

    damaged = next(known for known in read_certificates(tmp_path) if known.look == 2)

    assert damaged.version == FIRST.version and getattr(damaged, missing) is None and damaged.curve == ()
    standing = read_standing(tmp_path, FIRST.version, now=NOW)
    assert standing is not None and standing.certificate == FIRST


def test_a_later_look_that_certifies_nothing_takes_nothing_back(tmp_path: Path) -> None:
    write_certificate(tmp_path, FIRST)
    write_certificate(tmp_path, Certificate(version=FIRST.version, look=2, made_at="2026-09-20T14:00:00+00:00", target=0.9))

    standing = read_standing(tmp_path, FIRST.version, now=NOW)

    assert standing is not None and standing.certificate == FIRST and standing.problem == ""


def test_no_number_of_later_looks_makes_a_certificate_or_its_withdrawal_forgotten(tmp_path: Path) -> None:
    write_certificate(tmp_path, FIRST)
    write_audit(tmp_path, FIRST, Audit(withdrawn_at="2026-09-20T13:30:00+00:00", reason="people changed"))
    for number in range(2, 302):
        write_certificate(tmp_path, Certificate(version=FIRST.version, look=number, made_at="2026-09-20T14:00:00+00:00"))

    assert [known.look for known in read_certificates(tmp_path)] == [*range(301, 0, -1)]
    standing = read_standing(tmp_path, FIRST.version, now=NOW)
    assert standing is not None and standing.problem == "withdrawn: people changed"


def test_why_a_certificate_covers_nothing_now(tmp_path: Path) -> None:
    assert read_standing(tmp_path, FIRST.version, now=NOW) is None
    write_certificate(tmp_path, FIRST)

    def problem(champion: str | None = FIRST.version, *, days: float = 0) -> str:
        standing = read_standing(tmp_path, champion, now=NOW + days * 86400)
        assert standing is not None
        return standing.problem

    assert problem("v4-20260921-120000") == "the champion is another version, v4-20260921-120000"
    assert problem(None) == "no version is served"
    assert problem(days=28) == ""
    assert problem(days=31) == "there was no blind judgement for 30 days, so nobody knows whether it still holds"
    write_audit(tmp_path, FIRST, Audit(num_votes=3, num_agreeing=3, last_vote_at="2026-10-20T00:00:00Z"))
    assert problem(days=31) == ""
    write_audit(tmp_path, FIRST, Audit(withdrawn_at="2026-10-21T00:00:00+00:00", reason="people chose otherwise"))
    assert problem("v4-20260921-120000") == "withdrawn: people chose otherwise"
    assert read_audit(tmp_path, FIRST).reason == "people chose otherwise"


def test_the_champions_certificate_is_shown_before_later_ones_of_others(tmp_path: Path) -> None:
    write_certificate(tmp_path, FIRST)
    later = Certificate(version="v2-20260920-110000", look=3, made_at="2026-09-20T20:00:00+00:00", target=0.8, certified_from=0.5)
    write_certificate(tmp_path, later)

    shown = [read_standing(tmp_path, version, now=NOW) for version in (FIRST.version, "v9", later.version)]

    assert [standing.certificate.look for standing in shown if standing] == [1, 3, 3]
