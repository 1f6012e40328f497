"""`preference.load_reward_model`: what scripts and TRL's trainers get."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from preference import load_reward_model
from preference.errors import PairloopError, VersionRefused
from preference.labelling.conversations import NoPrompt
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel
from preference.reward_model.probe import load_version
from tests.conftest import REPOSITORY
from tests.support.tolerance import REWARDS, assert_close
from tests.support.versions import publish_version

CPU = torch.device("cpu")
ANSWERS = ["Because.", "Because the moon looked at the cat."]
QUICK = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
         "max_steps": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "num_generations": 2, "max_completion_length": 8,
         "logging_steps": 1}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_chat_base: Path) -> ProjectFolder:
    """Project 12 with three versions; the second is served."""
    folder = ProjectFolder(tmp_path / "models", 12)
    for weight in (1, 2, 3):
        publish_version(folder, tiny_chat_base, weight=weight)
    Versions(folder).promote(Versions(folder).find("v2"))
    return folder


@pytest.fixture
def model_dir(folder: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What MODEL_DIR names."""
    monkeypatch.setenv("MODEL_DIR", str(folder.path.parent.parent))
    return folder.path.parent.parent


def reference(folder: ProjectFolder, name: str) -> RewardModel:
    extractors = Extractors(folder.path.parent.parent, CPU)
    return load_version(folder, Versions(folder).find(name), extractor=extractors, device=CPU)


# What is loaded


@pytest.mark.parametrize(("name", "number"), [("12", "v2"), ("12@v1", "v1"), ("12@v3", "v3")])
def test_a_name_is_the_served_version_or_that_one(folder: ProjectFolder, model_dir: Path, name: str, number: str) -> None:
    model = load_reward_model(name)

    assert model.version == Versions(folder).find(number)
    assert_close(model.score("Why?", ANSWERS), reference(folder, number).score(["Why?"] * 2, ANSWERS), within=REWARDS)


def test_a_folder_needs_no_setting_and_may_have_been_copied(
    folder: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    version = Versions(folder).find("v3")
    copied = shutil.copytree(Versions(folder).path(version), tmp_path / "copied")
    expected = reference(folder, "v3").score(["Why?"] * 2, ANSWERS)

    for place in (Versions(folder).path(version), copied, str(copied)):
        model = load_reward_model(place)
        assert model.version == version
        assert_close(model.score("Why?", ANSWERS), expected, within=REWARDS)


def test_a_script_scores_texts_and_conversations_and_keeps_nothing(folder: ProjectFolder) -> None:
    model = load_reward_model("12", model_dir=folder.path.parent.parent)
    before = sorted(folder.path.parent.parent.rglob("*"))

    shorter, longer = model.score("Why?", ANSWERS)
    as_messages = model.score([{"role": "user", "content": "Why?"}], ANSWERS)

    assert longer > shorter and 0.5 < model.confidence(shorter, longer) < 1
    assert_close(as_messages, [shorter, longer], within=REWARDS)
    assert model.score("Why?", []) == []
    assert sorted(folder.path.parent.parent.rglob("*")) == before
    with pytest.raises(NoPrompt, match="a prompt is empty"):
        model.score(" ", ANSWERS)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("13", "Project 13 has no version in MODEL_DIR="),
        ("12@v9", "Project 12 has no version 'v9'; it has: v1-"),
        ("nowhere", "'nowhere' is neither a folder nor a project's number"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_so(model_dir: Path, name: str, why: str) -> None:
    with pytest.raises(PairloopError, match=re.escape(why)):
        load_reward_model(name)


def test_a_folder_that_is_no_version_or_not_what_its_card_says_is_refused(
    folder: ProjectFolder, tmp_path: Path, tiny_chat_base: Path
) -> None:
    wrong = publish_version(folder, tiny_chat_base, weight=1, probe={"reward": 9.0})

    with pytest.raises(PairloopError, match="is not a model card"):
        load_reward_model(tmp_path)
    with pytest.raises(VersionRefused, match="its probe scores"):
        load_reward_model(Versions(folder).path(wrong))


# As a reward function of TRL's


def test_a_batch_of_prompts_and_completions_has_its_rewards_in_order(folder: ProjectFolder, model_dir: Path) -> None:
    model = load_reward_model("12")
    prompts = ["Why?", "Who?", "Why?"]
    as_messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    completions = ["Because.", "<think>Who?</think>\n\nThe cat.", ""]
    said = [[{"role": "assistant", "content": text}] for text in completions]

    rewards = model(prompts=prompts, completions=completions, completion_ids=[[1]] * 3, column=[1, 2, 3])

    expected = [model.score(prompt, [text])[0] for prompt, text in zip(prompts, ["Because.", "The cat.", ""], strict=True)]
    assert_close(rewards, expected, within=REWARDS)
    assert_close(model(prompts=as_messages, completions=said), expected, within=REWARDS)
    with pytest.raises(NoPrompt, match="the other way round"):
        model(prompts=prompts, completions=said)


@pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own
@pytest.mark.parametrize(
    ("trainer_of", "config_of", "conversational", "concurrent"),
    [
        (GRPOTrainer, GRPOConfig, False, False),
        (GRPOTrainer, GRPOConfig, True, True),
        (RLOOTrainer, RLOOConfig, True, False),
        (RLOOTrainer, RLOOConfig, False, True),
    ],
)
def test_a_step_of_trls_trainers_is_rewarded_by_it(
    model_dir: Path, tmp_path: Path, tiny_chat_base: Path, trainer_of: Any, config_of: Any, conversational: bool, concurrent: bool
) -> None:
    model = load_reward_model("12@v3")
    asked: list[tuple[list[Any], list[float]]] = []
    prompts: list[Any] = ["Why?", "Who?"] * 2
    if conversational:
        prompts = [[{"role": "user", "content": prompt}] for prompt in prompts]

    trainer = trainer_of(
        model=AutoModelForCausalLM.from_pretrained(tiny_chat_base),
        reward_funcs=[watched(model, asked, concurrent=concurrent)],
        args=config_of(output_dir=str(tmp_path / "out"), **QUICK),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(tiny_chat_base),
    )
    trainer.train()

    ((completions, rewards),) = asked
    assert len(completions) == len(rewards) == 4
    logged = next(entry for entry in trainer.state.log_history if "reward" in entry)
    assert_close(logged[f"rewards/pairloop-{model.version}/mean"], sum(rewards) / 4, within=REWARDS)


def watched(model: Any, asked: list[tuple[list[Any], list[float]]], *, concurrent: bool) -> Callable[..., Any]:
    """The reward function, and what it is asked."""
    if concurrent:

        async def watch_concurrently(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
            rewards: list[float] = await model.concurrent(prompts, completions, **columns)
            asked.append((completions, rewards))
            return rewards

        watch_concurrently.__name__ = model.concurrent.__name__
        return watch_concurrently

    def watch(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        rewards: list[float] = model(prompts, completions, **columns)
        asked.append((completions, rewards))
        return rewards

    watch.__name__ = model.__name__
    return watch


# The manual


@pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own
def test_the_scripts_of_the_manual_run(
    model_dir: Path, tmp_path: Path, tiny_chat_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("Why?", "Who?", "How?", "When?")]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    scripts = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/rewards.md").read_text(encoding="utf-8"), re.DOTALL)
    scored, trained = scripts
    small = {'"Qwen/Qwen3-0.6B"': repr(str(tiny_chat_base)), 'output_dir="grpo"': f'output_dir="grpo", **{QUICK}'}
    for real, tiny in small.items():
        assert real in trained
        trained = trained.replace(real, tiny)

    values: dict[str, Any] = {}
    exec(compile(scored, "docs/rewards.md", "exec"), values)
    assert len(values["rewards"]) == 2 and 0.5 <= values["confidence"] < 1
    exec(compile(trained, "docs/rewards.md", "exec"), values)
    assert values["trainer"].state.global_step == 1
