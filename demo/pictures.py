"""`python -m demo.pictures`: takes the pictures in docs/pictures, of a real Label Studio and a real backend, after a demo.

Needs Chromium. Everything runs in a temporary folder on free ports; the whole takes some five minutes.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console

from backend.connecting.default_label_config import default_label_config
from backend.connecting.guidelines import instruction_of
from demo.__main__ import DEMO_SETTINGS, Demo
from demo.annotator import judge
from demo.process import StackError, wait_until
from demo.stack import PASSWORD, REPOSITORY, USER, Stack, free_port
from preference.errors import PairloopError
from preference.labelling.label_config import LabelingLayout
from preference.projects.versions import Versions
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

FOLDER = REPOSITORY / "docs" / "pictures"
_WIDTH = 1300
_ALIKE = 30  # squared distance of two colours
_SUBMIT = "[data-testid=bottombar-submit-button]"
_INSTRUCTIONS = "text=A right answer beats a nice one."
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# Written by hand, so that the picture shows whole answers; (prompt, left, right).
_TASKS = [
    (
        "How do I keep bread fresh for longer?",
        "Keep it in a linen bag or a wooden box at room temperature, **cut side down**.\n\n"
        "- What you will not eat within three days, slice and freeze.\n"
        "- The slices go straight into the toaster.\n\n"
        "| kept in | days |\n|---|---:|\n| a linen bag | 3 |\n| the freezer | 90 |",
        "Bread is best when it is fresh. I always buy mine at the bakery on my way home, and I think you should do the same, "
        "because then you never have to keep it.",
    ),
    (
        "How can I learn the names of new colleagues?",
        "I am bad at names too. We could all wear badges.",
        "1. Say the name back when you hear it.\n2. Write down one thing about the person that evening.\n3. Greet people by name "
        "the next morning.",
    ),
    (
        "Why do cats land on their feet?",
        "A falling cat first turns its front half, then its back half, so that its feet point down after 0.3 seconds.",
        "Cats are agile animals. I believe that my cat simply knows what it does, as we all do.",
    ),
]

_CONVERSATION = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "Name two trees: a tall one and a small one."},
    {"role": "assistant", "content": "A redwood, and a dwarf willow."},
    {"role": "user", "content": "Where does the small one grow?"},
]
_NEXT = (
    "It grows on mountains and in the Arctic, a few centimetres above the ground.",
    "Trees grow in many places of the world.",
)
_LIST = """<View>
  <Style>
    .htx-ranker-item { background: var(--color-neutral-surface); color: var(--color-neutral-content); }
    .htx-ranker-item p { white-space: pre-wrap; } .htx-ranker-item p:last-child { display: none; }
  </Style>
  <Text name="prompt" value="$prompt"/>
  <List name="answers" value="$items" title="Best first"/>
  <Ranker name="rank" toName="answers"/>
</View>"""
_GUIDELINES = """# Which answer is better?

1. A **right** answer beats a nice one.
2. Of two right ones, the shorter is better.

| if | choose |
|---|---|
| both are right and alike | *Tie* |
| both are wrong | *Both bad* |
| the question has no answer | *Skip* |
"""


def main() -> None:
    """Runs the demo and takes the pictures."""
    try:
        with tempfile.TemporaryDirectory(prefix="pairloop-pictures-") as folder:
            ports = {"label_studio_port": free_port(), "backend_port": free_port()}
            with Stack(Path(folder), settings=DEMO_SETTINGS, **ports) as stack:
                demo = Demo(stack, Console())
                demo.run()
                demo.stage("open the tasks of the pictures", lambda: open_tasks(demo))
                demo.stage("take the pictures", lambda: take_pictures(demo, FOLDER))
    except PairloopError as error:
        sys.exit(str(error))


def open_tasks(demo: Demo) -> None:
    """Judges the demo's tasks that are still open, removes those of its alignment, and adds those written by hand.

    So the label stream has nothing else to show.
    """
    tasks = demo.project.tasks(demo.task_ids).values()
    for side in judge(demo.project, demo.layout, [task for task in tasks if not task["total_annotations"]]):
        demo.counts[side or "skipped"] += 1
    num_judged = demo.counts["left"] + demo.counts["right"]
    _wait(
        demo,
        lambda: Versions(demo.folder).card(Versions(demo.folder).all()[-1]).num_annotations >= num_judged,
        "the trainer's round",
    )
    for task in list(demo.project.open_tasks(above=0, most=10_000)):
        demo.project.remove_task(task["id"])
    layout = demo.layout
    answered = [layout.with_answers(layout.with_prompt({}, prompt), layout.answered(texts)) for prompt, *texts in _TASKS]
    new: list[Task] = [{"data": layout.laid_out(data)} for data in answered]
    ids = demo.project.import_tasks(new)
    champion = Versions(demo.folder).champion()
    _wait(demo, lambda: {task["predictions_model_versions"] for task in demo.project.tasks(ids).values()} == {champion}, "scores")


def take_pictures(demo: Demo, folder: Path) -> None:
    """Takes each picture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_chromium(), args=_FLAGS)
        page = browser.new_page(viewport={"width": _WIDTH, "height": 780}, color_scheme="light")
        page.goto(f"{demo.stack.url}/user/login/")
        page.fill("input[name=email]", USER)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(re.compile(r"/(projects)?/?$"))
        page.goto(f"{demo.stack.url}/projects/{demo.project.id}/data?labeling=1")
        page.wait_for_selector(_SUBMIT, timeout=60_000)
        page.wait_for_timeout(1500)  # until the suggested answer is lit
        _save(page.screenshot(), folder / "label-stream.png")
        for name, project in _other_pages(demo).items():
            page.goto(f"{demo.stack.url}/projects/{project.id}/data?labeling=1")
            page.wait_for_selector(_INSTRUCTIONS if name == "guidelines" else _SUBMIT, timeout=60_000)
            page.wait_for_timeout(1500)
            _save(page.screenshot(), folder / f"{name}.png")
        page.goto(f"{demo.stack.backend_url}/?project={demo.project.id}")
        box = page.locator("figure.card").nth(1).bounding_box()  # down to the first two charts
        assert box is not None
        height = box["y"] + box["height"] + 12
        top = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": _WIDTH, "height": height})
        _save(top, folder / "dashboard.png")
        browser.close()


def _other_pages(demo: Demo) -> dict[str, LabelStudioProject]:
    """Projects by the name of their picture, each with one task and without a reward model."""
    account = Account(demo.settings.studio)
    made = {}
    for name, title, label_config, prompt, texts in (
        ("conversation", "Conversations", default_label_config(conversations=True), _CONVERSATION, _NEXT),
        ("ranking", "Lists", _LIST, _TASKS[1][0], (*_TASKS[1][1:], "Ask them for a card, and read it aloud.")),
        ("guidelines", "Guidelines", default_label_config(), _TASKS[0][0], _TASKS[0][1:]),
    ):
        layout = LabelingLayout.from_label_config(label_config)
        project = account.create_project(title=title, label_config=label_config)
        data = layout.with_answers({"prompt": prompt}, layout.answered(texts))
        project.import_tasks([{"data": layout.laid_out(data)}])
        made[name] = project
    made["guidelines"].update(expert_instruction=instruction_of(_GUIDELINES), show_instruction=True)
    return made


def _wait(demo: Demo, condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, timeout_seconds=180, what=what, check=demo.stack.check, every_seconds=1)


def _save(screenshot: bytes, path: Path) -> None:
    """A screenshot in 256 colours, which is a third of the bytes: the commonest that differ; each other one becomes the nearest.

    Pillow's own ways give small marks the colour of larger ones, or tint all.
    """
    picture = Image.open(BytesIO(screenshot)).convert("RGB")
    unique, places, counts = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    colours = unique.astype(int)
    kept = colours[[counts.argmax()]]
    for colour in colours[np.argsort(-counts)]:
        if len(kept) < 256 and ((kept - colour) ** 2).sum(1).min() > _ALIKE:
            kept = np.vstack([kept, colour])
    nearest = ((colours[:, None] - kept) ** 2).sum(2).argmin(1)  # (num_colours,) places in kept
    small = Image.frombytes("P", picture.size, nearest[places].astype(np.uint8).tobytes())
    small.putpalette(kept.astype(np.uint8).tobytes())
    small.save(path, optimize=True)


def _chromium() -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise StackError("Chromium is not installed; Debian: apt-get install chromium.")
    return program


if __name__ == "__main__":
    main()
