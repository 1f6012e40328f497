"""A frozen version as a classifier, whatever the architecture of its base."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    GPT2Config,
    Lfm2Config,
    PreTrainedConfig,
    Qwen3Config,
)

from preference import load_reward_model
from preference.errors import ExportError
from preference.models.pretrained import load_tokenizer
from preference.projects.folder import ProjectFolder
from preference.reward_model.extractors import Extractors
from preference.reward_model.version_zero import publish_version_zero
from preference.setting_groups import TrainingSettings
from tests.support.exported_models import CPU, export, export_into, settings_in
from tests.support.tolerance import assert_close
from tests.support.word_models import SIZES, save_words

_OLD: dict[str, Any] = {"vocab_size": SIZES["vocab_size"], "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": None}


@pytest.mark.parametrize(
    "config",
    [
        Qwen3Config(**SIZES, head_dim=8),  # which lists the kinds of its layers
        Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=16),
        GPT2Config(n_embd=32, n_layer=4, n_head=4, n_positions=256, **_OLD),
    ],
    ids=lambda config: config.model_type,
)
def test_it_is_cut_where_the_version_stops_to_read(config: PreTrainedConfig, tmp_path: Path) -> None:
    exported = export("frozen", save_words(tmp_path / "base", config), tmp_path)

    loaded = AutoModelForSequenceClassification.from_pretrained(exported.path)
    assert loaded.config.num_hidden_layers == 2  # of 4
    assert exported.said.figures.correlation is not None


def test_an_architecture_without_classifiers_is_refused_with_a_sentence(tmp_path: Path) -> None:
    base = save_words(tmp_path / "base", Lfm2Config(**SIZES, layer_types=["conv", "full_attention"] * 2))

    with pytest.raises(ExportError, match="transformers has no sequence classifier over a base of lfm2"):
        export("frozen", base, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "models"]


def test_a_reward_model_of_others_is_nothing_to_export(tiny_reward_model: Path, tmp_path: Path) -> None:
    extractors = Extractors(tmp_path / "models", CPU)
    folder = ProjectFolder(tmp_path / "models", 7)
    folder.create()
    publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors)

    with pytest.raises(ExportError, match=r"This version is .* as others trained it, with nothing to export; load that"):
        export_into(tmp_path / "model", folder, settings_in(tmp_path, tiny_reward_model))


def test_a_base_that_is_a_reward_model_keeps_its_template(tiny_reward_model: Path, tmp_path: Path) -> None:
    exported = export("adapter", tiny_reward_model, tmp_path, closing="template")

    ours, theirs = (load_tokenizer(str(path)).chat_template for path in (tiny_reward_model, exported.path))
    assert theirs == ours
    assert exported.said.figures.agreement.value == 1 and exported.said.figures.num_read_otherwise == 0


def test_an_adapter_on_a_base_in_bfloat16_is_merged_into_such_weights_and_loads(tiny_chat_base: Path, tmp_path: Path) -> None:
    exported = export("adapter", tiny_chat_base, tmp_path, dtype="bfloat16")

    assert json.loads((exported.path / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    rewards = load_reward_model(exported.path).score("Why?", ["Because.", "No."])
    ours = exported.load().score(["Why?"] * 2, ["Because.", "No."])
    assert_close(rewards, ours, within=0.1)  # of rewards with standard deviation 1
