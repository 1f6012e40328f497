import stat

import pytest

from preference.projects.annotator_names import name_of, numbers_of, read_names, write_names
from preference.projects.folder import ProjectFolder
from tests.conftest import SettingsFactory


@pytest.fixture
def folder(settings_for: SettingsFactory) -> ProjectFolder:
    folder = ProjectFolder(settings_for().model_dir, 3)
    folder.create()
    return folder


def test_names_are_kept_apart_for_their_owner_alone(folder: ProjectFolder) -> None:
    assert read_names(folder) == {}

    write_names(folder, {7: "Zoë", 9: "ben@example.com"})

    names = read_names(folder)
    assert [name_of(who, names) for who in (7, "9", 8, None)] == ["Zoë", "ben@example.com", "8", "unknown"]
    assert stat.S_IMODE((folder.path / "annotators.json").stat().st_mode) == 0o600
    write_names(folder, {})
    assert read_names(folder) == {} and not (folder.path / "annotators.json").exists()


@pytest.mark.parametrize("content", ["{half", "[]", "null", '{"7": 1, "8": " "}', "[" * 100_000])
def test_who_is_named_by_nothing_that_can_be_read_is_a_number(folder: ProjectFolder, content: str) -> None:
    (folder.path / "annotators.json").write_text(content)

    assert read_names(folder) == {}


def test_a_name_is_one_line_of_a_bounded_length(folder: ProjectFolder) -> None:
    write_names(folder, {7: "Ann\n" + "x" * 1000})

    assert read_names(folder)["7"] == "Ann " + "x" * 76


def test_somebody_is_meant_by_number_address_or_name_and_whom_nobody_knows_is_named() -> None:
    users = {7: ("Ann Lee", "ann@example.org"), 8: ("", "ben@example.org")}
    assert numbers_of(["7", "BEN@example.org"], users) == ({"7": 7, "BEN@example.org": 8}, "")
    assert numbers_of(["ann lee"], users) == ({"ann lee": 7}, "")
    assert numbers_of(["9", "7", "Ann"], users) == ({"7": 7}, "9, Ann, whom Label Studio does not know")


def test_nobody_is_taken_for_another_and_nobody_is_meant_twice() -> None:
    users = {7: ("Ann Lee", "ann@example.org"), 8: ("Ann Lee", "lee@example.org"), 9: ("7", "seven@example.org")}
    assert numbers_of(["ann lee", "lee@example.org"], users) == (
        {"lee@example.org": 8}, "ann lee, which is the name of several people"
    )  # fmt: skip
    assert numbers_of(["7"], users) == ({"7": 7}, ""), "the number, and not whoever is called so"
    assert numbers_of(["ann@example.org", "7"], users) == (
        {"ann@example.org": 7}, "7, which is somebody who is named before"
    )  # fmt: skip
