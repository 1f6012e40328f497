"""The documents say what the code does."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from preference.settings import Settings
from tests.conftest import REPOSITORY

FIELDS: dict[str, Any] = vars(Settings)["__pydantic_fields__"]


def read(name: str) -> str:
    path = REPOSITORY / name
    assert path.is_file(), f"{name} is not written yet"
    return path.read_text(encoding="utf-8")


def expected_cells(field_name: str) -> list[str]:
    """The variable, its default and its description, as the README's table shows them; an empty default is an empty cell."""
    field = FIELDS[field_name]
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    shown = "" if default in (None, "", ()) else f"`{default}`"
    return [f"`{field_name.upper()}`", shown, field.description]


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def settings_rows(text: str) -> list[list[str]]:
    """The cells of each table row whose first cell is a variable."""
    rows = re.findall(r"^\| *(`[A-Z][A-Z0-9_]+`) *\|(.*)\|([^|]*)\| *$", text, re.MULTILINE)
    return [[cell.strip() for cell in cells] for cells in rows]


def test_the_rows_of_a_table_are_read_as_they_are_written() -> None:
    table = [
        "| Variable | Default | What |",
        "|---|---|---|",
        "| `PORT` | `1` | The port. |",
        "| `KEY` |  | A key. |",
        "| `x` | | no |",
    ]
    assert settings_rows("\n".join(table)) == [["`PORT`", "`1`", "The port."], ["`KEY`", "", "A key."]]
    assert expected_cells("port") == ["`PORT`", "`9090`", "The port that the backend listens on."]
    assert expected_cells("seed")[1] == "`0`"
    assert expected_cells("label_studio_api_key")[1] == expected_cells("backend_url")[1] == ""
    assert len(FIELDS) > 20


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_a_description_that_is_a_table_cell(name: str) -> None:
    description = FIELDS[name].description
    assert description.endswith(".")
    assert "|" not in description and "\n" not in description


def test_the_readmes_settings_table_is_the_settings() -> None:
    rows = settings_rows(read("README.md"))
    for name in FIELDS:
        expected = expected_cells(name)
        assert expected in rows, f"README.md lacks this row, or it differs:\n{row(expected)}"
    assert Counter(cells[0] for cells in rows) == Counter(f"`{name.upper()}`" for name in FIELDS), "unknown or repeated rows"


@pytest.mark.parametrize("name", FIELDS)
def test_the_example_environment_has_each_variable_once(name: str) -> None:
    lines = re.findall(rf"^(?:# ?)?{name.upper()}=.*$", read(".env.example"), re.MULTILINE)
    assert len(lines) == 1, f".env.example has {name.upper()} {len(lines)} times: {lines}"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^#+ .*\b{re.escape(version)}\b", read("CHANGELOG.md"), re.MULTILINE), (
        f"CHANGELOG.md: no heading names {version}"
    )


def test_every_file_of_ours_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", read("README.md"))
    assert [link for link in links if not Path(REPOSITORY / link).exists()] == []
