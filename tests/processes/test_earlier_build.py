"""A MODEL_DIR that build e08322f made goes on under this one; tests/data/model_dir_e08322f says what lies in it."""

import importlib.metadata
import json
import logging
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from preference.models.pretrained import quiet_transformers
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_store import FeatureStore
from preference.reward_model.probe import load_version
from tests.support.dashboard_page import app_on, page
from tests.support.studio_double import KEY, StudioDouble
from tests.support.studio_records import DATA
from tests.support.tolerance import REWARDS, assert_close
from trainer.__main__ import main
from trainer.rounds.unfinished import UnfinishedRound

FROZEN, LORA = 1, 2  # the projects
LEFT = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]


class House:
    """A copy of that MODEL_DIR in the current folder, and the Label Studio that it goes with."""

    def __init__(self, folder: Path, studio: StudioDouble) -> None:
        self.recorded: dict[str, Any] = json.loads((folder / "recorded.json").read_text(encoding="utf-8"))
        self.studio, self.models = studio, Path("models")  # as the commands name it
        before = self.recorded["studio"]
        studio.projects.update({int(number): project for number, project in before["projects"].items()})
        studio.tasks.update({int(number): task for number, task in before["tasks"].items()})
        for kept in self.models.glob("projects/*/judgements.jsonl"):  # the double listens at another port today
            kept.write_text(kept.read_text(encoding="utf-8").replace(before["url"], studio.url, 1), encoding="utf-8")

    def run(self, *arguments: str, **environ: str) -> str:
        """What a command of the trainer prints."""
        fixed = {
            "LABEL_STUDIO_URL": self.studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": "models", "REWARD_BASE": "base",
            "DEVICE": "cpu", "TORCH_THREADS": "1", "SEED": "5", "MIN_PAIRS": "20", "HOLDOUT_FRACTION": "0.3",
        }  # fmt: skip
        ran = CliRunner().invoke(main, list(arguments), env={**fixed, **environ})
        assert ran.exit_code == 0, ran.output
        return ran.output

    def judge(self, *nouns: str) -> None:
        """What people do with new tasks of the frozen project."""
        for noun in nouns:
            data = {"prompt": f"Tell me of {noun}.", "answer1": f"The {noun} is kind.", "answer2": f"Zzx {noun} qqw zx!"}
            self.studio.annotate(self.studio.add_tasks(FROZEN, data)[0], LEFT)

    def versions(self, project_id: int) -> Versions:
        return Versions(ProjectFolder(self.models, project_id))

    def num_features(self) -> int:
        return sum(len(FeatureStore(path.parent, path.stem).used()) for path in self.models.glob("features/*/*.index"))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("e08322f")
    with tarfile.open(DATA / "model_dir_e08322f" / "model_dir.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def house(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    folder = shutil.copytree(unpacked, tmp_path / "copy")
    monkeypatch.chdir(folder)  # its REWARD_BASE is `base`
    quiet_transformers()
    with StudioDouble(first_id=100_000) as studio:
        yield House(folder, studio)


def test_versions_champion_and_cards_are_shown(house: House) -> None:
    first, second, third = house.versions(FROZEN).all()
    assert house.versions(FROZEN).champion() == second
    assert [folder.project_id for folder in known_projects(house.models)] == [FROZEN, LORA]

    listed = house.run("versions", "--project", str(FROZEN))
    assert listed.index(first) < listed.index(second) < listed.index(third)
    reports = [house.run("report", "--project", str(FROZEN), version) for version in (first, second, third)]
    assert [f"{version} of project {FROZEN}, {verdict}: accuracy " in report for version, verdict, report in zip(
        (first, second, third), ("promoted", "promoted", "kept back"), reports, strict=True
    )] == [True] * 3  # fmt: skip
    status = {row["project"]: row for row in json.loads(house.run("status", "--json"))["projects"]}
    assert (status[FROZEN]["champion"], status[FROZEN]["num_versions"], status[FROZEN]["requests"]) == (second, 3, ["train"])
    assert (status[LORA]["num_versions"], status[LORA]["is_unfinished"]) == (1, True)


def test_the_dashboard_shows_the_earlier_builds_champion(house: House) -> None:
    client = app_on(house.models).test_client()

    for project_id, accuracies in ((FROZEN, [1.0, 1.0, 0.292]), (LORA, [1.0])):
        rendered = page(client, f"?project={project_id}")
        for version, accuracy in zip(house.versions(project_id).all(), accuracies, strict=True):
            assert version.partition("-")[0] in rendered.words
            assert f"{accuracy:.3f}" in rendered.words
        assert "cannot be read" not in rendered.words


@pytest.mark.parametrize("project_id", [FROZEN, LORA])
def test_each_version_gives_the_rewards_that_its_build_recorded(house: House, project_id: int) -> None:
    extractors = Extractors(house.models, torch.device("cpu"))
    prompts, answers = zip(*house.recorded["texts"], strict=True)
    expected = house.recorded["rewards"][str(project_id)]

    assert set(expected) == set(house.versions(project_id).all())
    for version, rewards in expected.items():
        folder = ProjectFolder(house.models, project_id)
        model = load_version(folder, version, extractor=extractors, device=torch.device("cpu"))
        assert_close(model.score(prompts, answers), rewards, within=REWARDS)


def test_the_next_round_takes_the_request_and_reads_and_computes_only_what_is_new(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop")
    before = house.versions(FROZEN).all()
    house.judge("lake", "hill")

    house.run("once", "--project", str(FROZEN))

    (read,) = [message for message in caplog.messages if "judged tasks came" in message or "judged tasks changed" in message]
    assert ": 2 judged tasks " in read and ", 182 are known: changes since " in read
    assert len(house.studio.requests) <= 5  # one of them for the annotators' names, which that build did not keep
    versions = house.versions(FROZEN)
    assert versions.all()[:-1] == before
    assert versions.all()[-1].startswith("v4-")
    assert not ProjectFolder(house.models, FROZEN).is_requested("train")
    card = versions.card(versions.all()[-1])
    assert (card.compared_with, card.holdout_rule) == (before[1], 1)
    # That build named a base after the times of its files, so its features are computed once more, and then kept.
    num_features = house.num_features()
    house.judge("brook", "rock")
    house.run("once", "--project", str(FROZEN))
    assert house.num_features() - num_features == 4, "of two answers to two prompts"


def test_versions_are_promoted_and_rolled_back_by_the_earlier_builds_log(house: House) -> None:
    first, second, third = house.versions(FROZEN).all()

    house.run("promote", "--project", str(FROZEN), third)
    assert house.versions(FROZEN).champion() == third
    house.run("rollback", "--project", str(FROZEN))
    assert house.versions(FROZEN).champion() == second
    house.run("rollback", "--project", str(FROZEN))
    assert house.versions(FROZEN).champion() == first


def test_a_round_that_was_killed_under_the_earlier_build_is_ended(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop")
    unfinished = UnfinishedRound(ProjectFolder(house.models, LORA))
    snapshot = unfinished.snapshot()
    assert snapshot is not None

    house.run("once", "--project", str(LORA), RECIPE="lora")

    libraries = {name: importlib.metadata.version(name) for name in snapshot.key["libraries"]}
    logged = [message for message in caplog.messages if message.startswith(f"{unfinished.folder}: ")]
    if libraries == snapshot.key["libraries"]:
        assert logged[-1].endswith("taking up the round that was killed (attempt 2)")
        assert any(message.endswith(", goes on after step 3") for message in caplog.messages)
    else:  # another library may train other weights
        assert "is not taken up: " in logged[-1]
    assert len(house.versions(LORA).all()) == 2
    assert not unfinished.exists
