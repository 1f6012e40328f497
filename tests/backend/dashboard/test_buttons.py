import base64
import html
import logging
import os
import re
import shutil
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from filelock import FileLock
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from werkzeug.test import TestResponse

from backend.contract.training_limit import MOST_AN_HOUR
from preference.projects.folder import ProjectFolder
from preference.projects.problems import ProjectProblems
from preference.projects.versions import Versions
from tests.conftest import SettingsFactory
from tests.support.dashboard_house import PROJECT
from tests.support.dashboard_page import (
    BROWSER,
    Page,
    client_on,
    page,
    press,
)
from tests.support.statuses import status_of


def refused(answer: TestResponse, status: int) -> tuple[str, Page]:
    """Why a button did nothing, as the page says it at its top, and that page."""
    rendered = Page(answer, status=status)
    (reason,) = re.findall(r'<p class="note bad" role="alert"><strong>Nothing was done</strong>(.*?)</p>', rendered.html)
    return html.unescape(reason), rendered


def message_after(client: FlaskClient, answer: TestResponse) -> str:
    """What the page says that an answer leads to."""
    assert answer.status_code == 303, answer.text
    match = re.search(r'<p class="note" role="status">(.*?)</p>', page(client, answer.location.removeprefix("./")).html)
    return match[1] if match else ""


# Buttons


def test_train_now_asks_the_trainer_and_says_so(models: Path) -> None:
    client = client_on(models)
    (models / "trainer.alive").touch()

    answer = press(client, page(client).button("train"))

    assert ProjectFolder(models, PROJECT).is_requested("train")
    assert (
        message_after(client, answer) == "Asked for: the trainer begins a round within seconds, or after the one that is running."
    )


def test_train_now_is_bound_by_the_webhook_s_limit(models: Path) -> None:
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    form = page(client).button("train")
    for _ in range(MOST_AN_HOUR):
        assert press(client, form).status_code == 303
        assert folder.take_request("train")

    answers = press(client, form, **BROWSER), press(client, form)
    assert [3500 < int(answer.headers["Retry-After"]) <= 3600 for answer in answers] == [True, True]
    reason, rendered = refused(answers[0], 429)
    assert "6 times within an hour, which is the most; ask again in 60 min" in reason
    assert rendered.button("train")
    assert answers[1].get_json() == {"error": reason}, "to a program"
    assert not folder.is_requested("train")
    event = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": PROJECT}})
    assert event.status_code == 429


def test_without_a_trainer_train_now_says_what_is_missing(models: Path) -> None:
    os.utime(models / "trainer.alive", (1, 1))
    client = client_on(models)

    assert "no trainer is running: start pairloop-trainer run" in message_after(
        client, press(client, page(client).button("train"))
    )


def test_train_now_says_what_hinders_the_trainer(models: Path) -> None:
    (models / "trainer.alive").touch()
    client = client_on(models)
    ProjectProblems(models, "trainer", logging.getLogger("pairloop.daemon")).note(
        PROJECT, "look", "Label Studio refuses the key."
    )

    with FileLock(models / "trainer.lock"):
        assert "the trainer cannot take that yet: Label Studio refuses the key." in message_after(
            client, press(client, page(client).button("train"))
        )
    assert ProjectFolder(models, PROJECT).is_requested("train")


def test_fill_now_asks_the_filler(models: Path) -> None:
    client, locked_out = client_on(models, label_studio_api_key="k"), client_on(models)

    assert "the filler looks" in message_after(client, press(client, page(client).button("fill")))
    assert ProjectFolder(models, PROJECT).is_requested("fill")
    assert "LABEL_STUDIO_API_KEY is not set" in message_after(locked_out, press(locked_out, page(locked_out).button("fill")))


def test_roll_back_serves_the_champion_before_and_names_the_dashboard(models: Path) -> None:
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    _, second, third, _ = Versions(folder).all()
    rendered = page(client)
    assert "Roll back to v3" in rendered.words

    assert (
        message_after(client, press(client, rendered.button("rollback")))
        == f"{third} is the champion again; backends load it within a second."
    )

    assert Versions(folder).champion() == third
    assert Versions(folder).card(third).promotions[-1].by == "rollback"
    assert Versions(folder).card(third).promotions[-1].reason == "on the dashboard"
    assert "Roll back to v2" in page(client).words
    assert "Nothing was rolled back: the champion has changed" in message_after(
        client, press(client, rendered.button("rollback"))
    )
    assert Versions(folder).champion() == third, "two who press at once go back once"
    assert message_after(client, press(client, page(client).button("rollback"))).startswith(second)
    assert [form["button"] for form in page(client).forms] == ["train", "fill"], "there was none before v2"


def test_a_rollback_to_a_deleted_version_is_neither_offered_nor_made(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    client = client_on(models)
    form = page(client).button("rollback")
    shutil.rmtree(Versions(folder).path(Versions(folder).all()[2]))

    assert "rollback" not in [form["button"] for form in page(client).forms]
    assert "Nothing was rolled back: Project 7 has no version" in message_after(client, press(client, form))


def test_a_project_that_was_disconnected_meanwhile_stays_so(models: Path) -> None:
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    form = page(client).button("fill")
    folder.disconnect()

    answer = press(client, form)

    assert not folder.is_requested("fill")
    assert message_after(client, answer) == "Nothing was asked for: project 7 is not connected any more."


def nothing_was_asked(models: Path) -> bool:
    folder = ProjectFolder(models, PROJECT)
    return (
        not folder.is_requested("train")
        and not folder.is_requested("fill")
        and Versions(folder).champion() == Versions(folder).all()[3]
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "same-origin", "Host": "evil.example"},  # its DNS points here
        {"Origin": "http://evil.example", "Host": "evil.example"},
        {"Origin": "http://[", "Host": "["},
    ],
    ids=str,
)
def test_another_site_s_page_presses_nothing_even_with_the_token(models: Path, headers: dict[str, str]) -> None:
    client = client_on(models)
    for form in page(client).forms:
        answer = client.post("/buttons", data=form, headers=headers)
        assert answer.status_code == 403, answer.text
        assert list(answer.get_json()) == ["error"]
    assert nothing_was_asked(models)


@pytest.mark.parametrize(
    "headers",
    [
        {},  # no browser: curl, with the token
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://pairloop.example"},  # a proxy that names itself to us
        {"Sec-Fetch-Site": "same-origin", "Host": "10.1.2.3:9090"},
        {"Sec-Fetch-Site": "same-origin", "Host": "[::1]:9090"},
        {"Sec-Fetch-Site": "same-origin", "Host": "pairloop.example"},
    ],
    ids=str,
)
def test_our_own_page_presses_behind_proxies_and_in_old_browsers_too(models: Path, headers: dict[str, str]) -> None:
    client = client_on(models, backend_url="https://pairloop.example")

    assert client.post("/buttons", data=page(client).button("fill"), headers=headers).status_code == 303


def test_with_a_password_any_name_of_the_server_will_do(models: Path) -> None:
    client = client_on(models, basic_auth_user="ls", basic_auth_pass="pw")
    login = {"Authorization": "Basic " + base64.b64encode(b"ls:pw").decode()}

    assert press(client, page(client, **login).button("fill"), Host="by.any.name", **login).status_code == 303


def test_a_form_without_a_good_token_presses_nothing(models: Path, house: Path) -> None:
    client = client_on(models)
    form = page(client).button("train")
    ProjectFolder(models, 12).create()
    other = page(client, "?project=12").button("train")
    key = (models / "dashboard.key").read_bytes()

    old = URLSafeTimedSerializer(key, salt="pairloop-button", signer=Yesterday).dumps([PROJECT, None])
    foreign = URLSafeTimedSerializer(b"another key", salt="pairloop-button").dumps([PROJECT, None])
    message = parse_qs(urlsplit(press(client, {**form, "button": "fill"}).location).query)["message"][0]
    assert ProjectFolder(models, PROJECT).take_request("fill")
    tokens = ["", "x", form["token"][:-1], form["token"] + "x", form["token"].upper(), other["token"], old, foreign, message]

    for token in tokens:
        answer = press(client, {**form, "token": token})
        assert answer.status_code in (400, 403), token
    assert nothing_was_asked(models)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"button": "train"}', "application/json", 415),
        (b"button=train", "multipart/form-data; boundary=x", 415),
        (b"button=explode&project=7&token=x", "application/x-www-form-urlencoded", 400),
        (b"button=train&project=7", "application/x-www-form-urlencoded", 400),
        (b"button=train&project=../../x&token=x", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 50, "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe=%ff", "application/x-www-form-urlencoded", 400),
        (b"token=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_of_ours_is_refused_as_json(house: Path, body: bytes, kind: str, status: int) -> None:
    answer = client_on(house).post("/buttons", data=body, content_type=kind)

    assert (answer.status_code, list(answer.get_json())) == (status, ["error"])


class Yesterday(TimestampSigner):
    def get_timestamp(self) -> int:
        return int(time.time()) - 24 * 3600


@pytest.mark.parametrize("is_old", [True, False])
def test_a_button_of_an_old_page_leads_to_a_fresh_one_whose_buttons_work(models: Path, is_old: bool) -> None:
    ProjectFolder(models, 12).create()  # the newest, which is shown if none is chosen
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    form = page(client, f"?project={PROJECT}").button("train")
    key = (models / "dashboard.key").read_bytes()
    token = URLSafeTimedSerializer(key, salt="pairloop-button", signer=Yesterday).dumps([PROJECT, Versions(folder).champion()])

    answer = press(client, {**form, "token": token if is_old else "x"}, **BROWSER)

    reason, rendered = refused(answer, 403)
    assert reason == "That page was more than 12 hours old, or another server's; press once more on a fresh one."
    assert nothing_was_asked(models)
    assert "The loop" in rendered.words and rendered.button("train")["project"] == str(PROJECT)
    assert answer.headers["Cache-Control"] == "no-store" and "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert press(client, rendered.button("train"), **BROWSER).status_code == 303
    assert folder.is_requested("train")


def test_a_forbidden_press_is_explained_on_the_page(models: Path) -> None:
    client = client_on(models)
    form = page(client).button("train")

    sentence, rendered = refused(press(client, form, **{**BROWSER, "Sec-Fetch-Site": "cross-site"}), 403)

    assert sentence.startswith("The request comes from another site's page")
    assert rendered.button("train")
    assert nothing_was_asked(models)


def test_a_page_under_a_name_of_somebody_elses_gets_no_token(models: Path) -> None:
    client = client_on(models)
    form = page(client).button("train")

    for answer in (
        client.get("/", headers={**BROWSER, "Host": "evil.example"}),
        press(client, form, **BROWSER, Host="evil.example"),
    ):
        assert answer.status_code == 403 and list(answer.get_json()) == ["error"]
        assert answer.get_json()["error"].startswith("Without a password, the backend answers at IP addresses, ")
    assert nothing_was_asked(models)


def test_a_button_that_cannot_be_kept_is_refused_on_the_page(models: Path) -> None:
    client = client_on(models)
    form = page(client).button("fill")
    key = models / "dashboard.key"
    key.unlink()
    key.mkdir()

    reason, rendered = refused(press(client, form, **BROWSER), 503)

    assert "MODEL_DIR is not writable" in reason
    assert rendered.forms == []


def test_a_form_of_another_release_is_refused_on_the_page(models: Path) -> None:
    client = client_on(models)

    reason, rendered = refused(press(client, {"press": "train"}, **BROWSER), 400)

    assert reason == "That is no form of this page; press the button here."
    assert rendered.button("train")


def test_every_process_on_one_folder_takes_the_others_tokens_and_the_key_is_its_user_s_alone(models: Path) -> None:
    first, second = client_on(models), client_on(models)

    assert press(second, page(first).button("fill")).status_code == 303
    assert (models / "dashboard.key").stat().st_mode & 0o777 == 0o600
    assert len((models / "dashboard.key").read_bytes()) == 32
    assert [path.name for path in models.iterdir() if path.name.startswith(".dashboard.key")] == []


def test_a_message_is_not_shown_that_we_did_not_sign(house: Path) -> None:
    client = client_on(house)

    assert 'role="status"' not in page(client, "?message=You+have+won").html


def test_without_a_writable_folder_the_page_has_no_buttons_and_says_why(models: Path) -> None:
    (models / "dashboard.key").unlink(missing_ok=True)
    (models / "dashboard.key").mkdir()

    rendered = page(client_on(models))

    assert rendered.forms == []
    assert "MODEL_DIR is not writable" in rendered.words


def test_the_page_writes_nothing_but_its_key(settings_for: SettingsFactory, models: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {path.relative_to(models): path.read_bytes() for path in models.rglob("*") if path.is_file()}

    client, before = client_on(models), files()
    page(client)

    assert files().keys() - before.keys() <= {Path("dashboard.key"), Path(".dashboard.lock")}
    assert {path: content for path, content in files().items() if path in before} == before
    assert status_of(ProjectFolder(models, PROJECT)).counts.title
