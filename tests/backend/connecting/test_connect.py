import copy
import dataclasses
import tomllib
from pathlib import Path

import pytest

from backend.connecting.connect import connect, default_label_config, disconnect, mend_version
from backend.serving.process import Backend
from preference.errors import LayoutError, StudioError, StudioNotFound
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.studio_double import KEY, LABEL_CONFIG, StudioDouble
from tests.support.versions import publish_version

ADDRESS = "http://backend:9090"
HOST = "backend:9090"


class House:
    """A project of the double, its folder, and a backend's settings."""

    def __init__(self, studio: StudioDouble, settings: Settings, *, label_config: str = LABEL_CONFIG) -> None:
        self.studio, self.settings = studio, settings
        self.id = studio.add_project(label_config)
        self.project = LabelStudioProject(settings, self.id)
        self.folder = ProjectFolder(settings.model_dir, self.id)

    def connect(self, settings: Settings | None = None) -> list[str]:
        return connect(self.project, self.folder, settings or self.settings)

    def disconnect(self, settings: Settings | None = None) -> list[str]:
        return disconnect(self.project, self.folder, settings or self.settings)

    def mend(self, version: str, *, host: str | None = HOST, is_thorough: bool = False) -> bool:
        return mend_version(self.project, self.folder, version, host=host, is_thorough=is_thorough)

    def titles(self) -> list[str]:
        return [row["title"] for row in self.studio.rows.values() if row["project"] == self.id]

    def version(self) -> str:
        return str(self.studio.projects[self.id]["model_version"])


@pytest.fixture
def settings(studio: StudioDouble, settings_for: SettingsFactory) -> Settings:
    return settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, backend_url=ADDRESS)


@pytest.fixture
def house(studio: StudioDouble, settings: Settings) -> House:
    return House(studio, settings)


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


def test_a_project_that_shows_another_version_shows_ours_after_connecting(studio: StudioDouble, house: House) -> None:
    studio.projects[house.id].update(model_version="another model", sampling="Uncertainty sampling")

    assert house.connect() == [f"connected {ADDRESS} as {UNTRAINED}", f"set title and model version to {UNTRAINED}"]
    assert house.version() == UNTRAINED


def test_connecting_again_changes_nothing(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.requests.clear()

    assert house.connect() == []
    assert all(request.startswith("GET ") for request in studio.requests)


def test_the_row_bears_the_champions_name(house: House, tiny_base: Path) -> None:
    version = publish_version(house.folder, tiny_base, weight=1)
    Versions(house.folder).promote(version)

    assert house.connect()[0] == f"connected {ADDRESS} as {version}"
    assert (house.titles(), house.version()) == ([version], version)


def test_the_secret_goes_into_our_webhook_alone_and_what_was_cleared_comes_back(
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
    row = studio.add_row(house.id, url, title)

    assert house.mend("v3-20260101-000000") is True
    assert (studio.rows[row]["title"], studio.rows[row]["url"], house.version()) == (
        "v3-20260101-000000",
        url,
        "v3-20260101-000000",
    )
    assert house.mend("v3-20260101-000000") is False


def test_a_title_that_label_studio_put_back_is_seen_by_a_thorough_look_alone(studio: StudioDouble, house: House) -> None:
    row = studio.add_row(house.id, ADDRESS, "pasted")
    assert house.mend(UNTRAINED) is True
    studio.rows[row]["title"] = "pasted"  # a page view read the row before it was renamed, and saved it whole afterwards

    studio.requests.clear()
    assert house.mend(UNTRAINED) is False
    assert not any("/api/ml" in request for request in studio.requests), "each listing makes Label Studio call every backend"
    assert house.mend(UNTRAINED, is_thorough=True) is True
    assert (studio.rows[row]["title"], house.version()) == (UNTRAINED, UNTRAINED)


def test_the_projects_version_is_mended_alone_where_the_title_is_right(studio: StudioDouble, house: House) -> None:
    studio.add_row(house.id, ADDRESS, UNTRAINED)
    studio.projects[house.id]["model_version"] = "someone chose another"

    assert house.mend(UNTRAINED) is True
    assert house.version() == UNTRAINED


def test_before_label_studio_called_the_row_is_known_by_a_title_of_ours(
    house: House, studio: StudioDouble, tiny_base: Path
) -> None:
    older = publish_version(house.folder, tiny_base, weight=1)
    row = studio.add_row(house.id, "http://host.docker.internal:9090", older)

    assert house.mend("v2-20260101-000000", host=None) is True
    assert studio.rows[row]["title"] == "v2-20260101-000000"


def test_the_row_of_another_backend_is_never_touched(house: House, studio: StudioDouble) -> None:
    studio.add_row(house.id, "http://another:9090", "another model")
    studio.add_row(studio.add_project(), ADDRESS, "of another project")

    assert house.mend(UNTRAINED) is False
    assert house.mend(UNTRAINED, host=None) is False
    assert house.titles() == ["another model"]
    assert house.version() == ""


def test_connect_adds_a_row_beside_another_backends_and_mends_its_own(house: House, studio: StudioDouble) -> None:
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


def test_the_row_and_the_webhook_of_where_the_backend_was_go(studio: StudioDouble, house: House) -> None:
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
def test_a_foreign_backend_at_a_host_where_this_one_was_keeps_its_row_and_webhook(
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


@pytest.mark.parametrize(("place", "goes"), [("http://old:9090", True), ("http://old:9090/", True), ("http://old:9090/x", False)])
def test_a_row_under_a_title_of_its_own_was_ours_where_it_has_the_host_to_itself(
    studio: StudioDouble, house: House, place: str, goes: bool
) -> None:
    house.folder.create()
    house.folder.write_host("old:9090")
    studio.add_row(house.id, place, "pasted")

    assert (f"removed the connection to {place}, where this backend was" in house.connect()) is goes
    assert len(studio.rows) == (1 if goes else 2)


# And back


def test_disconnect_removes_what_connect_made_and_nothing_else(
    studio: StudioDouble, house: House, settings: Settings, tiny_base: Path
) -> None:
    version = publish_version(house.folder, tiny_base, weight=1)
    Versions(house.folder).promote(version)
    other = studio.add_row(house.id, "http://another:9090", "another model")
    theirs = studio.add_hook(house.id, url="http://another:9090/webhook")
    house.connect()
    (task,) = studio.add_tasks(house.id, {"prompt": "Why?", "answer1": "a", "answer2": "b"})
    studio.annotate(task, [])
    held = copy.deepcopy(studio.tasks)

    assert house.disconnect() == [
        f"removed the connection to {ADDRESS}",
        f"removed the webhook to {ADDRESS}/webhook",
        "switched back to sequential sampling",
    ]
    assert (list(studio.rows), list(studio.hooks), studio.tasks) == ([other], [theirs], held)
    assert studio.projects[house.id]["sampling"] == "Sequential sampling"
    assert list(known_projects(settings.model_dir)) == [], "nothing looks after it any more"
    assert Versions(house.folder).all() == [version]
    assert house.disconnect() == []

    assert house.connect()[0] == f"connected {ADDRESS} as {version}"
    assert [folder.project_id for folder in known_projects(settings.model_dir)] == [house.id]


def test_a_project_that_was_deleted_in_label_studio_is_forgotten(studio: StudioDouble, house: House, settings: Settings) -> None:
    house.connect()
    del studio.projects[house.id]
    gone = f"Label Studio has no project {house.id} any more, or does not show it to this key; nothing looks after it now"

    assert (house.disconnect(), list(known_projects(settings.model_dir))) == ([gone], [])
    assert house.disconnect() == [gone]


def test_a_wrong_number_is_no_project_to_forget(studio: StudioDouble, house: House) -> None:
    del studio.projects[house.id]

    with pytest.raises(StudioNotFound):
        house.disconnect()

    assert not house.folder.path.exists()


def test_what_goes_on_after_a_disconnection_does_not_undo_it(house: House, settings: Settings, tiny_base: Path) -> None:
    house.connect()
    house.disconnect()

    publish_version(house.folder, tiny_base, weight=1)  # a round ends
    house.folder.request("train")  # a round was stopped, or Label Studio was away
    house.folder.request("fill")  # the last events

    assert list(known_projects(settings.model_dir)) == []
    backend = Backend(settings)
    backend.predict(house.id, LABEL_CONFIG, [{"id": 1, "data": {"prompt": "Why?"}}])  # of a page that was open
    assert list(known_projects(settings.model_dir)) == []
    backend.setup(house.id, LABEL_CONFIG, host=HOST)  # somebody pasted the address
    assert [folder.project_id for folder in known_projects(settings.model_dir)] == [house.id]


def test_disconnecting_a_project_that_never_was_connected_removes_nothing(studio: StudioDouble, house: House) -> None:
    studio.add_row(house.id, "http://another:9090", UNTRAINED)

    assert house.disconnect() == []
    assert len(studio.rows) == 1
    assert not house.folder.path.exists()


def test_a_sampling_that_somebody_chose_stays_when_disconnecting(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.projects[house.id]["sampling"] = "Uniform sampling"

    house.disconnect()

    assert studio.projects[house.id]["sampling"] == "Uniform sampling"
