"""The page at / without a browser: what it shows, whatever lies in MODEL_DIR, and who may press its buttons."""

import base64
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from preference.duels.figures import DuelFigures, write_duels
from preference.formatting import per_cent
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.raters import RaterFigures, write_rater
from preference.report_card.shares import Share
from tests.support.dashboard_house import PROJECT, write_status
from tests.support.dashboard_page import (
    BROWSER,
    change_card,
    client_on,
    page,
)
from tests.support.generator_versions import publish
from tests.support.statuses import write_counts

# Who gets it


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html", "text/plain"])
def test_a_program_gets_json_as_label_studio_ml_answers(house: Path, accept: str | None) -> None:
    answer = client_on(house).get("/", headers={"Accept": accept} if accept else {})

    assert answer.get_json() == {"status": "UP", "model_class": "PreferenceModel"}
    assert answer.headers["Vary"] == "Accept"


def test_page_and_buttons_want_the_password_and_health_does_not(house: Path) -> None:
    client = client_on(house, basic_auth_user="ls", basic_auth_pass="pässword")
    login = {"Authorization": "Basic " + base64.b64encode("ls:pässword".encode()).decode()}

    for answer in (client.get("/", headers=BROWSER), client.get("/"), client.post("/buttons")):
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="Pairloop"'
    assert client.get("/health").status_code == 200
    assert "The loop" in page(client, **login).words


def test_nothing_is_loaded_kept_framed_or_run_but_its_own(house: Path) -> None:
    first, second = page(client_on(house)), page(client_on(house))

    policy = first.answer.headers["Content-Security-Policy"]
    nonce = re.findall(r"script-src 'nonce-([^']+)'", policy)[0]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert first.html.count(f'nonce="{nonce}"') == 2 and nonce not in second.html
    assert first.answer.headers["Cache-Control"] == "no-store"
    assert "src=" not in first.html and "url(" not in first.html and "style=" not in first.html
    assert re.findall("<link [^>]*href=.(.{5})", first.html) == ["data:"]


# What it shows


def test_the_loop_has_the_numbers_that_filler_and_trainer_wrote(models: Path) -> None:
    write_status(ProjectFolder(models, PROJECT), now=time.time())

    with FileLock(models / "filler.lock"):
        words = page(client_on(models)).words

    assert "Support answers, English Project 7 in Label Studio" in words
    assert "Unfilled 88 filling, 51 s to go" in words  # 84 that wait and 4 that failed
    assert "Filled 932 wait for people, of 1 240 tasks" in words
    assert "Judged 220 tasks, with 331 judgements" in words
    assert "New 38 judgements since the last round" in words
    assert re.search(r"Next round 5 h 1[12] min on schedule 0 3 \* \* \* , or after 12 more", words)
    assert "Trainer running" in words
    assert "the model wrote nothing 3" in words and "Answers a second 3.42" in words
    assert "not known yet" not in words
    assert "Unfilled 88 tasks wait for their answers" in page(client_on(models)).words, "the filler was killed"


def test_the_next_round_says_what_keeps_it(models: Path) -> None:
    folder, client = ProjectFolder(models, PROJECT), client_on(models)

    def next_round() -> str:
        return page(client).words.partition("Next round ")[2].partition(" v4 scores")[0]

    folder.request("train")
    (models / "trainer.alive").touch()
    assert next_round() == "asked for it begins within seconds"
    write_counts(folder, 38, training_since=1795230000.0)
    (models / "trainer.alive").touch()
    assert next_round() == "training since 21 Nov 2026, 03:00 UTC"
    os.utime(models / "trainer.alive", (1, 1))
    assert next_round() == "no trainer start pairloop-trainer run ; judgements missing when one last looked: 12"
    write_counts(folder, 61)
    assert next_round().endswith("; judgements missing when one last looked: 0")
    (models / "next_round.json").unlink()
    assert next_round() == "no trainer start pairloop-trainer run"
    (folder.path / "training").mkdir()
    (folder.path / "training" / "round.json").write_text("{}")
    with FileLock(folder.path / "round.lock"):
        assert next_round() == "training a command began it"
    assert next_round() == "interrupted pairloop-trainer run takes it up"


def test_unknown_numbers_are_called_not_known_yet(tmp_path: Path) -> None:
    ProjectFolder(tmp_path, 3).create()

    words = page(client_on(tmp_path)).words

    assert "Project 3" in words
    assert words.count("not known yet") >= 7
    assert "No version has been trained yet, so nothing is suggested." in words
    assert "No round has been run yet." in words
    assert "None" not in words and "nan" not in words


def test_without_a_project_it_says_what_to_type(tmp_path: Path) -> None:
    rendered = page(client_on(tmp_path / "nothing"))

    assert "Nothing is connected yet" in rendered.words
    assert 'pairloop-backend connect --new "My preferences" --prompts prompts.txt' in rendered.words
    assert "pairloop-backend connect --project 12" in rendered.words
    assert rendered.forms == []
    assert not (tmp_path / "nothing").exists() or list((tmp_path / "nothing").glob("projects")) == []


def test_the_champion_stands_there_with_its_report_card(house: Path) -> None:
    folder = ProjectFolder(house, PROJECT)
    card = Versions(folder).card(Versions(folder).champion() or "")

    rendered = page(client_on(house))

    assert f"{per_cent(card.metrics.accuracy)}" in rendered.words
    assert card.reason in rendered.words and card.version in rendered.words
    for name in ("Accuracy over versions", "Can its confidence be believed?", "Does it just like long answers?",
                 "Would more judgements help?"):  # fmt: skip
        assert name in rendered.words
    for name in ("Two annotators agree", "The longer answer wins", "The shorter answer wins", "Style alone decides"):
        assert name in rendered.words
    assert "nearly always picks left" in rendered.words and "Krippendorff's alpha" in rendered.words
    assert card.report.suggestions is not None
    assert f"the suggested side was chosen {per_cent(card.report.suggestions.value)}" in rendered.words
    assert "skipped 13" in rendered.words


def test_agreement_stands_there_by_version_of_the_guidelines_if_there_are_several(models: Path) -> None:
    share = {"value": 0.6, "interval": [0.4, 0.8], "count": 20}
    rows = [
        {"version": None, "since": "2026-11-01T10:00:00Z", "num_judgements": 40, "agreement": share},
        {
            "version": "3f2a9c1b",
            "since": "2026-11-08T10:00:00Z",
            "num_judgements": 1300,
            "agreement": {"count": 3},
            "model": share,
        },
    ]
    assert "By version of the guidelines" not in page(client_on(models)).words
    change_card(models, lambda card: card["report"].update(guidelines=rows))

    words = page(client_on(models)).words

    assert (
        "By version of the guidelines Version Judged Two agree Model agrees none from 1 Nov 2026, 10:00 UTC 40 60.0 % not known yet "
        "3f2a9c1b from 8 Nov 2026, 10:00 UTC 1 300 not known yet 60.0 %" in words
    )


def test_links_for_people_lead_where_browsers_reach_label_studio(house: Path) -> None:
    inside, outside = {"label_studio_url": "http://label-studio:8080"}, {"label_studio_public_url": "https://studio.example"}

    assert 'href="http://label-studio:8080/projects/7"' in page(client_on(house, **inside)).html
    rendered = page(client_on(house, **inside, **outside)).html
    assert 'href="https://studio.example/projects/7"' in rendered and "label-studio:8080" not in rendered
    assert 'href="https://studio.example/projects/7/data?task=' in rendered, "a suspect's link, of the trainer"


def test_rounds_are_listed_with_their_reasons_a_skipped_last_one_too(house: Path) -> None:
    words = page(client_on(house)).words

    rounds = words[words.index("Rounds") :]
    assert "Skipped" in rounds and "38 of 50 pairs (MIN_PAIRS)" in rounds
    places = [rounds.index(f" v{number} ") for number in (4, 3, 2, 1)]
    assert places == sorted(places)
    assert "v1 kept back" in rounds and "is below longer-answer-wins" in rounds


def test_prompts_and_answers_are_not_on_it(house: Path) -> None:
    html = page(client_on(house)).html

    assert "Tell me of" not in html and "is kind" not in html and "qqw" not in html


def test_a_champion_from_long_ago_is_shown_beside_the_latest_rounds(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    old = Versions(folder).all()[1]
    Versions(folder).promote(old, by="hand")
    for _ in range(10):
        Versions(folder).publish(Versions(folder).path(old), Versions(folder).card(old))

    words = page(client_on(models)).words

    assert f"Version {old}" in words and "v14" in words
    assert "by hand" in words


def test_projects_are_chosen_by_their_titles(models: Path) -> None:
    ProjectFolder(models, 12).create()
    write_counts(ProjectFolder(models, 12), 0, title="Poems")
    client = client_on(models)

    newest, chosen = page(client), page(client, "?project=7")

    assert '<a href="./?project=12" aria-current="page">Poems</a>' in newest.html
    assert '<a href="./?project=7" aria-current="page">Support answers, English</a>' in chosen.html
    for unknown in ("99", "x", "", "7.5", "-1", "9" * 30):
        assert page(client, f"?project={unknown}").answer.status_code == 200
    assert "is not known here" in page(client, "?project=99").words


def test_the_page_has_the_cards_warning_and_suggestions_by_version(models: Path) -> None:
    share = {"value": 0.625, "interval": [0.5, 0.75], "count": 48}
    figures = {
        "suggestions": {**share, "versions": {"v3-20261101-000000": share, "odd": [1]}},
        "suggestion_effect": {"warning": "People follow v4 even if it is wrong."},
    }
    change_card(models, lambda card: card["report"].update(figures))

    rendered = page(client_on(models))

    assert '<p class="note warn"><strong>Warning</strong>People follow v4' in rendered.html
    assert "suggested by: v3-20261101-000000 62.5 % of 48" in rendered.words
    assert "it is shown without what cannot be read: report.suggestions.versions.odd." in rendered.words


def test_judgements_with_and_without_a_suggestion_stand_side_by_side(models: Path) -> None:
    def group(value: float, seconds: float) -> dict[str, Any]:
        share = {"value": value, "interval": None, "count": 40}
        return {
            "num_judgements": 40,
            "model_side": share,
            "majority": share,
            "left_rate": share,
            "lead_seconds": {"value": seconds},
        }

    effect = {"with_suggestion": group(0.75, 11.0), "without": group(0.5, 95.0), "warning": "They follow."}
    effect["moves"] = {"value": 0.2, "interval": [0.06, 0.3], "count": 40}
    control = {"this": {"value": 0.811, "interval": [0.7, 0.9], "count": 37}, "champion": None}
    change_card(models, lambda card: card["report"].update(suggestion_effect=effect, control_accuracy=control))

    rendered = page(client_on(models))

    assert "Choose the model's side 75.0 % 50.0 %" in rendered.words and "Median time 11 s 2 min" in rendered.words
    assert "They move people by +20.0 points +6.0 points to +30.0 points" in rendered.words
    assert "How often they are followed" in rendered.words and "Warning They follow." in rendered.words
    assert "This version, on comparisons without a suggestion 81.1 % 70.0 to 90.0 %" in rendered.words


def test_judgements_where_the_version_was_not_sure_enough_stand_between_them(models: Path) -> None:
    groups = {
        name: {"num_judgements": count, "model_side": {"value": value, "interval": None, "count": count}}
        for name, count, value in (("with_suggestion", 40, 0.75), ("unlit", 30, 0.55), ("without", 20, 0.5))
    }
    change_card(models, lambda card: card["report"].update(suggestion_effect=groups))

    words = page(client_on(models)).words

    assert "Judgements with one not sure enough without In all 40 30 20" in words
    assert "Choose the model's side 75.0 % 55.0 % 50.0 %" in words


def test_shares_of_too_few_judgements_are_not_known_and_no_damage(models: Path) -> None:
    few = {"value": None, "interval": None, "count": 3}
    group = {"num_judgements": 3, "model_side": few, "majority": None, "left_rate": few, "lead_seconds": None}
    share = {"value": 0.625, "interval": [0.5, 0.75], "count": 48}
    figures = {
        "suggestions": {
            **share,
            "versions": {"v1-20261101-000000": None, "v2-20261102-000000": few, "v3-20261103-000000": share},
        },
        "suggestion_effect": {"with_suggestion": {**group, "model_side": share}, "without": group, "moves": few, "warning": None},
    }
    change_card(models, lambda card: card["report"].update(figures))

    words = page(client_on(models)).words

    assert "is damaged" not in words
    assert "suggested by: v1-20261101-000000 not known yet suggested by: v2-20261102-000000 not known yet of 3" in words
    assert "Choose the model's side 62.5 % not known yet" in words
    assert "Agree with the majority not known yet not known yet" in words
    assert "Median time not known yet not known yet They move people by not known yet" in words


def test_figures_of_people_are_those_of_the_newest_round_promoted_or_not(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    Versions(folder).promote(Versions(folder).all()[0], by="hand")
    share = {"value": 0.5, "interval": None, "count": 40}
    group = {"num_judgements": 40, "model_side": share, "majority": share, "left_rate": share, "lead_seconds": {"value": 9.0}}
    effect = {"with_suggestion": group, "without": group, "moves": None, "warning": "They follow v1."}
    change_card(models, lambda card: card["report"].update(suggestion_effect=effect))

    rendered = page(client_on(models))

    assert f"Version {Versions(folder).all()[0]}" in rendered.words
    assert "Warning They follow v1." in rendered.words
    assert "nearly always picks left" in rendered.words  # of an annotator, whom the first version's card does not know


def test_annotators_agree_with_themselves_so_often_and_votes_that_count_less_are_named(models: Path) -> None:
    def know(card: dict[str, Any]) -> None:
        row = card["report"]["people"]["annotators"][0]
        row["with_self"] = {"value": 0.8, "interval": [0.49, 0.94], "count": 10}
        share = {"value": 0.7, "interval": None, "count": 120}
        card["report"]["weights"] = {"by_annotator": {str(row["annotator"]): 0.5}, "weighted": share, "unweighted": share}

    change_card(models, know)

    words = page(client_on(models)).words
    assert "With self" in words and "80.0 % of 10; 49.0 to 94.0 %" in words
    assert (
        "In training, not all votes count alike" in words
        and "The held-out accuracy is 0.700 with and without these weights" in words
    )


def test_an_llm_as_judge_stands_beside_the_champion_and_people(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    write_rater(folder.path, RaterFigures(rater="org/judge-7b", judged_at="2026-11-30", agreement=Share(0.75, (0.6, 0.9), 40)))
    write_rater(folder.path, RaterFigures(rater="<b>x", judged_at="2026-11-29"))  # of which nothing is known

    shown = page(client_on(models))

    assert "judge-7b, as a judge 75.0 % 60.0 to 90.0 %" in shown.words
    assert "<b>x" not in shown.html


def test_what_people_say_in_duels_stands_plainly_and_with_the_reward_models_word(models: Path) -> None:
    assert "Duels of generators" not in page(client_on(models)).words
    folder = ProjectFolder(models, PROJECT)
    version = publish(folder, promote=True)
    assert f"Duels of generators {version} is on trial beside base; no duel was judged yet." in page(client_on(models)).words
    known = DuelFigures(version, "base", Share(0.6, (0.45, 0.73), 40), Share(0.58, (0.47, 0.69), 160), 120)
    write_duels(folder.path, [known, DuelFigures("<b>x", "base", Share(count=0))])

    shown = page(client_on(models))

    assert f"{known}; on trial." in shown.words
    assert "g1 beside base 60.0 % of 40 g1 beside base, with the reward model's word 58.0 % of 160" in shown.words
    assert "<b>x" not in shown.html
