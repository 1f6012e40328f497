"""Guidelines in a real Label Studio: what it keeps of them, what annotators see, and which judgements were made under which."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from backend.connecting.guidelines import instruction_of, set_guidelines
from demo.stack import Stack
from preference.projects.folder import ProjectFolder
from preference.projects.guidelines import Guidelines, note_instruction, version_of
from preference.settings import Settings
from preference.studio.account import Account
from tests.support.browser import logged_in
from tests.support.loop_stack import LABEL_CONFIG, call
from trainer.judgements.reader import read_judgements

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TEXT = """# What makes an answer better

It is **true**, and it *says* so; "perhaps" & <b>such</b> words are `fine`.

1. Is it true?

   Look it up.

In between.

2. Is it short? ~~Longer is better.~~ See [the examples](https://a.example/?b=1&c=2).

| worse | better |
|---|--:|
| 1 | 2 |

```py
if answer < 3:
    print("short")
```

<script>document.title = "run"</script> <img src=x onerror="document.title = 'run'"> [run](javascript:alert(1))
"""
LEFT = [{"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}]


def test_annotators_see_the_guidelines_and_judgements_know_their_version(
    label_studio: Stack, browser: Browser, tmp_path: Path
) -> None:
    project = Account(Settings.from_environ(label_studio.environ).studio).create_project(
        title="Guided", label_config=LABEL_CONFIG
    )
    folder = ProjectFolder(tmp_path, project.id)
    data = {"prompt": "Name a fruit.", "answer1": "A pear.", "answer2": "Fruit."}
    before, under_first, under_second, _ = project.import_tasks([{"data": data}] * 4)
    project.annotate(before, LEFT)

    first = version_of(instruction_of(TEXT))
    assert list(set_guidelines(project, folder, instruction_of(TEXT), state=project.read())) == [
        f"set the guidelines, version {first}"
    ]
    assert version_of(project.read()["expert_instruction"]) == first, "though Label Studio writes its HTML otherwise"
    assert list(set_guidelines(project, folder, instruction_of(TEXT), state=project.read())) == []
    project.annotate(under_first, LEFT)

    page = logged_in(browser, label_studio.url)
    page.goto(f"{label_studio.url}/projects/{project.id}/data?labeling=1")
    shown = page.locator(".guidelines")
    expect(shown).to_be_visible()
    expect(shown.locator("h1")).to_have_text("What makes an answer better")
    expect(shown.locator("td")).to_have_text(["1", "2"])
    expect(shown.locator("pre code")).to_have_text('if answer < 3:\n    print("short")\n')
    expect(shown.locator("li[value='2']")).to_contain_text("Is it short?")
    expect(shown.locator("ol").first).to_have_css("list-style-type", "decimal")
    expect(shown.locator("a")).to_have_attribute("href", "https://a.example/?b=1&c=2")
    assert shown.locator("script, img, b").count() == 0
    assert '<script>document.title = "run"</script>' in shown.inner_text() and "[run](javascript:alert(1))" in shown.inner_text()
    assert page.title() != "run"
    page.get_by_role("button", name="Close modal").click()
    expect(shown).to_be_hidden()
    page.get_by_role("button", name="Instructions").click()
    expect(shown.last.locator("h1")).to_have_text("What makes an answer better")
    page.close()

    call(
        label_studio,
        "PATCH",
        f"/api/projects/{project.id}/",
        json={"expert_instruction": "<p>By <i>hand</i></p><script>1</script>"},
    )
    known = note_instruction(folder, project.read()["expert_instruction"], now=time.time())
    second = known.latest.version
    project.annotate(under_second, LEFT)
    assert known.in_words(second) == f"version {second}, edited in Label Studio after connect --guidelines set version {first}"

    tasks = read_judgements(project, folder.path, state=project.read(), now=time.time())
    versions = {task["id"]: Guidelines.read(folder).at(task["annotations"][0]["created_at"]) for task in tasks}
    assert versions == {before: None, under_first: first, under_second: second}
