"""What a killed round trained on is taken up as long as its base is the same, whatever a build named that."""

import dataclasses
from pathlib import Path

import pytest

from preference.reward_model.extractors import Extractors
from preference.studio.project import LabelStudioProject
from tests.support.hub_cache import HubCache, hub_cache
from tests.support.killed_rounds import settings_in
from tests.support.lab import CPU, JudgedProject, Lab, judged_tasks
from tests.support.tiny_bases import retrain
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import read_pairs
from trainer.rounds.training_pairs import pairs_to_train_on
from trainer.rounds.unfinished import Snapshot


@pytest.fixture
def hub(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    hub.move_on(tiny_base)
    return hub


class KilledRound:
    """A round on an id that read 30 judgements, and whose next attempt reads 40."""

    def __init__(self, hub: HubCache, folder: Path) -> None:
        self._lab = Lab(settings_in(folder, Path(hub.name)))
        self._lab.folder.create()
        self.kept = self._trains_on(30)

    def _trains_on(self, num_tasks: int) -> Snapshot:
        self.context = self._context(JudgedProject(judged_tasks(num_tasks)))
        self.context.unfinished.begin()
        return pairs_to_train_on(self.context, read_pairs(self.context), None)

    def _context(self, project: LabelStudioProject) -> RoundContext:
        return RoundContext(project, self._lab.folder, self._lab.settings, Extractors(self._lab.settings.model_dir, CPU))

    def is_taken_up(self) -> bool:
        return self._trains_on(40).pairs == self.kept.pairs


def test_a_round_is_taken_up_at_a_later_commit_with_the_same_weights(hub: HubCache, tiny_base: Path, tmp_path: Path) -> None:
    killed = KilledRound(hub, tmp_path)
    hub.move_on(tiny_base, change=lambda folder: (folder / "README.md").write_text("notes"))

    assert killed.is_taken_up()


def test_a_round_is_not_taken_up_with_other_weights(hub: HubCache, tiny_base: Path, tmp_path: Path) -> None:
    killed = KilledRound(hub, tmp_path)
    hub.move_on(tiny_base, change=retrain)

    assert not killed.is_taken_up()


def test_a_round_is_taken_up_from_a_build_that_named_an_id_by_its_commit(hub: HubCache, tiny_base: Path, tmp_path: Path) -> None:
    killed = KilledRound(hub, tmp_path)
    commit = hub.move_on(tiny_base)
    key = {**killed.kept.key, "base": f"{hub.name}@{commit}"}
    killed.context.unfinished.keep(dataclasses.replace(killed.kept, key=key))

    assert killed.is_taken_up()
