"""A project's first round begins when it can end with a verdict."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from preference.errors import StudioUnreachable
from preference.projects.folder import ProjectFolder
from preference.projects.status import read_overview
from preference.projects.versions import Versions
from preference.studio.project import LabelStudioProject
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.cards import EMPTY_CARD
from tests.support.due_lab import Lab
from tests.support.separable_pairs import separable_pairs
from tests.support.studio_double import KEY, StudioDouble
from trainer.daemon.due_rounds import DueRounds
from trainer.daemon.first_round import FirstRounds
from trainer.judgements.new_judgements import reach_of
from trainer.rounds.outcome import Round

LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
TIE = [{"from_name": "verdict", "to_name": "answer1", "type": "choices", "value": {"choices": ["tie"]}}]


class People:
    """Judges a project of the double, and lets the trainer look after each judgement."""

    def __init__(self, studio: StudioDouble, settings_for: SettingsFactory) -> None:
        self.studio = studio
        self.project_id = studio.add_project(label_config=LABEL_CONFIG)
        self.settings = settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)
        self.folder = ProjectFolder(self.settings.model_dir, self.project_id)
        self.folder.create()
        self.rounds = list[int]()  # at how many judgements one began
        self.num_judgements, self.num_tasks = 0, 0
        self.watch = DueRounds(self.settings, self._run)

    def _run(self, project: LabelStudioProject, folder: ProjectFolder) -> Round:
        self.rounds.append(self.num_judgements)
        draft = folder.path / "trained"
        draft.mkdir(exist_ok=True)
        reach = reach_of(project.judged_since(datetime.min.replace(tzinfo=UTC)))
        card = replace(EMPTY_CARD, num_annotations=self.num_judgements, **vars(reach))
        return Round("rejected", "worse", Versions(folder).publish(draft, card))

    def judge(self, num_tasks: int, *, annotators: int = 1, ties: bool = False) -> None:
        for pair in separable_pairs(num_tasks, start=self.num_tasks):
            self.num_tasks += 1
            data = {"prompt": pair.prompt, "answer1": pair.chosen, "answer2": pair.rejected}
            (task,) = self.studio.add_tasks(self.project_id, data)
            for _ in range(annotators):
                left = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}
                self.studio.annotate(task, TIE if ties else [left])
                self.num_judgements += 1
                self.watch.look()

    @property
    def missing(self) -> str | None:
        (status,) = read_overview(self.settings.model_dir).projects
        return status.counts.missing


@pytest.fixture
def people(studio: StudioDouble, settings_for: SettingsFactory) -> People:
    return People(studio, settings_for)


def test_one_who_judges_prompt_after_prompt_gets_a_round_after_min_pairs(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.daemon")
    people.watch.look()
    assert people.missing == "0 of 30 pairs (MIN_PAIRS); 0 of 8 held-out comparisons, about 16 more prompts"

    people.judge(29)
    assert (people.rounds, people.missing) == ([], "29 of 30 pairs (MIN_PAIRS)")
    people.judge(1)

    assert people.rounds == [30]
    assert not people.missing
    assert "project 1: no round yet: 29 of 30 pairs (MIN_PAIRS)" in caplog.messages
    assert "project 1: round begins (30 new judgements)" in caplog.messages
    people.judge(49)
    assert people.rounds == [30]
    people.judge(1)
    assert people.rounds == [30, 80], "later ones begin after MIN_NEW_PAIRS"


def test_many_who_judge_few_prompts_wait_for_prompts(people: People) -> None:
    people.judge(9, annotators=5)
    assert people.rounds == []
    assert people.missing == "4 of 8 held-out comparisons, about 8 more prompts"

    people.judge(8, annotators=5)

    assert people.rounds == [16 * 5 - 4], "eight of sixteen prompts can be held out, whatever HOLDOUT_FRACTION is"


def test_ties_give_nothing_to_judge_by(people: People) -> None:
    people.judge(40, ties=True)

    assert people.rounds == []
    assert people.missing == "0 of 8 held-out comparisons, about 16 more prompts"
    people.watch.scheduled()
    assert people.rounds == [], "nor has the schedule a round that could not end"


def test_who_asks_for_a_round_gets_its_answer(lab: Lab) -> None:
    lab.missing = "3 of 8 held-out comparisons, about 10 more prompts"
    lab.projects[1].num_annotations = 100
    lab.watch.look()
    assert lab.rounds == []

    lab.folders[1].request("train")
    lab.watch.look()

    assert lab.rounds == [1]


def test_judgements_are_read_when_their_number_has_changed(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.daemon")
    read = list[int]()

    def evidence(project: LabelStudioProject, folder: ProjectFolder) -> str:
        read.append(folder.project_id)
        return "too little"

    first_rounds = FirstRounds(evidence)
    said = [first_rounds.missing(lab.projects[1], lab.folders[1], number) for number in (0, 0, 1, 1, 2)]

    assert (said, read) == (["too little"] * 5, [1, 1, 1])
    assert caplog.messages == ["project 1: no round yet: too little"], "logged when it changes"
    first_rounds.forget(1)
    first_rounds.missing(lab.projects[1], lab.folders[1], 2)
    assert len(read) == 4


def test_a_label_studio_that_does_not_answer_is_asked_again(lab: Lab) -> None:
    answers: Iterator[Exception | str] = iter([StudioUnreachable("Label Studio does not answer."), "too little"])

    def evidence(project: LabelStudioProject, folder: ProjectFolder) -> str:
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    first_rounds = FirstRounds(evidence)
    with pytest.raises(StudioUnreachable):
        first_rounds.missing(lab.projects[1], lab.folders[1], 3)

    assert first_rounds.missing(lab.projects[1], lab.folders[1], 3) == "too little"


@pytest.fixture
def lab(settings_for: SettingsFactory) -> Lab:
    return Lab(settings_for(min_new_pairs=10))
