from pathlib import Path

import pytest
import torch

from tests.support.small_disk import small_disk
from tests.support.tolerance import assert_close
from trainer.generator_training.checkpoints import Checkpoints, Progress


def training(seed: int = 0) -> tuple[list[torch.Tensor], torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=generator, requires_grad=True) for shape in ((8, 3), (5,))]
    return weights, torch.optim.AdamW(weights, lr=0.1)


def step(weights: list[torch.Tensor], optimizer: torch.optim.Optimizer, number: int) -> None:
    sum((weight * (number + 1)).sin().sum() for weight in weights).backward()  # type: ignore[union-attr]
    optimizer.step()
    optimizer.zero_grad()


def test_a_training_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    weights, optimizer = training()
    for number in range(3):
        step(weights, optimizer, number)
    Checkpoints(tmp_path / "kept", every_seconds=0).keep(weights, optimizer, Progress(3, 6, 12.5))
    again, resumed = training(seed=1)

    assert Checkpoints(tmp_path / "kept", every_seconds=0).restore(again, resumed) == Progress(3, 6, 12.5)
    for number in range(3, 6):
        step(weights, optimizer, number)
        step(again, resumed, number)

    for own, other in zip(weights, again, strict=True):
        assert_close(own.detach().numpy(), other.detach().numpy(), within=1e-6)
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_one_is_kept_no_more_often_than_it_should_be(tmp_path: Path) -> None:
    now = 0.0
    checkpoints = Checkpoints(tmp_path / "kept", every_seconds=60, clock=lambda: now)
    weights, optimizer = training()
    kept = []

    for now in (30.0, 61.0, 90.0, 122.0):
        checkpoints.keep(weights, optimizer, Progress(int(now), 200, now))
        kept.append(checkpoints.restore(weights, optimizer))

    assert [None if progress is None else progress.step for progress in kept] == [None, 61, 61, 122]


@pytest.mark.parametrize("damage", ["cut short", "other shapes", "no file of ours"])
def test_one_that_cannot_be_used_changes_nothing(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    weights, optimizer = training()
    step(weights, optimizer, 0)
    path = tmp_path / "kept"
    kept = [*weights[:1], torch.zeros(7)] if damage == "other shapes" else weights
    Checkpoints(path, every_seconds=0).keep(kept, optimizer, Progress(1, 6, 1.0))
    if damage != "other shapes":
        path.write_bytes(path.read_bytes()[:100] if damage == "cut short" else b"{}")
    again, fresh = training(seed=1)
    before = [weight.detach().clone() for weight in again]

    assert Checkpoints(path, every_seconds=0).restore(again, fresh) is None

    assert all(torch.equal(weight, own) for weight, own in zip(before, again, strict=True))
    assert not fresh.state
    (line,) = caplog.messages
    assert line.endswith("; the training begins anew")


def test_a_full_disk_costs_the_checkpoint_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "disk") as disk:
        weights = [torch.randn(300, 300, requires_grad=True)]  # 360 kB, and twice that of moments
        optimizer = torch.optim.AdamW(weights)
        step(weights, optimizer, 0)
        checkpoints = Checkpoints(disk.path / "kept", every_seconds=0)
        checkpoints.keep(weights, optimizer, Progress(1, 6, 1.0))
        disk.leave_free(100_000)

        checkpoints.keep(weights, optimizer, Progress(2, 6, 2.0))

        assert checkpoints.restore(weights, optimizer) == Progress(1, 6, 1.0), "the one before stays"
        assert sorted(path.name for path in disk.path.iterdir()) == ["filler", "kept"]
    (line,) = [message for message in caplog.messages if "no checkpoint" in message]
    assert "No space left" in line
