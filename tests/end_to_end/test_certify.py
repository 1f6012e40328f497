"""Labels by the machine in a real Label Studio: certified by blind judgements, exported, shown there, audited and withdrawn."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, expect

from demo.stack import Stack
from preference.labelling.control_group import is_control
from preference.projects.versions import Versions
from preference.report_card.certificate import read_certificates
from preference.settings import Settings
from preference.studio.account import Account
from tests.support.browser import SUBMIT, logged_in
from tests.support.certified_house import SURE, UNSURE
from tests.support.dashboard_page import BROWSER, Page, app_on
from tests.support.filling_house import House
from tests.support.judgement_house import LEFT, RIGHT
from tests.support.loop_stack import LABEL_CONFIG, call
from tests.support.versions import publish_version
from trainer.__main__ import main

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
CONTROL = 50


def test_covered_tasks_are_exported_and_marked_until_blind_judgements_withdraw_the_certificate(
    label_studio: Stack, browser: Browser, tiny_base: Path, tmp_path: Path
) -> None:
    environ = {**label_studio.environ, "MODEL_DIR": str(tmp_path), "DEVICE": "cpu"}
    environ |= {"CONTROL_PERCENT": str(CONTROL), "CERTIFIED_PREDICTIONS": "true"}
    settings = Settings.from_environ(environ)
    project = Account(settings.studio).create_project(title="Certified", label_config=LABEL_CONFIG)
    tasks: list[Any] = []
    for number in range(120):
        longer, shorter = " ".join(["yes"] * (3 + (UNSURE if number % 10 == 0 else SURE))), "no no no"
        answers = (longer, shorter) if number % 2 else (shorter, longer)
        tasks.append({"data": {"prompt": f"Tell me of thing {number}.", "answer1": answers[0], "answer2": answers[1]}})
    every = project.import_tasks(tasks)
    sides = {task_id: "left" if number % 2 else "right" for number, task_id in enumerate(every)}  # where the longer answer stands
    sure = [task_id for number, task_id in enumerate(every) if number % 10]
    control = [task_id for task_id in sure if is_control(task_id, CONTROL)]

    nobody: Any = None
    with House(nobody, settings, project_id=project.id) as house:
        version = publish_version(house.folder, tiny_base, weight=2.0, newest_annotation=0)
        Versions(house.folder).promote(version)
        house.champions.of(project.id).refresh()
        assert house.run_pass()
        project.update(model_version=version)  # as `connect` does

        def run(*arguments: str) -> Result:
            return CliRunner().invoke(main, [*arguments, "--project", str(project.id)], env=environ)

        def judge(ids: list[int], *, agreeing: int) -> None:
            listed = call(label_studio, "GET", f"/api/tasks/?project={project.id}&fields=all&page_size=200")["tasks"]
            shown = {task["id"]: task["predictions"] for task in listed}
            for place, task_id in enumerate(ids):
                (blind,) = shown[task_id]
                assert blind["result"] == []
                side = sides[task_id] if place < agreeing else "left" if sides[task_id] == "right" else "right"
                body = {"result": LEFT if side == "left" else RIGHT, "parent_prediction": blind["id"], "lead_time": 5}
                call(label_studio, "POST", f"/api/tasks/{task_id}/annotations/", json=body)

        judge(control[:5], agreeing=5)
        early = run("certify")
        assert early.exit_code == 0 and "is not certified yet: there are 5 blind judgements" in early.stdout, early.output
        judge(control[5:25], agreeing=20)
        certified = run("certify")
        assert f"{version} is certified from confidence 0.96 on: " in certified.stdout, certified.output

        still_open = [task_id for task_id in sure if task_id not in control[:25]]
        out = tmp_path / "certified.jsonl"
        exported = run("export", "--certified", "--out", str(out))
        assert exported.exit_code == 0, exported.output
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["task_id"] for row in rows] == still_open
        assert all(len(row["chosen"]) > len(row["rejected"]) and row["source"] == "model" for row in rows)

        assert house.run_pass()
        (mark,) = (known.mark for known in read_certificates(house.folder.path) if known.certified_from is not None)
        marked = [task_id for task_id in still_open if task_id not in control]
        holders = [task_id for task_id, held in project.tasks(every).items() if mark in str(held["predictions_model_versions"])]
        assert holders == marked and project.model_versions() == {version: len(every), mark: len(marked)}
        page = logged_in(browser, label_studio.url)
        page.goto(f"{label_studio.url}/projects/{project.id}/data?task={marked[0]}")
        page.click(SUBMIT, timeout=60_000)
        expect(page.locator(SUBMIT)).to_have_count(0)
        page.close()
        (judged,) = project.annotated_among(marked[:1])
        (seen,) = (made for made in judged["predictions"] if made["id"] == judged["annotations"][0]["parent_prediction"])
        assert seen["model_version"] == version, "who judges sees the version's own prediction"

        judge(control[25:45], agreeing=4)
        withdrawn = run("export", "--certified", "--out", str(out))
        said = "withdrawn: people chose its side in 20.0 % of 20 blind judgements since, which 80.0 % can hardly explain"
        assert withdrawn.exit_code == 1 and said in withdrawn.stderr
        assert said in " ".join(run("report").stdout.split())
        dashboard = app_on(tmp_path).test_client().get(f"/?project={project.id}", headers=BROWSER)
        assert f"Certificate {version}-c2: {said}" in Page(dashboard).words
        assert house.run_pass()
        assert project.model_versions() == {version: len(every)}
