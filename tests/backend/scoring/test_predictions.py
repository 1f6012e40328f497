"""Which side is lit, and in which order tasks are served."""

from pathlib import Path
from typing import Any

import pytest

from backend.monitoring.metrics import Metrics
from backend.scoring.champion import Champion, ServedVersion
from backend.scoring.predictions import predict_tasks
from preference.labelling.control_group import is_control
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.figures import JudgedFigures
from preference.settings import Settings
from tests.support.annotations import PLAIN
from tests.support.filling_house import LAYOUT
from tests.support.known_rewards import KnowsRewards
from tests.support.versions import publish_version

REWARDS = {"a coin": 0.0, "better": 0.4, "by far": 3.0, "as good": 0.0, "the same": 1.0, " the same\n": 1.0}
CONFIDENCES = {"as good": 0.5, "better": 0.599, "by far": 0.953}  # beside "a coin"


def predicted(*answers: str, of_version: float | None = 0.6, layout: LabelingLayout = LAYOUT, **settings: Any) -> list[Any]:
    """Of tasks whose left answer is "a coin", by a version that lights a side from that confidence on; nothing is a control task."""
    tasks = [{"id": n, "data": {"prompt": "Why?", "answer1": "a coin", "answer2": text}} for n, text in enumerate(answers, 1)]
    suggesting = Settings.of(**{"control_percent": 0, **settings}).suggesting
    return predict_tasks(tasks, layout, ServedVersion(KnowsRewards(REWARDS), "v1", of_version), suggesting=suggesting)


def lit(predictions: list[Any], layout: LabelingLayout = LAYOUT) -> list[str | None]:
    return [Pairwise.choice(layout, prediction["result"]) for prediction in predictions]


@pytest.mark.parametrize(
    ("suggest_from", "sides"),
    [
        (None, [None, None, None]),
        (0.99, [None, None, None]),
        (0.6, [None, None, "right"]),
        (0.5, ["left", "right", "right"]),
    ],
)
@pytest.mark.parametrize("is_set", [True, False])
def test_a_side_is_lit_from_a_confidence_on(suggest_from: float | None, sides: list[str | None], is_set: bool) -> None:
    """Of the version's own, unless one is set."""
    by_version = 0.5 if is_set and suggest_from else suggest_from
    settings: dict[str, Any] = {"suggest_from": suggest_from} if is_set else {}

    predictions = predicted(*CONFIDENCES, of_version=by_version, **settings)

    assert lit(predictions) == sides
    assert [made["score"] for made in predictions] == pytest.approx(list(CONFIDENCES.values()), abs=1e-3)


def test_below_it_the_rewards_are_shown_or_nothing() -> None:
    shown: dict[tuple[str, bool], list[str]] = {}
    for suggest in ("choice", "scores", "none"):
        for show_rewards in (True, False):
            (made,) = predicted("better", suggest=suggest, show_rewards=show_rewards)
            shown[suggest, show_rewards] = [region["from_name"] for region in made["result"]]

    both = ["reward1", "reward2"]
    assert shown == {
        ("choice", True): both, ("choice", False): [], ("scores", True): both, ("scores", False): [],
        ("none", True): [], ("none", False): [],
    }  # fmt: skip
    assert predicted("better", layout=PLAIN)[0]["result"] == []
    assert lit(predicted("by far", layout=PLAIN), PLAIN) == ["right"]


def test_two_answers_that_are_the_same_are_never_lit_and_served_last() -> None:
    tasks = [
        {"id": number, "data": {"prompt": "Why?", "answer1": "the same", "answer2": " the same\n"}} for number in range(1, 30)
    ]
    others = [{"id": 100 + n, "data": {"prompt": "Why?", "answer1": "a coin", "answer2": "better"}} for n in range(20)]
    serving = ServedVersion(KnowsRewards(REWARDS), "v1", 0.5)
    suggesting = Settings.of(control_percent=50, suggest_from=0.5).suggesting

    predictions: list[Any] = predict_tasks([*tasks, *others], LAYOUT, serving, suggesting=suggesting, least_others=0)

    alike = predictions[: len(tasks)]
    assert {made["score"] for made in alike} == {1.0}
    assert lit(alike) == [None] * len(tasks)
    assert {is_control(task["id"], 50) for task in tasks if isinstance(task["id"], int)} == {True, False}
    assert sum(made["result"] == [] for made in alike) == sum(is_control(number, 50) for number in range(1, 30))


@pytest.mark.parametrize(("interval", "suggest_from"), [((0.55, 0.9), 0.5), ((0.45, 0.8), None), (None, None)])
def test_a_served_version_suggests_from_where_its_card_says(
    tmp_path: Path, tiny_base: Path, interval: tuple[float, float] | None, suggest_from: float | None
) -> None:
    folder = ProjectFolder(tmp_path, 1)
    version = publish_version(folder, tiny_base, weight=1, metrics=JudgedFigures(accuracy=0.7, interval=interval))
    Versions(folder).promote(version)
    champion = Champion(folder, lambda folder, version: KnowsRewards({}), Metrics())

    champion.refresh()

    assert champion.serving is not None and champion.serving.suggest_from == suggest_from


@pytest.mark.parametrize("counts", [{"total_annotations": 1}, {"total_annotations": 0, "cancelled_annotations": 1}])
def test_a_task_that_somebody_judged_or_skipped_gets_no_newer_suggestion(counts: dict[str, int]) -> None:
    open_task = {"id": 1, "data": {"prompt": "Why?", "answer1": "a coin", "answer2": "by far"}, "total_annotations": 0}
    suggesting, serving = Settings.of(control_percent=0).suggesting, ServedVersion(KnowsRewards(REWARDS), "v2", 0.6)

    first, second = predict_tasks([open_task, {**open_task, "id": 2, **counts}], LAYOUT, serving, suggesting=suggesting)

    assert isinstance(first, dict) and first["model_version"] == "v2"
    assert second == []
