"""The page at / in Chromium, from real gunicorn workers: light and dark, wide and narrow, by keyboard, without scripts."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.contrast import contrast
from tests.support.dashboard_house import PROJECT, shared_model_dir
from tests.support.dashboard_page import HOSTILE, app_on, change_card, hostile, page, press
from tests.support.generator_versions import CARD, publish
from tests.support.nightly import IS_NIGHTLY
from tests.support.server import Server
from tests.support.statuses import write_counts

LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1300, 360)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Server]:
    """Two workers over a MODEL_DIR after four rounds of project 7."""
    server = Server(tmp_path_factory.mktemp("server"))
    shutil.copytree(shared_model_dir(tmp_path_factory.getbasetemp(), tiny_base), server.model_dir)
    folder = ProjectFolder(server.model_dir, PROJECT)
    publish(folder, promote=True)
    publish(folder, replace(CARD, promoted=False, reason="its win rate at equal length, 0.556, may be no more than one half"))
    server.start_all()
    yield server
    server.stop()


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """The address of an app that is served from a thread."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def opened(browser: Browser, url: str, *, width: int = 1300, **options: Any) -> Iterator[Page]:
    """A page in a context of its own, on which nothing failed."""
    messages: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    tab = context.new_page()
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("dialog", lambda dialog: messages.append(dialog.message))
    tab.goto(url)
    try:
        yield tab
        assert messages == [], "a script, a style or a policy failed"
    finally:
        context.close()


def assert_readable(tab: Page, width: int) -> None:
    """Nothing to scroll sideways for, and nothing that axe-core finds, with every table unfolded."""
    tab.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    violations = Axe().run(tab).response["violations"]
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations] == []


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_dashboard_passes_axe_and_nothing_overflows(browser: Browser, server: Server, scheme: Any, width: int) -> None:
    with opened(browser, server.url, width=width, color_scheme=scheme) as tab:
        assert_readable(tab, width)
        background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(15, 19, 25)") == (scheme == "dark")


@pytest.mark.parametrize(("scheme", "width"), LOOKS if IS_NIGHTLY else LOOKS[1:2])
def test_the_first_page_and_one_full_of_long_and_hostile_texts_pass_axe_as_well(
    browser: Browser, server: Server, tmp_path: Path, scheme: Any, width: int
) -> None:
    models = Path(shutil.copytree(server.model_dir, tmp_path / "models", ignore=shutil.ignore_patterns("features")))
    change_card(models, lambda card: card.update(hostile({**card, "report": None, "reason": ""}), report=hostile(card["report"])))
    change_card(models, lambda card: card.update(reason="W" * 5000, dropped={"W" * 200: 3}), number=3)
    write_counts(ProjectFolder(models, PROJECT), 1, title="W" * 500)
    for other in range(20, 32):
        write_counts(ProjectFolder(models, other), 1, title=f"Project of many words, number {other}")
    for app, query in ((app_on(tmp_path / "nothing"), ""), (app_on(models), f"?project={PROJECT}")):
        with served(app) as url, opened(browser, f"{url}/{query}", width=width, color_scheme=scheme) as tab:
            assert_readable(tab, width)
            assert tab.evaluate("typeof pwned") == "undefined"
    assert HOSTILE in page(app_on(models).test_client(), f"?project={PROJECT}").words


def test_letters_and_lines_stand_out_in_both_schemes(browser: Browser, server: Server) -> None:
    """WCAG 2.2, 1.4.3 and 1.4.11, for what axe-core cannot check: texts and lines in SVG."""
    for scheme in ("light", "dark"):
        with opened(browser, server.url, color_scheme=scheme) as tab:
            colours = {
                name: tab.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
                for name in ("card", "soft", "blue", "green", "amber", "red", "rule")
            }
        assert contrast(colours["soft"], colours["card"]) >= 4.5
        for name in ("blue", "green", "amber", "red", "rule"):
            assert contrast(colours[name], colours["card"]) >= 3, (scheme, name)


def test_a_screen_reader_gets_headings_landmarks_and_names(browser: Browser, server: Server) -> None:
    with opened(browser, server.url) as tab:
        for landmark in ("banner", "main", "contentinfo"):
            expect(tab.get_by_role(landmark)).to_have_count(1)
        levels = [int(level) for level in tab.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => h.tagName[1])")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert tab.evaluate("document.querySelectorAll('th:not([scope])').length") == 0
        pictures = tab.get_by_role("img").all()
        names = [picture.get_attribute("aria-label") or "" for picture in pictures]
        assert len(names) == 4 and all(len(name) > 40 and name.endswith(".") for name in names)
        steps = tab.locator("#loop > li").all_inner_texts()
        assert [step.split("\n")[0] for step in steps] == ["Unfilled", "Filled", "Judged", "New", "Next round"]


def test_by_keyboard_every_link_and_button_is_reached_in_order_with_a_visible_focus(browser: Browser, server: Server) -> None:
    with opened(browser, server.url) as tab:
        reached: list[str] = []
        for _ in range(8):
            tab.keyboard.press("Tab")
            focused = tab.locator(":focus")
            reached.append(focused.inner_text())
            assert focused.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
            assert (focused.bounding_box() or {"x": -1})["x"] >= 0, "nothing hidden has the focus"
        first, second, third, fourth = reached[:4]
        assert (first, second, third, fourth) == ("To the content", "Project 7 in Label Studio", "Train now", "Fill now")
        assert reached[4:] == ["Roll back to v3", *["The figures"] * 3]


def test_a_button_leads_back_to_the_page_with_its_outcome(browser: Browser, server: Server) -> None:
    with opened(browser, server.url) as tab:
        tab.get_by_role("button", name="Fill now").focus()
        tab.keyboard.press("Enter")

        expect(tab.get_by_role("status")).to_contain_text("Asked for")
        assert tab.url.startswith(f"{server.url}/?project=7&message=")
        assert ProjectFolder(server.model_dir, PROJECT).take_request("fill")
        tab.reload()
        assert not ProjectFolder(server.model_dir, PROJECT).is_requested("fill"), "a page that is loaded again presses nothing"


MAKE_OLD = "document.querySelectorAll('input[name=token]').forEach(field => field.value = 'of a day ago')"


@pytest.mark.parametrize("has_scripts", [True, False])
def test_a_button_of_an_old_page_leads_to_a_fresh_page_that_says_so(browser: Browser, server: Server, has_scripts: bool) -> None:
    folder = ProjectFolder(server.model_dir, PROJECT)
    context = browser.new_context(java_script_enabled=has_scripts, viewport={"width": 390, "height": 900}, color_scheme="dark")
    tab = context.new_page()
    tab.goto(server.url)
    tab.evaluate(MAKE_OLD)
    with tab.expect_response("**/buttons") as answer:
        tab.get_by_role("button", name="Fill now").click()

    assert answer.value.status == 403
    expect(tab.get_by_role("alert")).to_contain_text("more than 12 hours old")
    assert not folder.is_requested("fill")
    if has_scripts:  # axe-core is one
        assert_readable(tab, 390)
    assert tab.url == (f"{server.url}/?project={PROJECT}" if has_scripts else f"{server.url}/buttons")
    tab.get_by_role("button", name="Fill now").click()
    expect(tab.get_by_role("status")).to_contain_text("Asked for")
    expect(tab.get_by_role("alert")).to_have_count(0)
    assert folder.take_request("fill")
    context.close()


def test_a_page_that_stays_open_renews_what_its_buttons_bring(browser: Browser, server: Server) -> None:
    with opened(browser, "about:blank") as tab:
        tab.clock.install()
        tab.goto(server.url)
        tab.evaluate(MAKE_OLD)
        tab.clock.run_for(5100)
        expect(tab.locator("input[name=token]").last).not_to_have_value("of a day ago")
        tab.get_by_role("button", name="Fill now").click()

        expect(tab.get_by_role("status")).to_contain_text("Asked for")
    assert ProjectFolder(server.model_dir, PROJECT).take_request("fill")


def test_without_scripts_the_page_is_whole_and_its_buttons_work(browser: Browser, server: Server) -> None:
    with opened(browser, server.url, java_script_enabled=False) as tab:
        tab.get_by_role("button", name="Fill now").click()

        expect(tab.get_by_role("status")).to_contain_text("Asked for")
    assert ProjectFolder(server.model_dir, PROJECT).take_request("fill")


def test_every_worker_takes_the_token_that_another_made(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"Accept": "text/html", "Connection": "close"}) as client:
        token = client.get("/").text.partition('name="token" value="')[2].partition('"')[0]
        form = {"button": "fill", "project": str(PROJECT), "token": token}
        answers = {client.post("/buttons", data=form).status_code for _ in range(40)}

    assert answers == {303}
    assert ProjectFolder(server.model_dir, PROJECT).take_request("fill")


def test_numbers_are_renewed_by_themselves_and_a_new_champion_renews_the_page(browser: Browser, server: Server) -> None:
    folder = ProjectFolder(server.model_dir, PROJECT)
    with opened(browser, "about:blank") as tab:
        tab.clock.install()
        tab.goto(server.url)
        tab.get_by_role("button", name="Train now").focus()
        write_counts(folder, 39, title="Support answers, English", num_tasks=1240, num_judged_tasks=221)
        tab.clock.run_for(5100)

        expect(tab.locator("#loop")).to_contain_text("221")
        expect(tab.get_by_role("button", name="Train now")).to_be_focused()

        Versions(folder).rollback()
        tab.clock.run_for(5100)
        expect(tab.get_by_role("button", name="Roll back to v2")).to_be_visible()
    Versions(folder).promote(Versions(folder).all()[3], by="hand")


def test_a_page_on_another_port_cannot_press_a_button(browser: Browser, server: Server, tmp_path: Path) -> None:
    token = page(app_on(server.model_dir).test_client()).button("rollback")["token"]  # even if it knew one
    folder = ProjectFolder(server.model_dir, PROJECT)
    before = Versions(folder).champion()
    evil = Flask("evil", static_folder=None)

    @evil.get("/")
    def attack() -> str:
        fields = "".join(
            f'<input name="{name}" value="{value}">'
            for name, value in {"button": "rollback", "project": str(PROJECT), "token": token}.items()
        )
        return f'<form method="post" action="{server.url}/buttons">{fields}<button>Win</button></form>'

    with served(evil) as url:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(url)
        with tab.expect_response("**/buttons") as answer:
            tab.get_by_role("button", name="Win").click()
        assert answer.value.status == 403
        tab.goto(url)
        framed = tab.evaluate(
            "url => new Promise(done => { const f = document.createElement('iframe'); f.src = url; "
            "f.onload = () => { try { done(f.contentDocument && f.contentDocument.body.innerText) } catch (e) { done('') } }; document.body.append(f); })",
            server.url,
        )
        assert "The loop" not in (framed or "")
        context.close()
    assert Versions(folder).champion() == before
    ours = press(app_on(server.model_dir).test_client(), {"button": "rollback", "project": str(PROJECT), "token": token})
    assert ours.status_code == 303, "the token was good"
    Versions(folder).promote(before or "", by="hand")
