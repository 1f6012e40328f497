"""What a person decides about the champion while a round runs stands until the challenger was judged against that."""

import logging
from collections.abc import Callable
from typing import cast

import pytest

from preference.labelling.holdout import Holdout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.lab import HOLDOUT, Lab, judged_tasks


class Decided(ProjectFolder):
    """A project about which a person decides `once`, when the challenger was judged and is about to be published."""

    def __init__(self, folder: ProjectFolder, once: Callable[[Versions], object]) -> None:
        super().__init__(folder.path.parent.parent, folder.project_id)
        self._versions, self._decisions = Versions(folder), [once]

    def create(self) -> None:
        super().create()
        self.decide()

    def decide(self) -> None:
        while self._decisions:
            self._decisions.pop()(self._versions)


def in_training(prompt: str) -> bool:
    return not Holdout(HOLDOUT).has(prompt)


@pytest.fixture
def versions(lab_with_champion: Lab) -> Versions:
    """A good v1, trained on 60 judgements, and v2, which learnt the opposite and was promoted by hand."""
    versions = Versions(lab_with_champion.folder)
    worse = lab_with_champion.round(judged_tasks(70, flipped=in_training)).version
    versions.promote(cast(str, worse), by="hand")
    return versions


def test_a_rollback_during_a_round_stands_if_the_challenger_is_worse_than_that_champion(
    lab_with_champion: Lab, versions: Versions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.rounds")
    lab, (good, bad) = lab_with_champion, versions.all()
    lab.folder = Decided(lab.folder, Versions.rollback)

    ended = lab.round(judged_tasks(60))

    assert (ended.outcome, versions.champion()) == ("rejected", good), "as accurate, and trained on no more judgements"
    assert versions.all() == [good, bad, ended.version], "one version, judged once and for all"
    assert (lab.card(ended).compared_with, lab.card(ended).promoted) == (good, False)
    assert [message for message in caplog.messages if "anew" in message] == [
        f"project 7: the challenger is judged anew: The champion of project 7 is {good} now, and was {bad}."
    ]


def test_a_challenger_that_is_better_than_what_was_chosen_meanwhile_is_promoted_after_it(
    lab_with_champion: Lab, versions: Versions
) -> None:
    lab, (good, _) = lab_with_champion, versions.all()
    lab.folder = Decided(lab.folder, Versions.rollback)

    ended = lab.round(judged_tasks(90))

    assert (ended.outcome, versions.champion()) == ("promoted", ended.version)
    assert lab.card(ended).compared_with == good
    assert lab.card(ended).promotions[-1].before == good


def test_a_first_champion_by_hand_is_what_the_challenger_is_judged_against(lab_with_champion: Lab, versions: Versions) -> None:
    lab, (good, _) = lab_with_champion, versions.all()
    (lab.folder.path / "champion").unlink()
    lab.folder = Decided(lab.folder, lambda versions: versions.promote(good, by="hand"))

    ended = lab.round(judged_tasks(60))

    assert (ended.outcome, versions.champion()) == ("rejected", good)
