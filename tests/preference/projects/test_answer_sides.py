"""A label config in which the answers changed places, at each place that would read judgements by it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from preference.errors import LayoutError
from preference.labelling.label_config import LabelingLayout
from preference.projects.answer_sides import check_sides, fields_of, latest_with_fields
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.conftest import REPOSITORY
from tests.support.opened_files import opened_files
from tests.support.version_house import CARD, trained_in

CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
FIELDS = {"prompt": "prompt", "left": "answer1", "right": "answer2"}
SWAPPED = {
    "values": CONFIG.replace("$answer1", "$x").replace("$answer2", "$answer1").replace("$x", "$answer2"),
    "names": CONFIG.replace("answer1,answer2", "answer2,answer1"),
}


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Of a project: an earlier build's v1, and v2, which read ours."""
    versions = Versions(ProjectFolder(tmp_path, 3))
    trained = trained_in(tmp_path)
    versions.publish(trained, CARD)
    versions.publish(trained, replace(CARD, fields=FIELDS))
    return versions


def test_a_card_keeps_the_fields(versions: Versions) -> None:
    assert [card.fields for card in versions.cards()] == [FIELDS, {}]
    assert fields_of(LabelingLayout.from_label_config(CONFIG)) == FIELDS


@pytest.mark.parametrize("how", SWAPPED)
def test_answers_that_changed_places_are_refused(versions: Versions, how: str) -> None:
    with pytest.raises(LayoutError) as refused:
        check_sides(LabelingLayout.from_label_config(SWAPPED[how]), versions.cards())

    assert str(refused.value) == (
        f"The label config shows $answer2 as the left answer and $answer1 as the right one, and did the reverse when "
        f"{versions.all()[-1]} was trained: each earlier judgement would count for the other answer. Change that back, and judge anew what was "
        "judged since."
    )


def test_other_fields_and_a_project_without_versions_are_not(versions: Versions, tmp_path: Path) -> None:
    check_sides(LabelingLayout.from_label_config(CONFIG), versions.cards())
    check_sides(LabelingLayout.from_label_config(CONFIG.replace("$answer1", "$response")), versions.cards())
    check_sides(LabelingLayout.from_label_config(SWAPPED["values"]), Versions(ProjectFolder(tmp_path, 4)).cards())


def test_cards_are_read_again_only_if_the_latest_is_another(versions: Versions, tmp_path: Path) -> None:
    """With versions of build e08322f alone each look would read all of them: 160 ms of a core for 200."""
    trained = tmp_path / "trained"
    versions.publish(trained, CARD)
    assert [card.version for card in latest_with_fields(versions)] == [versions.all()[-2]]

    with opened_files() as opened:
        latest_with_fields(versions)
    assert [path for path in opened if path.name == "card.json"] == []

    newer = versions.publish(trained, replace(CARD, fields=FIELDS))
    assert [card.version for card in latest_with_fields(versions)] == [newer]


def test_a_card_that_was_damaged_counts_once_it_is_restored(versions: Versions) -> None:
    card = versions.path(versions.all()[-1]) / "card.json"
    whole = card.read_text(encoding="utf-8")
    card.write_text("{", encoding="utf-8")
    assert latest_with_fields(versions) == []

    card.write_text(whole, encoding="utf-8")
    os.utime(card, ns=(0, card.stat().st_mtime_ns + 1))

    assert latest_with_fields(versions)


def test_a_project_without_versions_has_no_card(tmp_path: Path) -> None:
    assert latest_with_fields(Versions(ProjectFolder(tmp_path, 4))) == []
