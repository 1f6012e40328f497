"""The generator's loop on a real Label Studio, with a real daemon, real gunicorn and a tiny base: by the clock it learns from what people
judged and is judged itself, somebody promotes it on the dashboard, and the tasks after that are answered by it.

The tests of this file share one backend and build on each other, in their order."""

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.connecting.connect import connect
from demo.process import Process
from demo.stack import PROGRAMS, Stack, answers_up, free_port
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators
from preference.projects.status_files import LastAlignment
from preference.projects.trainer_heartbeat import is_alive
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, Task
from tests.support.forked import forked, run_forked
from tests.support.judgement_house import LEFT, RIGHT
from tests.support.loop_stack import LABEL_CONFIG, are_answered, eventually
from tests.support.preferred_letters import BAD, GOOD, words

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
# As the fixture `tiny_chat_base`, without torch in this process.
SAVE_BASE = """
import pathlib, sys
from tests.support.tiny_bases import CHAT_TEMPLATE, save_tiny_base
save_tiny_base(pathlib.Path(sys.argv[1]), chat_template=CHAT_TEMPLATE)
"""


class Loop:
    """Two projects, a backend for both, and a trainer that lets generators learn every few seconds."""

    def __init__(self, stack: Stack, model_dir: Path, base: Path) -> None:
        self.stack, self.base, port = stack, base, free_port()
        self.url = f"http://127.0.0.1:{port}"
        environ = {
            **stack.environ, "MODEL_DIR": str(model_dir), "PORT": str(port), "WORKERS": "1", "GENERATOR_MODEL": str(base),
            "REWARD_BASE": str(base), "DTYPE": "float32", "DEVICE": "cpu", "DUEL_PERCENT": "0", "SEED": "1", "MIN_NEW_PAIRS": "1000",
            "ALIGN_SCHEDULE": "2s", "ALIGN_MIN_NEW_PAIRS": "60", "LOG_LEVEL": "INFO",
        }  # fmt: skip
        self.settings = Settings.from_environ(environ)
        self.backend = forked(self._process("backend", "serve", environ, lambda: answers_up(self.url)))
        self.trainer = forked(self._process("trainer", "run", environ, lambda: is_alive(model_dir)))
        self.projects = [
            Account(self.settings.studio).create_project(title=f"Alignment {n}", label_config=LABEL_CONFIG) for n in range(2)
        ]
        self.folders = [ProjectFolder(model_dir, project.id) for project in self.projects]

    def _process(self, name: str, command: str, environ: dict[str, str], is_up: Any) -> Process:
        log = self.stack.folder / "logs" / f"alignment-{name}.log"
        return Process(name, [str(PROGRAMS / f"pairloop-{name}"), command], environ, log, is_up)

    def answered_record(self, project: LabelStudioProject, prompt: str) -> dict[str, Any]:
        """What the record of a new task says once the backend has answered it."""
        ids = project.import_tasks([{"data": {"prompt": prompt, "answer1": "", "answer2": ""}}])
        eventually(self.stack, lambda: are_answered(project, ids, LAYOUT), what=f"an answer to {prompt!r}")
        record: dict[str, Any] = project.tasks(ids)[ids[0]]["meta"][META_KEY]
        return record

    def page(self) -> str:
        """The dashboard of the first project."""
        return httpx.get(f"{self.url}/?project={self.projects[0].id}", headers={"Accept": "text/html"}).text


@pytest.fixture(scope="module")
def loop(label_studio: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    base = tmp_path_factory.mktemp("tiny") / "tiny-chat-base"
    assert run_forked(SAVE_BASE, base).returncode == 0
    loop = Loop(label_studio, tmp_path_factory.mktemp("models"), base)
    loop.backend.start()
    loop.backend.wait_until_up(timeout_seconds=120)
    for project, folder in zip(loop.projects, loop.folders, strict=True):
        list(connect(project, folder, loop.settings))
    yield loop
    for process in (loop.trainer, loop.backend):
        if process.pid:
            assert process.stop() == 0, process.log.read_text()[-2000:]
        assert "Traceback" not in process.log.read_text()


def judged_tasks(num_tasks: int) -> Iterator[Task]:
    """Tasks with two answers each, of which somebody chose the one of good letters."""
    chance = random.Random(0)
    for number in range(num_tasks):
        good, bad = words(chance, GOOD), words(chance, BAD)
        left, right = (good, bad) if number % 2 else (bad, good)
        yield {
            "data": {"prompt": f"Tell me of thing {number}.", "answer1": left, "answer2": right},
            "annotations": [{"result": LEFT if number % 2 else RIGHT}],
        }


def test_by_the_clock_a_generator_learns_from_what_people_judged(loop: Loop) -> None:
    project, folder = loop.projects[0], loop.folders[0]
    project.import_tasks(list(judged_tasks(90)))
    assert "generator_version" not in loop.answered_record(project, "Tell me of the base.")

    loop.trainer.start()
    eventually(loop.stack, lambda: LastAlignment.read(folder.path).outcome, what="an alignment to end")

    assert LastAlignment.read(folder.path).outcome in ("promoted", "rejected"), loop.trainer.log.read_text()[-3000:]
    (version,) = Generators(folder).all()
    card = Generators(folder).card(version)
    assert (card.base, card.method) == (str(loop.base), "dpo") and (card.num_pairs or 0) > 30
    assert card.metrics.wins.value is not None and (card.metrics.judge_accuracy.value or 0) > 0.8 and card.reason
    log = loop.trainer.log.read_text()
    assert f"project {project.id}: an alignment is due (90 new judgements)" in log
    assert f"project {project.id}: alignment begins (it was asked for)" in log and f" {version}: {card.reason}" in log
    assert f"project {loop.projects[1].id}: an alignment" not in log, "it has no judgements"


def test_whoever_promotes_it_on_the_dashboard_gets_answers_by_it_without_a_restart(loop: Loop) -> None:
    project, folder = loop.projects[0], loop.folders[0]
    (version,) = Generators(folder).all()
    if Generators(folder).champion() == version:
        Generators(folder).rollback()
    page = loop.page()
    assert "The base answers" in page
    (token,) = set(re.findall(r'name="token" value="([^"]+)"', page))
    form = {"button": "promote", "project": str(project.id), "version": version, "token": token}

    pressed = httpx.post(f"{loop.url}/buttons", data=form, headers={"Accept": "text/html"})

    assert pressed.status_code == 303, pressed.text
    assert Generators(folder).champion() == version
    assert loop.answered_record(project, "Tell me of the new one.")["generator_version"] == version
    assert f"{version.partition('-')[0]} answers" in loop.page()
    served = f'pairloop_generator_info{{project="{project.id}",version="{version}"}} 1.0'
    assert served in httpx.get(f"{loop.url}/metrics").text


def test_two_projects_have_a_version_each_over_one_base(loop: Loop) -> None:
    first, second = loop.projects
    learnt = Generators(loop.folders[0])
    (version,) = learnt.all()
    # The same weights under another name; tests/preference/generation/test_huggingface_adapters.py has two that differ.
    own = Generators(loop.folders[1]).publish(
        learnt.weights(version), replace(learnt.card(version), project_id=second.id), promote=True
    )

    records = [loop.answered_record(project, "Tell me of both.") for project in (first, second)]

    assert [record["generator_version"] for record in records] == [version, own]
    assert len({record["generator"] for record in records}) == 1
    Generators(loop.folders[1]).promote(BASE, by="hand")
    assert "generator_version" not in loop.answered_record(second, "Tell me of the base again.")
