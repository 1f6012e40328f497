"""What doctor says of installations that are broken in one way each, and whether what it advises helps."""

import itertools
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backend.doctor.examine import examine
from tests.support.clinic import Clinic
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_all_wrong_settings_are_reported_and_nothing_else_is_checked(clinic: Clinic) -> None:
    rows = clinic.doctor(PORT="none", DEVICE="tpu")

    assert list(rows) == ["settings"]
    assert "PORT='none'" in rows["settings"]["found"] and "DEVICE='tpu'" in rows["settings"]["found"]
    assert clinic.is_well()


def test_a_label_studio_that_is_down(clinic: Clinic) -> None:
    clinic.studio.go_down()

    rows = clinic.doctor()

    assert [name for name, row in rows.items() if row["ok"] is False] == ["Label Studio"]
    assert rows["Label Studio"]["found"] == f"nothing answers at {clinic.studio.url} (ConnectError)"
    assert rows["Label Studio"]["fix"].startswith("start Label Studio, or set LABEL_STUDIO_URL")
    assert rows["key"]["found"] == "skipped: it needs what `Label Studio` looks at"
    assert rows["rights"]["ok"] is None and rows["webhook"]["ok"] is None
    clinic.studio.go_up()
    assert clinic.is_well()


def test_something_else_at_the_address_of_label_studio(clinic: Clinic) -> None:
    row = clinic.cross(LABEL_STUDIO_URL=clinic.address)

    assert row["check"] == "Label Studio"
    assert row["found"].startswith(f"what answers at {clinic.address} is no Label Studio (status 4")
    assert clinic.is_well()


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "LABEL_STUDIO_API_KEY is not set"),
        ("f" * 40, "Label Studio refuses LABEL_STUDIO_API_KEY, a legacy token"),
        (
            "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.AAAA",
            "Label Studio refuses LABEL_STUDIO_API_KEY, a personal access token",
        ),
    ],
)
def test_a_wrong_key(clinic: Clinic, key: str, sentence: str) -> None:
    row = clinic.cross(LABEL_STUDIO_API_KEY=key)

    assert (row["check"], row["found"]) == ("key", sentence)
    assert "make a personal access token" in row["fix"]
    assert clinic.is_well()


def test_a_file_of_the_key_is_named_and_its_key_is_not(clinic: Clinic, tmp_path: Path) -> None:
    path = tmp_path / "key"
    row = clinic.cross(LABEL_STUDIO_API_KEY="", LABEL_STUDIO_API_KEY_FILE=str(path))
    assert (row["check"], row["found"]) == ("key", f"LABEL_STUDIO_API_KEY_FILE={path} cannot be read (No such file or directory)")
    assert "write it into that file" in row["fix"]

    path.write_text("f" * 40)
    row = clinic.cross(LABEL_STUDIO_API_KEY="", LABEL_STUDIO_API_KEY_FILE=str(path))
    assert (row["check"], row["found"]) == ("key", f"Label Studio refuses LABEL_STUDIO_API_KEY_FILE={path}, a legacy token")

    path.write_text(KEY)
    assert clinic.is_well(LABEL_STUDIO_API_KEY="", LABEL_STUDIO_API_KEY_FILE=str(path))


# label-studio-sdk 2.1.2 parses the exchanged token with pydantic 1's method.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
def test_a_personal_access_token_is_named_as_one(clinic: Clinic) -> None:
    token = clinic.studio.personal_access_token()

    rows = clinic.doctor(LABEL_STUDIO_API_KEY=token)

    assert rows["key"]["found"] == "a personal access token of admin@example.com"
    assert token not in clinic.printed


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
    ("changes", "sentence"),
    [
        (
            {"LABEL_STUDIO_URL": "http://studio.invalid:8080"},
            "is this machine, but Label Studio is at http://studio.invalid:8080",
        ),
        ({"HOST": "0.0.0.0"}, "is where the backend listens, and no address to reach it at"),
    ],
)
def test_an_address_that_label_studio_cannot_reach(clinic: Clinic, changes: dict[str, str], sentence: str) -> None:
    row = clinic.crosses(**changes)["address"]

    assert sentence in row["found"]
    assert row["fix"] == "set BACKEND_URL to the backend's address as Label Studio reaches it, then connect"
    assert clinic.doctor(**changes, BACKEND_URL="http://pairloop.invalid:9090")["address"]["ok"]


def test_a_backend_that_is_down(clinic: Clinic) -> None:
    clinic.end()

    rows = clinic.doctor()

    assert [name for name, row in rows.items() if row["ok"] is False] == ["backend"]
    assert rows["backend"]["found"] == f"nothing answers at {clinic.address}/health"
    assert rows["backend"]["fix"].startswith("start it with these settings: pairloop-backend serve")
    assert rows["connection"]["found"] == "skipped: it needs what `backend` looks at"
    assert rows["setup"]["found"] == "skipped: it needs what `backend` looks at"
    clinic.serve()
    assert clinic.is_well()


def test_a_backend_that_is_slower_than_label_studio_waits(clinic: Clinic) -> None:
    slow = {row.check: row for row in examine([clinic.id], environ=clinic.environ, clock=itertools.count(0, 2).__next__)}
    times = iter([0.0, 0.5, 10.0, 14.0])  # /health, /setup
    slow_setup = {row.check: row for row in examine([clinic.id], environ=clinic.environ, clock=lambda: next(times))}

    assert slow["backend"].sentence == "/health took 2.0 s; Label Studio waits 1 s" and slow["backend"].fix
    assert slow["setup"].sentence == "skipped: it needs what `backend` looks at"
    assert [row.check for row in slow_setup.values() if row.ok is False] == ["setup"]
    assert slow_setup["setup"].sentence == "/setup took 4.0 s; Label Studio waits 3 s"
    assert clinic.is_well()


def test_an_address_that_only_label_studio_reaches(clinic: Clinic) -> None:
    address = "http://127.0.0.1:1"
    clinic.studio.calls_backends = False  # so that this row counts as reached
    clinic.row["url"], clinic.hook["url"] = address, f"{address}/webhook"

    rows = clinic.doctor(BACKEND_URL=address)

    assert all(row["ok"] for row in rows.values())
    assert rows["backend"]["found"].endswith(f"ms at {clinic.address} (BACKEND_URL={address} does not answer from here)")
    assert clinic.folder.read_host() == "127.0.0.1:1", "which the backend believes to be where Label Studio reaches it"


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


def test_a_backend_without_a_password_that_does_not_know_the_name_of_its_address(clinic: Clinic) -> None:
    unlocked = {"BASIC_AUTH_USER": "", "BASIC_AUTH_PASS": "", "BACKEND_URL": "http://pairloop.invalid:9090"}
    clinic.serve_again(**{**unlocked, "BACKEND_URL": ""})

    row = clinic.crosses(**unlocked)["backend access"]

    assert row["found"] == "the backend runs with another BASIC_AUTH_USER, BASIC_AUTH_PASS or BACKEND_URL than this command"


def test_a_model_dir_that_is_not_there_or_not_writable(clinic: Clinic, tmp_path: Path) -> None:
    missing = clinic.crosses(MODEL_DIR=str(tmp_path / "gone"))
    assert missing["MODEL_DIR"]["found"] == f"MODEL_DIR={tmp_path / 'gone'} is not there"
    assert not (tmp_path / "gone").exists()

    (tmp_path / "file").write_text("")
    unwritable = clinic.crosses(MODEL_DIR=str(tmp_path / "file"))
    assert unwritable["MODEL_DIR"]["found"].startswith(f"MODEL_DIR={tmp_path / 'file'} is not writable (")
    assert "mount it read-write" in unwritable["MODEL_DIR"]["fix"]
    assert clinic.is_well()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_model_dir_that_is_read_only(clinic: Clinic) -> None:
    clinic.model_dir.chmod(0o500)
    try:
        assert clinic.crosses()["MODEL_DIR"]["found"].endswith("is not writable (Permission denied)")
    finally:
        clinic.model_dir.chmod(0o700)
    assert clinic.is_well()


def test_a_model_dir_other_than_the_trainers(clinic: Clinic) -> None:
    clinic.has_trainer = False
    (clinic.model_dir / "trainer.alive").unlink()

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("trainer", f"no trainer ever ran on MODEL_DIR={clinic.model_dir}")
    assert f"MODEL_DIR={clinic.model_dir} pairloop-trainer run" in row["fix"]
    clinic.has_trainer = True
    assert clinic.is_well()


def test_a_trainer_that_died(clinic: Clinic) -> None:
    clinic.has_trainer = False
    os.utime(clinic.model_dir / "trainer.alive", times=(0, time.time() - 300))

    row = clinic.cross()

    assert row["check"] == "trainer"
    assert row["found"] == f"the trainer of MODEL_DIR={clinic.model_dir} was last alive 5 min ago"
    assert row["fix"] == "start it again: pairloop-trainer run"
    clinic.has_trainer = True
    assert clinic.is_well()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here(clinic: Clinic) -> None:
    row = clinic.cross(DEVICE="cuda")

    assert row["check"] == "device" and row["found"].startswith("DEVICE=cuda, but torch")
    assert row["fix"].startswith("set DEVICE=cpu")
    assert clinic.is_well()
