"""REWARD_MODEL in a serving process: served before any round, and tried again if it cannot be loaded."""

import shutil
import threading
from pathlib import Path

import pytest
import torch

from backend.rewards_api.served_versions import ServedVersions
from backend.scoring.champion import Champions
from backend.scoring.first_version import FirstVersion
from backend.scoring.predictions import predict_tasks
from preference.errors import ModelError
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.version_name import VersionName
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.shared_base import BaseRecipe
from preference.reward_model.version_zero import publish_version_zero
from preference.setting_groups import SuggestingSettings, TrainingSettings
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
TASK = {"data": {"prompt": "Why?", "answer1": "Because.", "answer2": "Because the moon looked at the cat on the mat."}}


class Once(threading.Event):
    """Lets one round of `keep_fresh` or `keep_providing` run."""

    def wait(self, timeout: float | None = None) -> bool:
        self.set()
        return True


def champions_of(folder: ProjectFolder, reward_model: Path) -> Champions:
    champions = Champions(
        folder.path.parent.parent, device=torch.device("cpu"), training=TrainingSettings(reward_model=str(reward_model))
    )
    champions.compares(folder.project_id)
    return champions


def look(champions: Champions) -> None:
    """One round of both threads, one after the other."""
    champions.keep_providing(Once())
    champions.keep_fresh(Once())


def test_it_scores_tasks_before_any_round_and_other_programs_may_name_it(folder: ProjectFolder, tiny_reward_model: Path) -> None:
    champions = champions_of(folder, tiny_reward_model)

    look(champions)

    serving = champions.of(1).serving
    assert serving is not None and serving.version.startswith("v0-")
    (prediction,) = predict_tasks([TASK], LAYOUT, serving, suggesting=SuggestingSettings(control_percent=0))
    assert isinstance(prediction, dict) and prediction["model_version"] == serving.version
    assert 0.5 <= prediction["score"] <= 1
    kinds = {region["type"] for region in prediction["result"]}
    assert "pairwise" not in kinds, "nobody knows yet how far people agree with it"
    (lit,) = predict_tasks([TASK], LAYOUT, serving, suggesting=SuggestingSettings(control_percent=0, suggest_from=0.5))
    assert isinstance(lit, dict) and "pairwise" in {region["type"] for region in lit["result"]}
    served = ServedVersions(folder.path.parent.parent, champions)
    assert served.find(VersionName(1, "v0")) is served.find(VersionName(1)) is serving


def test_processes_that_start_together_publish_one(folder: ProjectFolder, tiny_reward_model: Path) -> None:
    processes = [champions_of(folder, tiny_reward_model) for _ in range(2)]
    threads = [threading.Thread(target=look, args=[process]) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:  # the one that came second follows at its next look
        look(process)

    (version,) = Versions(folder).all()
    assert [process.of(1).version for process in processes] == [version, version]
    assert all(process.of(1).serving for process in processes)


def test_a_deleted_pointer_costs_nothing(folder: ProjectFolder, tiny_reward_model: Path) -> None:
    champions = champions_of(folder, tiny_reward_model)
    look(champions)
    (folder.path / "champion").unlink()

    look(champions)

    assert champions.of(1).serving is not None
    assert Versions(folder).champion() == champions.of(1).version


def test_one_that_cannot_be_loaded_is_tried_again_and_serves_once_it_can(
    folder: ProjectFolder, tmp_path: Path, tiny_reward_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    champions, now = champions_of(folder, tmp_path / "judge"), [0.0]
    extractors = Extractors(folder.path.parent.parent, torch.device("cpu"))
    champions.first = FirstVersion(
        lambda folder: publish_version_zero(folder, TrainingSettings(reward_model=str(tmp_path / "judge")), extractors),
        clock=lambda: now[0],
    )

    for _ in range(2):
        look(champions)
    assert (champions.of(1).serving, Versions(folder).all()) == (None, [])
    assert champions.first.problem is not None and str(tmp_path / "judge") in champions.first.problem
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [champions.first.problem]

    shutil.copytree(tiny_reward_model, tmp_path / "judge")
    look(champions)
    assert champions.of(1).serving is None, "it is tried again after a while"
    now[0] = 31
    look(champions)
    assert champions.of(1).serving is not None and champions.first.problem is None


def test_what_fails_in_an_unforeseen_way_is_a_problem_without_its_text(folder: ProjectFolder) -> None:
    def publish(folder: ProjectFolder) -> str | None:
        raise ZeroDivisionError("sk-secret")

    first = FirstVersion(publish, clock=lambda: 0.0)
    first.provide(folder)
    assert first.problem == "REWARD_MODEL is not served: ZeroDivisionError; the log has the trace"


def test_waits_grow(folder: ProjectFolder) -> None:
    tries, now = list[float](), [0.0]

    def publish(folder: ProjectFolder) -> str | None:
        tries.append(now[0])
        raise ModelError("It is not there; name another.")

    first = FirstVersion(publish, clock=lambda: now[0])
    for second in range(400):
        now[0] = float(second)
        first.provide(folder)
    assert tries == [0, 30, 90, 210]


def test_a_project_that_is_disconnected_gets_none(folder: ProjectFolder, tiny_reward_model: Path) -> None:
    folder.disconnect()
    look(champions_of(folder, tiny_reward_model))
    assert Versions(folder).all() == []


def test_a_collection_of_demonstrations_gets_none(folder: ProjectFolder, tiny_reward_model: Path) -> None:
    training = TrainingSettings(reward_model=str(tiny_reward_model))
    look(Champions(folder.path.parent.parent, device=torch.device("cpu"), training=training))
    assert Versions(folder).all() == []


def test_no_promotion_of_another_project_waits_while_it_is_loaded(
    folder: ProjectFolder, tiny_base: Path, tiny_reward_model: Path
) -> None:
    champions, is_fetching, may_go_on = champions_of(folder, tiny_reward_model), threading.Event(), threading.Event()

    def publish(folder: ProjectFolder) -> str | None:
        is_fetching.set()
        may_go_on.wait(30)
        return None

    champions.first = FirstVersion(publish)
    other = ProjectFolder(folder.path.parent.parent, 2)
    version = publish_version(other, tiny_base, weight=1)
    Versions(other).promote(version)
    providing = threading.Thread(target=champions.keep_providing, args=[Once()])
    providing.start()
    try:
        assert is_fetching.wait(30) and champions.first.is_loading
        champions.keep_fresh(Once())
        assert champions.of(2).version == version and champions.of(2).serving
    finally:
        may_go_on.set()
        providing.join()


def test_no_version_waits_for_another_base(folder: ProjectFolder, tiny_base: Path, tiny_reward_model: Path) -> None:
    extractors = Extractors(folder.path.parent.parent, torch.device("cpu"))
    found = list[object]()

    class Fetched(BaseRecipe):
        """One whose files take until another recipe's base is there."""

        def key(self, model_dir: Path | None = None) -> str:
            other = threading.Thread(target=lambda: found.append(extractors.shared_base(BaseRecipe(str(tiny_base)))), daemon=True)
            other.start()
            other.join(10)
            return super().key(model_dir)

    extractors.shared_base(Fetched(str(tiny_reward_model)))
    assert found


def test_a_project_whose_pointer_names_nothing_is_asked_once(folder: ProjectFolder) -> None:
    tries = list[int]()

    def publish(folder: ProjectFolder) -> str | None:
        tries.append(folder.project_id)
        return None

    (folder.path / "champion").write_text("")
    first = FirstVersion(publish)
    for _ in range(3):
        first.provide(folder)
    assert tries == [1]
    (folder.path / "champion").unlink()
    first.provide(folder)
    assert tries == [1, 1]
