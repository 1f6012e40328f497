"""Alignments that are killed at random moments, and taken up: real processes, a real SIGKILL. PAIRLOOP_NIGHTLY=1 kills thirty times."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load_file

from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter
from preference.projects.generators import Generators
from preference.projects.versions import Versions
from tests.conftest import SettingsFactory
from tests.support.aligned_house import AlignedHouse
from tests.support.forked import Forked
from tests.support.killed_alignments import PROGRAM
from tests.support.nightly import IS_NIGHTLY
from tests.support.statuses import status_of
from tests.support.studio_double import KEY, StudioDouble
from tests.support.tolerance import assert_same_weights
from tests.support.versions import publish_version
from trainer.aligning.alignment import UnfinishedAlignment

NUM_KILLS = 30


class House(AlignedHouse):
    """One whose alignments are processes."""

    log: Path

    def run(self, *, killed_after: float | None = None, dies_after_step: int = 0, method: str = "dpo") -> tuple[int, float]:
        """The exit status of an alignment, and the seconds that it took."""
        settings, started = self.settings, time.monotonic()
        environ = {
            "LABEL_STUDIO_URL": settings.studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(settings.model_dir), "DEVICE": "cpu",
            "GENERATOR_MODEL": settings.generator.model, "REWARD_BASE": settings.training.reward_base, "MAX_NEW_TOKENS": "24",
            "DTYPE": "float32", "HOLDOUT_FRACTION": "0.3", "TORCH_THREADS": "1", "SEED": "1", "CONTROL_PERCENT": "0",
        }  # fmt: skip
        process = Forked(
            ["-c", PROGRAM, str(self.folder.project_id), str(dies_after_step), method],
            environ={**os.environ, **environ},
            output=self.log,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(100 if killed_after is None else killed_after)
        process.kill()
        return process.wait(), time.monotonic() - started

    def check_whole(self) -> None:
        """Whether all that is visible is whole, and what is served is among it."""
        generators = Generators(self.folder)
        for version in generators.all():
            names = {path.name for path in generators.path(version).iterdir()}
            assert {"adapter_config.json", "adapter_model.safetensors", "card.json"} <= names
            HuggingFaceGenerator(self.settings).check(Adapter(version, generators.weights(version)))
        assert generators.champion() in ("base", *generators.all())

    def check_ended(self, first: str) -> None:
        """Whether the latest version learnt what the first one did, and nothing else remains."""
        generators = Generators(self.folder)
        weights = [
            load_file(generators.weights(version) / "adapter_model.safetensors") for version in (generators.all()[-1], first)
        ]
        assert_same_weights(*weights)
        assert not UnfinishedAlignment(self.folder).folder.exists()
        assert not list(self.folder.path.glob("generators/.unfinished-*"))


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory, tiny_chat_base: Path, tmp_path: Path) -> House:
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, generator_model=str(tiny_chat_base), reward_base=str(tiny_chat_base),
        max_new_tokens=24, dtype="float32", holdout_fraction=0.3, seed=1,
    )  # fmt: skip
    house = House(studio, settings)
    house.log = tmp_path / "log"
    house.judge(60)
    return house


@pytest.mark.timeout(300)
def test_an_alignment_that_is_killed_in_its_steps_is_ended_by_the_next(house: House) -> None:
    assert house.run(dies_after_step=5)[0] == -signal.SIGKILL, house.log.read_text()
    house.check_whole()
    assert Generators(house.folder).all() == []
    status = status_of(house.folder)
    assert (status.is_aligning, status.interrupted) == (False, ["alignment"])

    assert house.run()[0] == 0, house.log.read_text()

    house.check_whole()
    assert len(Generators(house.folder).all()) == 1
    assert not UnfinishedAlignment(house.folder).folder.exists() and status_of(house.folder).interrupted == []
    log = house.log.read_text()
    assert "taking up the alignment that was killed (attempt 2)" in log and "going on after step" in log


@pytest.mark.timeout(300)
def test_one_that_learns_from_rewards_is_ended_by_the_next_too(house: House, tiny_chat_base: Path) -> None:
    house.judge(90)
    house.folder.create()
    Versions(house.folder).promote(publish_version(house.folder, tiny_chat_base, weight=1))
    assert house.run(dies_after_step=2, method="rloo")[0] == -signal.SIGKILL, house.log.read_text()
    house.check_whole()
    assert Generators(house.folder).all() == []

    assert house.run(method="rloo")[0] == 0, house.log.read_text()

    house.check_whole()
    (version,) = Generators(house.folder).all()
    assert Generators(house.folder).card(version).method == "rloo"
    assert not UnfinishedAlignment(house.folder).folder.exists() and status_of(house.folder).interrupted == []
    assert "going on after step" in house.log.read_text()


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not IS_NIGHTLY, reason="fifty alignments; PAIRLOOP_NIGHTLY=1 runs it")
def test_one_that_is_killed_at_any_moment_publishes_nothing_half_and_is_ended_by_the_next(house: House) -> None:
    chance = random.Random(5)
    assert house.run()[0] == 0, house.log.read_text()
    (first,) = Generators(house.folder).all()
    status, seconds = house.run()  # the first one took longer: it computed the features of all tasks
    assert status == 0, house.log.read_text()
    num_killed = num_taken_up = 0

    for n in range(NUM_KILLS):
        killed, _ = house.run(killed_after=seconds * (n + chance.random()) / NUM_KILLS)
        num_killed += killed == -signal.SIGKILL
        num_taken_up += UnfinishedAlignment(house.folder).exists
        house.check_whole()
        if n % 2:  # twice in a row, then it ends
            assert house.run()[0] == 0, house.log.read_text()
            house.check_whole()
            house.check_ended(first)

    log = house.log.read_text()
    taken_up = {what: log.count(what) for what in ("going on after step", "it had learnt before the kill")}
    assert "Traceback" not in log
    assert num_killed >= NUM_KILLS // 2 and num_taken_up > NUM_KILLS // 3, (num_killed, num_taken_up)
    assert all(taken_up.values()), taken_up
