from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.certificate import Audit, write_audit, write_certificate
from tests.support.certificates import CERTIFICATE
from tests.support.dashboard_house import PROJECT
from tests.support.dashboard_page import HOSTILE, change_card, client_on, page


def test_what_is_certified_of_the_champion_stands_beside_its_card_with_a_curve_and_drift_is_said(models: Path) -> None:
    assert "Certificate" not in page(client_on(models)).words
    folder, now = ProjectFolder(models, PROJECT), datetime.now(UTC).isoformat()
    certificate = replace(CERTIFICATE, version=Versions(folder).champion() or "", last_vote_at=now)
    write_certificate(folder.path, certificate)
    write_audit(folder.path, certificate, Audit(num_votes=12, num_agreeing=11, last_vote_at=now))

    words = page(client_on(models)).words

    assert f"Certificate {certificate}; audited by 12 blind judgements since, of which 11 chose its side" in words
    assert "How far can its side stand for people's?" in words and "0.74 46.0 % 88.9 % 81.7 % 81" in words

    write_audit(
        folder.path, certificate, Audit(num_votes=20, num_agreeing=4, withdrawn_at=now, reason="people <b>chose</b> otherwise")
    )
    drifted = page(client_on(models))
    assert f"Certificate {certificate.name}: withdrawn: people" in drifted.words and "<b>chose" not in drifted.html


def test_a_certificate_that_is_damaged_or_not_given_yet_is_shown_as_far_as_it_can_be(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    champion = Versions(folder).champion() or ""
    write_certificate(folder.path, replace(CERTIFICATE, version=champion, certified_from=None, reason="too few agree"))
    assert f"Certificate {champion} is not certified yet: too few agree; 300 more blind" in page(client_on(models)).words

    (folder.path / "certificates" / f"{champion}-c1.json").write_text('{"curve": [{"threshold": "<b>"}], "reason": 7}')
    assert f"Certificate {champion} is not certified yet:" in page(client_on(models)).words


def test_the_accuracy_by_a_field_of_tasks_stands_there_escaped(models: Path) -> None:
    words = page(client_on(models)).words
    assert all(f"topic: {value}" in words for value in ("billing", "law", "travel")) and "more are needed" in words

    change_card(models, lambda card: card["report"]["slices"][-1].update(name=f"topic: {HOSTILE}"))

    shown = page(client_on(models))
    assert f"topic: {HOSTILE}" in shown.words and "<img src=x" not in shown.html
