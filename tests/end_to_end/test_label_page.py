"""The page that annotators see, in a real Label Studio and a real browser: its keys, its columns, what is lit and what is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from backend.connecting.added_controls import with_controls
from backend.connecting.default_label_config import default_label_config
from demo.process import wait_until
from demo.stack import Stack
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.settings import Settings
from preference.studio.account import Account
from tests.support.browser import LIT, SUBMIT, logged_in

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LEFT, RIGHT, NONE = [True, False], [False, True], [False, False]
ANSWERS = "Nobody knows for sure. " * 9, "They are happy. " * 9
MARKDOWN = """Here is **how**:

| tool | cost |
|------|-----:|
| `ls` | 0 |

```python
def greet():

    return "a line that is too long for the page, and goes on, and on, and on, and on, and on, and on, and on, and on"
```

1. one
2. two
"""
HOSTILE = (
    """<script>window.judged = "here"</script>
<iframe srcdoc="<script>parent.judged = 'there'</script>"></iframe> <img src=x onerror="window.judged = 1">
<style>body { display: none }</style>

![picture](https://nowhere.example/track.png) [link](javascript:window.judged=2)

"""
    + "averylongwordwithoutanyspace" * 12
)
OWN = """<View className="root">
  <Style>
    .answers { display: flex; justify-content: space-between; flex-wrap: wrap; gap: 20px; }
    .answer-box { flex-basis: 40%; padding: 20px; background-color: rgba(44, 62, 80, 0.9); color: #ffffff; }
  </Style>
  <Text name="prompt" value="$prompt"/>
  <View className="answers">
    <Pairwise name="comparison" toName="answer1,answer2" selectionStyle="background-color: #27ae60;"/>
    <View className="answer-box">
      <Text name="answer1" value="$answer1"/>
    </View>
    <View className="answer-box">
      <Text name="answer2" value="$answer2"/>
    </View>
  </View>
</View>"""


@pytest.fixture(scope="module")
def page(label_studio: Stack, browser: Browser) -> Iterator[Page]:
    page = logged_in(browser, label_studio.url)
    yield page
    page.close()


class Tasks:
    """A project whose tasks suggest their first answer, and a page on which an annotator judges them one after another."""

    def __init__(
        self, label_studio: Stack, page: Page, *, count: int, show_rewards: bool = True, config: str = "",
        answers: tuple[str, str] = ANSWERS, is_laid_out: bool = True, suggestion: list[Any] | None = None,
    ) -> None:  # fmt: skip
        """`is_laid_out`: whether the tasks come through Pairloop. `suggestion`: what the predictions hold, if not the usual."""
        config = config or default_label_config(show_rewards=show_rewards)
        self.layout = LabelingLayout.from_label_config(config)
        self.project = Account(Settings.from_environ(label_studio.environ).studio).create_project(
            title="Labels", label_config=config
        )
        texts = {"prompt": "Why do cats purr?", "answer1": answers[0], "answer2": answers[1]}
        data = self.layout.laid_out(texts) if is_laid_out else texts
        self.ids = self.project.import_tasks([{"data": data}] * count)
        if suggestion is None:
            suggestion = Pairwise.suggestion(self.layout, (1.25, -0.5), show_rewards=show_rewards)
        predictions = [{"task": task, "result": suggestion, "score": 0.7, "model_version": "v1"} for task in self.ids]
        assert self.project.store_predictions(predictions) == count
        self.project.update(model_version="v1")
        self.page, self.url = page, f"{label_studio.url}/projects/{self.project.id}/data"

    def open(self, address: str, *, lit: list[bool] = LEFT) -> None:
        """Opens the label stream (`labeling=1`) or a task beside the list (`task=ID`), and waits until the suggestion is lit."""
        self.page.goto(f"{self.url}?{address}")
        self.page.wait_for_selector(SUBMIT, timeout=60_000)
        self.wait_for(lit)

    def wait_for(self, lit: list[bool]) -> None:
        """Returns when these answers are lit, first and second."""
        wait_until(lambda: self.page.evaluate(LIT) == lit, timeout_seconds=20, what=f"{lit} to be lit", every_seconds=0.05)

    def click(self, place: int, *, selector: str = ".answer") -> None:
        """Clicks amid an answer."""
        box = self.box(selector, place)
        self.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)

    def submit(self) -> None:
        """Submits, and waits for Label Studio's answer."""
        with self.page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
            self.page.click(SUBMIT)

    def judgements(self) -> list[Any]:
        """What the judgements say, by task."""
        return [
            Pairwise.judgement(self.layout, made["result"])
            for task in self.project.annotated_tasks()
            for made in task["annotations"]
        ]

    def box(self, selector: str, place: int = 0) -> Any:
        """Where an element stands, as soon as it does: x, y, width, height."""
        boxes: list[Any] = []

        def is_placed() -> bool:  # Label Studio draws its page several times
            boxes[:] = [self.page.locator(selector).nth(place).bounding_box()]
            return boxes[0] is not None

        wait_until(is_placed, timeout_seconds=20, what=f"{selector} to be drawn", every_seconds=0.05)
        return boxes[0]


def test_keys_judge_and_the_lit_answer_counts(label_studio: Stack, page: Page) -> None:
    tasks = Tasks(label_studio, page, count=5)
    for key, lit in (("1", LEFT), ("2", RIGHT), ("t", NONE), ("b", NONE), ("n", NONE)):
        tasks.open("labeling=1")
        page.keyboard.press(key)
        tasks.wait_for(lit)
        tasks.submit()

    judgements = tasks.judgements()

    assert [judgement.outcome for judgement in judgements] == ["left", "right", "tie", "both_bad", None]
    assert [judgement.wants_new_answers for judgement in judgements] == [False] * 4 + [True]


def test_a_translated_page_is_lit_by_its_keys_as_well(label_studio: Stack, page: Page) -> None:
    config = default_label_config().replace("First is better", "Die erste ist besser").replace("Second is better", "Die zweite")
    tasks = Tasks(label_studio, page, count=1, config=config)
    tasks.open("labeling=1")
    page.keyboard.press("2")
    tasks.wait_for(RIGHT)
    tasks.submit()

    assert [judgement.outcome for judgement in tasks.judgements()] == ["right"]


def test_a_key_and_a_click_are_the_same_choice(label_studio: Stack, page: Page) -> None:
    tasks = Tasks(label_studio, page, count=1)
    tasks.open("labeling=1")
    places = [tasks.box(selector, place) for selector in (".answer", ".verdict label") for place in (0, 1)]
    steps: list[tuple[int | str, list[bool]]] = [
        (0, LEFT), ("2", RIGHT), (0, LEFT), ("t", NONE), (0, LEFT), ("b", NONE), ("b", LEFT), (1, RIGHT), (1, LEFT), ("2", RIGHT),
    ]  # fmt: skip
    for step, lit in steps:
        if isinstance(step, str):
            page.keyboard.press(step)
        else:
            tasks.click(step)
        tasks.wait_for(lit)
        assert page.locator(".pairloop input:checked").count() <= 1
    assert [tasks.box(selector, place) for selector in (".answer", ".verdict label") for place in (0, 1)] == places, (
        "nothing moved"
    )
    tasks.submit()

    (judgement,) = tasks.judgements()

    assert (judgement.outcome, judgement.wants_new_answers) == ("right", False)


@pytest.mark.parametrize("where", ["label stream", "quick view"])
@pytest.mark.parametrize("width", [1300, 600])
def test_answers_stand_side_by_side_if_there_is_room_and_nothing_is_cut(
    label_studio: Stack, page: Page, where: str, width: int
) -> None:
    tasks = Tasks(label_studio, page, count=1)
    page.set_viewport_size({"width": width, "height": 950})
    try:
        tasks.open("labeling=1" if where == "label stream" else f"task={tasks.ids[0]}")
        first, second, room = tasks.box(".answer"), tasks.box(".answer", 1), tasks.box(".pairloop")
        reward, has_box = tasks.box(".reward input"), page.locator("[name=better_answer], .pairloop textarea").first.is_visible()
    finally:
        page.set_viewport_size({"width": 1300, "height": 950})

    if width == 1300:
        assert first["y"] == second["y"] and second["x"] >= first["x"] + first["width"]
    else:
        assert first["x"] == second["x"] and second["y"] >= first["y"] + first["height"]
    assert second["x"] + second["width"] <= room["x"] + room["width"]
    assert reward["height"] < 30 and reward["width"] < 100, "rewards are small"
    assert not has_box, "the box for a better answer is folded away"


def test_rewards_are_not_shown_if_the_setting_says_so(label_studio: Stack, page: Page, tmp_path: Path) -> None:
    tasks = Tasks(label_studio, page, count=1, show_rewards=False)
    tasks.open("labeling=1")

    assert "reward" not in page.inner_text("body").lower()
    assert page.locator(".pairloop input[type=number]").count() == 0


def test_rewards_cannot_be_changed_and_without_a_model_there_are_none(label_studio: Stack, page: Page) -> None:
    tasks, blind = Tasks(label_studio, page, count=1), Tasks(label_studio, page, count=1, suggestion=[])
    tasks.open("labeling=1")
    rewards = page.locator(".reward input")

    assert [reward.input_value() for reward in rewards.all()] == ["1.25", "-0.5"]
    assert all(reward.is_disabled() for reward in rewards.all())
    blind.open("labeling=1", lit=NONE)
    assert not any(reward.is_visible() for reward in rewards.all())


def test_markdown_is_laid_out_and_html_in_an_answer_does_nothing(label_studio: Stack, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "nowhere.example" in request.url else None)
    tasks = Tasks(label_studio, page, count=1, answers=(MARKDOWN, HOSTILE))
    tasks.open("labeling=1")
    shown = [page.locator(".answer").nth(place).inner_text() for place in (0, 1)]

    assert [page.locator(f".answer:nth-child(1) {tag}").count() for tag in ("table td", "pre code", "ol li", "strong")] == [
        2,
        1,
        2,
        1,
    ]
    assert "**" not in shown[0] and "```" not in shown[0]
    for written in (
        '<script>window.judged = "here"</script>',
        "<iframe srcdoc=",
        "<style>",
        "onerror=",
        "nowhere.example/track.png",
    ):
        assert written in shown[1]
    assert page.evaluate("window.judged") is None and page.locator(".answer :is(script, iframe, style, img, a)").count() == 0
    assert asked == []
    for place in (0, 1):
        answer, card = tasks.box(".answer", place), page.locator(".answer").nth(place)
        assert card.evaluate("card => card.scrollWidth") <= answer["width"], "a long word breaks"
    tasks.click(1)
    tasks.wait_for(RIGHT)
    tasks.submit()
    (task,) = tasks.project.annotated_tasks()
    assert tasks.layout.answers(task["data"]) == (MARKDOWN, HOSTILE), "what is trained on is as it was written"


@pytest.mark.parametrize("is_laid_out", [True, False])
def test_the_text_as_it_was_written_can_be_shown_and_is_if_there_is_no_other(
    label_studio: Stack, page: Page, is_laid_out: bool
) -> None:
    tasks = Tasks(label_studio, page, count=1, answers=(MARKDOWN, HOSTILE), is_laid_out=is_laid_out)
    tasks.open("labeling=1")
    first = page.locator(".answer").first

    assert ("**how**" in first.inner_text()) is not is_laid_out
    if is_laid_out:
        page.click("text=Show the answers as plain text")
        wait_until(lambda: "**how**" in first.inner_text(), timeout_seconds=20, what="plain text", every_seconds=0.05)
        assert not page.locator(".answer table").first.is_visible()


def test_controls_that_connect_adds_to_a_config_work_there(label_studio: Stack, page: Page) -> None:
    config = with_controls(OWN)
    tasks = Tasks(label_studio, page, count=2, config=config)
    tasks.open("labeling=1", lit=NONE)  # by our style; by its own, the suggestion is
    behind = page.evaluate("getComputedStyle(document.querySelector('.pairloop-better .ant-collapse')).backgroundColor")
    assert behind == "rgba(0, 0, 0, 0)", "Label Studio's own is white, in dark mode too"
    page.keyboard.press("2")
    tasks.wait_for(RIGHT)
    tasks.click(0, selector=".pairloop-answer")
    tasks.wait_for(LEFT)
    tasks.submit()
    tasks.open("labeling=1", lit=NONE)
    page.keyboard.press("t")
    page.wait_for_selector(".pairloop-verdict input:checked", state="attached")
    tasks.submit()

    assert [judgement.outcome for judgement in tasks.judgements()] == ["left", "tie"]
