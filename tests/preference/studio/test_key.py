"""The key: from the environment, or from a file that may change at any time."""

from pathlib import Path

import pytest

from preference.errors import StudioKeyError
from preference.setting_groups import StudioSettings
from preference.studio.account import Account, kind_of_key
from preference.studio.key import read_key
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.studio_double import EXCHANGES_A_TOKEN, KEY, StudioDouble


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key"


@pytest.fixture
def settings(studio: StudioDouble, settings_for: SettingsFactory, file: Path) -> StudioSettings:
    return settings_for(label_studio_url=studio.url, label_studio_api_key_file=file).studio


@EXCHANGES_A_TOKEN
def test_another_key_in_the_file_counts_from_the_next_call_on(studio: StudioDouble, settings: StudioSettings, file: Path) -> None:
    project = LabelStudioProject(settings, studio.add_project(), patience_seconds=0)
    file.write_text("f" * 40)
    with pytest.raises(StudioKeyError, match=f"refuses LABEL_STUDIO_API_KEY_FILE={file}; make a .* and write it into that file"):
        project.read()

    for key, kind in ((f"{KEY}\n", "legacy token"), (studio.personal_access_token(), "personal access token")):
        file.write_text(key)
        assert project.read()["id"] == project.id
        assert kind_of_key(settings) == kind
    file.write_text(studio.personal_access_token(seconds=-60))  # it was exchanged before for a token that still holds
    with pytest.raises(StudioKeyError):
        project.read()


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"\xff\xfe" + KEY.encode(), f"{KEY}\n{KEY}".encode(), b"a" * 9000, "schlüssel".encode()]
)
def test_a_file_without_a_key_is_named_and_not_quoted(
    studio: StudioDouble, settings: StudioSettings, file: Path, content: bytes
) -> None:
    file.write_bytes(content)

    with pytest.raises(StudioKeyError) as refused:
        Account(settings).name()

    assert str(refused.value).startswith(
        f"What stands in LABEL_STUDIO_API_KEY_FILE={file} is no key; make a personal access token"
    )
    assert KEY not in str(refused.value) and studio.requests == []


def test_a_file_that_is_away_is_a_key_error_until_it_is_back(studio: StudioDouble, settings: StudioSettings, file: Path) -> None:
    account = Account(settings)
    with pytest.raises(StudioKeyError, match=rf"LABEL_STUDIO_API_KEY_FILE={file} cannot be read \(No such file or directory\); "):
        account.name()

    file.write_text(KEY)

    assert account.name() == "admin@example.com"


def test_the_file_is_read_in_place_of_the_variable(settings_for: SettingsFactory, file: Path) -> None:
    file.write_text("of-the-file")
    both = settings_for(label_studio_api_key="of-the-variable", label_studio_api_key_file=file).studio

    assert read_key(both) == "of-the-file"
    assert both.has_key and not settings_for().studio.has_key


def test_a_variable_that_no_header_takes_is_no_key(settings_for: SettingsFactory) -> None:
    with pytest.raises(StudioKeyError, match="What stands in LABEL_STUDIO_API_KEY is no key; ") as refused:
        read_key(settings_for(label_studio_api_key="clé secrète").studio)

    assert "secr" not in str(refused.value)
