"""A card.json of another build, or a damaged one: `pairloop-trainer report` and the dashboard show what of it can be read."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.dashboard_house import PROJECT
from tests.support.dashboard_page import (
    BROWSER,
    HOSTILE,
    Page,
    card_file,
    change_card,
    client_on,
    hostile,
    page,
    places,
    words_of,
)
from trainer.__main__ import main

Way = tuple[Any, ...]  # the keys and places that lead to a value
WRONG: dict[type, Any] = {str: 7, int: ["many"], float: "much", bool: "yes", list: "x", dict: "x", type(None): [["x"]]}


@pytest.fixture
def models(house: Path, tmp_path: Path) -> Path:
    """A MODEL_DIR whose champion is its only version, so that a page is quick."""
    source, folder = Versions(ProjectFolder(house, PROJECT)), ProjectFolder(tmp_path / "models", PROJECT)
    version = source.champion() or ""
    without_weights = shutil.ignore_patterns("*.safetensors", "*.svg", "promotions.jsonl")
    shutil.copytree(source.path(version), folder.path / "versions" / version, ignore=without_weights)
    Versions(folder).promote(version)
    return tmp_path / "models"


def report(models: Path, *arguments: str) -> str:
    """What the command prints, as one line."""
    result = CliRunner().invoke(main, ["report", "--project", str(PROJECT), *arguments], env={"MODEL_DIR": str(models)})
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def card_of(models: Path) -> dict[str, Any]:
    cards: list[dict[str, Any]] = []
    change_card(models, cards.append)
    return cards[0]


def ways(card: dict[str, Any]) -> list[Way]:
    """The way to each value that is read from the file, but for the number of annotations, without which it is no card.

    The folder says of which project and version a card is, and nobody but the backend reads the probe.
    """
    return [way for way in places(card)[1:] if way[0] not in ("probe", "num_annotations", "project_id", "version")]


def texts_after(change: Callable[[dict[str, Any]], None], models: Path, client: FlaskClient) -> tuple[str, str]:
    """What the command and the page say of a card that was changed, which then is as it was."""
    before = card_file(models).read_text(encoding="utf-8")
    change_card(models, change)
    try:
        return report(models), words_of(client.get("/", headers=BROWSER))
    finally:
        card_file(models).write_text(before, encoding="utf-8")


def test_words_are_those_that_a_browser_shows(models: Path) -> None:
    answer = client_on(models).get("/", headers=BROWSER)

    assert words_of(answer) == Page(answer).words and "The champion" in words_of(answer)


def inside(card: Any, way: Way) -> Any:
    for key in way:
        card = card[key]
    return card


def apart(ways: Iterable[Way], *, most: int) -> Iterator[list[Way]]:
    """The ways in groups of so many at most, in which none leads into what another leads to, nor to its neighbour in a row.

    A row that cannot be read is named once, for whatever in it is damaged.
    """
    left = list(ways)
    while left:
        group: list[Way] = []
        for way in left:
            if len(group) < most and not any(
                way[: len(other)] == other[: len(way)] or way[:-1] == other[:-1] != () for other in group
            ):
                group.append(way)
        left = [way for way in left if way not in group]
        yield group


def test_a_card_that_lacks_keys_is_shown_without_their_figures(models: Path) -> None:
    card, client = card_of(models), client_on(models)
    keys = {tuple("*" if isinstance(key, int) else key for key in way): way for way in ways(card) if isinstance(way[-1], str)}
    assert len(keys) > 100
    needed = [
        way for way in keys.values() if way[-1] in ("confidence", "value", "num_pairs", "accuracy", "version")
    ]  # else a row is none
    groups = [*apart([way for way in keys.values() if way not in needed], most=8), *([way] for way in needed)]
    for group in groups:

        def lose(card: dict[str, Any], group: list[Way] = group) -> None:
            for *outer, key in group:
                inside(card, tuple(outer)).pop(key)

        terminal, on_page = texts_after(lose, models, client)

        assert "version" in terminal and "The champion" in on_page and "its card cannot be read" not in on_page
        if group[0] not in needed:
            assert "is damaged" not in terminal + on_page, group


def test_values_of_a_wrong_type_are_left_out_and_named(models: Path) -> None:
    card, client = card_of(models), client_on(models)
    for group in apart(ways(card), most=8):  # as many as are named

        def spoil(card: dict[str, Any], group: list[Way] = group) -> None:
            for *outer, key in group:
                inside(card, tuple(outer))[key] = WRONG[type(inside(card, (*outer, key)))]

        for output in texts_after(spoil, models, client):
            named = re.search(r"is damaged; it is shown without what cannot be read: (\S+(?:, \S+)*)\.(?: |$)", output)
            listed = named[1].split(", ") if named else []
            assert len(set(listed)) == len(group), (group, listed)
            for *outer, key in group:
                row = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in outer)[1:]
                assert any(place.startswith(row) if row else place == key for place in listed), (outer, key, listed)


def test_hostile_texts_are_printed_as_words_and_move_no_cursor(models: Path) -> None:
    change_card(models, lambda card: card.update(hostile({**card, "version": HOSTILE}), reason="\x1b[2J\x1b[31mred\u202e\ud83d"))

    terminal, on_page = report(models), page(client_on(models)).words

    assert "\x1b" not in terminal and "\u202e" not in terminal and "red" in terminal
    assert HOSTILE in terminal and HOSTILE in on_page
    assert (Versions(ProjectFolder(models, PROJECT)).champion() or "?") in terminal, "a version has the name of its folder"
    assert json.loads(report(models, "--json"))["project_id"] == PROJECT


def test_without_the_number_of_annotations_both_say_that_it_is_no_card(models: Path) -> None:
    change_card(models, lambda card: card.pop("num_annotations"))

    result = CliRunner().invoke(main, ["report", "--project", str(PROJECT)], env={"MODEL_DIR": str(models)})

    assert result.exit_code == 1 and "is not a model card" in result.output and "Traceback" not in result.output
    assert "is not a model card" in page(client_on(models)).words
