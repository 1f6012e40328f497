"""What doctor says of projects that are broken in one way each, and whether what it advises helps."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from preference.projects.folder import known_projects
from preference.projects.trainer_heartbeat import mark_alive
from preference.projects.versions import UNTRAINED, Versions
from tests.support.clinic import PASSWORD, SECRET, Clinic
from tests.support.ranked_lists import ORDER, TEMPLATE
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import LABEL_CONFIG
from tests.support.version_house import CARD, trained_in


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_a_key_of_a_user_who_may_not_change_the_project(clinic: Clinic) -> None:
    clinic.studio.may_change = False

    row = clinic.cross()

    assert row["check"] == "rights" and "(403)" in row["found"]
    assert row["fix"] == "use the key of a user who may change the project, as an administrator does"
    clinic.studio.may_change = True
    assert clinic.is_well()


def test_a_project_that_is_not_there(clinic: Clinic) -> None:
    result = clinic.run("doctor", "--project", 999)

    assert result.exit_code == 1
    assert "Label Studio shows no project 999 to this key" in result.output
    assert "name a project that is there" in result.output and "disconnect" not in result.output


def test_a_project_that_was_deleted_is_forgotten_by_the_advice(clinic: Clinic) -> None:
    del clinic.studio.projects[clinic.id]

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("rights", f"Label Studio shows no project {clinic.id} to this key")
    clinic.follow(row)
    assert list(known_projects(clinic.model_dir)) == []
    clinic.studio.projects.clear()
    assert f"project {clinic.id}" not in clinic.run("doctor").output


def test_a_connection_that_sends_another_password(clinic: Clinic) -> None:
    clinic.row["basic_auth_pass"] = "of before"

    row = clinic.cross()

    assert row["check"] == "connection"
    assert row["found"] == "Label Studio does not send the backend its BASIC_AUTH_USER and BASIC_AUTH_PASS"
    clinic.follow(row)
    assert clinic.row["basic_auth_pass"] == PASSWORD
    assert clinic.is_well()


def test_a_label_config_that_does_not_fit(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = '<View><Text name="prompt" value="$prompt"/></View>'

    row = clinic.cross()

    assert row["check"] == "label config"
    assert row["found"].startswith("The label config has no <Pairwise> tags; Pairloop needs exactly one")
    assert row["fix"] == "correct it under Settings > Labeling Interface"
    clinic.studio.projects[clinic.id]["label_config"] = LABEL_CONFIG
    assert clinic.is_well()


PICTURE = LABEL_CONFIG.replace('<Text name="prompt" value="$prompt"/>', '<Image name="prompt" value="$image"/>')
DIALOGUE = LABEL_CONFIG.replace('<Text name="prompt" value="$prompt"/>', '<Paragraphs name="prompt" value="$messages"/>')
CHAT = LABEL_CONFIG.replace('<Text name="prompt" value="$prompt"/>', '<Chat name="prompt" value="$messages"/>')


def test_a_prompt_that_is_no_text_is_named_by_connect_doctor_and_setup(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = PICTURE

    row = clinic.cross()

    assert (row["check"], row["fix"]) == ("label config", "correct it under Settings > Labeling Interface")
    assert "which shows no text: Pairloop answers a text and would fill no task" in row["found"]
    result = clinic.run("connect", "--project", clinic.id)
    assert result.exit_code == 1 and row["found"] in result.output
    setup = {"project": f"{clinic.id}.1", "schema": PICTURE, "hostname": "", "access_token": "", "extra_params": None}
    answer = httpx.post(f"{clinic.address}/setup", json=setup, auth=("ls", PASSWORD))
    assert (answer.status_code, answer.json()["error"]) == (400, row["found"])


def test_a_prompt_may_be_a_conversation_and_a_tag_that_the_community_edition_lacks_is_told(clinic: Clinic) -> None:
    note = "<Chat> is a tag of Label Studio Enterprise, and the community edition opens no task with it"
    clinic.studio.projects[clinic.id]["label_config"] = DIALOGUE
    assert clinic.is_well() and note not in clinic.run("doctor").output

    clinic.studio.projects[clinic.id]["label_config"] = CHAT
    assert clinic.is_well() and note in clinic.run("doctor").output
    assert f"note: {note}" in clinic.run("connect", "--project", clinic.id).output


def test_choices_that_are_not_understood_are_named_with_an_alias_that_helps(clinic: Clinic) -> None:
    config = LABEL_CONFIG.replace('value="Second is better" alias="right"', 'value="Die zweite"').replace(
        '"Tie" alias="tie"', '"Gleich"'
    )
    clinic.studio.projects[clinic.id]["label_config"] = config

    row = clinic.cross()

    assert (row["check"], row["found"]) == (
        "verdict", 'judgements by these choices of the verdict are not used, as they are not understood: "Die zweite", "Gleich"'
    )  # fmt: skip
    assert row["fix"].startswith('give each an alias that says what it means, such as <Choice value="..." alias="right"/>')
    assert f"note: {row['found']}; {row['fix']}\n" in clinic.run("connect", "--project", clinic.id).output
    clinic.studio.projects[clinic.id]["label_config"] = config.replace('"Die zweite"', '"Die zweite" alias="right"').replace(
        '"Gleich"', '"Gleich" alias="tie"'
    )
    assert clinic.is_well() and "note:" not in clinic.run("connect", "--project", clinic.id).output


def test_answers_that_are_shown_as_html_are_told(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = LABEL_CONFIG.replace('<Text name="answer1"', '<HyperText name="answer1"')

    assert clinic.is_well()
    note = "<HyperText> shows an answer as HTML, and what is trained on is its source; <Text> shows that"
    assert note in clinic.run("doctor").output and f"note: {note}\n" in clinic.run("connect", "--project", clinic.id).output


def test_a_list_that_people_order_is_taken_and_buckets_that_say_nothing_are_named(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = ORDER
    assert clinic.crosses() == {}
    assert "rank orders $items of $prompt" in clinic.run("doctor").output
    assert "note:" not in clinic.run("connect", "--project", clinic.id).output

    paid = '<Bucket name="ads" title="Paid results"/></Ranker>'
    clinic.studio.projects[clinic.id]["label_config"] = TEMPLATE.replace("</Ranker>", paid)
    note = 'answers in these buckets are compared with no others, as their titles say neither good nor bad: "Paid results"'
    assert clinic.is_well()
    assert note in clinic.run("doctor").output and f"note: {note}\n" in clinic.run("connect", "--project", clinic.id).output


def test_a_label_config_without_a_prompt_is_told(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = LABEL_CONFIG.replace('value="$prompt"', 'value="Choose."').replace(
        '"prompt"', '"comparison_of"'
    )

    assert clinic.is_well()
    note = "the label config shows no prompt, so judgements are trained on and exported, and no task is filled"
    assert note in clinic.run("doctor").output and f"note: {note}\n" in clinic.run("connect", "--project", clinic.id).output


def test_a_label_config_that_is_empty_is_set_by_what_is_advised(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = "<View></View>"

    clinic.follow(clinic.cross())

    assert clinic.studio.projects[clinic.id]["label_config"] == LABEL_CONFIG
    assert clinic.is_well()


def test_a_label_config_in_which_the_answers_changed_places(clinic: Clinic, tmp_path: Path) -> None:
    fields = {"prompt": "prompt", "left": "answer1", "right": "answer2"}
    Versions(clinic.folder).publish(trained_in(tmp_path), replace(CARD, fields=fields))
    clinic.studio.projects[clinic.id]["label_config"] = LABEL_CONFIG.replace("answer1,answer2", "answer2,answer1")

    row = clinic.cross()

    assert row["check"] == "label config" and "each earlier judgement would count for the other answer" in row["found"]
    clinic.studio.projects[clinic.id]["label_config"] = LABEL_CONFIG
    assert clinic.is_well()


def test_no_connection(clinic: Clinic) -> None:
    clinic.studio.rows.clear()

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("connection", f"no connection leads to {clinic.address}")
    clinic.follow(row)
    assert clinic.is_well()


def test_looking_at_a_project_that_is_not_connected_does_not_make_the_backend_look_after_it(clinic: Clinic) -> None:
    clinic.run("disconnect", "--project", clinic.id)

    assert list(clinic.crosses()) == ["connection", "sampling"]
    assert list(known_projects(clinic.model_dir)) == []


def test_a_connection_that_was_made_twice(clinic: Clinic) -> None:
    clinic.studio.rows[999] = {**clinic.row, "id": 999, "title": "again"}

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("connection", f"2 connections lead to {clinic.address}")
    clinic.follow(row)
    assert clinic.row["title"] == UNTRAINED
    assert clinic.is_well()


def test_a_connection_to_an_old_address(clinic: Clinic, tiny_base: Path) -> None:
    version = clinic.promote(tiny_base)
    clinic.serve_again()
    clinic.row.update(url="http://127.0.0.1:1", title=version)
    clinic.hook["url"] = "http://127.0.0.1:1/webhook"

    row = clinic.cross()

    assert (row["check"], row["found"]) == (
        "connection",
        f"it is connected at http://127.0.0.1:1, but the backend is at {clinic.address}",
    )
    clinic.follow(row)
    assert (clinic.row["url"], clinic.hook["url"]) == (clinic.address, f"{clinic.address}/webhook")
    assert clinic.is_well()


def test_a_half_made_connection(clinic: Clinic) -> None:
    clinic.studio.rows.clear()
    clinic.studio.hooks.clear()
    clinic.studio.add_row(clinic.id, clinic.address, UNTRAINED)
    clinic.row.update(basic_auth_user="ls", basic_auth_pass=PASSWORD)
    clinic.studio.refuses_private = True

    row = clinic.cross()

    assert row["check"] == "webhook"
    assert row["found"] == f"the connection is half made: it has no webhook to {clinic.address}/webhook"
    assert "SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false" in row["fix"]
    still = clinic.run("connect", "--project", clinic.id)
    assert still.exit_code == 1 and "SSRF_PROTECTION_ENABLED=false" in still.output
    clinic.studio.refuses_private = False
    clinic.follow(row)
    assert clinic.is_well()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"send_for_all_actions": False, "actions": []}, "the webhook does not send all actions"),
        ({"headers": {}}, "the webhook does not send WEBHOOK_SECRET"),
        ({"headers": {"Authorization": "Bearer another"}}, "the webhook does not send WEBHOOK_SECRET"),
        ({"is_active": False, "send_payload": False}, "the webhook sends no details, is switched off"),
    ],
)
def test_a_webhook_that_was_edited(clinic: Clinic, change: dict[str, Any], sentence: str) -> None:
    clinic.hook.update(change)

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("webhook", sentence)
    clinic.follow(row)
    assert clinic.hook["headers"] == {"Authorization": f"Bearer {SECRET}"}
    assert clinic.is_well()


def test_a_webhook_that_was_made_twice(clinic: Clinic) -> None:
    clinic.studio.hooks[999] = {**clinic.hook, "id": 999}

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("webhook", f"2 webhooks lead to {clinic.address}/webhook")
    clinic.follow(row)
    assert clinic.is_well()


def test_a_backend_that_wants_another_secret_of_the_webhook(clinic: Clinic) -> None:
    clinic.serve_again(WEBHOOK_SECRET="another")

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("webhook", "the backend refuses what the webhook sends")
    assert row["fix"].startswith("set the same WEBHOOK_SECRET for the backend and this command, start the backend again, then: ")
    clinic.serve_again()
    clinic.follow(row)
    assert clinic.is_well()


def test_basic_auth_without_a_secret_for_the_webhook(clinic: Clinic) -> None:
    clinic.hook["headers"] = {}
    clinic.serve_again(WEBHOOK_SECRET="")

    assert clinic.cross(WEBHOOK_SECRET="")["found"] == "the backend refuses what the webhook sends"


def test_a_model_dir_other_than_the_backends(clinic: Clinic, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    mark_alive(other)

    row = clinic.cross(MODEL_DIR=str(other))

    assert (row["check"], row["found"]) == ("shared MODEL_DIR", f"the backend does not write to MODEL_DIR={other}")
    assert row["fix"].startswith("set the same MODEL_DIR for the backend, the trainer and this command")
    assert clinic.is_well()
