import dataclasses
import gc
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, Trainer

from preference.errors import TrainingError
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import SequenceRewardModel, load_saved
from tests.support.separable_pairs import separable_pairs
from tests.support.tiny_bases import save_tiny_base
from tests.support.tolerance import REWARDS, assert_close, assert_same_weights
from tests.support.trainings import CPU, Bench, quick, recorded_training, score, weights_of
from trainer.training.checkpoints import newest_checkpoint
from trainer.training.progress import check_reporters
from trainer.training.trl_trainer import fit_sequence


@pytest.fixture
def bench(tiny_base: Path, tmp_path: Path) -> Bench:
    return Bench(tiny_base, tmp_path)


def weights(model: SequenceRewardModel) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in weights_of(model).items()}


def test_a_training_tells_nobody_of_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.delenv("CI", raising=False)  # TRL is silent there
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *args, **options: sent.append((args, options)))

    bench.fit(separable_pairs(4), quick(epochs=1))

    assert sent == []


@pytest.mark.parametrize("place", ["_move_model_to_device", "training_step"])
def test_memory_that_runs_out_is_one_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 512.00 MiB.")

    monkeypatch.setattr(Trainer, place, run_out)
    with pytest.raises(TrainingError) as refused:
        bench.fit(separable_pairs(4), quick(epochs=1))
    assert str(refused.value).startswith("The memory is too small for recipe 'full' with 4 pairs of up to 1024 tokens ")
    assert "end what else runs there, take RECIPE=lora, a smaller REWARD_BASE" in str(refused.value)


# Weights and margins


def test_a_pair_without_weight_leaves_no_trace(bench: Bench) -> None:
    pairs, recipe = separable_pairs(4), quick(batch_pairs=5, epochs=2)
    nothing = dataclasses.replace(separable_pairs(1, start=30)[0], weight=0)
    other = dataclasses.replace(nothing, chosen=nothing.rejected, rejected=nothing.chosen)

    one = weights(bench.fit([*pairs, nothing], recipe))
    another = weights(bench.fit([*pairs, other], recipe))

    assert_same_weights(one, another)


@pytest.mark.parametrize("votes", [(1, 1, 1, 1), (1, 0.5, 0.25, 0.5)], ids=["TRL's own", "weighted"])
@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (0, 0.5, 1, 0)], ids=["without margins", "with margins"])
def test_the_loss_is_the_weighted_mean_over_the_pairs(bench: Bench, votes: Sequence[float], margins: Sequence[float]) -> None:
    pairs = [
        dataclasses.replace(pair, weight=weight, margin=margin)
        for pair, weight, margin in zip(separable_pairs(4), votes, margins, strict=True)
    ]
    recipe = quick(batch_pairs=4, epochs=1, learning_rate=1e-12, center_coefficient=0.1)  # one step, two pairs at a time

    trained = bench.fit(pairs, recipe, checkpoint_seconds=0)

    chosen, rejected = (reward.double().numpy() for reward in score(trained, pairs))
    losses = np.logaddexp(0, -(chosen - rejected - margins)) + 0.1 * (chosen + rejected) ** 2
    assert logged_losses(bench) == [pytest.approx(np.average(losses, weights=votes), rel=1e-4)]


def logged_losses(bench: Bench) -> list[float]:
    """What TRL logged of each step, as the last checkpoint remembers it."""
    checkpoint = newest_checkpoint(bench.workspace.folder / "base")
    assert checkpoint is not None
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def test_pairs_that_are_alike_are_trained_on_as_trl_does(bench: Bench) -> None:
    pairs = separable_pairs(8)
    halves = [dataclasses.replace(pair, weight=0.5) for pair in pairs]

    with recorded_training() as steps:
        plain, halved = weights(bench.fit(pairs, quick())), weights(bench.fit(halves, quick()))

    assert_same_weights(plain, halved)
    assert {name for step in steps for name in step} == {"input_ids", "attention_mask"}, "no column that says nothing"


# What goes wrong


def test_a_loss_that_is_no_number_ends_training_and_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(TrainingError) as caught:
        bench.fit(separable_pairs(8), quick(learning_rate=1e30))

    assert str(caught.value) == (
        "The loss became nan at step 2 of 6; lower the learning rate of recipe 'full' (1e+30) in trainer/training/recipes.py, "
        "or look for damaged weights in REWARD_BASE."
    )


def test_damaged_weights_are_noticed_at_the_first_step(tmp_path: Path) -> None:
    folder = save_tiny_base(tmp_path / "base")
    network = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    network.model.layers[0].mlp.up_proj.weight.data[0, 0] = float("nan")
    network.save_pretrained(folder)

    with pytest.raises(TrainingError, match=r"^The loss became nan at step 1 of 2; .*damaged weights in REWARD_BASE\.$"):
        Bench(folder, tmp_path).fit(separable_pairs(8), quick(epochs=1))


def test_a_second_gpu_is_refused_with_what_to_set(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"DEVICE=cuda:1 is another; set CUDA_VISIBLE_DEVICES=1 and DEVICE=cuda\.$"):
        context = dataclasses.replace(bench.context, extractors=Extractors(tmp_path, torch.device("cuda:1")))
        fit_sequence(separable_pairs(4), quick(), context, bench.workspace)


def test_a_disk_that_takes_no_checkpoint_costs_no_round(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    (bench.workspace.folder / "base").mkdir(parents=True)
    for step in range(1, 7):
        (bench.workspace.folder / "base" / f"checkpoint-{step}").touch()  # a file where a folder should be made

    trained = bench.fit(separable_pairs(8), quick(), checkpoint_seconds=0)

    assert torch.stack(score(trained, separable_pairs(8))).isfinite().all()
    assert f"no checkpoint could be written to {bench.workspace.folder / 'base'}" in caplog.text


# What is served is what was trained


def test_training_in_bfloat16_leaves_a_network_that_computes_in_float32(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as on a GPU
    pairs = separable_pairs(8)

    trained = bench.fit(pairs, quick())

    trained.save(tmp_path)
    loaded = load_saved(tmp_path, extractor=Extractors(tmp_path, CPU), device=CPU)
    for before, after in zip(score(trained, pairs), score(loaded, pairs), strict=True):
        assert_close(after, before, within=REWARDS)


def test_a_training_looks_for_garbage_among_its_own_objects_alone(bench: Bench) -> None:
    num_spared: list[int] = []

    def count(phase: str, about: dict[str, int]) -> None:
        if about["generation"] == 2:
            num_spared.append(gc.get_freeze_count())

    gc.unfreeze()  # of tests/conftest.py
    gc.callbacks.append(count)
    try:
        bench.fit(separable_pairs(4), quick(epochs=1))
        num_afterwards = gc.get_freeze_count()
    finally:
        gc.callbacks.remove(count)
        gc.freeze()

    assert sum(number > 100_000 for number in num_spared) >= 2, "accelerate's and ours spare the objects of modules"
    assert num_afterwards == 0


# REPORT_TO


def missing_package() -> str:
    return next(name for name in ("swanlab", "trackio", "mlflow", "wandb") if importlib.util.find_spec(name) is None)


def test_a_reporter_that_is_not_installed_is_named_with_the_setting() -> None:
    name = missing_package()

    with pytest.raises(TrainingError) as caught:
        check_reporters(name)

    assert str(caught.value).startswith(f"REPORT_TO={name} cannot be followed: ")
    assert str(caught.value).endswith(f"; pip install {name}, or set REPORT_TO=none.")


def test_a_reporter_that_transformers_does_not_know_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"^REPORT_TO=nowhere cannot be followed: nowhere is not supported, only "):
        check_reporters("nowhere")


def test_no_reporter_is_the_default() -> None:
    check_reporters("none")


def test_tensorboards_files_lie_in_the_run_folder_with_every_step(bench: Bench) -> None:
    bench.fit(separable_pairs(8), quick(epochs=2), report_to="tensorboard")

    (file,) = (bench.workspace.curves / "base").glob("events.*")
    assert file.read_bytes().count(b"train/loss") == 4
