"""What doctor says of set-ups that are broken in one way each, and whether what it advises mends them."""

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from backend.doctor import examine, print_findings
from backend.finding import Amiss, Check, Finding, run_checks
from preference.heartbeat import beat
from preference.registry import UNTRAINED, known_projects
from tests.clinic import PASSWORD, SECRET, Clinic
from tests.openai_double import OpenAIDouble
from tests.studio_double import LABEL_CONFIG, StudioDouble


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_a_sound_installation_has_no_cross_and_nothing_is_skipped(clinic: Clinic) -> None:
    rows = clinic.doctor()

    assert [name for name, row in rows.items() if not row["ok"]] == []
    assert list(rows) == [
        "settings", "Label Studio", "clock", "key", "address", "backend", "backend access", "backend problems", "MODEL_DIR",
        "trainer", "device", "generator", "rights", "label config", "connection", "webhook", "setup", "shared MODEL_DIR",
        "sampling", "champion", "versions", "predictions", "prediction format",
    ]  # fmt: skip
    assert rows["Label Studio"]["found"] == f"1.23.2 Community at {clinic.studio.url}"
    assert rows["key"]["found"] == "a legacy token of admin@example.com"
    assert rows["versions"]["found"] == f"{UNTRAINED} everywhere"


def test_it_changes_nothing_that_label_studio_holds(clinic: Clinic) -> None:
    before = json.dumps([clinic.studio.projects, clinic.row, clinic.hook], default=str, sort_keys=True)
    clinic.studio.requests.clear()

    assert clinic.is_well()

    writes = [request for request in clinic.studio.requests if not request.startswith("GET ")]
    assert writes == [f"PATCH /api/projects/{clinic.id}/"], "one that changes no field: it tells whether it would be allowed"
    assert json.dumps([clinic.studio.projects, clinic.row, clinic.hook], default=str, sort_keys=True) == before
    assert clinic.registry.read_host() == f"127.0.0.1:{clinic.port}"


def test_a_champion_is_loaded_and_named_everywhere(clinic: Clinic, tiny_base: Path) -> None:
    version = clinic.promote(tiny_base)
    clinic.serve_again()
    clinic.run("connect", "--project", clinic.id)
    texts = [{"prompt": f"Why {n}?", "answer1": "Because.", "answer2": "So."} for n in range(8)]
    tasks = clinic.studio.add_tasks(clinic.id, *texts)

    unscored = clinic.cross()
    assert unscored["check"] == "predictions"
    assert unscored["found"] == f"none of 8 open tasks has a prediction by {version}"
    clinic.follow(unscored)

    rows = clinic.doctor()
    assert all(row["ok"] for row in rows.values())
    assert rows["champion"]["found"] == f"{version} is whole: it scores its probe as its card says"
    assert rows["versions"]["found"] == f"{version} everywhere"
    assert rows["predictions"]["found"] == f"8 of 8 open tasks have one by {version}"
    assert [clinic.studio.versions_of(task) for task in tasks] == [[version]] * 8


# Set-ups that are broken in one way


def test_settings_that_are_wrong_are_all_told_and_nothing_else_is_looked_at(clinic: Clinic) -> None:
    rows = clinic.doctor(PORT="none", DEVICE="tpu")

    assert list(rows) == ["settings"]
    assert "PORT='none'" in rows["settings"]["found"] and "DEVICE='tpu'" in rows["settings"]["found"]
    assert clinic.is_well()


def test_a_label_studio_that_is_down(clinic: Clinic) -> None:
    clinic.studio.go_down()

    rows = clinic.doctor()

    assert [name for name, row in rows.items() if row["ok"] is False] == ["Label Studio"]
    assert rows["Label Studio"]["found"] == f"nothing answers at {clinic.studio.url} (ConnectError)"
    assert rows["Label Studio"]["mend"].startswith("start Label Studio, or set LABEL_STUDIO_URL")
    assert rows["key"]["found"] == "skipped: it needs what `Label Studio` looks at"
    assert rows["rights"]["ok"] is None and rows["webhook"]["ok"] is None
    clinic.studio.come_up()
    assert clinic.is_well()


def test_what_is_no_label_studio(clinic: Clinic) -> None:
    row = clinic.cross(LABEL_STUDIO_URL=clinic.address)

    assert row["check"] == "Label Studio"
    assert row["found"].startswith(f"what answers at {clinic.address} is no Label Studio (status 4")
    assert clinic.is_well()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("", "LABEL_STUDIO_API_KEY is not set"),
        ("f" * 40, "Label Studio refuses LABEL_STUDIO_API_KEY, a legacy token"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.AAAA",
            "Label Studio refuses LABEL_STUDIO_API_KEY, a personal access token",
        ),
    ],
)
def test_a_wrong_key(clinic: Clinic, key: str, found: str) -> None:
    row = clinic.cross(LABEL_STUDIO_API_KEY=key)

    assert (row["check"], row["found"]) == ("key", found)
    assert "make a personal access token" in row["mend"]
    assert clinic.is_well()


# label-studio-sdk 2.1.2 parses the exchanged token with pydantic 1's method.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
def test_a_personal_access_token_is_told_by_its_kind(clinic: Clinic) -> None:
    token = clinic.studio.personal_access_token()

    rows = clinic.doctor(LABEL_STUDIO_API_KEY=token)

    assert rows["key"]["found"] == "a personal access token of admin@example.com"
    assert token not in clinic.said


def test_a_key_of_a_user_who_may_not_change_the_project(clinic: Clinic) -> None:
    clinic.studio.may_change = False

    row = clinic.cross()

    assert row["check"] == "rights" and "(403)" in row["found"]
    assert row["mend"] == "use the key of a user who may change the project, as an administrator does"
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


def test_a_test_of_the_doctor_may_take_longer_than_a_heartbeat_counts(clinic: Clinic) -> None:
    os.utime(clinic.model_dir / "trainer.alive", times=(0, time.time() - 60))

    assert clinic.is_well()


@pytest.mark.parametrize("seconds", [90, -90])
def test_clocks_that_differ(clinic: Clinic, seconds: int) -> None:
    clinic.studio.clock = lambda: time.time() + seconds

    row = clinic.cross()

    assert row["check"] == "clock"
    assert re.fullmatch(
        rf"Label Studio's clock is (89|9[01]) s {'ahead of' if seconds > 0 else 'behind'} this machine's", row["found"]
    )
    clinic.studio.clock = time.time
    assert clinic.is_well()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"LABEL_STUDIO_URL": "http://studio.invalid:8080"},
            "is this machine, but Label Studio is at http://studio.invalid:8080",
        ),
        ({"HOST": "0.0.0.0"}, "is where the backend listens, and no address to reach it at"),
    ],
)
def test_an_address_that_label_studio_cannot_reach(clinic: Clinic, changes: dict[str, str], found: str) -> None:
    row = clinic.crosses(**changes)["address"]

    assert found in row["found"]
    assert row["mend"] == "set BACKEND_URL to the backend's address as Label Studio reaches it, then connect"
    assert clinic.doctor(**changes, BACKEND_URL="http://pairloop.invalid:9090")["address"]["ok"]


def test_a_backend_that_is_down(clinic: Clinic) -> None:
    clinic.end()

    rows = clinic.doctor()

    assert [name for name, row in rows.items() if row["ok"] is False] == ["backend", "connection"]
    assert rows["backend"]["found"] == f"nothing answers at {clinic.address}/health"
    assert rows["backend"]["mend"].startswith("start it with these settings: pairloop-backend serve")
    assert rows["connection"]["found"] == f"Label Studio does not reach {clinic.address}"
    assert rows["setup"]["found"] == "skipped: it needs what `backend` looks at"
    clinic.serve()
    assert clinic.is_well()


def test_a_backend_that_is_slower_than_label_studio_waits(clinic: Clinic) -> None:
    slow = {row.check: row for row in examine([clinic.id], environ=clinic.environ, clock=itertools.count(0, 2).__next__)}
    times = iter([0.0, 0.5, 10.0, 14.0])  # /health, /setup
    slow_setup = {row.check: row for row in examine([clinic.id], environ=clinic.environ, clock=lambda: next(times))}

    assert slow["backend"].found == "/health took 2.0 s; Label Studio waits 1 s" and slow["backend"].mend
    assert slow["setup"].found == "skipped: it needs what `backend` looks at"
    assert [row.check for row in slow_setup.values() if row.ok is False] == ["setup"]
    assert slow_setup["setup"].found == "/setup took 4.0 s; Label Studio waits 3 s"
    assert clinic.is_well()


def test_an_address_that_only_label_studio_reaches(clinic: Clinic) -> None:
    address = "http://127.0.0.1:1"
    clinic.studio.calls_backends = False  # so that this row counts as reached
    clinic.row["url"], clinic.hook["url"] = address, f"{address}/webhook"

    rows = clinic.doctor(BACKEND_URL=address)

    assert all(row["ok"] for row in rows.values())
    assert rows["backend"]["found"].endswith(f"ms at {clinic.address} (BACKEND_URL={address} does not answer from here)")
    assert clinic.registry.read_host() == "127.0.0.1:1", "which the backend believes to be where Label Studio reaches it"


def test_something_else_at_the_backends_address(clinic: Clinic) -> None:
    clinic.studio.rows.clear()

    assert clinic.crosses(BACKEND_URL=clinic.studio.url)["backend"]["found"] == (
        f"what answers at {clinic.studio.url}/health is no Pairloop"
    )


def test_a_backend_that_runs_with_another_password(clinic: Clinic) -> None:
    clinic.serve_again(BASIC_AUTH_PASS="another")

    crosses = clinic.crosses()

    assert crosses["backend access"]["found"] == (
        "the backend runs with another BASIC_AUTH_USER and BASIC_AUTH_PASS than this command"
    )
    clinic.serve_again()
    assert clinic.is_well()


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
    assert row["mend"] == "mend it under Settings > Labeling Interface"
    clinic.studio.projects[clinic.id]["label_config"] = LABEL_CONFIG
    assert clinic.is_well()


def test_a_label_config_that_is_empty_is_set_by_what_is_advised(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["label_config"] = "<View></View>"

    clinic.follow(clinic.cross())

    assert clinic.studio.projects[clinic.id]["label_config"] == LABEL_CONFIG
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


def test_a_connection_to_where_the_backend_was(clinic: Clinic, tiny_base: Path) -> None:
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
    assert "SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false" in row["mend"]
    still = clinic.run("connect", "--project", clinic.id)
    assert still.exit_code == 1 and "SSRF_PROTECTION_ENABLED=false" in still.output
    clinic.studio.refuses_private = False
    clinic.follow(row)
    assert clinic.is_well()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"send_for_all_actions": False, "actions": []}, "the webhook does not send all actions"),
        ({"headers": {}}, "the webhook does not send WEBHOOK_SECRET"),
        ({"headers": {"Authorization": "Bearer another"}}, "the webhook does not send WEBHOOK_SECRET"),
        ({"is_active": False, "send_payload": False}, "the webhook sends no details, is switched off"),
    ],
)
def test_a_webhook_that_was_edited(clinic: Clinic, change: dict[str, Any], found: str) -> None:
    clinic.hook.update(change)

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("webhook", found)
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
    assert row["mend"].startswith("set the same WEBHOOK_SECRET for the backend and this command, start the backend again, then: ")
    clinic.serve_again()
    clinic.follow(row)
    assert clinic.is_well()


def test_basic_auth_without_a_secret_for_the_webhook(clinic: Clinic) -> None:
    clinic.hook["headers"] = {}
    clinic.serve_again(WEBHOOK_SECRET="")

    assert clinic.cross(WEBHOOK_SECRET="")["found"] == "the backend refuses what the webhook sends"


@pytest.mark.parametrize("where", ["title", "model_version"])
def test_versions_that_disagree(clinic: Clinic, where: str) -> None:
    if where == "title":
        clinic.row["title"] = "My model"
    else:
        clinic.studio.projects[clinic.id]["model_version"] = "My model"

    row = clinic.cross()

    name = "the connection's title" if where == "title" else "the project's model version"
    assert (row["check"], row["found"]) == ("versions", f"the champion is {UNTRAINED}, but {name} is 'My model'")
    clinic.follow(row)
    assert clinic.is_well()


def test_sequential_sampling(clinic: Clinic) -> None:
    clinic.studio.projects[clinic.id]["sampling"] = "Sequential sampling"

    row = clinic.cross()

    assert row["check"] == "sampling"
    clinic.follow(row)
    assert clinic.is_well()


def test_a_model_dir_that_is_not_there_or_not_writable(clinic: Clinic, tmp_path: Path) -> None:
    gone = clinic.crosses(MODEL_DIR=str(tmp_path / "gone"))
    assert gone["MODEL_DIR"]["found"] == f"MODEL_DIR={tmp_path / 'gone'} is not there"
    assert not (tmp_path / "gone").exists()

    (tmp_path / "file").write_text("")
    unwritable = clinic.crosses(MODEL_DIR=str(tmp_path / "file"))
    assert unwritable["MODEL_DIR"]["found"].startswith(f"MODEL_DIR={tmp_path / 'file'} is not writable (")
    assert "mount it read-write" in unwritable["MODEL_DIR"]["mend"]
    assert clinic.is_well()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_model_dir_that_is_read_only(clinic: Clinic) -> None:
    clinic.model_dir.chmod(0o500)
    try:
        assert clinic.crosses()["MODEL_DIR"]["found"].endswith("is not writable (Permission denied)")
    finally:
        clinic.model_dir.chmod(0o700)
    assert clinic.is_well()


def test_a_model_dir_other_than_the_backends(clinic: Clinic, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    beat(other)

    row = clinic.cross(MODEL_DIR=str(other))

    assert (row["check"], row["found"]) == ("shared MODEL_DIR", f"the backend does not write to MODEL_DIR={other}")
    assert row["mend"].startswith("set the same MODEL_DIR for the backend, the trainer and this command")
    assert clinic.is_well()


def test_a_model_dir_other_than_the_trainers(clinic: Clinic) -> None:
    clinic.has_trainer = False
    (clinic.model_dir / "trainer.alive").unlink()

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("trainer", f"no trainer ever ran on MODEL_DIR={clinic.model_dir}")
    assert f"MODEL_DIR={clinic.model_dir} pairloop-trainer run" in row["mend"]
    clinic.has_trainer = True
    assert clinic.is_well()


def test_a_trainer_that_died(clinic: Clinic) -> None:
    clinic.has_trainer = False
    os.utime(clinic.model_dir / "trainer.alive", times=(0, time.time() - 300))

    row = clinic.cross()

    assert row["check"] == "trainer"
    assert row["found"] == f"the trainer of MODEL_DIR={clinic.model_dir} was last alive 5 min ago"
    assert row["mend"] == "start it again: pairloop-trainer run"
    clinic.has_trainer = True
    assert clinic.is_well()


def test_a_champion_that_is_damaged(clinic: Clinic, tiny_base: Path) -> None:
    older, newer = clinic.promote(tiny_base), clinic.promote(tiny_base, weight=2)
    weights = max(clinic.registry.path(newer).glob("*.safetensors"), key=lambda path: path.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-8])
    clinic.serve_again()

    crosses = clinic.crosses()

    assert list(crosses) == ["backend problems", "champion"]
    assert newer in crosses["backend problems"]["found"]
    assert crosses["champion"]["found"].startswith(f"{newer} cannot be served: ")
    assert crosses["champion"]["mend"] == f"pairloop-trainer promote --project {clinic.id} {older}"
    clinic.follow(crosses["champion"])
    clinic.serve_again()
    clinic.run("connect", "--project", clinic.id)
    assert clinic.is_well()


def test_a_champion_that_is_gone_has_no_other_to_promote(clinic: Clinic) -> None:
    (clinic.registry.folder / "champion").write_text("v7-20260101-000000\n")

    row = clinic.crosses()["champion"]

    assert row["found"].startswith("v7-20260101-000000 cannot be served: ")
    assert row["mend"] == f"pairloop-trainer once --project {clinic.id}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here(clinic: Clinic) -> None:
    row = clinic.cross(DEVICE="cuda")

    assert row["check"] == "device" and row["found"].startswith("DEVICE=cuda, but torch")
    assert row["mend"].startswith("set DEVICE=cpu")
    assert clinic.is_well()


@pytest.mark.parametrize(
    ("files", "found"),
    [([], "has no safetensors weights"), (["model.safetensors"], "cannot be loaded")],
    ids=["empty", "no tokenizer"],
)
def test_a_generator_that_is_not_in_its_folder(clinic: Clinic, tmp_path: Path, files: list[str], found: str) -> None:
    (tmp_path / "model").mkdir()
    for name in files:
        (tmp_path / "model" / name).touch()

    row = clinic.cross(GENERATOR_ENGINE="huggingface", GENERATOR_MODEL=str(tmp_path / "model"))

    assert row["check"] == "generator" and found in row["found"]
    assert clinic.is_well()


def test_a_generators_server_that_wants_a_name(clinic: Clinic) -> None:
    with OpenAIDouble() as server:
        server.models = ["one", "two"]
        changes = {"GENERATOR_ENGINE": "openai", "OPENAI_BASE_URL": server.url}

        row = clinic.cross(**changes)

        assert (row["check"], row["mend"]) == ("generator", "set GENERATOR_MODEL to the one that shall write.")
        assert clinic.is_well(**changes, GENERATOR_MODEL="two")


def test_a_generator_from_a_folder_is_looked_at_without_loading_its_weights(clinic: Clinic, tiny_base: Path) -> None:
    rows = clinic.doctor(GENERATOR_ENGINE="huggingface", GENERATOR_MODEL=str(tiny_base))

    assert rows["generator"]["found"] == "huggingface: tiny-base"


# How it is printed


def test_in_a_pipe_each_check_is_a_line_and_each_cross_has_its_mend_below(clinic: Clinic) -> None:
    clinic.hook["headers"] = {}

    lines = clinic.run("doctor", "--project", clinic.id).output.splitlines()

    place = next(place for place, line in enumerate(lines) if line.startswith("✗"))
    assert lines[place].split(maxsplit=2) == ["✗", "webhook", "the webhook does not send WEBHOOK_SECRET"]
    assert lines[place + 1].strip() == f"-> pairloop-backend connect --project {clinic.id}"
    assert lines[-1] == "23 checks: 22 well, 1 wrong, 0 skipped"
    assert not any("\x1b" in line for line in lines)


def test_without_a_project_all_that_are_known_are_looked_at(clinic: Clinic) -> None:
    other = clinic.studio.add_project(title="Another")
    assert clinic.run("connect", "--project", other).exit_code == 0
    clinic.studio.projects[other]["sampling"] = "Sequential sampling"

    result = clinic.run("doctor")

    assert result.exit_code == 1
    assert f"✓ project {clinic.id}: sampling" in result.output and f"✗ project {other}: sampling" in result.output
    assert clinic.run("disconnect", "--project", other).exit_code == 0
    assert clinic.run("doctor").exit_code == 0


def test_where_no_project_is_known_that_is_told(clinic: Clinic) -> None:
    assert clinic.run("disconnect", "--project", clinic.id).exit_code == 0

    result = clinic.run("doctor")

    assert result.exit_code == 0
    assert "skipped: MODEL_DIR knows no project; name one with --project" in result.output


def test_on_a_terminal_the_signs_have_colours_and_text_wraps_in_its_column() -> None:
    console = Console(force_terminal=True, width=60, highlight=False, record=True, file=StringIO())
    print_findings([Finding("webhook", False, "word " * 30, "type this"), Finding("clock", True, "fine")], console)
    styled = console.export_text(styles=True, clear=False)
    plain = console.export_text().splitlines()

    assert "\x1b[1;31m✗" in styled and "\x1b[32m✓" in styled
    assert all(len(line) <= 60 for line in plain)
    assert [line.index("word") for line in plain if "word" in line] == [plain[0].index("word")] * 4


def test_a_check_that_fails_itself_is_a_cross_and_the_others_go_on() -> None:
    def fails(_: None) -> str:
        raise ZeroDivisionError("of its own")

    def is_amiss(_: None) -> str:
        raise Amiss("wrong", "right it")

    checks = [Check("first", fails), Check("second", is_amiss, needs=["earlier"]), Check("third", is_amiss), Check("fourth", fails, needs=["third"])]  # fmt: skip

    found = list(run_checks(checks, None, before=[Finding("earlier", True, "")]))

    assert found == [
        Finding("first", False, "the check itself failed (ZeroDivisionError: of its own)", "report this line"),
        Finding("second", False, "wrong", "right it"),
        Finding("third", False, "wrong", "right it"),
        Finding("fourth", None, "skipped: it needs what `third` looks at"),
    ]


def test_findings_come_one_by_one(clinic: Clinic) -> None:
    first = next(examine(environ=clinic.environ))

    assert first == Finding("settings", True, "all are valid")
