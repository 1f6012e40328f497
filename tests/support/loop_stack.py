"""The loop's settings in the end-to-end tests, and what they ask of a running stack."""

from typing import Any

import httpx

from demo.process import wait_until
from demo.stack import REPOSITORY, Stack
from preference.labelling.label_config import LabelingLayout
from preference.studio.project import LabelStudioProject

LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
SETTINGS = {
    "WORKERS": "2",
    "TORCH_THREADS": "1",
    "MAX_NEW_TOKENS": "8",
    "MAX_PROMPT_TOKENS": "64",
    "FILL_EVERY_SECONDS": "3600",  # so that only what is heard is filled
    "LOOK_EVERY_SECONDS": "1",
    "TRAIN_SCHEDULE": "0 3 1 1 *",
    "MIN_NEW_PAIRS": "28",
    "MIN_PAIRS": "20",
    "HOLDOUT_FRACTION": "0.4",
    "CONTROL_PERCENT": "0",
}
TOPICS = [
    "tea",
    "bread",
    "rain",
    "trains",
    "gardens",
    "chess",
    "winter",
    "music",
    "lamps",
    "rivers",
    "paper",
    "clocks",
    "bees",
    "stairs",
    "maps",
    "soup",
]


def call(stack: Stack, method: str, path: str, **options: Any) -> Any:
    """One request to Label Studio's own API, as an administrator's browser would send it."""
    answer = httpx.request(method, stack.url + path, headers={"Authorization": f"Token {stack.token}"}, timeout=60, **options)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def eventually(stack: Stack, condition: Any, *, what: str, timeout_seconds: float = 300) -> None:
    """Returns when the condition holds. To ask Label Studio more often would take the core that the others work with."""
    wait_until(condition, timeout_seconds=timeout_seconds, what=what, check=stack.check, every_seconds=0.5)


def are_answered(project: LabelStudioProject, task_ids: list[int], layout: LabelingLayout) -> bool:
    return all(None not in layout.answers(task["data"]) for task in project.tasks(task_ids).values())
