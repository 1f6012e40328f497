import dataclasses
import importlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard as HubCard
from huggingface_hub import ModelCardData
from rich.console import Console

from preference.labelling.pairs import PreferencePair
from preference.report_card.card import ReportCard
from preference.report_card.figures import ControlAccuracy, CurvePoint, JudgedFigures, ReportFigures, SliceFigures
from preference.report_card.people_figures import AnnotatorFigures, People
from preference.report_card.shares import Share
from preference.tolerant import read_as
from tests.support.cards import CARD, REPORT
from tests.support.known_rewards import KnowsRewards, holdout, model
from tests.support.suggestions import Annotators, blind
from trainer.evaluation.intervals import share
from trainer.evaluation.judge import LoadedChampion, judge
from trainer.reporting.model_card import model_card
from trainer.reporting.picture_files import Picture
from trainer.reporting.report import EarlierVersions, RoundPairs, report_figures
from trainer.reporting.suggestion_effect import suggestion_effect
from trainer.reporting.tables import print_card, sections

PAIRS = {"train", "holdout", "votes", "gaps", "dropped"}
HISTORY = [dataclasses.replace(CARD, version="v2-20261102-000000", created_at="2026-11-02T00:00:00+00:00")]


def votes_on(pairs: Sequence[PreferencePair], *, first_id: int = 0, **fields: Any) -> list[PreferencePair]:
    """One vote on each pair, by annotators 1 and 2 in turn, on either side, after the champion."""
    made = []
    for number, pair in enumerate(pairs, first_id):
        known = {"annotator_id": 1 + number % 2, "chosen_side": ("left", "right")[number % 2], "lead_seconds": 9.0}
        known |= {"judged_at": "2026-11-05T00:00:00Z", "task_id": number, "annotation_id": number}
        made.append(dataclasses.replace(pair, **{**known, **fields}))
    return made


def figures(num_pairs: int = 30, *, challenger: KnowsRewards | None = None, **options: Any) -> Any:
    """The report of a challenger that is right on most of so many held-out pairs; its champion was v2."""
    held = votes_on(holdout(num_pairs, num_longer=num_pairs // 2), first_id=500)
    train = votes_on([PreferencePair(f"train {i}", f"right {i}", f"wrong {i} at length") for i in range(60)])
    challenger = challenger or model(held, right=range(num_pairs - 5))
    known = KnowsRewards({**model(held, right=range(num_pairs - 8)).rewards, **model(train, right=range(40)).rewards})
    champion = LoadedChampion(known, HISTORY[0])
    verdict = judge(challenger, champion, held, train=train)
    pairs = RoundPairs(train, held, held, Counter(skipped=2, tie=1), np.array([-5.0, *[2.0] * 59]))
    earlier, effect = EarlierVersions(HISTORY, champion), options.pop("effect", None)
    report = report_figures(
        challenger,
        verdict,
        pairs=dataclasses.replace(pairs, **{name: value for name, value in options.items() if name in PAIRS}),
        earlier=dataclasses.replace(earlier, **{name: value for name, value in options.items() if name not in PAIRS}),
        learning_curve=[CurvePoint(30, 0.6123, (0.5, 0.7))],
        project_url="http://studio/projects/3",
        effect=effect,
    )
    kept = read_as(ReportFigures, json.loads(json.dumps(dataclasses.asdict(report), allow_nan=False)))
    assert kept == report, "the card holds the same figures"
    return report


def test_a_report_has_every_figure() -> None:
    report = figures()

    assert report.left_rate.count == 90
    assert report.people.annotators[0].num_judgements == 45
    assert (report.num_ties, report.dropped) == (1, {"skipped": 2, "tie": 1})
    assert report.reliability.bins[0].count == 15
    assert len(report.length.points) == 60
    assert report.length_matched.count == 0
    assert report.learning_curve == (CurvePoint(30, 0.6123, (0.5, 0.7)),)
    assert (report.prequential.version, report.prequential.count) == ("v2-20261102-000000", 90)
    assert report.versions[0].prequential == report.prequential
    assert [suspect.task for suspect in report.suspects] == [0]


def test_a_report_has_the_suggestion_effect_and_the_accuracy_on_the_control_group() -> None:
    world = Annotators(200)
    version = HISTORY[0].version
    train = [dataclasses.replace(pair, suggested_version=version, judged_at="2026-11-05T00:00:00Z") for pair in world.pairs]
    hidden: dict[str, Any] = {"is_blind": True, "suggested_version": version}
    held = [
        dataclasses.replace(pair, **(hidden if number % 3 == 0 else {}))
        for number, pair in enumerate(votes_on(holdout(30, num_longer=15), first_id=500))
    ]
    served = KnowsRewards({**world.rewards, **model(held, right=range(30)).rewards})

    effect = suggestion_effect([*train, *held], cards=HISTORY, load=lambda _: served)
    assert effect is not None and effect.with_suggestion and effect.without and effect.moves

    report = figures(train=train, holdout=held, votes=held, gaps=np.full(len(train), 2.0), champion=None, effect=effect)

    assert report.suggestion_effect == effect
    assert (effect.with_suggestion.num_judgements, effect.without.num_judgements) == (160, 40 + 10)
    assert effect.moves.count == 50
    assert report.control_accuracy == ControlAccuracy(share([1] * 9 + [0]), share([1] * 8 + [0] * 2))
    assert len(blind(world.pairs)) == 40


def test_without_a_control_group_the_report_compares_nothing() -> None:
    report = figures()

    assert report.suggestion_effect is None
    assert report.control_accuracy.this == Share(count=0)


def test_the_report_scores_nothing_with_the_challenger_again() -> None:
    held = holdout(30, num_longer=15)
    challenger = model(held, right=range(25))

    figures(challenger=challenger)

    assert challenger.num_scored == 60


def test_a_first_round_has_no_champion_to_speak_of() -> None:
    report = figures(champion=None, cards=[])

    assert (report.prequential, report.versions) == (None, ())


def test_all_ties_leave_figures_that_are_none() -> None:
    ties = [
        dataclasses.replace(pair, kind="tie", weight=0.5, chosen_side=side, annotation_id=pair.annotation_id)
        for pair in votes_on(holdout(20, num_longer=10))
        for side in ("left", "right")
    ]
    challenger = model(ties, right=range(20))
    verdict = judge(challenger, None, [], train=ties)

    report = report_figures(
        challenger,
        verdict,
        pairs=RoundPairs(ties, [], [], {}, np.zeros(40)),
        earlier=EarlierVersions([], None),
        project_url="",
    )

    assert report.num_ties == 20
    assert (report.reliability, report.length, report.left_rate, report.suspects) == (None, None, Share(count=0), ())
    assert report.length_matched == Share(count=0)
    json.dumps(dataclasses.asdict(report), allow_nan=False)


def test_rewards_that_are_no_numbers_leave_figures_that_are_none() -> None:
    held = holdout(30, num_longer=15)
    broken = KnowsRewards({answer: math.nan for pair in held for answer in (pair.chosen, pair.rejected)})

    report = figures(challenger=broken)

    assert (report.reliability, report.length, report.length_matched) == (None, None, None)


# For people


def full_card(**changes: Any) -> ReportCard:
    held = holdout(30, num_longer=15)
    verdict = judge(
        model(held, right=range(25)),
        LoadedChampion(model(held, right=range(24)), CARD),
        held,
        train=[PreferencePair(f"train {i}", f"right {i}", f"wrong {i} at length") for i in range(60)],
    )
    return dataclasses.replace(
        CARD, metrics=verdict.metrics, reason=verdict.reason, report=figures(), compared_with="v2-20261102-000000",
        dropped={"skipped": 2}, **changes,
    )  # fmt: skip


def test_the_readme_is_a_hub_model_card_with_a_model_index(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(model_card(full_card()), encoding="utf-8")

    loaded = HubCard.load(tmp_path / "README.md")

    assert isinstance(loaded.data, ModelCardData)
    assert loaded.data.model_name == "pairloop-project-3"
    (result,) = loaded.data.eval_results or []
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.8333, "holdout")
    assert result.dataset_name == "Held-out comparisons of Label Studio project 3"
    assert (loaded.data.library_name, loaded.data.pipeline_tag) == ("pairloop", "text-classification")


def test_a_version_that_was_never_measured_has_no_model_index(tmp_path: Path) -> None:
    card = dataclasses.replace(CARD, metrics=JudgedFigures(num_pairs=0))
    (tmp_path / "README.md").write_text(model_card(card), encoding="utf-8")

    loaded = HubCard.load(tmp_path / "README.md")

    assert isinstance(loaded.data, ModelCardData)
    assert loaded.data.eval_results is None


def test_the_readme_shows_the_figures_and_the_pictures() -> None:
    text = model_card(full_card(), [Picture("accuracy.svg", "Accuracy over versions")])

    assert "| this version | 0.833 (95 % interval 0.664 to 0.927) | |" in text
    assert "| the champion before it, v2-20261102-000000 | 0.800 | +0.033 (" in text
    assert "| the longer answer wins | 0.500 |" in text
    assert "| the shorter answer wins, best of the three in training | 0.500 |" in text
    assert "![Accuracy over versions](accuracy.svg)" in text
    assert "| 0 | 0 | 1 | 0.01 | [open](http://studio/projects/3/data?task=0) |" in text
    assert "Excluded: 2 skipped." in text
    assert "None" not in text and "nan" not in text


def test_the_readme_shows_how_far_suggestions_move_people() -> None:
    group = {"value": 0.61, "interval": [0.5, 0.7], "count": 90}
    lead = {"value": 8.0, "interval": [7.0, 9.5], "count": 90}
    none = {"value": None, "interval": None, "count": 3}
    effect = {
        "with_suggestion": {"model_side": group, "majority": none, "left_rate": group, "lead_seconds": lead},
        "without": {"model_side": none, "majority": none, "left_rate": group, "lead_seconds": lead},
        "moves": {"value": 0.1, "interval": [0.06, 0.14], "count": 90},
        "warning": "suggestions move people",
    }
    control = {"this": group, "champion": None}

    text = model_card(
        dataclasses.replace(CARD, report=read_as(ReportFigures, {"suggestion_effect": effect, "control_accuracy": control}))
    )

    assert "| people choose the model's side | 0.610 (95 % interval 0.500 to 0.700, of 90) | |" in text
    assert "| median seconds | 8.0 (95 % interval 7.0 to 9.5, of 90) | 8.0 (" in text
    assert "| +0.100 (95 % interval +0.060 to +0.140) | |" in text and "| look at | suggestions move people | |" in text
    assert "| this version, on comparisons without a suggestion (the control group) | 0.610 (95 % interval 0.500" in text
    assert "None" not in text and "majority of the others" not in text


def test_the_readme_says_from_where_a_side_is_suggested_and_what_became_of_the_others() -> None:
    group = {"left_rate": {"value": 0.61, "interval": [0.5, 0.7], "count": 90}}
    bins = [{"confidence": 0.55, "value": 0.5, "count": 20}, {"confidence": 0.75, "value": 0.9, "count": 20}]
    effect = {"with_suggestion": group, "unlit": group, "without": group}
    report = read_as(ReportFigures, {"suggestion_effect": effect, "reliability": {"bins": bins}})
    nothing = dataclasses.replace(CARD, metrics=JudgedFigures(accuracy=0.5, interval=(0.4, 0.6)))

    text = model_card(dataclasses.replace(CARD, report=report))

    assert "| suggests a side, unless SUGGEST_FROM is set | from 0.65 on |" in text
    assert "| made with a suggestion | made where it was not sure enough | made without one (the control group) |" in text
    assert "| pick the left answer | 0.610 (95 % interval 0.500 to 0.700, of 90) | 0.610 (" in text
    assert "| suggests a side, unless SUGGEST_FROM is set | at no confidence beyond chance |" in model_card(nothing)


def test_what_is_not_known_has_no_row_and_no_column() -> None:
    card = dataclasses.replace(CARD, metrics=JudgedFigures(accuracy=0.5), dropped={})

    text = model_card(card)

    assert "| on the held-out comparisons | accuracy |\n| --- | --- |\n| this version | 0.500 |\n\nPromoted: it was good." in text
    assert "##" not in text
    assert "Excluded: nothing." in text
    assert [section.title for section in sections(card)] == ["Accuracy"]


def test_a_reason_with_a_bar_does_not_break_a_table() -> None:
    report = ReportFigures(people=People(annotators=(AnnotatorFigures(annotator=1, flags=("a|b\nc",)),)))

    assert "a\\|b c |" in model_card(dataclasses.replace(CARD, report=report))


def test_the_terminal_shows_the_same_tables(capsys: pytest.CaptureFixture[str]) -> None:
    card = full_card()

    print_card(card, Console(width=200))

    output = capsys.readouterr().out
    assert output.startswith(f"{card.version} of project 3, promoted: {card.reason}")
    for section in sections(card):
        assert section.title in output
    assert "0.833 (95 % interval 0.664 to 0.927)" in output


def test_the_readme_of_the_pictures_card_renders() -> None:
    assert "## Versions before it" in model_card(
        dataclasses.replace(CARD, report=read_as(ReportFigures, {"versions": REPORT["versions"]}))
    )


def test_the_readme_names_the_function_that_loads_the_version() -> None:
    ((module, function),) = re.findall(r"^from ([\w.]+) import (\w+)$", model_card(full_card()), re.MULTILINE)

    assert callable(getattr(importlib.import_module(module), function))


def test_the_report_says_of_how_few_comparisons_an_accuracy_is_unknown() -> None:
    slices = (
        SliceFigures("topic: law", Share(0.75, (0.6, 0.86), 40)),
        SliceFigures("topic: code", Share(count=7), 23),
        SliceFigures("topic: art", Share(count=29), 1),
    )

    section = next(
        each
        for each in sections(dataclasses.replace(CARD, report=dataclasses.replace(CARD.report, slices=slices)))
        if "task" in each.title
    )

    assert [tuple(row) for row in section.rows] == [
        ("topic: law", "0.750 (95 % interval 0.600 to 0.860, of 40)", ""),
        ("topic: code", "unknown (of 7)", "23 more comparisons are needed"),
        ("topic: art", "unknown (of 29)", "1 more comparison is needed"),
    ]
