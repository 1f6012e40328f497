import json

import pytest

from preference.errors import TrainingError
from tests.support.certified_house import UNSURE, CertifiedHouse
from trainer.certifying.covered_tasks import covered_tasks
from trainer.rounds.reading import read_pairs


@pytest.fixture
def certified(house: CertifiedHouse) -> CertifiedHouse:
    """One whose champion is certified where it is sure."""
    house.judge(house.add(30), agreeing=30)
    house.judge(house.add(30, more_words=UNSURE), agreeing=12)
    assert house.certify().certified_from == 0.96
    house.now += 60
    return house


def test_open_tasks_of_which_it_is_sure_enough_are_covered_with_its_side_wherever_that_stands(certified: CertifiedHouse) -> None:
    sure, _ = certified.add(5), certified.add(4, more_words=UNSURE)

    covered = covered_tasks(certified.context())

    assert [pair.task_id for pair in covered.pairs] == sure and covered.num_others == 4
    assert {pair.chosen_side for pair in covered.pairs} == {"left", "right"}
    assert all(len(pair.chosen) > len(pair.rejected) for pair in covered.pairs)
    assert min(covered.confidence) > 0.96 and covered.certificate.look == 1


def test_what_somebody_judges_is_covered_no_more(certified: CertifiedHouse) -> None:
    judged, still_open = certified.add(1), certified.add(1)
    certified.judge(judged, agreeing=1, is_blind=False)

    assert [pair.task_id for pair in covered_tasks(certified.context()).pairs] == still_open


def test_no_task_is_covered_once_people_choose_otherwise_even_if_no_round_has_run_since(certified: CertifiedHouse) -> None:
    certified.add(3)
    certified.judge(certified.add(20), agreeing=2)

    with pytest.raises(
        TrainingError, match=r"^No certificate covers open tasks of project 1 now: v1-\S+-c1: withdrawn: people chose"
    ):
        covered_tasks(certified.context())


def test_no_task_is_covered_under_another_champion_or_without_a_certificate(certified: CertifiedHouse) -> None:
    certified.add(3)
    certified.champion = certified.publish()
    with pytest.raises(TrainingError, match=rf"the champion is another version, {certified.champion}\.$"):
        covered_tasks(certified.context())
    for path in (certified.folder.path / "certificates").iterdir():
        path.unlink()
    with pytest.raises(
        TrainingError, match=r"^Project 1 has no certificate; `pairloop-trainer certify --project 1` looks for one\.$"
    ):
        covered_tasks(certified.context())


def test_tasks_of_which_it_is_less_sure_than_of_the_judged_ones_are_refused(house: CertifiedHouse) -> None:
    for more_words in (3, 14):
        house.judge(house.add(40, more_words=more_words), agreeing=40)
    assert house.certify().certified_from == 0.87
    house.add(40, more_words=3)

    with pytest.raises(TrainingError, match=r"^The open tasks of project 1 are others than when it was certified: "):
        covered_tasks(house.context())


def test_nothing_is_written_to_label_studio_and_no_round_learns_from_it(certified: CertifiedHouse) -> None:
    certified.add(5)
    pairs, requests = read_pairs(certified.context()).pairs, certified.studio.requests
    tasks = json.dumps(list(certified.studio.tasks.values()))
    requests.clear()

    covered = covered_tasks(certified.context())

    assert {request.split()[0] for request in requests} == {"GET"}
    assert json.dumps(list(certified.studio.tasks.values())) == tasks
    after = read_pairs(certified.context())
    assert after.pairs == pairs and not {pair.task_id for pair in after.pairs} & {pair.task_id for pair in covered.pairs}
