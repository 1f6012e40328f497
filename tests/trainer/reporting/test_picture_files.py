import dataclasses
from pathlib import Path
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring

from preference.report_card.card import ReportCard
from preference.report_card.figures import JudgedFigures, ReportFigures
from preference.tolerant import read_as
from tests.support.cards import CARD, REPORT, VERSION
from trainer.reporting.picture_files import draw_pictures

ALL = ["accuracy.svg", "reliability.svg", "length.svg", "learning_curve.svg"]


def card(**report: Any) -> ReportCard:
    return dataclasses.replace(CARD, report=read_as(ReportFigures, report))


def drawn(card: ReportCard, folder: Path) -> list[str]:
    pictures = draw_pictures(card, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(picture.file for picture in pictures)
    return [picture.file for picture in pictures]


def test_a_full_card_has_all_its_pictures_as_svg(tmp_path: Path) -> None:
    assert drawn(card(**REPORT), tmp_path) == ALL
    for name in ALL:
        root = fromstring((tmp_path / name).read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}text"))) > 5


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        draw_pictures(card(**REPORT), folder)

    first, second = ([(folder / name).read_bytes() for name in ALL] for folder in folders)
    assert first == second


def test_what_has_no_data_is_not_drawn(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"people": None, "reliability": None, "length": None, "learning_curve": [], "versions": []}

    assert drawn(card(**bare), tmp_path) == ["accuracy.svg"]


def test_a_version_without_evidence_has_no_picture(tmp_path: Path) -> None:
    assert drawn(dataclasses.replace(CARD, metrics=JudgedFigures(num_pairs=0)), tmp_path) == []


def test_one_point_is_no_learning_curve(tmp_path: Path) -> None:
    assert drawn(card(learning_curve=REPORT["learning_curve"][:1]), tmp_path) == ["accuracy.svg"]


def test_versions_with_gaps_are_drawn_with_gaps(tmp_path: Path) -> None:
    gap = dict.fromkeys(("accuracy", "interval", "longer_wins", "shorter_wins", "style_only", "prequential"))

    assert drawn(card(versions=[{**VERSION, **gap}] * 40), tmp_path) == ["accuracy.svg"]


@pytest.mark.parametrize("extreme", [0.0, 1.0])
def test_accuracy_at_either_end_is_drawn(tmp_path: Path, extreme: float) -> None:
    metrics = JudgedFigures(accuracy=extreme, interval=(extreme, extreme), longer_wins=1 - extreme)

    assert "accuracy.svg" in drawn(dataclasses.replace(card(versions=[VERSION]), metrics=metrics), tmp_path)


def test_answers_of_one_length_and_of_none_are_drawn(tmp_path: Path) -> None:
    for number, length in enumerate((0, 40_000)):
        folder = tmp_path / str(number)
        folder.mkdir()
        points = [[length, 0.0, 1], [length, 0.0, 0]]
        assert "length.svg" in drawn(card(length={"spearman": None, "spearman_within": None, "points": points}), folder)
