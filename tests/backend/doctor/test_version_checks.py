"""What doctor says of a project's versions, and whether what it advises helps."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from preference.projects.versions import UNTRAINED, Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.version_zero import publish_version_zero
from preference.setting_groups import TrainingSettings
from tests.support.clinic import Clinic
from tests.support.studio_double import StudioDouble
from tests.support.tiny_bases import save_tiny_reward_model


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


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


def test_a_reward_model_of_others_is_loaded_named_everywhere_and_missed_when_it_is_gone(clinic: Clinic, tmp_path: Path) -> None:
    shelf = save_tiny_reward_model(tmp_path / "judge")
    version = publish_version_zero(
        clinic.folder, TrainingSettings(reward_model=str(shelf)), Extractors(clinic.model_dir, torch.device("cpu"))
    )
    assert version is not None
    clinic.serve_again()
    (task,) = clinic.studio.add_tasks(clinic.id, {"prompt": "Why?", "answer1": "Because.", "answer2": "So."})
    clinic.run("connect", "--project", clinic.id)
    clinic.run("fill", "--project", clinic.id)

    rows = clinic.doctor()
    assert all(row["ok"] for row in rows.values())
    assert rows["champion"]["found"] == f"{version} is whole: it scores its probe as its card says"
    assert rows["versions"]["found"] == f"{version} everywhere"
    assert clinic.studio.versions_of(task) == [version]

    (shelf / "model.safetensors").unlink()
    row = clinic.cross()
    assert row["check"] == "champion" and f"{shelf} has no safetensors weights" in row["found"]


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


def test_another_order_than_was_set(clinic: Clinic) -> None:
    clinic.environ["ORDER"] = "random"

    row = clinic.cross()

    assert (row["check"], row["found"]) == ("sampling", "Uncertainty sampling, so tasks are not served at random")
    clinic.follow(row)
    assert clinic.is_well()


def test_a_champion_that_is_damaged(clinic: Clinic, tiny_base: Path) -> None:
    older, newer = clinic.promote(tiny_base), clinic.promote(tiny_base, weight=2)
    weights = max(Versions(clinic.folder).path(newer).glob("*.safetensors"), key=lambda path: path.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-8])
    clinic.serve_again()

    crosses = clinic.crosses()

    assert list(crosses) == ["backend problems", "champion"]
    assert newer in crosses["backend problems"]["found"]
    assert crosses["champion"]["found"].startswith(f"{newer} cannot be served: ")
    assert crosses["champion"]["fix"] == f"pairloop-trainer promote --project {clinic.id} {older}"
    clinic.follow(crosses["champion"])
    clinic.serve_again()
    clinic.run("connect", "--project", clinic.id)
    assert clinic.is_well()


def test_a_deleted_champion_without_other_versions_needs_a_round(clinic: Clinic) -> None:
    (clinic.folder.path / "champion").write_text("v7-20260101-000000\n")

    row = clinic.crosses()["champion"]

    assert row["found"].startswith("v7-20260101-000000 cannot be served: ")
    assert row["fix"] == f"pairloop-trainer once --project {clinic.id}"


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"])
def test_weights_that_were_damaged_since_the_backend_loaded_them(clinic: Clinic, tiny_base: Path, content: bytes) -> None:
    version = clinic.promote(tiny_base)
    clinic.serve_again()
    clinic.run("connect", "--project", clinic.id)
    next((clinic.folder.path / "versions" / version).glob("*.safetensors")).write_bytes(content)

    row = clinic.crosses()["champion"]

    assert row["found"].startswith(f"{version} cannot be served: ") and "is cut, or no safetensors file" in row["found"]
