"""A certificate is audited by the blind judgements that come after it."""

import logging
from pathlib import Path

import pytest

from preference.report_card.certificate import Audit, read_audit
from preference.reward_model.model import RewardModel
from tests.conftest import SettingsFactory
from tests.support.certified_house import UNSURE, CertifiedHouse
from tests.support.studio_double import StudioDouble
from trainer.rounds.audit import audit
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs
from trainer.rounds.round import run_round


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path) -> CertifiedHouse:
    """One whose champion is certified where it is sure."""
    house = CertifiedHouse(studio, settings_for, tiny_base)
    house.be_sure_of_half()
    house.now += 60
    return house


def test_judgements_that_go_on_as_before_keep_it_alive(house: CertifiedHouse) -> None:
    certificate = house.standing().certificate  # type: ignore[union-attr]
    house.judge(house.add(20), agreeing=18)
    house.judge(house.add(20, more_words=UNSURE), agreeing=0)  # of which it says nothing

    house.audit()

    audit = read_audit(house.folder.path, certificate)
    assert (audit.num_votes, audit.num_agreeing, audit.withdrawn_at) == (20, 18, "")
    standing = house.standing()
    assert standing is not None and standing.problem == ""


def test_drift_withdraws_it_for_good_and_what_was_chosen_before_it_certifies_nothing_any_more(
    house: CertifiedHouse, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = house.standing().certificate  # type: ignore[union-attr]
    house.judge(house.add(20), agreeing=2)
    with caplog.at_level(logging.WARNING):
        house.audit()

    said = "people chose its side in 10.0 % of 20 blind judgements since, which 80.0 % can hardly explain"
    assert caplog.messages[-1] == f"project {house.project.id}: the certificate {certificate.name} is withdrawn: {said}"
    standing = house.standing()
    assert standing is not None and str(standing) == f"{certificate.name}: withdrawn: {said}"

    house.judge(house.add(13), agreeing=13)  # of 33 judgements since the certificate, 15 went its way; of all, 45 of 63
    house.audit()
    assert house.standing() == standing
    again = house.certify(target=0.55)
    assert again.num_votes == 33 and again.certified_from is None


def test_a_version_that_people_go_on_to_agree_with_is_certified_again_by_new_judgements(house: CertifiedHouse) -> None:
    house.judge(house.add(12), agreeing=0)
    house.audit()
    house.judge(house.add(150), agreeing=150)

    assert house.certify().certified_from is not None
    standing = house.standing()
    assert standing is not None and standing.problem == "" and standing.certificate.look == 2


def test_without_a_blind_judgement_for_a_month_nobody_knows_whether_it_holds(house: CertifiedHouse) -> None:
    assert house.standing(days=29).problem == ""  # type: ignore[union-attr]
    silent = "there was no blind judgement for 30 days, so nobody knows whether it still holds"
    assert house.standing(days=31).problem == silent  # type: ignore[union-attr]

    house.now += 31 * 24 * 3600
    house.judge(house.add(1), agreeing=1)
    house.audit()

    assert house.standing().problem == ""  # type: ignore[union-attr]


def test_a_round_audits_even_if_it_does_not_train_and_is_not_lost_if_it_cannot(
    house: CertifiedHouse, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = house.standing().certificate  # type: ignore[union-attr]
    house.judge(house.add(20), agreeing=2)
    settings = house.context(min_pairs=1000).settings

    assert run_round(house.project, house.folder, settings, extractors=house.extractors).outcome == "skipped"
    assert read_audit(house.folder.path, certificate).withdrawn_at

    house.judge(house.add(1), agreeing=1)
    folder = house.folder.path / "certificates" / f"{certificate.name}.audit.json"
    folder.unlink()
    folder.mkdir()
    with caplog.at_level(logging.WARNING):
        ended = run_round(house.project, house.folder, settings, extractors=house.extractors)
    assert ended.outcome == "skipped"
    assert any(
        message.startswith(f"project {house.project.id}: the certificate cannot be audited: ") for message in caplog.messages
    )


def test_an_audit_without_news_writes_nothing(house: CertifiedHouse) -> None:
    certificate = house.standing().certificate  # type: ignore[union-attr]
    house.audit()
    assert read_audit(house.folder.path, certificate) == Audit()
    house.judge(house.add(2), agreeing=2)
    house.audit()
    first = read_audit(house.folder.path, certificate)
    house.now += 60
    house.audit()
    assert read_audit(house.folder.path, certificate) == first


def test_a_slow_audit_of_earlier_judgements_takes_no_withdrawal_back(house: CertifiedHouse) -> None:
    certificate = house.standing().certificate  # type: ignore[union-attr]
    house.judge(house.add(20), agreeing=18)

    class Slow(RoundContext):
        def load(self, version: str) -> RewardModel:
            house.judge(house.add(20), agreeing=0)
            house.audit()
            return super().load(version)

    context = house.context()
    slow = Slow(context.project, context.folder, context.settings, context.extractors, clock=context.clock)
    audit(slow, read_pairs(slow))

    assert read_audit(house.folder.path, certificate).withdrawn_at
