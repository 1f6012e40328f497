"""How a version is named."""

import pytest

from preference.projects.version_name import VersionName


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("12", VersionName(12)),
        ("12@v3", VersionName(12, "v3")),
        ("12@v3-20261121-062026", VersionName(12, "v3-20261121-062026")),
    ],
)
def test_a_project_or_one_version_of_it(text: str, name: VersionName) -> None:
    assert VersionName.of_text(text) == name


@pytest.mark.parametrize(
    "text", ["", "0", "012", "-1", "x", "12@", "12@3", "12@v", "12@v3-2026", "12@v3@v4", "12 ", "12\n", "١٢", "9" * 30, "../12"]
)
def test_nothing_else_is_a_name(text: str) -> None:
    assert VersionName.of_text(text) is None
