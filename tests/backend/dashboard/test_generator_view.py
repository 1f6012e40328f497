"""The generator on the dashboard: its figures, its versions, and its buttons."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators
from preference.projects.pruning import prune
from preference.projects.status_files import LastAlignment, write_last_round
from preference.projects.trainer_heartbeat import mark_alive
from preference.projects.versions import Versions
from tests.support.dashboard_page import BROWSER, HOSTILE, Page, client_on, hostile, page, press
from tests.support.generator_versions import CARD, publish

PROJECT = 3


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A MODEL_DIR with one project whose generator learnt twice: the first version answers, the second was kept back."""
    folder = ProjectFolder(tmp_path, PROJECT)
    folder.create()
    publish(folder, promote=True)
    publish(folder, replace(CARD, promoted=False, reason="its win rate may be no more than one half"))
    return tmp_path


def generators(models: Path) -> Generators:
    return Generators(ProjectFolder(models, PROJECT))


def said(models: Path, form: dict[str, str]) -> str:
    """What the page says after a button."""
    client = client_on(models)
    answer = press(client, form)
    assert answer.status_code == 303, answer.text
    return page(client, answer.location.removeprefix("./")).words


def test_a_project_whose_generator_never_learnt_shows_none(tmp_path: Path) -> None:
    ProjectFolder(tmp_path, PROJECT).create()

    assert "The generator" not in page(client_on(tmp_path)).words


def test_what_a_version_learnt_from_is_said_in_the_words_of_its_method(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    publish(folder, replace(CARD, method="hindsight", answer_prefix="A good answer:\n"), promote=True)
    words = page(client_on(models)).words
    assert "From 45 judged comparisons, in hindsight, base" in words
    assert "Goes on from “A good answer:”, which is no part of its answers" in words

    publish(folder, replace(CARD, method="sft"), promote=True)
    words = page(client_on(models)).words
    assert "From 45 answers, by SFT, base" in words and "Goes on from" not in words
    assert "at equal length · 45 answers" in words and "at equal length · 45 comparisons" in words


def test_the_version_that_answers_is_shown_with_its_figures(models: Path) -> None:
    words = page(client_on(models)).words

    assert "The generator g1 answers 70.0 % wins at equal length, beside base on 60 held-out prompts" in words
    assert "95 % interval 60.0 to 80.0 %" in words
    assert "From 45 judged comparisons, by DPO, base" in words
    assert "Answers since" in words and ", by judge" in words
    assert "How often it wins, by reward models" in words and "At equal length 70.0 % 60.0 to 80.0 %" in words
    assert "As written 75.0 % 66.0 to 82.0 %" in words
    assert "Answers g1 base Repeat themselves 8.0 % 2.0 % Are cut off 30.0 % 25.0 %" in words
    assert "Letters, on average 410 380 Nats a token from the base (KL) 0.056" in words
    assert "g2 kept back" in words and "its win rate may be no more than one half" in words


def test_by_how_much_adapters_were_scaled_back_is_shown(models: Path) -> None:
    assert "Adapters, multiplied" not in page(client_on(models)).words

    publish(ProjectFolder(models, PROJECT), replace(CARD, scaled_by=0.7304), promote=True)

    assert "(KL) 0.056 Adapters, multiplied to be near enough times 0.73" in page(client_on(models)).words


def test_if_the_base_answers_its_latest_version_is_shown(models: Path) -> None:
    generators(models).promote(BASE, by="hand")

    assert "The base answers Its latest version is g2 kept back" in page(client_on(models)).words


def test_how_the_last_alignment_ended_is_shown_if_it_made_no_version(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, PROJECT)
    folder.create()
    write_last_round(folder, "skipped", reason="12 judged comparisons to learn from", version=None, seconds=4, kind=LastAlignment)
    folder.request("align")

    words = page(client_on(tmp_path)).words

    assert "The base answers It is to learn: asked for. No version of it has learnt yet." in words
    assert "Skipped" in words and "12 judged comparisons to learn from" in words


def test_an_alignment_that_runs_is_told_from_one_that_was_killed(tmp_path: Path) -> None:
    folder = ProjectFolder(tmp_path, PROJECT)
    folder.create()
    with FileLock(folder.path / "align.lock"):
        assert "It is learning." in page(client_on(tmp_path)).words
        with FileLock(folder.path / "best_of_n.lock"):
            words = page(client_on(tmp_path)).words
        assert "It is measured how often the best of several answers wins." in words and "It is learning." not in words
        (folder.path / "aligning").mkdir()
        (folder.path / "aligning" / "alignment.json").write_text("{}")
        assert "It is learning." in page(client_on(tmp_path)).words

    words = page(client_on(tmp_path)).words
    assert "It is learning." not in words
    assert "Its learning was interrupted; the next alignment takes it up: pairloop-trainer align --project 3" in words

    folder.request("align")
    assert "the next alignment takes it up" in page(client_on(tmp_path)).words, "no trainer runs"
    mark_alive(tmp_path)
    assert "Its learning was interrupted; the trainer takes it up." in page(client_on(tmp_path)).words


def test_promote_serves_that_version_and_names_the_dashboard(models: Path) -> None:
    first, second = generators(models).all()
    form = page(client_on(models)).button("promote")
    assert form["version"] == second

    assert f"{second} is the served generator; new answers are its." in said(models, form)

    assert generators(models).champion() == second
    assert generators(models).card(second).promotions[-1].by == "hand"
    assert generators(models).card(second).promotions[-1].reason == "on the dashboard"
    assert "the served generator has changed since the page was loaded" in said(models, form)
    assert page(client_on(models)).button("promote")["version"] == first


def test_roll_back_goes_to_the_base_and_leaves_the_champion_alone(models: Path, tmp_path: Path) -> None:
    form = page(client_on(models)).button("rollback")
    assert "Roll back to base" in page(client_on(models)).words

    assert "base is the served generator again; new answers are its." in said(models, form)

    assert generators(models).champion() == BASE
    assert Versions(ProjectFolder(models, PROJECT)).champion() is None
    assert "the served generator has changed since the page was loaded" in said(models, form)
    assert "Roll back to base" not in page(client_on(models)).words


def test_a_version_without_weights_cannot_be_promoted(models: Path) -> None:
    _, second = generators(models).all()
    form = page(client_on(models)).button("promote")
    prune(generators(models).path(second))

    assert "promote" not in [form["button"] for form in page(client_on(models)).forms]
    assert "Nothing was promoted: The weights of g2" in said(models, form)
    for name in ("g9-20261121-062026", "../../x", "", "base/.."):
        assert "Nothing was promoted: Project 3 has no" in said(models, {**form, "version": name})
    assert generators(models).champion() == generators(models).all()[0]


def test_another_site_s_page_promotes_nothing(models: Path) -> None:
    client = client_on(models)
    form = page(client).button("promote")

    assert client.post("/buttons", data=form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert press(client, {**form, "token": form["token"] + "x"}).status_code == 403
    assert generators(models).champion() == generators(models).all()[0]


def test_a_hostile_card_is_text_and_a_damaged_one_is_named(models: Path) -> None:
    first, second = generators(models).all()
    path = generators(models).path(first) / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**hostile(card), "num_annotations": 1}), encoding="utf-8")
    (generators(models).path(second) / "card.json").write_text("{", encoding="utf-8")

    rendered = Page(client_on(models).get("/", headers=BROWSER))

    assert HOSTILE in rendered.words and "<script>pwned" not in rendered.html and rendered.handlers == []
    assert "is not a generator's card" in rendered.words
    assert "promote" not in [form["button"] for form in rendered.forms]
