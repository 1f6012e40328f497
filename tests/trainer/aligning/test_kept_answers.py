"""What the served generator wrote is written once for all that are judged beside it."""

import json
import logging

import pytest

from preference.projects.generators import BASE, Generators
from preference.report_card.compared_answers import read_compared
from tests.support.aligned_house import SHORT, AlignedHouse
from trainer.aligning.align import Alignment
from trainer.aligning.writing import MOST_PROMPTS


def beside(house: AlignedHouse, served: str) -> Alignment:
    """One that is judged beside this generator."""
    if Generators(house.folder).champion() != served:
        Generators(house.folder).promote(served, by="hand")
    return house.align(SHORT)


def others(house: AlignedHouse, ended: Alignment) -> list[tuple[str, ...]]:
    """The answers that it was compared with."""
    return [row.other for row in read_compared(Generators(house.folder).path(ended.version))]


def mark(house: AlignedHouse) -> None:
    """Makes what is kept known by its text."""
    path = house.folder.path / "served_answers.json"
    values = json.loads(path.read_bytes())
    assert 0 < len(values["answers"]) <= MOST_PROMPTS and path.stat().st_mode & 0o777 == 0o600
    for answers in values["answers"].values():
        answers["answers"] = ["kept"] * len(answers["answers"])
    path.write_text(json.dumps(values))


@pytest.fixture
def judged(house: AlignedHouse, caplog: pytest.LogCaptureFixture) -> AlignedHouse:
    """A house with one generator that was judged beside the base."""
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.judge(64)
    house.folder.create()
    house.align(SHORT)
    return house


def test_the_base_answers_a_prompt_once_for_all_that_are_judged_beside_it(
    judged: AlignedHouse, caplog: pytest.LogCaptureFixture
) -> None:
    assert "in an earlier judging" not in caplog.text
    first = judged.card(beside(judged, BASE)).metrics
    mark(judged)

    second = beside(judged, BASE)

    taken = others(judged, second)
    assert taken.count(("kept", "kept")) >= min(len(taken), first.num_prompts or 0) > 0
    assert any(
        message.startswith("of ") and message.endswith(" were answered in an earlier judging, whose answers are taken")
        for message in caplog.messages
    )
    assert judged.card(second).metrics.other.cut, "why they ended is kept, too"


@pytest.mark.parametrize("change", ["setting", "base", "damaged"])
def test_what_might_be_written_otherwise_now_is_written_anew(judged: AlignedHouse, change: str) -> None:
    mark(judged)
    kept = judged.folder.path / "served_answers.json"
    if change == "setting":
        judged.settings = judged.settings.replace(temperature=0.9)
    elif change == "base":
        values = json.loads(kept.read_bytes())
        kept.write_text(json.dumps({**values, "key": "of other weights"}))
    else:
        kept.write_bytes(kept.read_bytes()[:-9])

    assert ("kept", "kept") not in others(judged, beside(judged, BASE))


def test_the_answers_of_a_served_version_take_the_place_of_the_bases(judged: AlignedHouse) -> None:
    (served,) = Generators(judged.folder).all()
    mark(judged)
    assert ("kept", "kept") not in others(judged, beside(judged, served))
    mark(judged)

    third = beside(judged, served)

    assert judged.card(third).compared_with == served
    assert ("kept", "kept") in others(judged, third)


def test_a_disk_that_keeps_nothing_fails_no_alignment(judged: AlignedHouse, caplog: pytest.LogCaptureFixture) -> None:
    kept = judged.folder.path / "served_answers.json"
    kept.unlink()
    kept.mkdir()  # root may write anywhere else

    assert others(judged, beside(judged, BASE))
    assert "answers for the next judging are not kept in " in caplog.text
