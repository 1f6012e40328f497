import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champion, Champions
from backend.scoring.predictions import predict_tasks
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED, Versions
from preference.reward_model.model import RewardModel
from preference.setting_groups import SuggestingSettings
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version

CPU = torch.device("cpu")
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
SUGGESTING = SuggestingSettings()
TASK = {"data": {"prompt": "Why?", "answer1": "Because.", "answer2": "Because the moon looked at the cat on the mat."}}
Damage = Callable[[ProjectFolder, str], None]


def reward(champion: Champion) -> float:
    assert champion.serving is not None
    return float(champion.serving.model.score(["Why?"], ["Because."])[0])


def test_before_the_first_version_nothing_is_served(folder: ProjectFolder, champions: Champions) -> None:
    champion = champions.of(1)

    assert champion.refresh() is False
    assert (champion.serving, champion.problem, champion.version) == (None, None, UNTRAINED)


def test_a_published_version_is_served_only_when_it_is_promoted(
    folder: ProjectFolder, champions: Champions, tiny_base: Path
) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    champion = champions.of(1)

    assert champion.refresh() is False
    Versions(folder).promote(version)
    assert champion.version == version  # named to Label Studio while it is being loaded
    assert champion.serving is None
    assert champion.refresh() is True
    assert champion.serving is not None and champion.serving.version == champion.version == version
    assert champion.refresh() is False


def test_a_version_that_is_deleted_while_it_is_served_serves_on_and_a_process_that_starts_says_so(
    folder: ProjectFolder, champions: Champions, tiny_base: Path, tmp_path: Path
) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    champion = champions.of(1)
    champion.refresh()
    expected = reward(champion)
    shutil.rmtree(Versions(folder).path(version))

    assert champion.refresh() is False
    assert (champion.version, champion.problem) == (version, None)
    assert reward(champion) == pytest.approx(expected, rel=1e-4)
    started = Champions(tmp_path, device=CPU).of(1)
    started.refresh()
    assert (started.serving, started.version) == (None, UNTRAINED)
    assert started.problem == f"{version} is not served: Project 1 has no version '{version}'; it has: none."
    other = publish_version(folder, tiny_base, weight=-2)
    Versions(folder).promote(other)
    assert champion.refresh() and started.refresh()
    assert champion.version == started.version == other


def test_a_promotion_swaps_and_a_rollback_swaps_back(folder: ProjectFolder, champions: Champions, tiny_base: Path) -> None:
    older, newer = (publish_version(folder, tiny_base, weight=weight) for weight in (1, -2))
    champion = champions.of(1)

    rewards = []
    for version in (older, newer, older):
        Versions(folder).promote(version)
        assert champion.refresh() is True
        assert champion.version == version
        rewards.append(reward(champion))

    assert rewards[0] > 0 and rewards[1] == pytest.approx(-2 * rewards[0]) and rewards[2] == pytest.approx(rewards[0])


def wrong_probe(folder: ProjectFolder, version: str) -> None:
    rewrite_card(folder, version, reward=10.0)


def probe_that_is_no_number(folder: ProjectFolder, version: str) -> None:
    rewrite_card(folder, version, reward=float("nan"))


def probe_that_is_no_text(folder: ProjectFolder, version: str) -> None:
    rewrite_card(folder, version, prompt=5)


def no_probe(folder: ProjectFolder, version: str) -> None:
    rewrite_card(folder, version, reward=None)


def truncated_weights(folder: ProjectFolder, version: str) -> None:
    path = Versions(folder).path(version) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def missing_weights(folder: ProjectFolder, version: str) -> None:
    (Versions(folder).path(version) / "model.safetensors").unlink()


def missing_description(folder: ProjectFolder, version: str) -> None:
    (Versions(folder).path(version) / "reward_model.json").unlink()


def missing_card(folder: ProjectFolder, version: str) -> None:
    (Versions(folder).path(version) / "card.json").unlink()


def damaged_card(folder: ProjectFolder, version: str) -> None:
    (Versions(folder).path(version) / "card.json").write_text('{"project_id": 1, ', encoding="utf-8")


def missing_version(folder: ProjectFolder, version: str) -> None:
    Versions(folder).path(version).rename(folder.path / "away")


def rewrite_card(folder: ProjectFolder, version: str, **probe: Any) -> None:
    path = Versions(folder).path(version) / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**card, "probe": {**card["probe"], **probe}}), encoding="utf-8")


ADVICE = (
    "put back the base '.*' that it was trained on, or have a version trained on the one that is there, "
    "and install the libraries that its card names"
)
DAMAGES: dict[Damage, str] = {
    wrong_probe: rf"its probe scores \d\.\d{{4}}, its card says 10\.0000; {ADVICE}",
    probe_that_is_no_number: rf"its probe scores \d\.\d{{4}}, its card says nan; {ADVICE}",
    probe_that_is_no_text: r".+",
    no_probe: "its card has no probe",
    truncated_weights: r"The model '.*' cannot be loaded \(SafetensorError: .*\); name a folder with safetensors weights.*",
    missing_weights: r"The model '.*' cannot be loaded \(FileNotFoundError: .*\); name a folder with safetensors weights.*",
    missing_description: r".*reward_model\.json is missing or damaged \(FileNotFoundError\)\.",
    missing_card: r"Project 1 has no version '{version}'; it has: v1-\d+-\d+\.",
    damaged_card: r".*card\.json is not a model card \(JSONDecodeError\); restore it or promote another version\.",
    missing_version: r"Project 1 has no version '{version}'; it has: v1-\d+-\d+\.",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_refused_version_leaves_the_old_one_serving_and_is_logged_once(
    folder: ProjectFolder, champions: Champions, tiny_base: Path, caplog: pytest.LogCaptureFixture, damage: Damage
) -> None:
    good, bad = (publish_version(folder, tiny_base, weight=weight) for weight in (1, 2))
    champion = champions.of(1)
    Versions(folder).promote(good)
    champion.refresh()
    served = champion.serving
    Versions(folder).promote(bad)
    damage(folder, bad)
    caplog.clear()

    assert [champion.refresh() for _ in range(3)] == [False, False, False]

    assert champion.serving is served
    assert champion.version == good
    (record,) = [record for record in caplog.records if record.name == "pairloop.scoring"]
    reason = DAMAGES[damage].replace("{version}", bad)
    assert champion.problem is not None and record.getMessage() == (
        f"project 1: {champion.problem}; {good} serves on. Promote another version."
    )
    assert re.fullmatch(rf"{bad} is not served: {reason}", champion.problem)


def test_a_refused_first_version_suggests_nothing_and_is_not_named(
    folder: ProjectFolder, champions: Champions, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = publish_version(folder, tiny_base, weight=1, probe={"reward": 5.0})
    Versions(folder).promote(version)
    champion = champions.of(1)

    assert champion.refresh() is False
    assert (champion.serving, champion.version) == (None, UNTRAINED)
    (record,) = [record for record in caplog.records if record.name == "pairloop.scoring"]
    assert record.getMessage().endswith("; nothing is suggested. Promote another version.")


def test_a_version_whose_storage_was_away_is_tried_again_after_growing_waits_and_logged_once(
    folder: ProjectFolder, tmp_path: Path, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    Versions(folder).path(version).rename(folder.path / "away")
    now, tries, metrics = [0.0], [], Metrics()
    load = Champions(tmp_path, device=CPU).load

    def counted(folder: ProjectFolder, version: str) -> RewardModel:
        tries.append(now[0])
        return load(folder, version)

    champion = Champion(folder, counted, metrics, clock=lambda: now[0])
    while now[0] < 200:
        assert champion.refresh() is False
        now[0] += 0.5
    assert tries == [0, 30, 90]
    assert len([record for record in caplog.records if record.name == "pairloop.scoring"]) == 1
    assert b'pairloop_reloads_total{outcome="refused",project="1"} 1.0' in metrics.text()

    (folder.path / "away").rename(folder.path / "versions" / version)
    now[0] = 210
    assert champion.refresh() is True
    assert (champion.version, champion.problem) == (version, None)


def test_a_problem_ends_with_a_rollback_to_the_version_that_is_served(
    folder: ProjectFolder, champions: Champions, tiny_base: Path
) -> None:
    good = publish_version(folder, tiny_base, weight=1)
    bad = publish_version(folder, tiny_base, weight=2, probe={"reward": 9.0})
    champion = champions.of(1)
    for version in (good, bad):
        Versions(folder).promote(version)
        champion.refresh()
    assert champion.problem is not None

    Versions(folder).promote(good)

    assert champion.refresh() is False
    assert champion.problem is None


def test_after_a_refused_version_the_next_good_one_is_served(
    folder: ProjectFolder, champions: Champions, tiny_base: Path
) -> None:
    bad = publish_version(folder, tiny_base, weight=1, probe={"reward": 9.0})
    good = publish_version(folder, tiny_base, weight=2)
    champion = champions.of(1)
    Versions(folder).promote(bad)
    champion.refresh()

    Versions(folder).promote(good)

    assert champion.refresh() is True
    assert (champion.version, champion.problem) == (good, None)


def test_readers_never_see_the_reward_of_one_version_under_the_name_of_another(
    folder: ProjectFolder, champions: Champions, tiny_base: Path
) -> None:
    versions = [publish_version(folder, tiny_base, weight=weight) for weight in (1, -2)]
    champion = champions.of(1)
    expected: dict[str, Any] = {}
    for version in versions:
        Versions(folder).promote(version)
        champion.refresh()
        expected[version] = predict_tasks([TASK], LAYOUT, champion.serving, suggesting=SUGGESTING)[0]
    predictions: list[Any] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            predictions.append(predict_tasks([TASK], LAYOUT, champion.serving, suggesting=SUGGESTING)[0])

    readers = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    for swap in range(20):
        Versions(folder).promote(versions[swap % 2])
        assert champion.refresh() is True
    stop.set()
    for reader in readers:
        reader.join()

    assert {prediction["model_version"] for prediction in predictions} == set(versions)
    assert all(prediction == expected[prediction["model_version"]] for prediction in predictions)
    sides = [expected[version]["result"][0]["value"]["selected"] for version in versions]
    assert sides == ["right", "left"]


def test_versions_of_one_backbone_share_it_in_memory(folder: ProjectFolder, champions: Champions, tiny_base: Path) -> None:
    models: list[RewardModel] = []
    for weight in (1, 2):
        models.append(champions.load(folder, publish_version(folder, tiny_base, weight=weight)))

    assert models[0].tokenizer is models[1].tokenizer


def test_two_projects_have_champions_of_their_own(tmp_path: Path, champions: Champions, tiny_base: Path) -> None:
    folders = [ProjectFolder(tmp_path, project_id) for project_id in (1, 2)]
    for weight, folder in enumerate(folders, start=1):
        Versions(folder).promote(publish_version(folder, tiny_base, weight=weight))
        champions.of(folder.project_id).refresh()

    assert reward(champions.of(2)) == pytest.approx(2 * reward(champions.of(1)))
    assert list(champions.all()) == [1, 2]
