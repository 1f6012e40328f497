"""What is asked of a backend's routes, and what they must answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.serving.process import Backend
from preference.labelling.prompts import Prompt
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.model import RewardModel
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version

PROJECT = 10  # of the recorded calls
ANSWERED = {"prompt": "Why?", "answer1": "Because.", "answer2": "Because the moon looked at the cat."}


def promote(backend: Backend, base: Path, *, project: int = PROJECT, weight: float = 1) -> str:
    folder = ProjectFolder(backend.settings.model_dir, project)
    version = publish_version(folder, base, weight=weight)
    Versions(folder).promote(version)
    backend.champions.of(project).refresh()
    return version


def predict(
    client: FlaskClient, datas: Sequence[dict[str, Any]], *, project: int = PROJECT, label_config: str = LABEL_CONFIG
) -> Any:
    tasks = [{"id": number, "data": data} for number, data in enumerate(datas)]
    answer = client.post("/predict", json={"tasks": tasks, "project": f"{project}.123", "label_config": label_config})
    assert answer.status_code == 200, answer.text
    return answer.get_json()["results"]


def folder_of(backend: Backend, project: int = PROJECT) -> ProjectFolder:
    return ProjectFolder(backend.settings.model_dir, project)


def assert_refused(answer: TestResponse, status: int) -> str:
    """The refusal's one line, which its JSON and its reason phrase share."""
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    body = answer.get_json()
    assert list(body) == ["error"]
    line = str(body["error"])
    assert line and "\n" not in line and "Traceback" not in answer.text
    assert answer.status == f"{status} {line[:300]}".rstrip()  # the cut may leave a space at the end
    return line


class Failing(RewardModel):
    """A reward model that cannot score."""

    def __init__(self) -> None: ...

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        raise ZeroDivisionError("secret words")

    def _save_weights(self, folder: Path) -> None: ...
