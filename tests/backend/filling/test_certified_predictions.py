"""Label Studio predictions that say that a certificate covers their task."""

import dataclasses
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from preference.labelling.control_group import is_control
from preference.report_card.certificate import Audit, Certificate, CertifiedPoint, write_audit, write_certificate
from tests.support.filling_house import House

SURE, UNSURE = 9, 2  # how many words the longer answer has more: the champion is .97 and .83 sure


def settings_of(house: House, **changes: object) -> None:
    suggesting = house.settings.suggesting.model_copy(update=changes)
    house.settings = house.settings.model_copy(update={"suggesting": suggesting})


def certify(house: House, version: str, *, look: int = 1, judged: float = 0.9) -> Certificate:
    """A certificate from .9 on, by forty blind judgements of which the version was so sure."""
    now = datetime.fromtimestamp(time.time(), UTC).isoformat()
    certificate = Certificate(
        version=version, look=look, made_at=f"2026-10-0{look}T00:00:00Z", target=0.8, confidence=0.9, num_votes=40,
        last_vote_at=now, certified_from=0.9, curve=(CertifiedPoint(judged, 0.5, 0.9, 0.8, 40),),
    )  # fmt: skip
    write_certificate(house.folder.path, certificate)
    return certificate


def add(house: House, count: int, *, more_words: int = SURE) -> list[int]:
    """Answered tasks; the longer answer stands on either side."""
    long, short = " ".join(["yes"] * (3 + more_words)), "no no no"
    sides = ((long, short) if number % 2 else (short, long) for number in range(count))
    return house.add(*({"prompt": "p", "answer1": left, "answer2": right} for left, right in sides))


def blind_of(house: House, tasks: list[int]) -> list[int]:
    return [task_id for task_id in tasks if is_control(task_id, house.settings.suggesting.control_percent)]


@pytest.fixture
def champion(house: House, tiny_base: Path) -> str:
    settings_of(house, certified_predictions=True, control_percent=0)
    return house.promote(tiny_base, weight=2.0)


def test_covered_tasks_get_one_that_lights_the_versions_side_and_the_blind_ones_and_the_unsure_ones_get_none(
    house: House, champion: str
) -> None:
    settings_of(house, control_percent=30)
    certificate, sure, unsure = certify(house, champion), add(house, 20), add(house, 3, more_words=UNSURE)
    control = blind_of(house, sure)
    covered = [task_id for task_id in sure if task_id not in control]
    assert len(control) > 2

    assert house.run_pass()

    assert certificate.mark == f"certified-{champion[1:]}-c1"
    assert house.versions(covered) == [[champion, certificate.mark]] * len(covered)
    assert house.versions([*unsure, *control]) == [[champion]] * (3 + len(control))
    for task_id in covered:
        task = house.studio.tasks[task_id]
        (region,) = task["predictions"][1]["result"]  # a side, and no reward
        longer = "left" if len(task["data"]["answer1"]) > len(task["data"]["answer2"]) else "right"
        assert region["value"] == {"selected": longer} and task["predictions"][1]["score"] > 0.96
    assert all(house.studio.tasks[task_id]["predictions"][0]["result"] == [] for task_id in control)


def test_without_the_setting_there_are_none(house: House, champion: str) -> None:
    settings_of(house, certified_predictions=False)
    certify(house, champion)
    tasks = add(house, 10)
    assert house.run_pass()
    assert house.versions(tasks) == [[champion]] * 10


@pytest.mark.parametrize("ends", ["withdrawn", "setting", "another champion", "silent", "damaged", "another certificate"])
def test_all_are_taken_back_when_the_certificate_ends_and_the_versions_own_stay(
    house: House, champion: str, tiny_base: Path, ends: str
) -> None:
    certificate = certify(house, champion)
    tasks, expected = add(house, 10), [champion]
    assert house.run_pass()
    assert house.versions(tasks) == [[champion, certificate.mark]] * 10

    if ends == "withdrawn":
        write_audit(house.folder.path, certificate, Audit(withdrawn_at="2026-10-02T00:00:00Z", reason="people chose otherwise"))
    elif ends == "setting":
        settings_of(house, certified_predictions=False)
    elif ends == "another champion":
        expected.append(house.promote(tiny_base, weight=1.0))
    elif ends == "silent":
        write_certificate(house.folder.path, dataclasses.replace(certificate, last_vote_at="2020-01-01T00:00:00Z"))
    elif ends == "damaged":
        (house.folder.path / "certificates" / f"{certificate.name}.json").write_text("{", encoding="utf-8")
    else:
        expected.append(certify(house, champion, look=2).mark)
    assert house.run_pass()

    assert house.versions(tasks) == [expected] * 10


def test_tasks_that_come_later_are_marked_as_they_are_scored_and_nothing_is_listed_again(house: House, champion: str) -> None:
    certificate = certify(house, champion)
    first, filler = add(house, 10), house.filler()
    house.fill(filler)
    later = add(house, 2)
    house.studio.requests.clear()

    house.fill(filler)

    assert house.versions([*first, *later]) == [[champion, certificate.mark]] * 12
    assert not any("model-versions" in request for request in house.studio.requests)


def test_a_look_that_only_confirms_the_certificate_takes_no_mark_back(house: House, champion: str) -> None:
    certificate = certify(house, champion)
    tasks, filler = add(house, 10), house.filler()
    house.fill(filler)
    write_certificate(house.folder.path, dataclasses.replace(certificate, look=2, made_at="2026-10-02T00:00:00Z", confirms=1))
    house.studio.requests.clear()

    house.fill(filler)

    assert house.versions(tasks) == [[champion, certificate.mark]] * 10
    assert not any(request.startswith("DELETE") for request in house.studio.requests)


def test_a_pass_that_takes_long_marks_nothing_any_more_once_the_certificate_is_withdrawn(house: House, champion: str) -> None:
    certificate = certify(house, champion)
    tasks, chance = add(house, 250), iter(range(10**6))

    def withdraw(request: str) -> None:
        is_marked = any(certificate.mark in house.studio.versions_of(task_id) for task_id in tasks[:1])
        if is_marked and next(chance) == 0:
            write_audit(
                house.folder.path, certificate, Audit(withdrawn_at="2026-10-02T00:00:00Z", reason="people chose otherwise")
            )

    house.studio.on_request = withdraw
    house.run_pass()

    marked = [task_id for task_id in tasks if certificate.mark in house.studio.versions_of(task_id)]
    assert 0 < len(marked) < 250

    assert house.run_pass()
    assert house.versions(tasks) == [[champion]] * 250


def test_tasks_that_were_left_out_as_the_certificate_could_not_be_read_for_a_while_are_marked_later(
    house: House, champion: str
) -> None:
    certificate = certify(house, champion)
    tasks, filler = add(house, 250), house.filler()
    unreadable = house.folder.path / "certificates" / f"{champion}-c2.json"

    def damage(request: str) -> None:
        if any(certificate.mark in house.studio.versions_of(task_id) for task_id in tasks):
            unreadable.mkdir(exist_ok=True)

    house.studio.on_request = damage
    house.fill(filler)
    assert 0 < sum(certificate.mark in house.studio.versions_of(task_id) for task_id in tasks) < 250

    house.studio.on_request = lambda request: None
    unreadable.rmdir()
    house.fill(filler)

    assert house.versions(tasks) == [[champion, certificate.mark]] * 250


def test_tasks_that_joined_the_control_group_are_blind_after_a_restart(house: House, champion: str) -> None:
    certificate = certify(house, champion)
    tasks = add(house, 20)
    assert house.run_pass()

    settings_of(house, control_percent=50)
    assert house.run_pass()

    marked = [task_id for task_id in tasks if certificate.mark in house.studio.versions_of(task_id)]
    assert not set(marked) & set(blind_of(house, tasks)) and 0 < len(marked) == 20 - len(blind_of(house, tasks)) < 20


def test_tasks_of_which_the_version_is_less_sure_than_of_the_judged_ones_are_not_marked(house: House, champion: str) -> None:
    certify(house, champion, judged=0.99)
    tasks = add(house, 20)
    assert house.run_pass()
    assert house.versions(tasks) == [[champion]] * 20


def test_duels_and_answers_that_are_the_same_get_none(house: House, champion: str) -> None:
    certify(house, champion)
    add(house, 10)
    record = {"pairloop": {"duel": {"new": "g1", "other": "base", "new_in": "answer1"}}}
    texts = {"answer1": " ".join(["yes"] * 12), "answer2": "no no no"}
    tasks = [*house.add({"prompt": "A duel", **texts}, meta=record), *house.add({"prompt": "p", "answer1": "a", "answer2": "a "})]
    assert house.run_pass()
    assert house.versions(tasks) == [[champion]] * 2


def test_a_certificate_that_cannot_be_read_keeps_no_task_from_being_scored_and_is_said(house: House, champion: str) -> None:
    certificate = certify(house, champion)
    tasks = add(house, 10)
    assert house.run_pass()
    (house.folder.path / "certificates" / f"{champion}-c2.json").mkdir()
    later = add(house, 1)

    assert house.run_pass()

    assert house.versions(tasks) == [[champion, certificate.mark]] * 10  # neither marked nor taken back
    assert house.versions(later) == [[champion]]
    assert any(f"{champion}-c2.json cannot be read (Is a directory); fix or remove it" in problem for problem in house.noted())


def test_label_studio_that_refuses_to_take_them_back_keeps_no_task_from_being_scored_and_is_asked_again(
    house: House, champion: str
) -> None:
    certificate = certify(house, champion)
    tasks = add(house, 10)
    assert house.run_pass()
    write_audit(house.folder.path, certificate, Audit(withdrawn_at="2026-10-02T00:00:00Z", reason="people chose otherwise"))

    def refuse(request: str) -> None:
        if request.startswith("DELETE"):
            house.studio.failures.append(400)

    house.studio.on_request = refuse
    later = add(house, 1)
    assert house.run_pass()
    assert house.versions(later) == [[champion]] and certificate.mark in house.studio.versions_of(tasks[0])
    assert any("certified predictions are not as the certificate says: " in problem for problem in house.noted())

    house.studio.on_request = lambda request: None
    assert house.run_pass()
    assert house.versions(tasks) == [[champion]] * 10
