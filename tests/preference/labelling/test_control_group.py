import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chi2_contingency, chisquare, kstest

from backend.filling.answer_rules import left_sample
from backend.importing.importer import Import
from backend.scoring.champion import Champion, ServedVersion
from backend.scoring.predictions import LEAST_OTHERS, predict_tasks
from backend.serving.process import Backend
from preference.labelling.control_group import is_control, priority
from preference.labelling.holdout import Holdout
from preference.labelling.prompts import Prompt
from preference.projects.versions import Versions
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.filling_house import EMPTY, LAYOUT, House, warnings_of
from tests.support.known_rewards import KnowsRewards
from tests.support.studio_double import KEY, StudioDouble
from tests.support.studio_records import LABEL_CONFIG, Fields
from tests.support.versions import publish_version

IDS = range(1, 40_001)
SURE = 1e-6  # a p-value that chance gives once in a million runs


def answered_task(number: int, *, left: float = 0.0, right: float = 0.0) -> Fields:
    """A task whose answers say their rewards."""
    return {"id": number, "data": {"prompt": f"Prompt {number}", "answer1": f"{left}", "answer2": f"{right}"}}


class ReadsRewards(KnowsRewards):
    """Its reward is the number that the answer is, times `weight`."""

    def __init__(self, weight: float = 1) -> None:
        super().__init__({})
        self.weight = weight

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        return torch.tensor([self.weight * float(answer) for answer in answers])


def predicted(*tasks: Fields, serving: ServedVersion | None = None, **options: Any) -> list[Any]:
    """What is answered for these tasks; by default of a process that has just started, of which half of all tasks are controls."""
    changes = {key: options.pop(key) for key in ("suggest", "control_percent") if key in options}
    suggesting = Settings.of(**{"control_percent": 50, **changes}).suggesting
    return predict_tasks(tasks, LAYOUT, serving or ServedVersion(ReadsRewards(), "v1"), suggesting=suggesting, **options)


CONTROL = [number for number in range(1, 1000) if is_control(number, 50)]
OTHER = [number for number in range(1, 1000) if not is_control(number, 50)]


# Who is in it


@pytest.mark.parametrize("percent", [0, 0.5, 10, 50])
def test_the_group_is_as_large_as_the_setting_says(percent: float) -> None:
    size = sum(is_control(number, percent) for number in IDS)

    assert binomtest(size, len(IDS), percent / 100).pvalue > SURE


def test_a_larger_percentage_only_adds_tasks() -> None:
    groups = [{number for number in IDS if is_control(number, percent)} for percent in (1, 5, 10, 10.5, 50)]

    assert all(smaller < larger for smaller, larger in pairwise(groups))


def test_the_same_tasks_are_in_it_in_every_version_of_pairloop() -> None:
    assert [number for number in range(1, 81) if is_control(number, 10)] == [16, 29, 32, 41, 46, 58, 78]
    assert not is_control(None, 50)


def test_it_is_independent_of_the_tasks_number_its_sides_and_the_holdout() -> None:
    inside = np.array([is_control(number, 10) for number in IDS])
    for other in (
        [number % 10 for number in IDS],
        [number // 4000 for number in IDS],
        [left_sample(0, number) for number in IDS],
        [Holdout(0.2).has(f"Prompt {number}") for number in IDS],
        [number > 1 and inside[number - 2] for number in IDS],
    ):
        table = [[int(((np.array(other) == value) & (inside == group)).sum()) for value in set(other)] for group in (0, 1)]
        assert chi2_contingency(table).pvalue > SURE


# Its place in the order


@pytest.mark.parametrize("num_others", [1, 8, 40])
def test_every_place_among_the_others_is_as_likely(num_others: int) -> None:
    scores = np.sort(np.random.default_rng(3).beta(1, 4, num_others) / 2 + 0.5)

    priorities = [priority(number, "v1", scores.tolist()) for number in IDS]

    assert all(0.5 <= score <= 1 for score in priorities)
    places = np.bincount(np.searchsorted(scores, priorities), minlength=num_others + 1)
    assert chisquare(places).pvalue > SURE


def test_without_others_every_score_is_as_likely() -> None:
    assert kstest([priority(number, "v1", []) for number in IDS], "uniform", (0.5, 0.5)).pvalue > SURE


def test_another_version_gives_another_place_and_the_same_one_the_same() -> None:
    scores = np.linspace(0.5, 1, 50).tolist()
    first, second = ([priority(number, version, scores) for number in IDS] for version in ("v1", "v2"))

    assert first == [priority(number, "v1", scores[::-1]) for number in IDS]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


# What it shows


def test_a_control_task_shows_nothing_and_its_score_says_nothing_of_it() -> None:
    others = [answered_task(number, right=number / 100) for number in OTHER[:20]]

    predictions_ = predicted(answered_task(CONTROL[0], right=9), *others)

    assert (predictions_[0]["result"], predictions_[0]["model_version"]) == ([], "v1")
    assert predictions_ == [*predicted(answered_task(CONTROL[0], left=0.1), *others)], "whatever its answers are worth"
    assert all(len(entry["result"]) == 3 for entry in predictions_[1:])


def test_a_control_task_without_answers_gets_no_prediction() -> None:
    others = [answered_task(number) for number in OTHER[:20]]

    assert predicted({"id": CONTROL[0], "data": {"prompt": "Why?", "answer1": "", "answer2": ""}}, *others)[0] == []


def test_a_control_task_costs_the_model_nothing() -> None:
    class Refuses(ReadsRewards):
        def knows(self, prompt: Prompt, answer: str) -> bool:
            return False

    serving = ServedVersion(Refuses(), "v1")
    serving.scores.extend([0.6] * LEAST_OTHERS)

    results = predicted(answered_task(CONTROL[0]), answered_task(OTHER[0]), serving=serving, only_known=True)

    assert (results[0]["result"], results[1]) == ([], [])


def test_while_too_few_scores_are_known_it_waits_for_the_filler() -> None:
    serving = ServedVersion(ReadsRewards(), "v1")
    few = [answered_task(number, right=1) for number in OTHER[: LEAST_OTHERS - 1]]

    assert predicted(answered_task(CONTROL[0]), *few, serving=serving)[0] == []
    assert predicted(answered_task(CONTROL[0]), answered_task(OTHER[50], right=1), serving=serving)[0]["result"] == [], (
        "one more is known now"
    )
    assert predicted(answered_task(CONTROL[0]), least_others=0)[0]["result"] == []


def test_its_place_is_among_those_that_are_scored_beside_it_and_else_among_the_latest() -> None:
    serving = ServedVersion(ReadsRewards(), "v1")
    serving.scores.extend([0.99] * 500)
    beside = [answered_task(number, right=0.1) for number in OTHER[:300]]

    controls = [answered_task(number, right=0.5) for number in CONTROL[:200]]

    among = predicted(*controls, *beside, serving=serving)[: len(controls)]
    alone = [predicted(task, serving=serving)[0] for task in controls]

    inside = 1 / (1 + np.exp(-0.1))
    assert sum(entry["score"] in (0.99, pytest.approx(inside, abs=1e-9)) for entry in among) > 190
    assert not any(entry["score"] == 0.99 for entry in among)
    assert 100 < sum(entry["score"] > 0.9 for entry in alone) < 200, "500 of the latest 800 are .99"


@pytest.mark.parametrize(
    ("suggest", "shown"), [("choice", ["comparison", "reward1", "reward2"]), ("scores", ["reward1", "reward2"]), ("none", [])]
)
def test_what_is_shown_is_set_and_the_score_stays_the_confidence(suggest: str, shown: list[str]) -> None:
    (prediction,) = predicted(answered_task(OTHER[0], left=2, right=1), suggest=suggest)

    assert [region["from_name"] for region in prediction["result"]] == shown
    assert (prediction["score"], prediction["model_version"]) == (pytest.approx(1 / (1 + np.exp(-1))), "v1")


def test_one_in_ten_is_a_control_task_unless_it_is_set() -> None:
    settings = Settings.from_environ({})

    assert (settings.suggesting.control_percent, settings.suggesting.suggest) == (10, "choice")


# On its way to Label Studio


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory) -> Iterator[House]:
    settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY, control_percent=50)
    with House(studio, settings) as house:
        yield house


def promote(house: House, base: Path, model: ReadsRewards) -> Champion:
    """A champion of a process that has just started; the project has a version of that name."""
    Versions(house.folder).promote(publish_version(house.folder, base, weight=1))
    champion = Champion(house.folder, lambda folder, version: model, house.metrics)
    champion.refresh()
    return champion


def add(house: House, count: int, *, start: int = 0) -> list[int]:
    """Tasks with answers whose rewards differ in each by as much as in no other, up to 1."""
    rewards = np.random.default_rng(start).permutation(count) / count
    return house.add(*(answered_task(start + n, right=reward)["data"] for n, reward in enumerate(rewards)))


def predictions(house: House, version: str) -> dict[int, Any]:
    """The prediction of that version that each task holds, by task; no task holds two."""
    by_task = {
        number: [made for made in task["predictions"] if made["model_version"] == version]
        for number, task in house.studio.tasks.items()
    }
    assert max(map(len, by_task.values())) <= 1
    return {number: made[0] for number, made in by_task.items() if made}


def is_shown_right(house: House, version: str) -> bool:
    """Whether the control group, and nobody else, is shown nothing."""
    stored = predictions(house, version)
    return stored.keys() == house.studio.tasks.keys() and all(
        (made["result"] == []) == is_control(number, 50) for number, made in stored.items()
    )


def places(house: House, version: str) -> list[float]:
    """The places of control tasks among all others, 0..1, when the lowest score is served first."""
    stored = predictions(house, version)
    scores = np.sort([made["score"] for number, made in stored.items() if not is_control(number, 50)])
    control = [made["score"] for number, made in stored.items() if is_control(number, 50)]
    return [float(place) for place in np.searchsorted(scores, control) / len(scores)]


def test_the_filler_suggests_nothing_to_it_in_any_version_and_puts_it_anywhere(house: House, tiny_base: Path) -> None:
    add(house, 400)
    for weight in (1, -3):
        champion = promote(house, tiny_base, ReadsRewards(weight))
        assert house.run_pass(champion=champion, has_new_version=True)

        assert is_shown_right(house, champion.version)
        assert kstest(places(house, champion.version), "uniform").pvalue > SURE


def test_a_filler_that_has_just_started_asks_for_the_scores_of_open_tasks(house: House, tiny_base: Path) -> None:
    champion = promote(house, tiny_base, ReadsRewards(0.1))
    add(house, 100)
    assert house.run_pass(champion=champion, has_new_version=True)
    house.studio.projects[house.project_id]["model_version"] = champion.version
    others = [made["score"] for made in predictions(house, champion.version).values() if made["result"]]
    later = [number for number in add(house, 60, start=100) if is_control(number, 50)]
    for number in set(house.studio.tasks) - set(predictions(house, champion.version)) - set(later):
        del house.studio.tasks[number]

    restarted = Champion(house.folder, lambda folder, version: ReadsRewards(0.1), house.metrics)
    restarted.refresh()
    assert house.run_pass(champion=restarted, has_new_version=True)

    scores = [predictions(house, champion.version)[number]["score"] for number in later]
    assert max(others) < 0.53 and sum(score <= max(others) for score in scores) > 0.8 * len(later) > 10


def test_an_import_suggests_nothing_to_it(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)

    Import.open(house.project(), house.folder, house.bench()).run(
        {"data": {"prompt": f"Prompt {n}", **EMPTY}} for n in range(150)
    )

    assert len(house.studio.tasks) == 150 and is_shown_right(house, version)


def test_an_import_whose_predictions_fail_leaves_them_to_the_filler(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    house.before_request(f"POST /api/projects/{house.project_id}/import/predictions", lambda: house.studio.failures.append(400))

    Import.open(house.project(), house.folder, house.bench()).run({"data": {"prompt": f"Prompt {n}", **EMPTY}} for n in range(20))

    assert not predictions(house, version)
    (warning,) = warnings_of(caplog)
    assert f"project {house.project_id}: 20 tasks will be scored by the filler: " in warning
    house.fill()
    assert is_shown_right(house, version)


def test_a_page_that_is_opened_shows_it_nothing(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    backend = Backend(house.settings)
    backend.champions.of(house.project_id).refresh()
    tasks = [{"id": number, "data": {"prompt": "Why?", "answer1": "So.", "answer2": "word " * number}} for number in range(1, 41)]
    control = next(task for task in tasks if is_control(int(str(task["id"])), 50))

    assert backend.predict(house.project_id, LABEL_CONFIG, [control]) == [[]], "no score is known yet"
    backend.predict(house.project_id, LABEL_CONFIG, tasks)
    results: list[Any] = backend.predict(house.project_id, LABEL_CONFIG, [control, *tasks])

    assert results[0]["result"] == [] and 0.5 <= results[0]["score"] <= 1
    suggested = [(entry["result"] != [], entry["model_version"]) for entry in results[1:]]
    assert suggested == [(number in OTHER, version) for number in range(1, 41)]


def test_threads_that_score_at_once_do_not_fall_over_each_other() -> None:
    serving = ServedVersion(ReadsRewards(), "v1")
    errors: list[BaseException] = []

    def score() -> None:
        try:
            for _ in range(100):
                predicted(answered_task(CONTROL[0]), answered_task(OTHER[0]), serving=serving)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
