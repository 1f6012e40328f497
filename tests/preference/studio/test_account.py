import time

import pytest

from preference.errors import StudioKeyError, StudioUnreachable
from preference.studio.account import Account, greet, kind_of_key
from tests.conftest import SettingsFactory
from tests.support.studio_double import KEY, StudioDouble


def test_version_and_time_need_no_key(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    settings = settings_for(label_studio_url=studio.url)  # without a key

    greeting = greet(settings.studio)
    studio.clock = lambda: time.time() + 1000

    assert greeting.version == "1.23.2 Community"
    assert greeting.clock_ahead_seconds is not None and abs(greeting.clock_ahead_seconds) < 60
    assert 900 < (greet(settings.studio).clock_ahead_seconds or 0) < 1100


def test_nothing_at_the_address_and_something_else_are_two_errors(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    other = settings_for(label_studio_url=f"{studio.url}/elsewhere")
    with pytest.raises(StudioUnreachable, match=r"what answers at \S+ is no Label Studio \(status 401\)"):
        greet(other.studio)
    studio.go_down()
    with pytest.raises(StudioUnreachable, match=r"nothing answers at \S+ \(ConnectError\)"):
        greet(other.studio)


def test_the_form_of_a_key_decides_its_kind(studio: StudioDouble, settings_for: SettingsFactory) -> None:
    keys = ["", KEY, studio.personal_access_token()]

    assert [kind_of_key(settings_for(label_studio_api_key=key).studio) for key in keys] == [
        "none",
        "legacy token",
        "personal access token",
    ]


def test_a_key_names_its_user_and_finds_projects_by_their_whole_title(
    studio: StudioDouble, settings_for: SettingsFactory
) -> None:
    first, _, third = (studio.add_project(title=title) for title in ["Tone", "Tone of voice", "Tone"])
    account = Account(settings_for(label_studio_url=studio.url, label_studio_api_key=KEY).studio)

    assert account.name() == "admin@example.com"
    assert account.projects_titled("Tone") == [first, third]
    assert account.projects_titled("one") == []
    studio.refuses_keys = True
    with pytest.raises(StudioKeyError):
        account.name()
