"""PreferenceModel in the server of label-studio-ml 2.x: a stand-in for it, and the repository itself where it was copied to:

git clone https://github.com/HumanSignal/label-studio-ml-backend.git copy
pip install --target copy colorama semver
LABEL_STUDIO_ML_2=copy python -m pytest tests/backend/test_model_under_2.py
"""

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
from tests.support import label_studio_ml_2
from tests.support.studio_records import DATA
from tests.support.versions import publish_version

PROJECT = 10  # of the recorded calls
STAND_IN = Path(label_studio_ml_2.__file__).parent
HOSTS = [STAND_IN, *(Path(copy).resolve() for copy in [os.environ.get("LABEL_STUDIO_ML_2", "")] if copy)]

# A process of its own, as one has one label_studio_ml.
HOST = """
import json, sys, time
from pathlib import Path
import label_studio_ml
from label_studio_ml.api import init_app
from backend.model import PreferenceModel

calls = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
requests = Path(sys.argv[2]) / "projects" / "10" / "requests"
client = init_app(PreferenceModel).test_client()

def post(address, body):
    response = client.post(address, json=body)
    return [response.status_code, response.get_json()]

answers = {"host": label_studio_ml.__file__, "setup": post("/setup", calls["setup"])}
end = time.monotonic() + 60
while True:  # the champion is loaded in the background
    answers["predict"] = post("/predict", calls["predict"])
    if answers["predict"][1]["results"] != [[]] or time.monotonic() > end:
        break
    time.sleep(0.05)
answers["setup again"] = post("/setup", calls["setup"])
open_task = {**calls["predict"]["tasks"][0], "data": {"prompt": "Why?", "answer1": "", "answer2": ""}}
answers["open"] = post("/predict", {**calls["predict"], "tasks": [open_task, open_task]})
answers["none"] = post("/predict", {**calls["predict"], "tasks": []})
answers["annotation"] = post("/webhook", calls["ANNOTATION_CREATED"])
answers["asked after an annotation"] = (requests / "train").exists()
answers["start"] = post("/webhook", calls["START_TRAINING"])
answers["asked after a start"] = (requests / "train").exists()
answers["health"] = client.get("/health").get_json()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=HOSTS, ids=["a stand-in", "the repository"][: len(HOSTS)])
def hosted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> dict[str, Any]:
    """What the server answered with PreferenceModel behind it."""
    scratch = tmp_path_factory.mktemp("hosted")
    folder = ProjectFolder(scratch / "models", PROJECT)
    version = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(version)
    environ = {"MODEL_DIR": str(scratch / "models"), "GENERATOR_ENGINE": "echo", "DEVICE": "cpu", "CONTROL_PERCENT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", HOST, str(DATA / "label_studio_1.23.2_calls.json"), str(scratch / "models")],
        env={**environ, "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{request.param}:{REPOSITORY}"},
        cwd=scratch, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert Path(answers["host"]).parent.parent == request.param
    return {**answers, "version": version}


def test_setup_names_the_champion_and_not_the_librarys_own_first_version(hosted: dict[str, Any]) -> None:
    assert hosted["setup again"] == [200, {"model_version": hosted["version"]}]


def test_a_text_is_the_version_before_the_champion_is_loaded(hosted: dict[str, Any]) -> None:
    status, answer = hosted["setup"]

    assert status == 200
    assert isinstance(answer["model_version"], str)


def test_a_task_gets_the_champions_prediction(hosted: dict[str, Any]) -> None:
    status, answer = hosted["predict"]

    assert status == 200
    (prediction,) = answer["results"]
    assert prediction["model_version"] == hosted["version"]
    assert prediction["result"][0]["from_name"] == "comparison"


def test_what_has_no_answers_gets_an_empty_list_and_no_tasks_get_none(hosted: dict[str, Any]) -> None:
    assert hosted["open"] == [200, {"results": [[], []]}]
    assert hosted["none"] == [200, {"results": []}]


def test_start_training_alone_asks_for_a_round(hosted: dict[str, Any]) -> None:
    assert hosted["annotation"] == hosted["start"] == [201, {"result": {}, "status": "ok"}]
    assert (hosted["asked after an annotation"], hosted["asked after a start"]) == (False, True)


def test_label_studio_finds_its_health_check(hosted: dict[str, Any]) -> None:
    assert hosted["health"] == {"status": "UP", "model_class": "PreferenceModel"}
