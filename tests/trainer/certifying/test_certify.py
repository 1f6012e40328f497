import json
import re

import numpy as np
import pytest

from preference.errors import TrainingError
from preference.labelling.control_group import is_control
from preference.report_card.certificate import Certificate, read_audit, read_certificates
from tests.support.certified_house import SURE, UNSURE, CertifiedHouse
from tests.support.ranked_lists import ORDER as RANKED
from trainer.certifying.certify import Beginning, certify, look
from trainer.certifying.open_tasks import OpenTasks
from trainer.rounds.blind_votes import BlindVotes
from trainer.rounds.reading import read_pairs


def votes(num_sure: int, num_agreeing: int, *, sure: float = 0.95) -> BlindVotes:
    agrees = np.array([1.0] * num_agreeing + [0.0] * (num_sure - num_agreeing))
    return BlindVotes([], np.full(num_sure, sure), agrees)


def test_people_who_choose_its_side_where_it_is_sure_certify_that_part_of_the_open_tasks(house: CertifiedHouse) -> None:
    house.judge(house.add(30), agreeing=30)
    house.judge(house.add(20, more_words=UNSURE), agreeing=9)
    house.add(4)
    house.add(6, more_words=UNSURE)

    certificate = house.certify()

    assert certificate.certified_from == 0.96 and (certificate.num_covered, certificate.num_open) == (4, 10)
    assert [(p.threshold, p.coverage, p.count, p.agreement) for p in certificate.curve] == [
        (0.83, 1.0, 50, 0.78), (0.96, 0.4, 30, 1.0)
    ]  # fmt: skip
    assert certificate.point is not None and 0.8 < (certificate.point.lower or 0) < 0.95
    assert str(certificate).startswith(
        f"{house.champion} is certified from confidence 0.96 on: people choose its side in at least 80.0 % of such tasks, "
        "with 90.0 % confidence; that is 40.0 % of the 10 open tasks"
    )
    standing = house.standing()
    assert standing is not None and standing.problem == "" and standing.certificate == certificate


def test_too_few_blind_judgements_are_a_not_yet_with_the_number_that_is_needed(house: CertifiedHouse) -> None:
    house.judge(house.add(5), agreeing=5)

    certificate = house.certify()

    standing = house.standing()
    assert certificate.certified_from is None and standing is not None and str(standing) == str(certificate) and standing.problem
    assert str(certificate).startswith(
        f"{house.champion} is not certified yet: there are 5 blind judgements on prompts that are new to it, and 25 are needed at least"
    )


def test_what_the_version_may_have_learnt_from_or_was_chosen_by_does_not_certify_it(house: CertifiedHouse) -> None:
    """Held out or not: a champion is chosen by the held-out judgements, and trained on the others."""
    house.judge(house.add(30), agreeing=30)
    assert house.certify().num_votes == 30

    house.champion = house.publish()
    house.add(2)

    standing = house.standing()
    assert standing is not None and standing.problem == f"the champion is another version, {house.champion}"
    assert house.certify().num_votes == 0


def test_only_what_was_judged_blind_in_the_control_group_counts(house: CertifiedHouse) -> None:
    seen, unseen = house.add(20), house.add(20)
    house.judge(seen, agreeing=20, is_blind=False)
    house.judge(unseen, agreeing=20)

    assert house.certify(control_percent=30).num_votes == sum(is_control(task_id, 30) for task_id in unseen) > 0
    with pytest.raises(TrainingError, match=r"^CONTROL_PERCENT=0, so that nobody judges without a suggestion"):
        house.certify(control_percent=0)


def test_held_out_tasks_count_if_they_show_no_suggestion(house: CertifiedHouse) -> None:
    house.judge(house.add(40), agreeing=40)
    context = house.context(control_percent=0, suggest_held_out=False)

    certificate = certify(context, target=0.8, confidence=0.9)

    prompts = [task["data"]["prompt"] for task in house.studio.tasks.values()]
    assert certificate.num_votes == sum(context.holdout.judges_by(prompt) for prompt in prompts) > 0


def test_a_prompt_has_one_vote_the_first_and_a_tie_is_not_the_models_side(house: CertifiedHouse) -> None:
    same = house.add(12, prompt="Tell me.")
    house.judge(same, agreeing=12)
    twice = house.add(1)
    house.judge(twice, agreeing=1)
    house.judge(twice, agreeing=0)
    house.judge(house.add(3), agreeing=1, ties=1)
    house.studio.annotate(house.add(1)[0], [], is_skip=True)

    context = house.context(ties="drop")
    (point,) = certify(context, target=0.8, confidence=0.9).curve

    assert (point.count, point.agreement) == (1 + 1 + 3, 0.6)


def test_asked_again_without_a_new_judgement_it_says_the_same_and_asking_often_costs_nothing(house: CertifiedHouse) -> None:
    house.add(1)
    looks = []
    for _ in range(25):
        house.judge(house.add(1), agreeing=1)
        looks.append(house.certify())

    assert house.certify() == looks[-1]
    assert [known.look for known in looks] == list(range(1, 26)) and {known.error for known in looks} == {0.09}
    assert [known.certified_from is not None for known in looks] == [False] * 24 + [True]
    assert [known.look for known in read_certificates(house.folder.path)] == list(range(25, 0, -1))


def test_between_two_moments_nothing_changes_whoever_looks_when(house: CertifiedHouse) -> None:
    house.judge(house.add(25), agreeing=21)
    house.add(1)
    first = house.certify()
    house.judge(house.add(24), agreeing=24)

    assert first.certified_from is None and house.certify().certified_from is None  # 45 of 49

    house.judge(house.add(1), agreeing=1)
    assert house.certify().certified_from is not None


def test_a_look_that_confirms_the_one_before_goes_on_with_its_audits_and_its_marks(house: CertifiedHouse) -> None:
    house.judge(house.add(25), agreeing=25)
    house.add(1)
    first = house.certify()
    house.judge(house.add(25), agreeing=24)

    second = house.certify()

    assert (first.look, second.look, second.confirms, second.certified_from) == (1, 2, 1, first.certified_from)
    assert (second.name, second.mark, second.newest_annotation) == (first.name, first.mark, first.newest_annotation)
    assert len(read_certificates(house.folder.path)) == 2
    assert read_audit(house.folder.path, second).num_votes == 25

    house.judge(house.add(20), agreeing=0)
    house.audit()
    standing = house.standing()
    assert standing is not None and standing.problem.startswith("withdrawn: people chose its side in 53.3 % of 45")


def test_another_target_is_tested_anew_and_another_confidence_is_not(house: CertifiedHouse) -> None:
    house.judge(house.add(25), agreeing=25)
    house.add(1)

    surer, first, other, again = (
        house.certify(target=target, confidence=confidence)
        for target, confidence in ((0.8, 0.95), (0.8, 0.9), (0.85, 0.9), (0.85, 0.95))
    )

    assert [known.beginning for known in (surer, first, other, again)] == [1, 1, 2, 2]
    assert [known.error for known in (surer, first, other, again)] == pytest.approx([0.045, 0.09, 0.009, 0.0045])
    assert first.certified_from is not None and other.certified_from is None


def test_where_the_test_starts_stays_as_the_control_group_had_it_at_the_first_look(house: CertifiedHouse) -> None:
    house.judge(house.add(1), agreeing=1)
    house.add(40, more_words=UNSURE)
    assert house.certify().start == 0.83

    house.judge(house.add(40), agreeing=40)

    assert house.certify().start == 0.83


def test_whoever_first_asks_later_begins_at_the_same_threshold(house: CertifiedHouse) -> None:
    """The least certain tasks are judged first: of open tasks alone, the start would rise as people judge."""
    house.add(1)
    unsure = house.add(40, more_words=UNSURE)
    early = house.certify(target=0.8)
    (house.folder.path / "certificates" / f"{early.name}.json").unlink()

    house.judge(unsure, agreeing=20)

    assert house.certify(target=0.8).start == early.start == 0.83


def test_votes_before_a_withdrawn_certificate_count_no_more_and_its_version_has_a_tenth_of_the_error_left(
    house: CertifiedHouse,
) -> None:
    house.judge(house.add(25), agreeing=25)
    house.add(1)
    assert house.certify().certified_from is not None
    house.judge(house.add(12), agreeing=1)

    after = house.certify()

    assert (after.num_votes, after.beginning, after.certified_from) == (12, 2, None) and after.error == pytest.approx(0.009)


def test_a_look_whose_file_is_damaged_counts_as_one(house: CertifiedHouse) -> None:
    house.judge(house.add(25), agreeing=25)
    house.add(1)
    first = house.certify()
    (house.folder.path / "certificates" / f"{first.name}.json").write_text('{"certified_from": "all", "target"')

    standing = house.standing()
    assert standing is not None and standing.problem == "nothing is certified"
    again = house.certify()
    assert (again.look, again.beginning) == (2, 2)


def test_open_tasks_of_which_it_is_less_sure_than_of_the_judged_ones_are_not_covered_by_them() -> None:
    blind, begun = BlindVotes([], np.linspace(0.8, 0.99, 100), np.ones(100)), Beginning(1, 0.8, 0.9, start=0.9)
    assert look(blind, OpenTasks([], np.linspace(0.8, 0.99, 300)), begun).certified_from == 0.8

    refused = look(blind, OpenTasks([], np.linspace(0.8, 0.85, 300)), begun)

    assert refused.certified_from is None and refused.reason.startswith("it is less sure of the open tasks")


def test_the_forecast_says_how_many_more_would_do_and_that_none_would() -> None:
    open_tasks, begun = OpenTasks([], np.full(10, 0.96)), Beginning(1, 0.8, 0.9, start=0.96)
    few = look(votes(20, 18, sure=0.96), open_tasks, begun)
    assert few.certified_from is None and few.num_more is not None and few.coverage_then == 1.0
    many = 20 + few.num_more
    assert look(votes(many, many * 9 // 10, sure=0.96), open_tasks, begun).certified_from is not None

    never = look(votes(100, 70, sure=0.96), open_tasks, begun)
    assert never.num_more is None
    assert str(Certificate(version="v1", reason=never.reason)) == (
        "v1 is not certified yet: 100 blind judgements do not show that people choose its side often enough where it is surest; "
        "if people go on as until now, 5000 more will not do"
    )


def test_duels_answers_that_are_the_same_and_unanswered_tasks_are_not_open(house: CertifiedHouse) -> None:
    house.judge(house.add(25), agreeing=25)
    house.add(3)
    texts = {"prompt": "p", "answer1": "yes yes", "answer2": "no"}
    record = {"pairloop": {"duel": {"new": "g1", "other": "base", "new_in": "answer1"}}}
    house.studio.add_tasks(house.project.id, texts, meta=record)
    house.studio.add_tasks(house.project.id, {**texts, "answer2": "yes yes "}, {**texts, "answer1": ""})

    assert house.certify().num_open == 3


def test_rankings_and_projects_without_a_champion_are_refused_in_words(house: CertifiedHouse) -> None:
    house.studio.projects[house.project.id]["label_config"] = RANKED
    with pytest.raises(TrainingError, match=r"ranks lists of answers; only comparisons of two can be certified\.$"):
        house.certify()
    (house.folder.path / "champion").unlink()
    with pytest.raises(TrainingError, match=r"has no champion to certify yet; judge more tasks\.$"):
        house.certify()


def test_it_writes_nothing_to_label_studio_and_a_round_reads_the_same_judgements_as_before(house: CertifiedHouse) -> None:
    house.judge(house.add(30), agreeing=30)
    house.add(5)
    before = read_pairs(house.context()).pairs
    house.studio.requests.clear()
    annotations = json.dumps([task["annotations"] for task in house.studio.tasks.values()])

    house.certify()

    assert {request.split()[0] for request in house.studio.requests} == {"GET"}
    assert json.dumps([task["annotations"] for task in house.studio.tasks.values()]) == annotations
    assert read_pairs(house.context()).pairs == before


def test_sure_and_unsure_are_what_the_house_says(house: CertifiedHouse) -> None:
    house.judge(house.add(1, more_words=SURE) + house.add(1, more_words=UNSURE), agreeing=2)
    assert [point.threshold for point in house.certify().curve] == [0.83, 0.96]
    assert re.fullmatch(r"v1-\d{8}-\d{6}-c1", read_certificates(house.folder.path)[0].name)
