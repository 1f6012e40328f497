import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.conftest import REPOSITORY
from tests.support.studio_double import CALLS
from tests.support.studio_records import DATA
from tests.support.versions import publish_version

PROJECT = 10  # of the recorded calls

# A process of its own: the backend behind PreferenceModel belongs to the process, and label_studio_ml sets
# multiprocessing's start method for all of it.
HOST = """
import json, sys, time
from pathlib import Path
from label_studio_ml.api import init_app
from backend.model import PreferenceModel

calls = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
model_dir, jobs = Path(sys.argv[2]), sys.argv[3]
client = init_app(PreferenceModel, model_dir=jobs).test_client()
answers = {"setup": client.post("/setup", json=calls["setup"]).get_json()}
end = time.monotonic() + 60
while True:  # the champion is loaded in the background
    answers["predict"] = client.post("/predict", json=calls["predict"]).get_json()
    if answers["predict"]["results"] != [[]] or time.monotonic() > end:
        break
    time.sleep(0.05)
open_task = {**calls["predict"]["tasks"][0], "data": {"prompt": "Why?", "answer1": "", "answer2": ""}}
answers["open"] = client.post("/predict", json={**calls["predict"], "tasks": [open_task, open_task]}).get_json()["results"]
nameless = {key: value for key, value in open_task.items() if key != "project"}
answers["nameless"] = client.post("/predict", json={**calls["predict"], "tasks": [nameless]}).get_json()["results"]
answers["none"] = client.post("/predict", json={**calls["predict"], "tasks": []}).get_json()["results"]
requests = model_dir / "projects" / "10" / "requests"
model = PreferenceModel(label_config=calls["setup"]["schema"])
model.fit((), event="ANNOTATION_CREATED", data=calls["ANNOTATION_CREATED"], job_id="1", workdir=jobs)
answers["after an annotation"] = sorted(path.name for path in requests.iterdir())
model.fit("START_TRAINING", calls["START_TRAINING"])  # as 2.x calls it
answers["after 2.x"] = sorted(path.name for path in requests.iterdir())
(requests / "train").unlink()
client.post("/webhook", json=calls["START_TRAINING"])
while not (requests / "train").exists() and time.monotonic() < end:  # 1.0.9 runs fit in a new process
    time.sleep(0.05)
answers["after 1.0.9"] = sorted(path.name for path in requests.iterdir())
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, Any]:
    """What label-studio-ml's own server answered with PreferenceModel behind it."""
    scratch = tmp_path_factory.mktemp("hosted")
    folder = ProjectFolder(scratch / "models", PROJECT)
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    # label-studio-tools 0.0.4, which label-studio-ml 1.0.9 imports, has an invalid escape.
    warnings = ["-W", "error", "-W", "ignore:invalid escape sequence", "-W", "ignore::ResourceWarning"]
    environ = {"PATH": os.environ["PATH"], "MODEL_DIR": str(scratch / "models"), "GENERATOR_ENGINE": "echo", "DEVICE": "cpu"}
    environ["CONTROL_PERCENT"] = "0"
    arguments = [str(DATA / "label_studio_1.23.2_calls.json"), str(scratch / "models"), str(scratch / "jobs")]
    done = subprocess.run(
        [sys.executable, *warnings, "-c", HOST, *arguments],
        env={**environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)},
        cwd=scratch, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**answers, "version": version}


def test_setup_answers_with_a_text_as_version(hosted: dict[str, Any]) -> None:
    assert hosted["setup"] == {"model_version": "INITIAL"}  # 1.0.9 names its own version, whatever the model says


def test_predict_answers_with_the_champions_version(hosted: dict[str, Any]) -> None:
    (prediction,) = hosted["predict"]["results"]

    assert prediction["model_version"] == hosted["version"]
    assert prediction["result"][0]["from_name"] == "comparison"
    assert CALLS["predict"]["tasks"][0]["project"] == PROJECT  # where 1.0.9 lets us learn the project


def test_tasks_without_answers_get_an_empty_list_each(hosted: dict[str, Any]) -> None:
    assert hosted["open"] == [[], []]


def test_tasks_that_name_no_project_get_an_empty_list(hosted: dict[str, Any]) -> None:
    assert hosted["nameless"] == [[]]


def test_no_tasks_get_no_entries(hosted: dict[str, Any]) -> None:
    assert hosted["none"] == []


def test_start_training_becomes_a_request_under_both_lines_of_label_studio_ml(hosted: dict[str, Any]) -> None:
    assert hosted["after 1.0.9"] == hosted["after 2.x"] == ["fill", "train"]


def test_an_annotation_trains_nothing(hosted: dict[str, Any]) -> None:
    assert hosted["after an annotation"] == ["fill"]
