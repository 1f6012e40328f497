"""The page at / without a browser: what it shows, whatever lies in MODEL_DIR, and who may press its buttons."""

import base64
import html
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from itsdangerous import TimestampSigner, URLSafeTimedSerializer
from werkzeug.test import TestResponse

from backend.contract.training_limit import MOST_AN_HOUR
from preference.projects.folder import ProjectFolder
from preference.projects.training_status import read_project, tell_next_round, tell_round, tell_waiting
from preference.projects.versions import Versions
from tests.conftest import SettingsFactory
from tests.support.dashboard_house import PROJECT, made_once, stand
from tests.support.dashboard_page import BROWSER, HOSTILE, IS_NIGHTLY, Page, app_on, change_card, hostile, page, press

NUM_CASES = 2_000 if IS_NIGHTLY else 15


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A MODEL_DIR after four rounds of project 7; only to be read."""
    return made_once(tmp_path_factory.getbasetemp(), tiny_base)


@pytest.fixture
def models(house: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(house, tmp_path / "models"))


def client_on(model_dir: Path, **changes: Any) -> FlaskClient:
    return app_on(model_dir, **changes).test_client()


def refused(answer: TestResponse, status: int) -> tuple[str, Page]:
    """Why a button did nothing, as the page says it at its top, and that page."""
    shown = Page(answer, status=status)
    (reason,) = re.findall(r'<p class="note bad" role="alert"><strong>Nothing was done</strong>(.*?)</p>', shown.html)
    return html.unescape(reason), shown


def said(client: FlaskClient, answer: TestResponse) -> str:
    """What the page says that an answer leads to."""
    assert answer.status_code == 303, answer.text
    found = re.search(r'<p class="note" role="status">(.*?)</p>', page(client, answer.location.removeprefix("./")).html)
    return found[1] if found else ""


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


def test_the_loop_has_the_numbers_that_filler_and_trainer_told(models: Path) -> None:
    stand(ProjectFolder(models, PROJECT), now=time.time())

    words = page(client_on(models)).words

    assert "Support answers, English Project 7 in Label Studio" in words
    assert "Unfilled 88 filling, 51 s left" in words  # 84 that wait and 4 that failed
    assert "Filled 932 wait for people, of 1 240 tasks" in words
    assert "Judged 220 tasks, with 331 judgements" in words
    assert "New 38 judgements since the last round" in words
    assert re.search(r"Next round 5 h 1[12] min on schedule 0 3 \* \* \* , or after 12 more", words)
    assert "Trainer running" in words
    assert "the model wrote nothing 3" in words and "Answers a second 3.42" in words
    assert "not known yet" not in words


def test_the_next_round_says_what_keeps_it(models: Path) -> None:
    folder, client = ProjectFolder(models, PROJECT), client_on(models)

    def next_round() -> str:
        return page(client).words.partition("Next round ")[2].partition(" v4 scores")[0]

    folder.request("train")
    (models / "trainer.alive").touch()
    assert next_round() == "asked for it begins within seconds"
    tell_waiting(folder, 38, project={"training_since": 1795230000.0})
    (models / "trainer.alive").touch()
    assert next_round() == "training since 21 Nov 2026, 03:00 UTC"
    os.utime(models / "trainer.alive", (1, 1))
    assert next_round() == "no trainer start pairloop-trainer run"


def test_what_is_not_known_is_said_to_be_so(tmp_path: Path) -> None:
    ProjectFolder(tmp_path, 3).create()

    words = page(client_on(tmp_path)).words

    assert "Project 3" in words
    assert words.count("not known yet") >= 7
    assert "No version has been trained yet, so nothing is suggested." in words
    assert "No round has been run yet." in words
    assert "None" not in words and "nan" not in words


def test_without_a_project_it_says_what_to_type(tmp_path: Path) -> None:
    shown = page(client_on(tmp_path / "nothing"))

    assert "Nothing is connected yet" in shown.words
    assert 'pairloop-backend connect --new "My preferences" --prompts prompts.txt' in shown.words
    assert "pairloop-backend connect --project 12" in shown.words
    assert shown.forms == []
    assert not (tmp_path / "nothing").exists() or list((tmp_path / "nothing").glob("projects")) == []


def test_the_champion_stands_there_with_its_report_card(house: Path) -> None:
    folder = ProjectFolder(house, PROJECT)
    card = Versions(folder).card(Versions(folder).champion() or "")

    shown = page(client_on(house))

    assert f"{100 * card.metrics['accuracy']:.1f} %" in shown.words
    assert card.reason in shown.words and card.version in shown.words
    for name in ("Accuracy over versions", "Can its confidence be believed?", "Does it just like long answers?",
                 "Would more judgements help?"):  # fmt: skip
        assert name in shown.words
    for name in ("Two annotators agree", "The longer answer wins", "The shorter answer wins", "Style alone decides"):
        assert name in shown.words
    assert "nearly always picks left" in shown.words and "Krippendorff's alpha" in shown.words
    assert f"the suggested side was chosen {100 * card.report['suggestions']['value']:.1f} %" in shown.words
    assert "skipped 13" in shown.words


def test_links_for_people_lead_where_browsers_reach_label_studio(house: Path) -> None:
    inside, outside = {"label_studio_url": "http://label-studio:8080"}, {"label_studio_public_url": "https://studio.example"}

    assert 'href="http://label-studio:8080/projects/7"' in page(client_on(house, **inside)).html
    shown = page(client_on(house, **inside, **outside)).html
    assert 'href="https://studio.example/projects/7"' in shown and "label-studio:8080" not in shown
    assert 'href="https://studio.example/projects/7/data?task=' in shown, "a suspect's link, of the trainer"


def test_rounds_stand_there_with_their_reasons_the_last_one_too_where_it_was_skipped(house: Path) -> None:
    words = page(client_on(house)).words

    rounds = words[words.index("Rounds") :]
    assert "Skipped" in rounds and "38 pairs, MIN_PAIRS=50 are needed" in rounds
    places = [rounds.index(f" v{number} ") for number in (4, 3, 2, 1)]
    assert places == sorted(places)
    assert "v1 kept back" in rounds and "only 7 held-out pairs, 8 are needed" in rounds


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
    tell_waiting(ProjectFolder(models, 12), 0, project={"title": "Poems"})
    client = client_on(models)

    newest, chosen = page(client), page(client, "?project=7")

    assert '<a href="./?project=12" aria-current="page">Poems</a>' in newest.html
    assert '<a href="./?project=7" aria-current="page">Support answers, English</a>' in chosen.html
    for unknown in ("99", "x", "", "7.5", "-1", "9" * 30):
        assert page(client, f"?project={unknown}").answer.status_code == 200
    assert "is not known here" in page(client, "?project=99").words


def test_a_warning_of_the_card_stands_out_and_figures_of_suggestions_are_shown_whatever_their_names(models: Path) -> None:
    share = {"value": 0.625, "interval": [0.5, 0.75], "count": 48}
    suggestions = {**share, "warning": "People follow v4 even where it is wrong.", "blind": {"left_rate": share}, "odd": [1]}
    change_card(models, lambda card: card["report"].update(suggestions=suggestions))

    shown = page(client_on(models))

    assert '<p class="note warn"><strong>Warning</strong>People follow v4' in shown.html
    assert "blind: left rate 62.5 % of 48" in shown.words


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

    shown = page(client_on(models))

    assert "Choose the model's side 75.0 % 50.0 %" in shown.words and "Median time 11 s 1 min" in shown.words
    assert "They move people by +20.0 points +6.0 points to +30.0 points" in shown.words
    assert "How often they are followed" in shown.words and "Warning They follow." in shown.words
    assert "This version, where nothing was suggested 81.1 % 70.0 to 90.0 %" in shown.words


def test_what_people_did_is_told_by_the_newest_round_whatever_became_of_its_version(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    Versions(folder).promote(Versions(folder).all()[0], by="hand")
    share = {"value": 0.5, "interval": None, "count": 40}
    group = {"num_judgements": 40, "model_side": share, "majority": share, "left_rate": share, "lead_seconds": {"value": 9.0}}
    effect = {"with_suggestion": group, "without": group, "moves": None, "warning": "They follow v1."}
    change_card(models, lambda card: card["report"].update(suggestion_effect=effect))

    shown = page(client_on(models))

    assert f"Version {Versions(folder).all()[0]}" in shown.words
    assert "Warning They follow v1." in shown.words
    assert "nearly always picks left" in shown.words  # of an annotator, whom the first version's card does not know


# Whatever lies there


def test_texts_of_people_and_files_are_words_and_never_tags(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)

    def change(card: dict[str, Any]) -> None:
        report = hostile(card["report"])
        report["people"]["annotators"][0]["annotator"] = HOSTILE
        report["suspects"][0]["link"] = "javascript:pwned=1"
        report["suggestions"] |= {"warning": HOSTILE, HOSTILE: {"value": 0.5, HOSTILE: {"value": 1}}}
        card.update(hostile({**card, "report": None}), report=report, dropped={HOSTILE: 3})

    change_card(models, change)
    known = {"title": HOSTILE, "tasks": HOSTILE, "training_since": None}
    tell_waiting(folder, 3, project=known)
    tell_next_round(models, time.time() + 60, schedule=HOSTILE, min_new_pairs=3)
    tell_round(folder, HOSTILE, reason=HOSTILE, version=None, seconds=1)
    folder.write_progress({"tasks_failed": {HOSTILE: 1}, "is_filling": HOSTILE})
    (folder.path / "versions" / (Versions(folder).champion() or "") / "promotions.jsonl").write_text(
        json.dumps({"at": "2026-11-21T00:00:00+00:00", "by": HOSTILE, "before": HOSTILE, "reason": HOSTILE}), encoding="utf-8"
    )
    honest, clean = page(client_on(models)), Page(client_on(models / "none").get("/", headers=BROWSER))

    assert honest.words.count(HOSTILE) >= 10, "and no template ran in it"
    assert honest.tags.count("script") == clean.tags.count("script") == 1
    assert "img" not in honest.tags and honest.handlers == []
    assert "javascript:" not in honest.html
    for query in (f"?project={HOSTILE}", f"?said={HOSTILE}"):
        assert page(client_on(models), query).tags.count("script") == 1


def test_a_pointer_that_holds_tags_is_shown_as_words(models: Path) -> None:
    (models / "projects" / "7" / "champion").write_text(HOSTILE, encoding="utf-8")

    shown = page(client_on(models))

    assert "img" not in shown.tags and shown.tags.count("script") == 1
    assert "is not among the versions" in shown.words
    assert "its card cannot be read" in shown.words


PROJECT_FILES = ["champion", "filling.json", "waiting.json", "last_round.json", "versions/{champion}/card.json",
                 "versions/{champion}/promotions.jsonl", "requests", "versions", "../../next_round.json",
                 "../../trainer.alive", "../../dashboard.key"]  # fmt: skip
CONTENTS = {
    "empty": b"",
    "half": b'{"version": "v1',
    "binary": b"\xff\xfe\x00\x80",
    "list": b"[1, 2, [3]]",
    "number": b"17",
    "nested": b'{"report":' * 50_000,
    "infinite": b'{"at": Infinity, "tasks_left": NaN, "judgements": 1e999, "tasks": -5, "metrics": {"accuracy": NaN}}',
    "huge": b'{"at": ' + b"9" * 4000 + b', "tasks_left": ' + b"9" * 4000 + b"}",
    "surrogate": b'{"title": "\\ud800", "outcome": "\\udfff", "reason": "\\ud83d", "at": 1795230000}',
    "folder": None,
    "none": None,
}


@pytest.mark.parametrize("content", CONTENTS if IS_NIGHTLY else ["half", "infinite", "nested", "folder"])
@pytest.mark.parametrize("name", PROJECT_FILES)
def test_whatever_lies_in_its_files_the_page_is_shown(house: Path, tmp_path: Path, name: str, content: str) -> None:
    models = Path(shutil.copytree(house, tmp_path / "models", ignore=shutil.ignore_patterns("features", "*.safetensors")))
    folder = ProjectFolder(models, PROJECT)
    path = folder.path / name.format(champion=Versions(folder).champion())
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if content == "folder":
        path.mkdir()
    elif content != "none":
        path.write_bytes(CONTENTS[content] or b"")

    client = client_on(models)
    shown = page(client)

    assert "The loop" in shown.words and ("The champion" in shown.words or "The latest version" in shown.words)
    assert "Traceback" not in shown.html
    for form in shown.forms:  # and no button fails for it
        assert press(client, form).status_code in (303, 503)
    assert page(client).words


@pytest.mark.parametrize("place", ["", "projects"])
def test_a_folder_that_is_none_is_said_to_be_so(tmp_path: Path, place: str) -> None:
    (tmp_path / "models").mkdir() if place else None
    (tmp_path / "models" / place).write_text("no folder")

    shown = page(client_on(tmp_path / "models"))

    assert "Nothing is connected yet" in shown.words and "Needs a look" in shown.words


def test_half_an_emoji_in_a_card_is_no_failure(models: Path) -> None:
    change_card(models, lambda card: card.update(reason="so \ud83d it"))

    assert "so ? it" in page(client_on(models)).words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**15, 10**30) | st.floats() | st.text(max_size=8) | st.just(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["value", "interval", "count", "bins", "points", "annotators", "agreement", "warning", "versions", "with_suggestion", "without", "moves"]) | st.text(max_size=4),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [here, *(place for key, found in inner for place in places(found, (*here, key)))]


@settings(max_examples=NUM_CASES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
def test_a_card_of_any_shape_is_shown_as_far_as_it_goes(
    house: Path, tmp_path_factory: pytest.TempPathFactory, drawn: Any
) -> None:
    model_dir = tmp_path_factory.mktemp("shape")
    folder = ProjectFolder(model_dir, PROJECT)
    source = ProjectFolder(house, PROJECT)
    version = Versions(source).champion() or ""
    shutil.copytree(
        Versions(source).path(version),
        folder.path / "versions" / version,
        ignore=shutil.ignore_patterns("*.safetensors", "*.svg"),
    )
    Versions(folder).promote(version)

    def change(card: dict[str, Any]) -> None:
        for _ in range(drawn.draw(st.integers(1, 6))):
            *way, last = drawn.draw(st.sampled_from(places(card)[1:]))
            outer: Any = card
            for key in way:
                outer = outer[key]
            outer[last] = drawn.draw(JSON)

    change_card(model_dir, change)

    shown = page(client_on(model_dir))

    assert shown.tags.count("script") == 1 and "img" not in shown.tags and shown.handlers == []
    shutil.rmtree(model_dir)


# Buttons


def test_train_now_asks_the_trainer_and_says_so(models: Path) -> None:
    client = client_on(models)
    (models / "trainer.alive").touch()

    answer = press(client, page(client).button("train"))

    assert ProjectFolder(models, PROJECT).is_requested("train")
    assert said(client, answer) == "Asked for: the trainer begins a round within seconds, or after the one that is running."


def test_train_now_is_bound_by_the_webhook_s_limit(models: Path) -> None:
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    form = page(client).button("train")
    for _ in range(MOST_AN_HOUR):
        assert press(client, form).status_code == 303
        assert folder.take_request("train")

    answers = press(client, form, **BROWSER), press(client, form)
    assert [3500 < int(answer.headers["Retry-After"]) <= 3600 for answer in answers] == [True, True]
    reason, shown = refused(answers[0], 429)
    assert "6 times within an hour, which is the most; ask again in 60 min" in reason
    assert shown.button("train")
    assert answers[1].get_json() == {"error": reason}, "to a program"
    assert not folder.is_requested("train")
    event = client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": PROJECT}})
    assert event.status_code == 429


def test_without_a_trainer_train_now_says_what_is_missing(models: Path) -> None:
    os.utime(models / "trainer.alive", (1, 1))
    client = client_on(models)

    assert "no trainer is running: start pairloop-trainer run" in said(client, press(client, page(client).button("train")))


def test_fill_now_asks_the_filler(models: Path) -> None:
    client, locked_out = client_on(models, label_studio_api_key="k"), client_on(models)

    assert "the filler looks" in said(client, press(client, page(client).button("fill")))
    assert ProjectFolder(models, PROJECT).is_requested("fill")
    assert "LABEL_STUDIO_API_KEY is not set" in said(locked_out, press(locked_out, page(locked_out).button("fill")))


def test_roll_back_serves_the_champion_before_and_names_the_dashboard(models: Path) -> None:
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    _, second, third, _ = Versions(folder).all()
    shown = page(client)
    assert "Roll back to v3" in shown.words

    assert (
        said(client, press(client, shown.button("rollback")))
        == f"{third} is the champion again; backends load it within a second."
    )

    assert Versions(folder).champion() == third
    assert Versions(folder).card(third).promotions[-1]["by"] == "rollback"
    assert Versions(folder).card(third).promotions[-1]["reason"] == "on the dashboard"
    assert "Roll back to v2" in page(client).words
    assert "Nothing was rolled back: the champion has changed" in said(client, press(client, shown.button("rollback")))
    assert Versions(folder).champion() == third, "two who press at once go back once"
    assert said(client, press(client, page(client).button("rollback"))).startswith(second)
    assert [form["button"] for form in page(client).forms] == ["train", "fill"], "there was none before v2"


def test_a_version_that_is_gone_is_no_place_to_roll_back_to(models: Path) -> None:
    folder = ProjectFolder(models, PROJECT)
    client = client_on(models)
    form = page(client).button("rollback")
    shutil.rmtree(Versions(folder).path(Versions(folder).all()[2]))

    assert "rollback" not in [form["button"] for form in page(client).forms]
    assert "Nothing was rolled back: Project 7 has no version" in said(client, press(client, form))


def test_a_project_that_was_disconnected_meanwhile_stays_so(models: Path) -> None:
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    form = page(client).button("fill")
    folder.disconnect()

    answer = press(client, form)

    assert not folder.is_requested("fill")
    assert said(client, answer) == "Nothing was asked for: project 7 is not connected any more."


def nothing_was_asked(models: Path) -> bool:
    folder = ProjectFolder(models, PROJECT)
    return (
        not folder.is_requested("train")
        and not folder.is_requested("fill")
        and Versions(folder).champion() == Versions(folder).all()[3]
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "same-origin", "Host": "evil.example"},  # its DNS points here
        {"Origin": "http://evil.example", "Host": "evil.example"},
        {"Origin": "http://[", "Host": "["},
    ],
    ids=str,
)
def test_another_site_s_page_presses_nothing_even_with_the_token(models: Path, headers: dict[str, str]) -> None:
    client = client_on(models)
    for form in page(client).forms:
        answer = client.post("/buttons", data=form, headers=headers)
        assert answer.status_code == 403, answer.text
        assert list(answer.get_json()) == ["error"]
    assert nothing_was_asked(models)


@pytest.mark.parametrize(
    "headers",
    [
        {},  # no browser: curl, with the token
        {"Origin": "http://localhost"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://pairloop.example"},  # a proxy that names itself to us
        {"Sec-Fetch-Site": "same-origin", "Host": "10.1.2.3:9090"},
        {"Sec-Fetch-Site": "same-origin", "Host": "[::1]:9090"},
        {"Sec-Fetch-Site": "same-origin", "Host": "pairloop.example"},
    ],
    ids=str,
)
def test_our_own_page_presses_behind_proxies_and_in_old_browsers_too(models: Path, headers: dict[str, str]) -> None:
    client = client_on(models, backend_url="https://pairloop.example")

    assert client.post("/buttons", data=page(client).button("fill"), headers=headers).status_code == 303


def test_with_a_password_any_name_of_the_server_will_do(models: Path) -> None:
    client = client_on(models, basic_auth_user="ls", basic_auth_pass="pw")
    login = {"Authorization": "Basic " + base64.b64encode(b"ls:pw").decode()}

    assert press(client, page(client, **login).button("fill"), Host="by.any.name", **login).status_code == 303


def test_a_form_without_a_good_token_presses_nothing(models: Path, house: Path) -> None:
    client = client_on(models)
    form = page(client).button("train")
    ProjectFolder(models, 12).create()
    other = page(client, "?project=12").button("train")
    key = (models / "dashboard.key").read_bytes()

    old = URLSafeTimedSerializer(key, salt="pairloop-button", signer=Yesterday).dumps([PROJECT, None])
    foreign = URLSafeTimedSerializer(b"another key", salt="pairloop-button").dumps([PROJECT, None])
    message = parse_qs(urlsplit(press(client, {**form, "button": "fill"}).location).query)["said"][0]
    assert ProjectFolder(models, PROJECT).take_request("fill")
    tokens = ["", "x", form["token"][:-1], form["token"] + "x", form["token"].upper(), other["token"], old, foreign, message]

    for token in tokens:
        answer = press(client, {**form, "token": token})
        assert answer.status_code in (400, 403), token
    assert nothing_was_asked(models)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"button": "train"}', "application/json", 415),
        (b"button=train", "multipart/form-data; boundary=x", 415),
        (b"button=explode&project=7&token=x", "application/x-www-form-urlencoded", 400),
        (b"button=train&project=7", "application/x-www-form-urlencoded", 400),
        (b"button=train&project=../../x&token=x", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 50, "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe=%ff", "application/x-www-form-urlencoded", 400),
        (b"token=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_of_ours_is_refused_as_json(house: Path, body: bytes, kind: str, status: int) -> None:
    answer = client_on(house).post("/buttons", data=body, content_type=kind)

    assert (answer.status_code, list(answer.get_json())) == (status, ["error"])


class Yesterday(TimestampSigner):
    def get_timestamp(self) -> int:
        return int(time.time()) - 24 * 3600


@pytest.mark.parametrize("is_old", [True, False])
def test_a_button_of_an_old_page_leads_to_a_fresh_one_whose_buttons_work(models: Path, is_old: bool) -> None:
    ProjectFolder(models, 12).create()  # the newest, which is shown where none is chosen
    client, folder = client_on(models), ProjectFolder(models, PROJECT)
    form = page(client, f"?project={PROJECT}").button("train")
    key = (models / "dashboard.key").read_bytes()
    token = URLSafeTimedSerializer(key, salt="pairloop-button", signer=Yesterday).dumps([PROJECT, Versions(folder).champion()])

    answer = press(client, {**form, "token": token if is_old else "x"}, **BROWSER)

    reason, shown = refused(answer, 403)
    assert reason == "That page was more than 12 hours old, or another server's; press once more on a fresh one."
    assert nothing_was_asked(models)
    assert "The loop" in shown.words and shown.button("train")["project"] == str(PROJECT)
    assert answer.headers["Cache-Control"] == "no-store" and "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert press(client, shown.button("train"), **BROWSER).status_code == 303
    assert folder.is_requested("train")


def test_who_may_not_press_is_told_so_on_the_page(models: Path) -> None:
    client = client_on(models)
    form = page(client).button("train")

    for headers, reason in (
        ({"Sec-Fetch-Site": "cross-site"}, "The request comes from another site's page"),
        ({"Host": "evil.example"}, "Without a password, buttons work at an IP address"),
    ):
        told, shown = refused(press(client, form, **{**BROWSER, **headers}), 403)
        assert told.startswith(reason)
        assert shown.button("train")
    assert nothing_was_asked(models)


def test_a_button_that_cannot_be_kept_is_refused_on_the_page(models: Path) -> None:
    client = client_on(models)
    form = page(client).button("fill")
    key = models / "dashboard.key"
    key.unlink()
    key.mkdir()

    reason, shown = refused(press(client, form, **BROWSER), 503)

    assert "MODEL_DIR is not writable" in reason
    assert shown.forms == []


def test_a_form_of_another_release_is_refused_on_the_page(models: Path) -> None:
    client = client_on(models)

    reason, shown = refused(press(client, {"press": "train"}, **BROWSER), 400)

    assert reason == "What came is no form of this page; press the button here."
    assert shown.button("train")


def test_every_process_on_one_folder_takes_the_others_tokens_and_the_key_is_its_user_s_alone(models: Path) -> None:
    first, second = client_on(models), client_on(models)

    assert press(second, page(first).button("fill")).status_code == 303
    assert (models / "dashboard.key").stat().st_mode & 0o777 == 0o600
    assert len((models / "dashboard.key").read_bytes()) == 32
    assert [path.name for path in models.iterdir() if path.name.startswith(".dashboard.key")] == []


def test_a_message_is_not_shown_that_we_did_not_sign(house: Path) -> None:
    client = client_on(house)

    assert 'role="status"' not in page(client, "?said=You+have+won").html


def test_where_nothing_can_be_written_the_page_has_no_buttons_and_says_why(models: Path) -> None:
    (models / "dashboard.key").unlink(missing_ok=True)
    (models / "dashboard.key").mkdir()

    shown = page(client_on(models))

    assert shown.forms == []
    assert "MODEL_DIR is not writable" in shown.words


def test_the_page_writes_nothing_but_its_key(settings_for: SettingsFactory, models: Path) -> None:
    def found() -> dict[Path, bytes]:
        return {path.relative_to(models): path.read_bytes() for path in models.rglob("*") if path.is_file()}

    client, before = client_on(models), found()
    page(client)

    assert found().keys() - before.keys() <= {Path("dashboard.key"), Path(".dashboard.lock")}
    assert {path: content for path, content in found().items() if path in before} == before
    assert read_project(ProjectFolder(models, PROJECT))
