"""Held-out tasks: their place in the order is drawn, and their suggestion stays."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champion, ServedVersion
from backend.scoring.predictions import predict_tasks, prediction_bytes
from preference.labelling.holdout import Holdout
from preference.labelling.pairs import PreferencePair, majority
from preference.labelling.results import Pairwise, kept_confidence
from preference.labelling.task_pairs import pairs_of_task
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.annotations import PLAIN, task, vote
from tests.support.filling_house import LAYOUT, House
from tests.support.known_rewards import KnowsRewards
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version

REWARDS = {"a coin": 0.0, "better": 3.0, "the same": 1.0, " the same\n": 1.0}
SURE = 0.953  # of "better", beside "a coin"
NOBODY_BLIND = Settings.of(control_percent=0).suggesting


def serving(holdout: Holdout) -> ServedVersion:
    version = ServedVersion(KnowsRewards(REWARDS), "v1", 0.6, holdout)
    version.scores.extend(np.linspace(0.5, 0.52, 50).tolist())
    return version


def answered(number: int, answer: str = "better") -> dict[str, Any]:
    return {"id": number, "data": {"prompt": "Why?", "answer1": "a coin", "answer2": answer}}


def test_the_memory_of_an_answer_is_enough_for_the_confidence_that_its_regions_keep() -> None:
    counted = []
    for fraction in (1.0, 0.0):
        made: list[Any] = predict_tasks([answered(1)], LAYOUT, serving(Holdout(fraction)), suggesting=NOBODY_BLIND)
        counted.append(len(json.dumps(made[0])))

    assert counted[0] > counted[1] + 60
    bare = prediction_bytes(LAYOUT, "v1", suggesting=NOBODY_BLIND) - 450 * (1 + len(made[0]["result"]))
    assert bare >= 6 * counted[0] - 60, "six copies of its JSON, but for the digits of its numbers"


def test_a_held_out_task_shows_its_suggestion_and_keeps_its_confidence_but_gets_its_place_by_lot() -> None:
    version = serving(Holdout(1.0))

    made: list[Any] = predict_tasks([answered(n) for n in range(1, 200)], LAYOUT, version, suggesting=NOBODY_BLIND)

    assert {Pairwise.choice(LAYOUT, prediction["result"]) for prediction in made} == {"right"}
    assert {round(kept_confidence(prediction["result"]) or 0, 3) for prediction in made} == {SURE}
    assert sum(prediction["score"] < 0.51 for prediction in made) > 70, "among all the others"
    assert max(version.scores) == 0.52, "nobody's place depends on how sure it is of a held-out task"


def test_other_tasks_keep_the_place_of_their_confidence() -> None:
    (made,) = predict_tasks([answered(1)], LAYOUT, serving(Holdout(0.0)), suggesting=NOBODY_BLIND)

    assert isinstance(made, dict) and made["score"] == pytest.approx(SURE, abs=1e-3)
    assert kept_confidence(made["result"]) is None


def test_two_answers_that_are_the_same_are_served_last_though_they_are_held_out() -> None:
    alike = {"id": 1, "data": {"prompt": "Why?", "answer1": "the same", "answer2": " the same\n"}}

    (made,) = predict_tasks([alike], LAYOUT, serving(Holdout(1.0)), suggesting=NOBODY_BLIND)

    assert isinstance(made, dict) and made["score"] == 1.0


def test_the_confidence_is_read_from_a_judgement_whose_task_had_its_place_by_lot() -> None:
    read = []
    for holdout in (Holdout(1.0), Holdout(0.0)):
        (made,) = predict_tasks([answered(1)], LAYOUT, serving(holdout), suggesting=NOBODY_BLIND)
        judged = task(vote("left", parent_prediction=32), data=answered(1)["data"], predictions=[{"id": 32, **dict(made)}])
        read += pairs_of_task(judged, LAYOUT, dropped=Counter())

    assert [round(pair.suggested_confidence or 0, 3) for pair in read] == [SURE, SURE]
    assert [(pair.suggested_side, pair.is_by_confidence) for pair in read] == [("right", False), ("right", True)]


def test_most_votes_on_a_comparison_were_cast_in_no_order_if_all_were() -> None:
    votes = [PreferencePair("Why?", "yes", "no", task_id=n, is_by_confidence=n == 2) for n in range(3)]

    assert [pair.is_by_confidence for pair in (*majority(votes), *majority(votes[:2]))] == [True, False]


def test_without_a_prompt_the_answers_decide_whether_a_task_is_held_out_as_they_do_for_its_judgement() -> None:
    holdout, layout = Holdout(0.5), dataclasses.replace(PLAIN, prompt_field=None)
    tasks = [task(vote("left"), data={"answer1": f"one {n}", "answer2": f"two {n}"}, id=n) for n in range(1, 60)]
    model = KnowsRewards({f"{word} {n}": 0.0 for word in ("one", "two") for n in range(60)})

    made: list[Any] = predict_tasks(tasks, layout, ServedVersion(model, "v1", 0.5, holdout), suggesting=NOBODY_BLIND)

    pairs = [pair for judged in tasks for pair in pairs_of_task(judged, layout, dropped=Counter())]
    assert [kept_confidence(prediction["result"]) is not None for prediction in made] == [holdout.has(p.question) for p in pairs]


@pytest.mark.parametrize(("fraction", "published"), [(0.2, 0.4), (0.6, 0.4), (0.4, 1.0)])
def test_what_is_served_by_lot_is_what_versions_are_judged_by(
    tmp_path: Path, tiny_base: Path, fraction: float, published: float
) -> None:
    """HOLDOUT_FRACTION may have changed since, or have been too little for the first round, or the version was never trained."""
    folder = ProjectFolder(tmp_path, 1)
    Versions(folder).promote(publish_version(folder, tiny_base, weight=1, holdout_fraction=published))
    champion = Champion(folder, lambda folder, version: KnowsRewards({}), Metrics(), holdout_fraction=fraction)

    champion.refresh()

    assert champion.serving is not None and champion.serving.holdout is not None
    share = sum(champion.serving.holdout.judges_by(f"Prompt {n}") for n in range(2000)) / 2000
    assert share == pytest.approx(0.4, abs=0.04)


def test_after_an_earlier_build_held_out_tasks_are_mixed_among_the_others(
    studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path
) -> None:
    """Tasks are scored again in the order of their last scores, which are confidences."""
    with House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        gaps = np.random.default_rng(0).permutation(600) / 100
        house.add(*({"prompt": f"Prompt {n}", "answer1": "0", "answer2": f"{gap}"} for n, gap in enumerate(gaps)))
        for fraction in (0.0, 0.3):
            Versions(house.folder).promote(publish_version(house.folder, tiny_base, weight=1))
            champion = Champion(house.folder, reads_numbers, house.metrics, holdout_fraction=fraction)
            champion.refresh()
            assert house.run_pass(champion=champion, has_new_version=True)
            studio.projects[house.project_id]["model_version"] = champion.version

        made = [next(p for p in task["predictions"] if p["model_version"] == champion.version) for task in studio.tasks.values()]

    drawn = [prediction for prediction in made if kept_confidence(prediction["result"]) is not None]
    others = np.sort([prediction["score"] for prediction in made if kept_confidence(prediction["result"]) is None])
    places = np.searchsorted(others, [prediction["score"] for prediction in drawn]) / len(others)
    assert 140 < len(drawn) < 220
    # Which place a task gets depends on the version's name, and so on the time: over many names it is .05 +- .09, and 1 on its own page.
    assert abs(spearmanr(places, [kept_confidence(prediction["result"]) for prediction in drawn]).statistic) < 0.4
    assert 0.4 < places.mean() < 0.6


def reads_numbers(folder: ProjectFolder, version: str) -> KnowsRewards:
    """A model whose reward is the number that the answer is."""
    return KnowsRewards({str(number / 100): number / 100 for number in range(600)} | {"0": 0.0})


def test_without_suggestions_on_held_out_tasks_they_are_control_tasks() -> None:
    suggesting = Settings.of(control_percent=0, suggest_held_out=False).suggesting
    shown = [
        predict_tasks([answered(1)], LAYOUT, serving(holdout), suggesting=suggesting)[0]
        for holdout in (Holdout(1.0), Holdout(0.0))
    ]

    assert [bool(dict(made)["result"]) for made in shown] == [False, True]
    assert 0.5 <= dict(shown[0])["score"] <= 1
