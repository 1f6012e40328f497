import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.commands.import_prompts import import_prompts
from backend.prompt_files.rows import CHANGED
from preference.errors import PromptFileError, StudioNotFound
from tests.conftest import SettingsFactory
from tests.support.filling_house import EMPTY, House
from tests.support.screen import Screen
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory) -> Iterator[House]:
    with House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, generator_engine="echo")) as house:
        yield house


def imported(house: House, path: Path) -> list[str]:
    """What `import` printed."""
    screen = Screen()
    import_prompts(house.project(), house.settings, path, console=screen.console)
    return screen.lines


def test_an_import_prints_what_became_of_the_prompts(house: House, tmp_path: Path, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)
    house.add({"prompt": "Prompt 1", **EMPTY})
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(f"Prompt {n}" for n in range(120)) + "\nPrompt 3\n", encoding="utf-8")

    lines = imported(house, path)

    assert lines[0] == f"{path}: 121 prompts; reading those that project {house.project_id} holds"
    assert lines[1].startswith("prompts imported ") and " 121/121 " in lines[1] and " answers/s, 0 s to go " in lines[1]
    assert sorted(lines[2:]) == ["119 imported, 119 of them answered", "2 skipped, the project holds the prompt"]
    assert len(house.studio.tasks) == 120


def test_a_nul_in_a_file_ends_no_import_into_a_label_studio_on_postgresql(house: House, tmp_path: Path) -> None:
    house.studio.is_on_postgresql = True
    path = tmp_path / "prompts.jsonl"
    path.write_text('"One"\n{"prompt": "T\\u0000wo", "source": "scan\\u0000\\ud83d"}\n"Three"\n', encoding="utf-8")

    for _ in range(2):
        lines = imported(house, path)
        assert lines[1] == f"3 {CHANGED}"

    assert lines[3:] == ["3 skipped, the project holds the prompt"]
    data = [task["data"] for task in house.studio.tasks.values()]
    assert [each["prompt"] for each in data] == ["One", "Two", "Three"] and data[1]["source"] == "scan\N{REPLACEMENT CHARACTER}"
    assert house.is_answered(*house.studio.tasks)


def test_a_file_that_is_wrong_at_its_end_is_refused_before_anything_is_imported(house: House, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('"Prompt"\n' * 300 + "{}\n", encoding="utf-8")

    with pytest.raises(PromptFileError, match=r"line 301: no prompt"):
        imported(house, path)

    assert house.studio.tasks == {}


def test_an_empty_file_is_no_error(house: House, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\n", encoding="utf-8")

    assert imported(house, path)[0].startswith(f"{path}: 0 prompts;")


def test_what_was_imported_is_printed_if_it_ends_too_soon(house: House, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(f"Prompt {n}" for n in range(150)), encoding="utf-8")
    house.before_request(f"POST /api/projects/{house.project_id}/import", lambda: house.studio.failures.append(404), time=2)
    screen = Screen()

    with pytest.raises(StudioNotFound):
        import_prompts(house.project(), house.settings, path, console=screen.console)

    assert screen.lines[-1] == "100 imported, 100 of them answered"


def test_no_thread_remains(house: House, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Prompt", encoding="utf-8")

    imported(house, path)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("generator")]
