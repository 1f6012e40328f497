"""One Label Studio, one backend with its trainer and one browser for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from backend.connecting.connect import connect
from demo.stack import Stack, free_port
from preference.projects.folder import ProjectFolder
from preference.projects.versions import UNTRAINED
from preference.settings import Settings
from preference.studio.account import Account
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task
from tests.support.browser import chromium
from tests.support.forked import forked
from tests.support.loop_stack import LABEL_CONFIG, SETTINGS, TOPICS


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def label_studio(tmp_path_factory: pytest.TempPathFactory, embedded_dir: Path) -> Iterator[Stack]:
    """A stack of which Label Studio runs."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / "models").mkdir()
    (embedded_dir / "embedded").mkdir(exist_ok=True)
    (folder / "models" / "embedded").symlink_to(embedded_dir / "embedded")
    with Stack(folder, label_studio_port=free_port(), backend_port=free_port(), settings=SETTINGS) as running:
        running.backend = forked(running.backend)  # test_new_admin.py starts one as a user does
        running.start_label_studio()
        yield running


@pytest.fixture(scope="package")
def stack(label_studio: Stack) -> Iterator[Stack]:
    """The same stack, of which all three run."""
    label_studio.start_pairloop()
    yield label_studio
    for process in (label_studio.trainer, label_studio.backend):
        assert process.stop() == 0, process.log.read_text()[-2000:]
        assert "Traceback" not in process.log.read_text()


@pytest.fixture(scope="package")
def settings(stack: Stack) -> Settings:
    return Settings.from_environ(stack.environ)


@pytest.fixture(scope="package")
def project(stack: Stack, settings: Settings) -> LabelStudioProject:
    created = Account(settings.studio).create_project(title="Loop", label_config=LABEL_CONFIG)
    done = list(connect(created, ProjectFolder(settings.model_dir, created.id), settings))
    assert done == [f"connected {stack.backend_url} as {UNTRAINED}", "switched uncertainty sampling on"]
    return created


@pytest.fixture(scope="package")
def folder(settings: Settings, project: LabelStudioProject) -> ProjectFolder:
    return ProjectFolder(settings.model_dir, project.id)


@pytest.fixture(scope="package")
def judged(project: LabelStudioProject) -> list[int]:
    """Tasks that were imported with answers, one of each pair plainly better; judged by the first test that needs them."""
    tasks: list[Task] = []
    for i in range(38):
        topic = TOPICS[i % len(TOPICS)]
        good = f"You will like {topic}. Start small, look closely, and ask someone who knows {topic} well."
        poor = f"{topic} {topic} no no no zzz ??? {topic * (i % 4)}"
        left, right = (good, poor) if i % 2 else (poor, good)
        tasks.append({"data": {"prompt": f"Tell me about {topic}, part {i}.", "answer1": left, "answer2": right}})
    return project.import_tasks(tasks)
