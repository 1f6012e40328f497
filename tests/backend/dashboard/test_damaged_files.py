import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preference.projects.folder import ProjectFolder
from preference.projects.status_files import write_last_round, write_next_round
from preference.projects.versions import Versions
from tests.support.dashboard_house import PROJECT
from tests.support.dashboard_page import BROWSER, HOSTILE, Page, change_card, client_on, hostile, page, places, press
from tests.support.nightly import IS_NIGHTLY
from tests.support.statuses import keep_filling

NUM_CASES = 2_000 if IS_NIGHTLY else 15


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
    (folder.path / "waiting.json").write_text(json.dumps({"title": HOSTILE, "tasks": HOSTILE, "judgements": 3}))
    write_next_round(models, time.time() + 60, schedule=HOSTILE, min_new_pairs=3)
    write_last_round(folder, HOSTILE, reason=HOSTILE, version=None, seconds=1)
    keep_filling(folder, {"tasks_failed": {HOSTILE: 1}, "is_filling": HOSTILE})
    (folder.path / "versions" / (Versions(folder).champion() or "") / "promotions.jsonl").write_text(
        json.dumps({"at": "2026-11-21T00:00:00+00:00", "by": HOSTILE, "before": HOSTILE, "reason": HOSTILE}), encoding="utf-8"
    )
    honest, clean = page(client_on(models)), Page(client_on(models / "none").get("/", headers=BROWSER))

    assert honest.words.count(HOSTILE) >= 10, "and no template ran in it"
    assert honest.tags.count("script") == clean.tags.count("script") == 1
    assert "img" not in honest.tags and honest.handlers == []
    assert "javascript:" not in honest.html
    for query in (f"?project={HOSTILE}", f"?message={HOSTILE}"):
        assert page(client_on(models), query).tags.count("script") == 1


def test_a_pointer_that_holds_tags_is_shown_as_words(models: Path) -> None:
    (models / "projects" / "7" / "champion").write_text(HOSTILE, encoding="utf-8")

    rendered = page(client_on(models))

    assert "img" not in rendered.tags and rendered.tags.count("script") == 1
    assert "is not among the versions" in rendered.words
    assert "its card cannot be read" in rendered.words


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
    rendered = page(client)

    assert "The loop" in rendered.words and ("The champion" in rendered.words or "The latest version" in rendered.words)
    assert "Traceback" not in rendered.html
    for form in rendered.forms:  # and no button fails for it
        assert press(client, form).status_code in (303, 503)
    assert page(client).words


@pytest.mark.parametrize("place", ["", "projects"])
def test_a_file_in_the_place_of_a_folder_is_reported(tmp_path: Path, place: str) -> None:
    (tmp_path / "models").mkdir() if place else None
    (tmp_path / "models" / place).write_text("no folder")

    rendered = page(client_on(tmp_path / "models"))

    assert "Nothing is connected yet" in rendered.words and "Needs a look" in rendered.words


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

    rendered = page(client_on(model_dir))

    assert rendered.tags.count("script") == 1 and "img" not in rendered.tags and rendered.handlers == []
    shutil.rmtree(model_dir)
