"""A label config in which the answers changed places, at each place that would read judgements by it."""

from dataclasses import replace
from pathlib import Path

import pytest

from preference.errors import LayoutError
from preference.labelling.label_config import LabelingLayout
from preference.projects.answer_sides import check_sides, fields_of
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.conftest import REPOSITORY
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
