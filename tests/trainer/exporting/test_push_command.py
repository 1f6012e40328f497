"""`pairloop-trainer push`, with the Hub's own client and a double of the Hub."""

import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import constants, snapshot_download
from pyarrow import parquet

from preference import load_reward_model
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.annotations import PROMPTS, vote
from tests.support.hub_double import TOKEN, HubDouble, Repository
from tests.support.studio_double import KEY, StudioDouble
from tests.support.versions import publish_version
from trainer.__main__ import main

# huggingface_hub 2.4 hands a file to httpx2 in a way that this calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def project_id(studio: StudioDouble, tiny_chat_base: Path, tmp_path: Path) -> int:
    """A project with twenty judged tasks and a version that it serves."""
    project_id = studio.add_project()
    for prompt in PROMPTS[:20]:
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": "Left.", "answer2": "Right, it is."})
        studio.annotate(task_id, vote("right")["result"])
    versions = Versions(ProjectFolder(tmp_path, project_id))
    versions.promote(publish_version(versions.folder, tiny_chat_base, weight=1))
    return project_id


def push(studio: StudioDouble, folder: Path, project_id: int, *arguments: str) -> Result:
    environ = {"MODEL_DIR": str(folder), "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "HOLDOUT_FRACTION": "0.5"}
    return CliRunner().invoke(main, ["push", "--project", str(project_id), *arguments], env=environ)


def test_the_model_and_the_pairs_are_sent_with_their_cards(
    studio: StudioDouble, hub: HubDouble, project_id: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    result = push(studio, tmp_path, project_id, "--to", "org/model", "--private", "--pairs", "org/pairs")

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"project {project_id}: its pairs are at {hub.url}/datasets/org/pairs"
    assert f"is at {hub.url}/org/model\n" in result.stdout
    model, pairs = hub.repositories["models/org/model"], hub.repositories["datasets/org/pairs"]
    assert model.is_private and pairs.is_private
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "version/card.json"} <= model.files.keys()
    card = model.files["README.md"].decode()
    assert 'from_pretrained("org/model")' in card and "as `REWARD_BASE`" in card
    (message,) = model.messages
    assert re.fullmatch(rf"v1-\d+-\d+ of Label Studio project {project_id}, by Pairloop", message)
    assert TOKEN not in caplog.text + result.output
    assert not any(TOKEN.encode() in content for repository in (model, pairs) for content in repository.files.values())


def test_what_was_sent_is_loaded_from_the_hub_by_the_scripts_of_its_card(
    studio: StudioDouble, hub: HubDouble, project_id: int, tiny_chat_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert push(studio, tmp_path, project_id, "--to", "org/model").exit_code == 0
    assert hub.repositories.keys() == {"models/org/model"} and not hub.repositories["models/org/model"].is_private
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    card = hub.repositories["models/org/model"].files["README.md"].decode()
    (elsewhere,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    values: dict[str, Any] = {}
    exec(compile(elsewhere, "README.md", "exec"), values)
    assert isinstance(values["reward"], float)

    monkeypatch.setenv("REWARD_BASE", str(tiny_chat_base))
    short, long = load_reward_model(snapshot_download("org/model")).score("Why?", ["No idea.", "Air scatters blue light most."])
    assert long > short
    assert (tmp_path / "cache" / "models--org--model").is_dir()


def test_the_pairs_have_a_file_for_each_split_and_nobody_in_them(
    studio: StudioDouble, hub: HubDouble, project_id: int, tmp_path: Path
) -> None:
    assert push(studio, tmp_path, project_id, "--to", "org/model", "--pairs", "org/pairs").exit_code == 0

    files = hub.repositories["datasets/org/pairs"].files
    rows = {name: parquet.read_table(io.BytesIO(files[f"{name}.parquet"])).to_pylist() for name in ("train", "holdout")}
    assert {split for split, of_split in rows.items() for row in of_split if row["split"] != split} == set()
    assert len(rows["train"]) + len(rows["holdout"]) == 20
    assert all(row["chosen"] == "Right, it is." and "annotator_id" not in row for row in rows["train"])
    card = files["README.md"].decode()
    assert "- split: train\n    path: train.parquet\n" in card and f"| train | {len(rows['train'])} |" in card
    assert 'load_dataset("org/pairs", split="train")' in card and "unused" not in card


# Refusals: one sentence each, before anything is sent


def refusal(result: Result) -> str:
    assert result.exit_code == 1, result.output
    return result.output.splitlines()[-1].removeprefix("Error: ")


def test_no_model_is_sent_if_its_pairs_are_refused(studio: StudioDouble, hub: HubDouble, project_id: int, tmp_path: Path) -> None:
    hub.repositories["datasets/org/pairs"] = Repository()
    assert refusal(push(studio, tmp_path, project_id, "--to", "org/model", "--private", "--pairs", "org/pairs")) == (
        "org/pairs is there and public, so nothing is sent; make it private on the Hub, or omit --private."
    )
    assert [repository.files for repository in hub.repositories.values()] == [{}, {}]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "The Hub does not accept your token for org/model; set HF_TOKEN to one that may write there."),
        (404, "The Hub has no org/model, or hides it from your token; check its name, and whose token HF_TOKEN is."),
        (418, "The Hub answered 418 for org/model; try again later."),
    ],
)
def test_what_the_hub_answers_is_said_before_anything_is_computed(
    studio: StudioDouble, hub: HubDouble, tmp_path: Path, status: int, sentence: str
) -> None:
    hub.refuse_with = status
    assert refusal(push(studio, tmp_path, 1, "--to", "org/model")) == sentence
    assert studio.requests == []


def test_without_a_token_or_a_network_or_a_name_nothing_is_asked(
    studio: StudioDouble, hub: HubDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(push(studio, tmp_path, 1, "--to", "a/b/c")) == (
        "'a/b/c' is no name of a repository; name one as organization/name."
    )
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert refusal(push(studio, tmp_path, 1, "--to", "org/model")) == (
        "There is no token for the Hub; set HF_TOKEN to one that may write to org/model."
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal(push(studio, tmp_path, 1, "--to", "org/model")) == (
        "HF_HUB_OFFLINE is set, so nothing is sent to the Hub; unset it for this command."
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert refusal(push(studio, tmp_path, 1, "--to", "org/model")).startswith("The Hub cannot be reached (ConnectError); check")
    assert hub.requests == [] and studio.requests == []
