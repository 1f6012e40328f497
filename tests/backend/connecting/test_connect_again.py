import dataclasses
import tomllib

import pytest

from backend.connecting.default_label_config import default_label_config
from backend.serving.process import Backend
from preference.errors import StudioError
from preference.labelling.label_config import LabelingLayout
from preference.projects.versions import UNTRAINED
from preference.settings import Settings
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.connecting_house import ADDRESS, House
from tests.support.studio_double import KEY, StudioDouble
from tests.support.studio_records import LABEL_CONFIG

# What was half made, doubled or damaged


@pytest.mark.parametrize("label_config", ["<View></View>", "<View/>", "<View>\n</View>", ""])
def test_a_project_without_a_label_config_gets_ours(studio: StudioDouble, settings: Settings, label_config: str) -> None:
    house = House(studio, settings, label_config=label_config)

    assert house.connect()[0] == "set the label config"
    assert studio.projects[house.id]["label_config"] == LABEL_CONFIG == default_label_config()
    assert house.connect() == []


def test_without_rewards_our_label_config_has_no_boxes_for_them(studio: StudioDouble, settings: Settings) -> None:
    house = House(studio, settings.replace(show_rewards=False), label_config="<View/>")

    house.connect()

    held = studio.projects[house.id]["label_config"]
    assert held == default_label_config(show_rewards=False) != LABEL_CONFIG
    with_rewards, without = (LabelingLayout.from_label_config(text) for text in (LABEL_CONFIG, held))
    assert without == dataclasses.replace(with_rewards, reward_tags=(None, None))
    assert "Number" not in held and "Reward of" not in held


def test_the_label_config_that_a_checkout_holds_is_packed_into_what_is_installed() -> None:
    built = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]

    assert built["force-include"]["label_config.xml"] == "backend/label_config.xml"


def test_a_label_config_of_another_kind_is_left_as_it_is(studio: StudioDouble, settings: Settings) -> None:
    config = LABEL_CONFIG.replace("prompt", "question")
    house = House(studio, settings, label_config=config)

    house.connect()

    assert studio.projects[house.id]["label_config"] == config


def test_a_row_without_a_webhook_gets_one(studio: StudioDouble, house: House) -> None:
    studio.add_row(house.id, ADDRESS, UNTRAINED)

    assert "made the webhook, which was missing" in house.connect()
    (hook,) = studio.hooks.values()
    assert (hook["url"], hook["send_for_all_actions"], hook["project"]) == (f"{ADDRESS}/webhook", True, house.id)
    assert house.connect() == []


def test_a_webhook_that_label_studio_goes_on_refusing_is_an_error_with_what_to_set(studio: StudioDouble, house: House) -> None:
    row = studio.add_row(house.id, ADDRESS, UNTRAINED)
    studio.refuses_private = True

    with pytest.raises(StudioError, match="SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false"):
        house.connect()

    assert list(studio.rows) == [row], "it was not made here"


def test_of_several_rows_at_one_address_that_with_our_title_stays(studio: StudioDouble, house: House) -> None:
    studio.add_row(house.id, f"{ADDRESS}/", "pasted")
    ours = studio.add_row(house.id, ADDRESS, UNTRAINED)
    studio.add_row(house.id, ADDRESS, "pasted again")

    assert house.connect().count(f"removed a second connection to {ADDRESS}") == 2
    assert list(studio.rows) == [ours]
    assert house.connect() == []


def test_of_several_webhooks_to_one_address_one_stays(studio: StudioDouble, house: House) -> None:
    house.connect()
    (first,) = studio.hooks
    studio.add_hook(house.id, url=f"{ADDRESS}/webhook")
    studio.add_hook(studio.add_project(), url=f"{ADDRESS}/webhook")

    assert house.connect() == ["removed a second webhook to the same address"]
    assert [hook["id"] for hook in studio.hooks.values() if hook["project"] == house.id] == [first]
    assert len(studio.hooks) == 2


def test_a_webhook_that_was_switched_off_is_on_again(studio: StudioDouble, house: House) -> None:
    house.connect()
    (hook,) = studio.hooks.values()
    hook.update(is_active=False, send_payload=False)

    assert house.connect() == ["switched the details of the webhook's events on", "switched the webhook on"]
    assert hook["is_active"] and hook["send_payload"]


@pytest.mark.parametrize("held", [{}, {"basic_auth_user": "another", "basic_auth_pass": "pw"}])
def test_a_row_without_our_password_gets_it(
    studio: StudioDouble, house: House, settings_for: SettingsFactory, held: dict[str, str]
) -> None:
    row = studio.rows[studio.add_row(house.id, ADDRESS, UNTRAINED)]
    row.update(held)
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, backend_url=ADDRESS, basic_auth_user="ls", basic_auth_pass="pw"
    )

    assert "put BASIC_AUTH_USER and BASIC_AUTH_PASS into the connection" in house.connect(settings)
    assert (row["auth_method"], row["basic_auth_user"], row["basic_auth_pass"]) == ("BASIC_AUTH", "ls", "pw")
    assert (row["title"], row["url"]) == (UNTRAINED, ADDRESS)
    assert house.connect(settings) == []


def test_the_row_and_the_webhook_of_an_old_address_are_removed(studio: StudioDouble, house: House) -> None:
    house.connect()
    house.folder.write_host("old:9090")
    studio.add_row(house.id, "http://old:9090", UNTRAINED)
    studio.add_hook(house.id, url="http://old:9090/webhook")
    theirs = studio.add_hook(house.id, url="http://another:9090/webhook")

    assert house.connect() == [
        "removed the connection to http://old:9090, where this backend was",
        "removed the webhook to http://old:9090/webhook, where this backend was",
        f"set title and model version to {UNTRAINED}",  # Label Studio clears it with the row that bears it
    ]
    assert [row["url"] for row in studio.rows.values()] == [ADDRESS]
    assert sorted(hook["url"] for hook in studio.hooks.values()) == ["http://another:9090/webhook", f"{ADDRESS}/webhook"]
    assert theirs in studio.hooks


def test_another_backend_behind_the_same_proxy_keeps_its_row(
    studio: StudioDouble, house: House, settings_for: SettingsFactory
) -> None:
    theirs = studio.add_row(house.id, "http://proxy/theirs", "another model")
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, backend_url="http://proxy/ours")
    house.folder.create()
    house.folder.write_host("proxy")

    assert house.connect(settings)[0] == f"connected http://proxy/ours as {UNTRAINED}"
    assert theirs in studio.rows and len(studio.rows) == 2


@pytest.mark.parametrize("act", ["connect", "disconnect"])
@pytest.mark.parametrize("place", ["https://ml.example.com/sam", "https://ml.example.com"])
def test_a_foreign_backend_at_an_old_host_of_ours_keeps_its_row_and_webhook(
    studio: StudioDouble, house: House, act: str, place: str
) -> None:
    house.folder.create()
    house.folder.write_host("ml.example.com")
    theirs = studio.add_row(house.id, place, "Segment Anything")
    their_hook = studio.add_hook(house.id, url=f"{place}/webhook")
    studio.add_row(house.id, "https://ml.example.com/pairloop", UNTRAINED)
    studio.add_hook(house.id, url="https://ml.example.com/pairloop/webhook")

    for _ in range(3):  # each leaves the foreign one alone at that host
        done = getattr(house, act)()
        assert f"removed the connection to {place}, where this backend was" not in done

    kept = {ADDRESS} if act == "connect" else set()
    assert {row["url"] for row in studio.rows.values()} == {place} | kept
    assert {hook["url"] for hook in studio.hooks.values()} == {f"{place}/webhook"} | {f"{url}/webhook" for url in kept}
    assert theirs in studio.rows and their_hook in studio.hooks


@pytest.mark.parametrize("act", ["connect", "disconnect"])
@pytest.mark.parametrize(("named", "goes"), [(UNTRAINED, True), ("sam-vit-h", False), ("", False)])
def test_a_row_under_another_title_was_ours_if_its_backend_named_our_version(
    studio: StudioDouble, house: House, act: str, named: str, goes: bool
) -> None:
    house.folder.create()
    house.folder.write_host("old:9090")
    row = studio.add_row(house.id, "http://old:9090", "pasted", named=named)
    hook = studio.add_hook(house.id, url="http://old:9090/webhook")

    done = getattr(house, act)()

    assert ("removed the connection to http://old:9090, where this backend was" in done) is goes
    assert (row in studio.rows, hook in studio.hooks) == (not goes, not goes)


@pytest.mark.parametrize("act", ["connect", "disconnect"])
def test_a_host_that_anybody_may_have_named_makes_no_other_backends_row_and_webhook_ours(
    studio: StudioDouble, house: House, settings: Settings, act: str
) -> None:
    theirs = studio.add_row(house.id, "http://another:9090", "Segment Anything")
    hook = studio.add_hook(house.id, url="http://another:9090/webhook")
    house.folder.create()
    house.folder.disconnect()

    Backend(settings).setup(house.id, LABEL_CONFIG, host="another:9090")  # as a request under that host does
    assert house.fix("v1-20260101-000000", host="another:9090", is_thorough=True) is False
    getattr(house, act)()

    assert studio.rows[theirs]["title"] == "Segment Anything" and hook in studio.hooks


def test_a_webhook_without_a_row_was_ours_if_it_sends_our_secret(studio: StudioDouble, house: House, settings: Settings) -> None:
    house.folder.create()
    house.folder.write_host("old:9090")
    ours = studio.add_hook(house.id, url="http://old:9090/webhook", headers={"Authorization": "Bearer s3cret"})
    theirs = studio.add_hook(house.id, url="http://old:9090/hooks/theirs", headers={"Authorization": "Bearer another"})

    assert "removed the webhook to http://old:9090/webhook, where this backend was" in house.connect(
        settings.replace(webhook_secret="s3cret")
    )
    assert ours not in studio.hooks and theirs in studio.hooks
