from pathlib import Path

import pytest

from preference.errors import LayoutError, StudioError
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.connecting_house import ADDRESS, House
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version


def test_connect_makes_the_row_the_webhooks_secret_and_uncertainty_sampling(
    studio: StudioDouble, house: House, settings_for: SettingsFactory
) -> None:
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, backend_url=ADDRESS,
        webhook_secret="s3cret", basic_auth_user="ls", basic_auth_pass="pw",
    )  # fmt: skip

    done = house.connect(settings)

    assert done == [
        f"connected {ADDRESS} as {UNTRAINED}",
        "put WEBHOOK_SECRET into the webhook",
        "switched uncertainty sampling on",
    ]
    (row,) = studio.rows.values()
    assert (row["url"], row["title"], row["project"]) == (ADDRESS, UNTRAINED, house.id)
    assert (row["auth_method"], row["basic_auth_user"], row["basic_auth_pass"]) == ("BASIC_AUTH", "ls", "pw")
    (hook,) = studio.hooks.values()
    assert (hook["url"], hook["headers"]) == (f"{ADDRESS}/webhook", {"Authorization": "Bearer s3cret"})
    assert (hook["send_payload"], hook["send_for_all_actions"]) == (True, True)
    assert (studio.projects[house.id]["sampling"], house.version()) == ("Uncertainty sampling", UNTRAINED)
    assert house.folder.take_request("fill") is True


def test_the_order_of_tasks_is_a_setting_that_connecting_again_applies_and_disconnecting_undoes(
    studio: StudioDouble, house: House
) -> None:
    house.connect()
    at_random = house.settings.replace(order="random")

    assert house.connect(at_random) == ["switched uniform sampling on"]
    assert studio.projects[house.id]["sampling"] == "Uniform sampling" and house.connect(at_random) == []
    assert "switched back to sequential sampling" in house.disconnect(at_random)
    assert studio.projects[house.id]["sampling"] == "Sequential sampling"


def test_a_project_that_shows_another_version_shows_ours_after_connecting(studio: StudioDouble, house: House) -> None:
    studio.projects[house.id].update(model_version="another model", sampling="Uncertainty sampling")

    assert house.connect() == [f"connected {ADDRESS} as {UNTRAINED}", f"set title and model version to {UNTRAINED}"]
    assert house.version() == UNTRAINED


def test_connecting_again_changes_nothing(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.requests.clear()

    assert house.connect() == []
    assert all(request.startswith("GET ") for request in studio.requests)


def test_connecting_again_asks_label_studio_three_times(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.requests.clear()

    house.connect()

    assert [request.partition("?")[0] for request in studio.requests] == [
        f"GET /api/projects/{house.id}/", "GET /api/ml/", "GET /api/webhooks/",
    ]  # fmt: skip


def test_an_unreachable_backend_is_an_error_even_if_there_is_nothing_to_do(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.blocks_private = True

    with pytest.raises(StudioError) as failed:
        house.connect()

    assert str(failed.value) == (
        f"Label Studio does not reach {ADDRESS}. It must reach that address (set BACKEND_URL), and for a private one it needs "
        "SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false."
    )


def test_the_row_bears_the_champions_name(house: House, tiny_base: Path) -> None:
    version = publish_version(house.folder, tiny_base, weight=1)
    Versions(house.folder).promote(version)

    assert house.connect()[0] == f"connected {ADDRESS} as {version}"
    assert (house.titles(), house.version()) == ([version], version)


def test_the_secret_goes_into_our_webhook_alone_and_cleared_actions_are_restored(
    studio: StudioDouble, house: House, settings_for: SettingsFactory
) -> None:
    house.connect()
    (ours,) = studio.hooks
    studio.hooks[ours] |= {"actions": ["TASKS_CREATED"], "send_for_all_actions": False, "headers": {"X-Of-Theirs": "stays"}}
    studio.hooks[999] = {**studio.hooks[ours], "id": 999, "url": "http://someone.else/hook", "headers": {}}

    done = house.connect(
        settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, backend_url=ADDRESS, webhook_secret="s3cret")
    )

    assert done == ["put WEBHOOK_SECRET into the webhook", "switched all actions of the webhook on"]
    assert studio.hooks[ours]["headers"] == {"X-Of-Theirs": "stays", "Authorization": "Bearer s3cret"}
    assert (studio.hooks[ours]["actions"], studio.hooks[ours]["send_for_all_actions"]) == (["TASKS_CREATED"], True)
    assert studio.hooks[999]["headers"] == {}


def test_a_label_config_that_does_not_fit_is_refused_before_anything_is_made(studio: StudioDouble, settings: Settings) -> None:
    house = House(studio, settings, label_config="<View><Header value='Hello'/></View>")

    with pytest.raises(LayoutError, match="The label config has no <Pairwise> tags"):
        house.connect()

    assert studio.rows == {}
    assert not house.folder.path.exists()


def test_a_refused_private_address_leaves_no_row_and_names_what_to_set(studio: StudioDouble, house: House) -> None:
    studio.refuses_private = True

    with pytest.raises(StudioError) as refused:
        house.connect()

    assert str(refused.value) == (
        f"Label Studio could not connect {ADDRESS}: Label Studio refused a request for project {house.id} (403): "
        "URL resolves to a reserved network address (block: 127.0.0.0/8). It must reach that address (set BACKEND_URL), and "
        "for a private one it needs SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false."
    )
    assert studio.rows == {}
    assert "DELETE /api/ml/" in studio.requests[-1]


def test_only_the_row_at_our_address_is_removed_after_a_refusal(studio: StudioDouble, house: House) -> None:
    other = studio.add_row(house.id, "http://another:9090", "another model")
    studio.refuses_private = True

    with pytest.raises(StudioError):
        house.connect()

    assert list(studio.rows) == [other]


@pytest.mark.parametrize("title", ["My model", "", UNTRAINED, "v1-20200101-000000"])
@pytest.mark.parametrize("url", [ADDRESS, f"{ADDRESS}/"])
def test_a_row_that_was_pasted_under_any_title_is_renamed(studio: StudioDouble, house: House, title: str, url: str) -> None:
    row = studio.add_row(house.id, url, title, named=UNTRAINED)

    assert house.fix("v3-20260101-000000") is True
    assert (studio.rows[row]["title"], studio.rows[row]["url"], house.version()) == (
        "v3-20260101-000000",
        url,
        "v3-20260101-000000",
    )
    assert house.fix("v3-20260101-000000") is False


def test_only_a_thorough_look_notices_a_title_that_label_studio_put_back(studio: StudioDouble, house: House) -> None:
    row = studio.add_row(house.id, ADDRESS, "pasted", named=UNTRAINED)
    assert house.fix(UNTRAINED) is True
    studio.rows[row]["title"] = "pasted"  # a page view read the row before it was renamed, and saved it whole afterwards

    studio.requests.clear()
    assert house.fix(UNTRAINED) is False
    assert not any("/api/ml" in request for request in studio.requests), "each listing makes Label Studio call every backend"
    assert house.fix(UNTRAINED, is_thorough=True) is True
    assert (studio.rows[row]["title"], house.version()) == (UNTRAINED, UNTRAINED)


def test_only_the_projects_version_is_corrected_if_the_title_is_right(studio: StudioDouble, house: House) -> None:
    studio.add_row(house.id, ADDRESS, UNTRAINED)
    studio.projects[house.id]["model_version"] = "someone chose another"

    assert house.fix(UNTRAINED) is True
    assert house.version() == UNTRAINED


def test_before_label_studio_called_the_row_is_known_by_a_title_of_ours(
    house: House, studio: StudioDouble, tiny_base: Path
) -> None:
    older = publish_version(house.folder, tiny_base, weight=1)
    row = studio.add_row(house.id, "http://host.docker.internal:9090", older)

    assert house.fix("v2-20260101-000000", host=None) is True
    assert studio.rows[row]["title"] == "v2-20260101-000000"


def test_the_row_of_another_backend_is_never_touched(house: House, studio: StudioDouble) -> None:
    studio.add_row(house.id, "http://another:9090", "another model")
    studio.add_row(studio.add_project(), ADDRESS, "of another project")

    assert house.fix(UNTRAINED) is False
    assert house.fix(UNTRAINED, host=None) is False
    assert house.titles() == ["another model"]
    assert house.version() == ""


def test_connect_adds_a_row_beside_another_backends_and_fixes_its_own(house: House, studio: StudioDouble) -> None:
    studio.add_row(house.id, "http://another:9090", "another model")
    house.connect()
    ours = next(row for row in studio.rows.values() if row["url"] == ADDRESS)
    ours["title"] = "renamed by hand"

    assert house.connect() == [f"set title and model version to {UNTRAINED}"]
    assert sorted(house.titles()) == ["another model", UNTRAINED]


def test_a_backend_that_moved_is_connected_anew_and_its_old_row_goes(house: House, studio: StudioDouble, tiny_base: Path) -> None:
    version = publish_version(house.folder, tiny_base, weight=1)
    Versions(house.folder).promote(version)
    studio.add_row(house.id, "http://old:9090", version)
    studio.add_row(house.id, "http://another:9090", UNTRAINED)

    done = house.connect()

    assert done[:2] == [f"connected {ADDRESS} as {version}", "removed the connection to http://old:9090, where this backend was"]
    assert sorted(row["url"] for row in studio.rows.values()) == sorted([ADDRESS, "http://another:9090"])
