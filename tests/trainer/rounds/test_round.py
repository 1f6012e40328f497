import dataclasses
import json
import logging
import re
import shutil
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard as HubCard
from huggingface_hub import ModelCardData
from safetensors.torch import load_file

from preference.labelling.control_group import is_control
from preference.labelling.holdout import Holdout
from preference.projects.versions import Versions
from preference.report_card.figures import JudgedFigures
from preference.report_card.shares import Share
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_cache import FeatureCache
from preference.reward_model.model import load_saved
from tests.conftest import SettingsFactory
from tests.support.lab import CPU, HOLDOUT, Annotation, JudgedProject, Lab, judged_tasks
from tests.support.opened_files import opened_files
from tests.support.tolerance import assert_same_weights
from trainer.judgements.new_judgements import NewJudgements
from trainer.reporting.model_card import model_card
from trainer.rounds.outcome import Round

SKIP: Annotation = {"id": 2, "completed_by": 1, "was_cancelled": True, "parent_prediction": None, "result": []}
EMPTY: Annotation = {**SKIP, "was_cancelled": False}


def in_holdout(prompt: str) -> bool:
    return Holdout(HOLDOUT).has(prompt)


def in_training(prompt: str) -> bool:
    return not Holdout(HOLDOUT).has(prompt)


def num_new(lab: Lab, num_judgements: int) -> int:
    """How many of a project's judgements are new, if none of those that were read was edited."""
    return NewJudgements.since(next(Versions(lab.folder).cards(), None)).count(JudgedProject([]), num_judgements)


def test_too_few_pairs_are_skipped_with_the_numbers(lab: Lab) -> None:
    tasks = judged_tasks(19)
    tasks[0]["annotations"] += [SKIP, SKIP, EMPTY]

    ended = lab.round(tasks)

    assert ended == Round("skipped", "19 of 20 pairs (MIN_PAIRS); excluded: 2 skipped, 1 empty")
    assert Versions(lab.folder).all() == []


def test_as_many_pairs_as_are_needed_are_trained_on(lab: Lab) -> None:
    ended = lab.round(judged_tasks(20))

    assert ended.outcome != "skipped"
    assert (lab.card(ended).num_train_pairs or 0) + (lab.card(ended).num_holdout_pairs or 0) == 20


def test_no_judgement_at_all_is_skipped(lab: Lab) -> None:
    ended = lab.round([])

    missing = "0 of 20 pairs (MIN_PAIRS); 0 of 8 held-out comparisons, about 16 more prompts"
    assert ended == Round("skipped", f"{missing}; excluded: nothing")


def test_a_better_challenger_is_published_and_promoted(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.rounds")

    ended = lab.round(judged_tasks(60))

    assert ended.outcome == "promoted"
    assert ended.reason.startswith("accuracy 1.000, ")
    assert ended.reason.endswith(", and there was no champion")
    assert Versions(lab.folder).all() == [ended.version]
    assert Versions(lab.folder).champion() == ended.version
    logged = [record.getMessage() for record in caplog.records if record.name == "pairloop.rounds"]
    assert logged == [f"project 7: round promoted {ended.version}: {ended.reason}"]


def test_a_worse_challenger_is_published_and_the_pointer_does_not_move(lab_with_champion: Lab) -> None:
    lab = lab_with_champion
    champion = Versions(lab.folder).champion()

    ended = lab.round(judged_tasks(70, flipped=in_training))

    assert ended.outcome == "rejected"
    assert "is below" in ended.reason
    assert Versions(lab.folder).champion() == champion
    assert Versions(lab.folder).all() == [champion, ended.version]
    assert lab.card(ended).promoted is False
    text = (Versions(lab.folder).path(ended.version or "") / "README.md").read_text(encoding="utf-8")
    assert f"| the champion before it, {champion} | 1.000 |" in text
    assert f"Kept back: {ended.reason}." in text


def test_a_challenger_is_compared_with_the_champion_on_the_same_pairs(lab_with_champion: Lab) -> None:
    lab = lab_with_champion
    champion = Versions(lab.folder).champion()

    ended = lab.round(judged_tasks(64))

    assert ended.outcome == "promoted", "at equal accuracy the newer one wins"
    assert ended.reason.endswith(", the champion has 1.000")
    assert lab.card(ended).compared_with == champion
    assert lab.card(ended).metrics.gain == 0.0


def test_a_round_reads_each_card_once(lab_with_champion: Lab) -> None:
    lab = lab_with_champion
    lab.round(judged_tasks(64))
    versions = Versions(lab.folder)
    tasks = judged_tasks(90)
    for number, task in enumerate(tasks[64:]):  # the report looks at the version that was served
        (made,) = task["annotations"]
        task["predictions"] = [{"id": 900 + number, "model_version": versions.all()[0], "result": made["result"], "score": 0.9}]
        made |= {"parent_prediction": 900 + number, "created_at": "2099-01-01T00:00:00Z"}
    earlier = [versions.path(version) / "card.json" for version in versions.all()]

    with opened_files() as opened:
        ended = lab.round(tasks)

    assert lab.card(ended).compared_with == versions.all()[-2]
    assert [opened.count(path) for path in earlier] == [1, 1]


def test_a_first_round_of_which_the_hash_holds_out_hardly_any_prompt_holds_out_more(lab: Lab) -> None:
    tasks = [task for task in judged_tasks(60) if in_training(task["data"]["prompt"])]

    ended = lab.round(tasks)

    card = lab.card(ended)
    assert (ended.outcome, card.num_holdout_pairs, card.num_train_pairs) == ("promoted", 8, len(tasks) - 8)
    assert card.holdout_fraction > HOLDOUT


def test_a_round_without_enough_to_judge_by_publishes_nothing(lab: Lab) -> None:
    tasks = judged_tasks(10)
    for task in tasks:
        task["annotations"] = [{**task["annotations"][0], "id": 3 * task["id"] + i, "completed_by": i} for i in range(3)]

    ended = lab.round(tasks)

    assert ended == Round("skipped", "5 of 8 held-out comparisons, about 6 more prompts; excluded: nothing")
    assert Versions(lab.folder).all() == []


def test_a_round_with_nothing_new_says_so_and_publishes_nothing(lab_with_champion: Lab) -> None:
    lab, first = lab_with_champion, Versions(lab_with_champion.folder).champion()
    words = f"nothing is new since {first}: the judgements say the same, and recipe, base, seed and holdout are as they were"

    assert lab.round(judged_tasks(60)) == Round("skipped", words)
    assert Versions(lab.folder).all() == [first]

    edited = judged_tasks(60, flipped=lambda prompt: prompt == "Tell me of cat 0.")
    assert lab.round(edited).version, "somebody changed his mind"
    lab.settings = lab.settings.replace(seed=6)
    assert lab.round(edited).version, "another seed"


def test_a_champion_that_cannot_be_loaded_is_replaced_though_nothing_is_new(lab_with_champion: Lab) -> None:
    lab, versions = lab_with_champion, Versions(lab_with_champion.folder)
    (versions.path(versions.champion() or "") / "model.safetensors").write_bytes(b"cut")

    assert lab.round(judged_tasks(60)).outcome == "promoted"


def test_without_a_pair_to_train_on_the_round_is_skipped(lab: Lab) -> None:
    ended = lab.round([task for task in judged_tasks(120) if in_holdout(task["data"]["prompt"])])

    assert ended.outcome == "skipped"


def test_judgements_of_held_out_prompts_leave_no_trace_in_the_weights(lab_with_champion: Lab) -> None:
    lab = lab_with_champion
    first = Versions(lab.folder).champion() or ""

    second = lab.round(judged_tasks(60, flipped=in_holdout)).version or ""

    weights = [load_file(Versions(lab.folder).path(version) / "model.safetensors") for version in (first, second)]
    assert Versions(lab.folder).card(second).metrics.accuracy == 0.0
    assert_same_weights(*weights)


def test_the_card_says_all_that_is_known(lab: Lab, tiny_base: Path) -> None:
    tasks = judged_tasks(60)
    tasks[0]["annotations"].append(SKIP)
    tasks[1]["data"]["answer1"] = ""
    num_held_out = sum(in_holdout(task["data"]["prompt"]) for i, task in enumerate(tasks) if i != 1)

    card = lab.card(lab.round(tasks))

    assert (card.project_id, card.recipe, card.base, card.seed) == (7, "frozen", str(tiny_base), 5)
    assert card.num_annotations == 61, "as Label Studio counts them, so that new ones can be counted"
    assert (card.newest_annotation, card.judged_until, card.holdout) == (60, 60, Holdout(HOLDOUT))
    assert (card.num_train_pairs, card.num_holdout_pairs) == (59 - num_held_out, num_held_out)
    assert card.dropped == {"skipped": 1, "missing answer": 1}
    assert None not in (card.metrics.num_pairs, card.metrics.accuracy, card.metrics.interval, card.metrics.longer_wins)
    assert set(card.seconds) == {"read", "train", "judge"}
    assert all(seconds >= 0 for seconds in card.seconds.values())
    assert set(card.libraries) == {"torch", "transformers", "trl"}
    assert card.compared_with is None
    assert card.promoted
    assert datetime.fromisoformat(card.created_at).tzinfo is not None
    assert num_new(lab, 64) == 3


def test_the_card_says_how_far_judgements_were_read(lab: Lab) -> None:
    tasks = judged_tasks(60)
    tasks[2]["annotations"][0] |= {"id": 812, "updated_at": "2026-11-20T10:00:00.5+01:00"}
    tasks[7]["annotations"].append({**SKIP, "id": 811, "updated_at": "2026-11-20T09:30:00Z"})

    card = lab.card(lab.round(tasks))

    assert (card.newest_annotation, card.newest_change) == (812, "2026-11-20T09:30:00.000000Z")


def test_a_damaged_card_does_not_keep_a_project_from_the_round_that_replaces_it(
    first_round: tuple[Lab, Round], caplog: pytest.LogCaptureFixture
) -> None:
    lab, ended = first_round
    before = num_new(lab, 64)
    copy = Versions(lab.folder).publish(Versions(lab.folder).path(ended.version or ""), lab.card(ended))
    (Versions(lab.folder).path(copy) / "card.json").write_text("{", encoding="utf-8")

    assert num_new(lab, 64) == before < 64
    assert "is not a model card" in caplog.text
    shutil.rmtree(Versions(lab.folder).path(copy))


def test_the_probe_of_the_card_is_what_the_published_version_answers(first_round: tuple[Lab, Round]) -> None:
    lab, ended = first_round
    probe = lab.card(ended).probe

    loaded = load_saved(
        Versions(lab.folder).path(ended.version or ""), extractor=Extractors(lab.settings.model_dir, CPU), device=CPU
    )

    assert float(loaded.score([probe["prompt"]], [probe["answer"]])[0]) == pytest.approx(probe["reward"], abs=1e-5)


def test_a_version_is_a_folder_of_safetensors_with_a_card_for_machines_and_one_for_people(
    first_round: tuple[Lab, Round],
) -> None:
    lab, ended = first_round
    folder = Versions(lab.folder).path(ended.version or "")

    assert {"model.safetensors", "reward_model.json", "tokenizer.json", "card.json", "README.md"} <= {
        p.name for p in folder.iterdir()
    }
    assert json.loads((folder / "card.json").read_text(encoding="utf-8"))["version"] == ended.version
    readme = HubCard.load(folder / "README.md")
    assert isinstance(readme.data, ModelCardData)
    assert (readme.data.library_name, readme.data.pipeline_tag) == ("pairloop", "text-classification")
    assert "reward-model" in (readme.data.tags or [])
    assert f"Promoted: {ended.reason}." in readme.text
    assert "| this version | 1.000 (95 % interval " in readme.text
    assert "Excluded: nothing." in readme.text


def test_the_readme_of_a_version_without_an_interval_renders(first_round: tuple[Lab, Round]) -> None:
    lab, ended = first_round
    card = lab.card(ended)

    text = model_card(
        dataclasses.replace(card, metrics=JudgedFigures(num_pairs=3, accuracy=1.0), dropped={"skipped": 2, "empty": 1})
    )

    assert "| this version | 1.000 |\n\nPromoted" in text
    assert "Excluded: 2 skipped, 1 empty." in text


def test_before_the_first_version_every_judgement_is_new(lab: Lab) -> None:
    assert num_new(lab, 12) == 12


def test_a_version_has_its_report_card_its_readme_and_its_pictures(first_round: tuple[Lab, Round]) -> None:
    lab, ended = first_round
    card = lab.card(ended)
    folder = Versions(lab.folder).path(card.version)

    assert card.report.people is not None and card.report.people.annotators[0].num_judgements == 60
    assert card.report.dropped == card.dropped
    assert card.report.versions == ()
    readme = (folder / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", readme)
    assert pictures
    for picture in pictures:
        assert (folder / picture).read_text(encoding="utf-8").startswith("<?xml")
    assert "model-index" in readme


def test_a_tie_counts_as_one_judgement_towards_min_pairs(lab: Lab) -> None:
    tie = {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["tie"]}}
    tasks = judged_tasks(19)
    for task in tasks:
        task["annotations"][0]["result"].append(tie)

    assert lab.round(tasks).reason.startswith("19 of 20 pairs (MIN_PAIRS); ")


def test_held_out_comparisons_are_judged_by_the_majority_of_their_votes(lab: Lab) -> None:
    tasks = judged_tasks(60)
    for task in tasks:
        (made,) = task["annotations"]
        task["annotations"] = [{**made, "id": number, "completed_by": number} for number in (1, 2, 3)]

    card = lab.card(lab.round(tasks))

    assert card.num_train_pairs == 3 * sum(in_training(task["data"]["prompt"]) for task in tasks)
    assert card.num_holdout_pairs == card.metrics.num_pairs == sum(in_holdout(task["data"]["prompt"]) for task in tasks)
    assert card.report.people is not None and (card.report.people.agreement or Share()).value == 1


def test_a_round_compares_judgements_with_and_without_a_suggestion(
    lab_with_champion: Lab,
) -> None:
    lab, served = lab_with_champion, Versions(lab_with_champion.folder).champion()
    lab.settings = lab.settings.replace(control_percent=43)
    tasks = judged_tasks(120)
    for number, task in enumerate(tasks[60:]):  # of which a third is in that group
        (made,) = task["annotations"]
        suggested = [] if is_control(task["id"], 43) else made["result"]
        task["predictions"] = [{"id": 900 + number, "model_version": served, "result": suggested, "score": 0.9}]
        made |= {"parent_prediction": 900 + number, "lead_time": 4.0, "created_at": "2099-01-01T00:00:00Z"}

    card = lab.card(lab.round(tasks))

    effect: Any = card.report.suggestion_effect
    beside = [task for task in tasks[60:] if not is_control(task["id"], 43) and in_holdout(task["data"]["prompt"])]
    assert (card.metrics.num_beside, card.metrics.pull) == (len(beside), None), (
        "twenty blind judgements cannot say how far they pull"
    )

    assert (effect.with_suggestion.model_side.value, effect.with_suggestion.num_judgements) == (1, 40)
    assert effect.without.model_side.count == effect.without.num_judgements == effect.moves.count == 20
    assert effect.without.model_side.value > 0.7, "the version that was served is good"
    assert effect.left_out == {"no prediction was seen": 60}


def test_a_round_removes_old_weights_under_keep_versions(lab_with_champion: Lab) -> None:
    lab, versions = lab_with_champion, Versions(lab_with_champion.folder)
    lab.settings = lab.settings.replace(keep_versions=1)
    champion = versions.champion() or ""
    kept_back = versions.publish(versions.path(champion), versions.card(champion))

    newest = lab.round(judged_tasks(60, flipped=in_holdout)).version

    assert versions.promotable() == [champion, newest]
    assert versions.all() == [champion, kept_back, newest]


def test_features_are_kept_within_features_mb(settings_for: SettingsFactory, tiny_base: Path) -> None:
    lab = Lab(settings_for(reward_base=str(tiny_base), min_pairs=20, holdout_fraction=HOLDOUT, features_mb=2))
    for number in range(8):
        cache = FeatureCache(lab.settings.model_dir, "of another recipe", size=2**16, now=partial(float, number))
        cache.keep([("Why?", str(number))], [np.zeros(2**16, np.float32)])  # 256 kB

    lab.round(judged_tasks(30))

    assert [number for number in range(8) if cache.has("Why?", str(number))] == [2, 3, 4, 5, 6, 7]


def test_ties_count_once_among_what_was_trained_on(lab: Lab) -> None:
    tie = {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["tie"]}}
    tasks = judged_tasks(60)
    for task in tasks[::2]:
        task["annotations"][0]["result"].append(tie)

    card = lab.card(lab.round(tasks))

    assert card.num_train_pairs == sum(not card.holdout.has(task["data"]["prompt"]) for task in tasks)


def test_judgements_of_held_out_prompts_alone_train_nothing_and_the_reason_says_so(lab: Lab) -> None:
    tasks = [task for task in judged_tasks(200) if in_holdout(task["data"]["prompt"])]

    ended = lab.round(tasks)

    assert ended.outcome == "skipped"
    assert ended.reason == f"all {len(tasks)} pairs are of prompts that are held out; judge other prompts"
