"""One backend process put together; what its routes do is in test_app.py."""

import threading
from pathlib import Path
from typing import Any

from backend.serving.process import Backend
from preference.duels.duel import is_drawn
from preference.projects.versions import UNTRAINED
from tests.conftest import SettingsFactory
from tests.support.openai_double import OpenAIDouble
from tests.support.studio_double import KEY, StudioDouble, wait_until
from tests.support.studio_records import LABEL_CONFIG


class Endless(threading.Thread):
    """A thread that outlasts every wait for it, and how long it was waited for."""

    def __init__(self, end: threading.Event) -> None:
        super().__init__(target=end.wait, daemon=True)
        self.waits: list[float] = []

    def join(self, timeout: float | None = None) -> None:
        assert timeout is not None
        self.waits.append(timeout)
        super().join(timeout)


def test_a_backend_waits_for_all_its_threads_together_no_longer_than_it_is_given(settings_for: SettingsFactory) -> None:
    backend, end = Backend(settings_for(generator_engine="echo")), threading.Event()
    threads = [Endless(end) for _ in range(3)]
    for thread in threads:
        thread.start()
    backend.threads = [*threads]

    backend.stop(timeout_seconds=0.1)
    end.set()

    first, *others = [wait for thread in threads for wait in thread.waits]
    assert 0 < first <= 0.1
    assert len(others) == 2 and max(others) < 0.05


def test_a_backend_scores_with_a_reward_model_of_others_from_the_first_task_on(
    studio: StudioDouble, settings_for: SettingsFactory, tiny_reward_model: Path
) -> None:
    backend = Backend(
        settings_for(
            generator_engine="echo", label_studio_url=studio.url, label_studio_api_key=KEY, reward_model=str(tiny_reward_model)
        )
    )
    project_id = studio.add_project()
    (task,) = studio.add_tasks(project_id, {"prompt": "Why?"})
    assert backend.setup(project_id, LABEL_CONFIG, host=None) == UNTRAINED
    backend.start()
    try:
        wait_until(lambda: any(version.startswith("v0-") for version in studio.versions_of(task)))
    finally:
        backend.stop()

    version = backend.champions.of(project_id).version
    (stored,) = [made for made in studio.tasks[task]["predictions"] if made["model_version"] == version]
    assert 0.5 <= stored["score"] <= 1 and {region["type"] for region in stored["result"]} == {"number"}


def test_a_backend_with_a_second_generator_fills_duels_and_suggests_nothing_of_them(
    studio: StudioDouble, settings_for: SettingsFactory, tiny_reward_model: Path
) -> None:
    project_id = studio.add_project()
    ids = studio.add_tasks(project_id, *({"prompt": f"Prompt {n}"} for n in range(12)))
    with OpenAIDouble() as server:
        settings = settings_for(
            generator_engine="echo", label_studio_url=studio.url, label_studio_api_key=KEY, reward_model=str(tiny_reward_model),
            duel_with="openai:tiny", duel_percent=50, openai_base_url=server.url,
        )  # fmt: skip
        backend = Backend(settings)
        backend.setup(project_id, LABEL_CONFIG, host=None)
        backend.start()
        try:
            wait_until(lambda: all(studio.versions_of(task) for task in ids))
            asked = [{key: studio.tasks[task][key] for key in ("id", "data", "meta")} for task in ids]
            predicted = backend.predict(project_id, LABEL_CONFIG, asked)
        finally:
            backend.stop()
        assert len(server.prompts) == sum(is_drawn(project_id, task, 50) for task in ids) > 0

    is_duel = ["duel" in studio.tasks[task]["meta"]["pairloop"] for task in ids]
    assert is_duel == [is_drawn(project_id, task, 50) for task in ids]
    assert [studio.tasks[task]["predictions"][0]["result"] == [] for task in ids] == is_duel
    shown: list[Any] = [made["result"] if isinstance(made, dict) else [] for made in predicted]
    assert [result == [] for result in shown] == is_duel
