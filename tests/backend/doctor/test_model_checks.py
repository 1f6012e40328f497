"""What doctor says of the models that the settings name."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from backend.doctor.model_checks import FROZEN_SHARE
from preference.models import number_formats
from preference.models.files import read_header
from tests.support.clinic import Clinic
from tests.support.openai_double import OpenAIDouble
from tests.support.studio_double import StudioDouble
from tests.support.tiny_bases import save_tiny_reward_model
from tests.support.web_double import serving
from trainer.training.recipes import FROZEN


@pytest.fixture
def clinic(studio: StudioDouble, tmp_path: Path) -> Iterator[Clinic]:
    with Clinic(studio, tmp_path) as clinic:
        yield clinic


NAMES = {"GENERATOR_MODEL": "generator", "REWARD_BASE": "reward base", "REWARD_MODEL": "reward model"}


@pytest.mark.parametrize("variable", ["GENERATOR_MODEL", "REWARD_BASE"])  # REWARD_MODEL has the check of REWARD_BASE
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: shutil.rmtree(folder), "cannot be loaded"),  # no folder, so the id of a model that nobody has
        (lambda folder: (folder / "model.safetensors").unlink(), "has no safetensors weights"),
        (lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"), "is cut, or no safetensors file"),
        (lambda folder: (folder / "config.json").unlink(), "FileNotFoundError"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": '), "JSONDecodeError"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "has no tokenizer"),
    ],
    ids=["no folder", "no weights", "weights that were not fetched", "no config", "a damaged config", "no tokenizer"],
)
def test_a_model_that_cannot_be_loaded_from_its_folder(
    clinic: Clinic, tmp_path: Path, tiny_base: Path, variable: str, damage: Callable[[Path], object], sentence: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    damage(folder)

    row = clinic.cross(**{"GENERATOR_ENGINE": "huggingface", variable: str(folder)})

    assert row["check"] == NAMES[variable]
    assert row["found"].startswith(f"{variable}={folder}: ") and sentence in row["found"]
    assert clinic.is_well()


def test_a_reward_base_in_a_folder(clinic: Clinic, tiny_base: Path) -> None:
    found = clinic.doctor(REWARD_BASE=str(tiny_base))["reward base"]["found"]
    assert re.fullmatch(r"tiny-base: its weights take 0\.0 of [0-9.]+ GB of this machine with RECIPE=frozen", found)


def test_a_generators_server_that_wants_a_name(clinic: Clinic) -> None:
    with OpenAIDouble() as server:
        server.models = ["one", "two"]
        changes = {"GENERATOR_ENGINE": "openai", "OPENAI_BASE_URL": server.url}

        row = clinic.cross(**changes)

        assert (row["check"], row["fix"]) == ("generator", "set GENERATOR_MODEL to the one that shall write.")
        assert clinic.is_well(**changes, GENERATOR_MODEL="two")


def test_a_generator_from_a_folder_is_looked_at_without_loading_its_weights(clinic: Clinic, tiny_base: Path) -> None:
    rows = clinic.doctor(GENERATOR_ENGINE="huggingface", GENERATOR_MODEL=str(tiny_base))

    assert rows["generator"]["found"] == "huggingface: tiny-base"


# Reward models of others


def test_a_reward_model_in_a_folder(clinic: Clinic, tmp_path: Path) -> None:
    assert clinic.doctor()["reward model"]["found"] == "none is set"
    row = clinic.doctor(REWARD_MODEL=str(save_tiny_reward_model(tmp_path / "judge")))["reward model"]
    assert re.fullmatch(r"judge: its weights take 0\.0 of [0-9.]+ GB of this machine", row["found"])


def test_a_reward_model_that_is_none(clinic: Clinic, tmp_path: Path, tiny_base: Path) -> None:
    row = clinic.cross(REWARD_MODEL=str(tiny_base))
    assert row["found"].endswith("has no score head: it is a LlamaForCausalLM")
    assert row["fix"].startswith("name a sequence classifier with one label")

    of_two = save_tiny_reward_model(tmp_path / "sentiment", num_labels=2)
    row = clinic.cross(REWARD_MODEL=str(of_two))
    assert row["found"].endswith("gives an answer 2 numbers, and a reward model gives one")
    assert clinic.is_well()


# What a machine has no memory for


def make_huge(folder: Path, num_layers: int) -> None:
    """Gives a folder weights of 4 TB a layer, of which the disk holds none."""
    numbers = 10**12
    header = {
        f"model.layers.{layer}.weight": {
            "dtype": "F32",
            "shape": [numbers],
            "data_offsets": [4 * numbers * layer, 4 * numbers * (layer + 1)],
        }
        for layer in range(num_layers)
    }
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 4 * numbers * num_layers)


def test_weights_that_lie_there_for_others_are_not_counted(clinic: Clinic, tmp_path: Path, tiny_base: Path) -> None:
    """As in Mistral's folders: the parts of a list, and the same again in one file."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "mistral"))
    tensors, _ = read_header(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    make_huge(folder, num_layers=2)
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")

    assert ": its weights take 0.0 of " in clinic.doctor(REWARD_BASE=str(folder))["reward base"]["found"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
@pytest.mark.parametrize(("has_bfloat16", "taken"), [(True, "2000.0"), (False, "4000.0")], ids=["with bfloat16", "without"])
def test_weights_on_a_gpu_take_what_the_setting_gives_them(
    clinic: Clinic, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool, taken: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bfloat16)
    folder = Path(shutil.copytree(tiny_base, tmp_path / "huge"))
    make_huge(folder, num_layers=1)

    assert f"its weights take {taken} GB" in clinic.cross(REWARD_BASE=str(folder), RECIPE="lora", DEVICE="cuda")["found"]


@pytest.mark.parametrize(
    ("recipe", "dtype", "taken"),
    [("frozen", "auto", "4000.0"), ("frozen", "bfloat16", "2000.0"), ("lora", "auto", "8000.0"), ("full", "auto", "32000.0")],
)
def test_a_base_that_the_memory_cannot_hold(
    clinic: Clinic, tmp_path: Path, tiny_base: Path, recipe: str, dtype: str, taken: str
) -> None:
    folder = Path(shutil.copytree(tiny_base, tmp_path / "huge"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    make_huge(folder, num_layers=2)

    row = clinic.cross(REWARD_BASE=str(folder), RECIPE=recipe, REWARD_DTYPE=dtype)

    assert row["check"] == "reward base"
    assert f"its weights take {taken} GB with RECIPE={recipe}, and this machine has " in row["found"]
    assert row["fix"] == "take a smaller model, a RECIPE that takes less (docs/recipes.md), or more memory"
    assert clinic.is_well()


def test_frozen_reads_the_layers_that_doctor_counts() -> None:
    assert pytest.approx(max(FROZEN.layer_shares)) == FROZEN_SHARE


# Ids


class Gate(BaseHTTPRequestHandler):
    """A hub that has one model and lets nobody read it."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("X-Error-Message", "Access to model is restricted")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.parametrize("variable", NAMES)
def test_a_gated_model(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    with serving(Gate) as address:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}")
        row = clinic.cross(**{"GENERATOR_ENGINE": "huggingface", variable: "tests/gated"})

    assert (row["check"], row["found"]) == (
        NAMES[variable],
        f"{variable}=tests/gated: The model 'tests/gated' is gated, and this machine's token may not read it",
    )
    assert row["fix"] == ("accept its terms at https://huggingface.co/tests/gated and set HF_TOKEN to a token of that account.")


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_base_in_nf4_takes_a_seventh_of_float32_and_needs_its_library(
    clinic: Clinic, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    monkeypatch.setattr(number_formats, "find_spec", lambda name: object() if is_installed else None)
    folder = Path(shutil.copytree(tiny_base, tmp_path / "huge"))
    make_huge(folder, num_layers=2)

    row = clinic.cross(REWARD_BASE=str(folder), RECIPE="lora", REWARD_DTYPE="nf4")

    if is_installed:
        assert "its weights take 1125.0 GB with RECIPE=lora" in row["found"]
    else:
        assert (row["found"], row["fix"]) == (
            "A base in nf4 needs bitsandbytes, which is not installed",
            "pip install 'pairloop[four-bit]'.",
        )
    assert clinic.is_well()
