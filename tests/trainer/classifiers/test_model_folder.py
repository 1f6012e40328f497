"""A version as a folder: programs without Pairloop load it, and it says what it is worth."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from preference import load_reward_model
from preference.errors import ExportError, ModelError
from preference.report_card.card import ReportCard
from tests.support.exported_models import CENTER, SCALE, Exported, export, export_into, settings_in
from tests.support.four_bit import needs_bitsandbytes
from tests.support.nightly import IS_NIGHTLY
from tests.support.small_disk import small_disk
from tests.support.tolerance import REWARDS, assert_close

PROMPT, ANSWERS = "Tell me of a cat.", ["The cat is kind.", "Zzx cat qqw zx!", ""]
NIGHTLY = pytest.mark.skipif(not IS_NIGHTLY, reason="a Python of its own takes 20 s of a core")
MakeExported = Callable[[str], Exported]


@pytest.fixture(scope="module")
def exported(tiny_chat_base: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeExported:
    """What a version of a kind was exported as; only to be read."""

    def make(kind: str) -> Exported:
        return export(kind, tiny_chat_base, tmp_path_factory.mktemp(kind))

    return cache(make)


def conversation(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]


def rewards_elsewhere(folder: Path) -> torch.Tensor:
    """What transformers alone makes of the answers, padded on the left, as RewardBench pads."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    inputs: Any = tokenizer.apply_chat_template(
        [conversation(answer) for answer in ANSWERS], padding=True, return_dict=True, return_tensors="pt"
    )
    with torch.inference_mode():
        logits: torch.Tensor = model(**inputs).logits.squeeze(-1)
    return logits


@pytest.mark.parametrize("kind", ["sequence", "adapter"])
def test_a_classifier_has_its_rewards_but_for_a_constant(exported: MakeExported, kind: str) -> None:
    of_version = exported(kind).load().score([PROMPT] * 3, ANSWERS)

    assert_close(rewards_elsewhere(exported(kind).path), of_version + CENTER / SCALE, within=REWARDS)
    assert exported(kind).said.is_the_version
    assert exported(kind).said.figures.agreement.value == 1


def test_a_frozen_version_is_come_near_to_with_fewer_layers(exported: MakeExported) -> None:
    said, version = exported("frozen").said, exported("frozen").load()

    assert not said.is_the_version
    assert (said.figures.correlation or 0) > 0.9 and said.figures.num_read_otherwise <= 2  # which are cut
    assert json.loads((exported("frozen").path / "config.json").read_text())["num_hidden_layers"] == 2  # of 4
    ours, theirs = version.score([PROMPT] * 3, ANSWERS), rewards_elsewhere(exported("frozen").path)
    assert ours.argmax() == theirs.argmax()


@needs_bitsandbytes
def test_an_adapter_over_a_base_in_nf4_is_come_near_to_in_bfloat16(
    tiny_chat_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REWARD_BASE", str(tiny_chat_base))
    made = export("adapter", tiny_chat_base, tmp_path, dtype="nf4")
    version = made.load().score([PROMPT] * 3, ANSWERS)

    assert not made.said.is_the_version
    assert load_file(made.path / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].dtype == torch.bfloat16
    assert "over a base of 4 bits a weight (nf4)" in (made.path / "README.md").read_text(encoding="utf-8")
    elsewhere = rewards_elsewhere(made.path)
    assert (made.said.figures.correlation or 0) > 0.9 and elsewhere.argmax() == version.argmax()
    assert_close(load_reward_model(made.path, device="cpu").score(PROMPT, ANSWERS), version, within=REWARDS)


@pytest.mark.parametrize("kind", ["frozen", "sequence", "adapter"])
def test_pairloop_loads_the_folder_as_the_version(
    exported: MakeExported, kind: str, tiny_chat_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REWARD_BASE", str(tiny_chat_base))
    model = load_reward_model(exported(kind).path)

    assert model.version == exported(kind).version
    assert_close(model.score(PROMPT, ANSWERS), exported(kind).load().score([PROMPT] * 3, ANSWERS), within=REWARDS)


@pytest.mark.parametrize("kind", ["frozen", "sequence"])
def test_the_scripts_of_the_card_run_in_the_folder_and_its_figures_are_those_that_the_command_prints(
    exported: MakeExported, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(exported(kind).path)
    text = Path("README.md").read_text(encoding="utf-8")
    scripts = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    values: dict[str, Any] = {}
    for script in scripts:
        exec(compile(script, "README.md", "exec"), values)

    assert isinstance(values["reward"], float)
    assert len(values.get("rewards", [])) == (0 if kind == "frozen" else 2)
    said = exported(kind).said.figures
    assert said.exported.value is not None
    assert f"| held-out accuracy of the exported model | {said.exported.value:.3f} (" in text
    assert ("**It only comes near the version**" in text) == (kind == "frozen")
    assert f"held-out accuracy of the exported model: {said.exported.value:.3f}" in str(exported(kind).said)


def test_a_pipeline_gives_bare_rewards(exported: MakeExported) -> None:
    classify: Any = pipeline("text-classification", model=str(exported("sequence").path))
    texts = [classify.tokenizer.apply_chat_template(conversation(answer), tokenize=False) for answer in ANSWERS]

    scores = [row["score"] for row in classify(texts, batch_size=3)]

    assert_close(scores, rewards_elsewhere(exported("sequence").path), within=REWARDS)


def test_no_figure_of_a_person_or_a_task_is_in_it(exported: MakeExported) -> None:
    empty = json.loads(ReportCard().to_json())["report"]
    for path in (exported("sequence").path / "card.json", exported("frozen").path / "version" / "card.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        assert card["report"] == empty and card["fields"] == {}


@pytest.mark.parametrize("kind", ["frozen", "sequence", "adapter"])
def test_no_path_of_this_machine_is_in_it(exported: MakeExported, kind: str, tiny_chat_base: Path) -> None:
    path = exported(kind).path
    files = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert {name for name, content in files.items() if str(tiny_chat_base.parent).encode() in content} == set()
    held = "version/" if kind == "frozen" else ""
    card, described = (json.loads(files[f"{held}{name}.json"]) for name in ("card", "reward_model"))
    assert card["base"] == described["base"] == tiny_chat_base.name and card["rater"] == ""


def test_a_version_that_names_its_base_without_a_place_asks_for_it(
    exported: MakeExported, tiny_chat_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError) as refused:
        load_reward_model(exported("frozen").path)
    assert str(refused.value) == (
        f"The version in {exported('frozen').path / 'version'} needs its base {tiny_chat_base.name!r}, a folder of the machine "
        "that it was exported on; set REWARD_BASE to a copy of that folder, with that name."
    )
    text = (exported("frozen").path / "README.md").read_text(encoding="utf-8")
    assert f"It needs the base {tiny_chat_base.name}, as `REWARD_BASE`: a folder of that name." in text


def test_transformers_4_finds_what_it_needs(exported: MakeExported) -> None:
    config, tokenizer = (
        json.loads((exported("frozen").path / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("config", "tokenizer_config")
    )
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]  # else it gives token types, too


# TRL's own command


def grpo(folder: Path, base: Path, scratch: Path) -> list[str]:
    prompts = scratch / "prompts"
    prompts.mkdir()
    rows = [{"prompt": conversation("")[:1]}] * 4
    (prompts / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return [
        *("--model_name_or_path", str(base), "--reward_model_name_or_path", str(folder), "--dataset_name", str(prompts)),
        *("--output_dir", str(scratch / "out"), "--use_cpu", "--bf16", "False", "--gradient_checkpointing", "False"),
        *("--report_to", "none", "--max_steps", "1", "--per_device_train_batch_size", "4", "--num_generations", "2"),
        *("--max_completion_length", "8", "--logging_steps", "1", "--save_strategy", "no", "--disable_tqdm", "True"),
    ]


@pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own
@pytest.mark.parametrize("kind", ["frozen", "sequence"])
def test_the_script_of_trl_grpo_learns_from_it(
    exported: MakeExported, kind: str, tiny_chat_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from trl.scripts.grpo import main, make_parser

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    parsed = make_parser(prog="trl grpo").parse_args_and_config(args=grpo(exported(kind).path, tiny_chat_base, tmp_path))

    main(*parsed)  # type: ignore[no-untyped-call]

    logged = re.search(rf"'rewards/{kind}/mean': '?(-?[\d.]+)", capsys.readouterr().out)
    assert logged is not None
    assert (tmp_path / "out" / "model.safetensors").is_file()


@NIGHTLY
def test_the_command_trl_grpo_learns_from_it(exported: MakeExported, tiny_chat_base: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("trl")), "grpo", *grpo(exported("frozen").path, tiny_chat_base, tmp_path)]
    environ = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert "rewards/frozen/mean" in ended.stdout


# Whole or not at all


def test_what_is_there_is_not_overwritten(tiny_chat_base: Path, tmp_path: Path) -> None:
    (tmp_path / "sequence").mkdir()
    with pytest.raises(ExportError, match="exists; name a folder that does not, since nothing is overwritten"):
        export("sequence", tiny_chat_base, tmp_path)
    assert list((tmp_path / "sequence").iterdir()) == []


def test_a_full_disk_leaves_nothing(exported: MakeExported, tiny_chat_base: Path, tmp_path: Path) -> None:
    of = exported("sequence")
    with small_disk(tmp_path / "disk") as disk:
        disk.leave_free(100_000)
        with pytest.raises(ExportError, match=r"sequence cannot be written \(.*\); free some space, or name another folder"):
            export_into(disk.path / "sequence", of.folder, settings_in(of.path.parent, tiny_chat_base))
        disk.free()
        assert [path.name for path in disk.path.iterdir()] == []
