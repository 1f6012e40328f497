"""What a round reads: the pairs that it trains on, and those that it is judged on."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from preference.errors import LayoutError
from preference.labelling.holdout import NEWEST_RULE, Holdout
from preference.labelling.prompts import normalised
from preference.projects.guidelines import note_instruction, version_of
from preference.projects.versions import Versions
from preference.studio.task import Task
from tests.conftest import REPOSITORY, SettingsFactory
from tests.support.lab import HOLDOUT, JudgedProject, Lab, judged_tasks
from tests.support.version_house import CARD, trained_in
from trainer.rounds.context import RoundContext
from trainer.rounds.reading import Reading, read_pairs


class House:
    """A project folder with versions whose cards say what they held out, and the readings of rounds after them."""

    def __init__(self, lab: Lab, trained: Path) -> None:
        self.lab, self._trained = lab, trained

    def publish(self, **held_out: Any) -> None:
        Versions(self.lab.folder).publish(self._trained, replace(CARD, **held_out))

    def read(self, tasks: list[dict[str, Any]]) -> tuple[Reading, Holdout]:
        """What the next round reads, and what it holds out."""
        return self.read_project(JudgedProject(tasks))

    def read_project(self, project: JudgedProject, **options: Any) -> tuple[Reading, Holdout]:
        """The same of a project of one's own."""
        context = RoundContext(project, self.lab.folder, self.lab.settings, self.lab.extractors, **options)
        return read_pairs(context), context.holdout


@pytest.fixture
def house(settings_for: SettingsFactory, tmp_path: Path) -> House:
    return House(Lab(settings_for(holdout_fraction=HOLDOUT)), trained_in(tmp_path))


def with_twins(num_tasks: int) -> list[dict[str, Any]]:
    """Judged tasks, and as many whose prompts have no full stop."""
    tasks = judged_tasks(2 * num_tasks)
    for task, twin in zip(tasks[:num_tasks], tasks[num_tasks:], strict=True):
        twin["data"] = {**task["data"], "prompt": task["data"]["prompt"].removesuffix(".")}
    return tasks


def test_twins_of_a_prompt_are_all_trained_on_or_all_held_out(house: House) -> None:
    reading, _ = house.read(with_twins(100))

    train, held_out = ({normalised(pair.prompt) for pair in pairs} for pairs in (reading.train, reading.votes))
    assert not train & held_out
    assert len(train | held_out) == 100
    assert len(reading.train) + len(reading.votes) == 200


def test_a_project_under_way_holds_out_what_it_did_before(house: House) -> None:
    tasks = judged_tasks(200)
    house.publish(holdout_fraction=HOLDOUT)

    reading, holdout = house.read(tasks)

    assert holdout.rule == 1
    before = Holdout(HOLDOUT, rule=1)
    assert [pair.prompt for pair in reading.train] == [
        task["data"]["prompt"] for task in tasks if not before.has(task["data"]["prompt"])
    ]
    assert len(reading.train) + len(reading.votes) == 200


def test_no_version_is_judged_by_twins_of_what_it_trained_on(house: House) -> None:
    house.publish(holdout_fraction=HOLDOUT)

    reading, _ = house.read(with_twins(100))

    train, held_out = ({normalised(pair.prompt) for pair in pairs} for pairs in (reading.train, reading.votes))
    assert held_out and not train & held_out
    assert all(Holdout(HOLDOUT, rule=1).has(pair.prompt) for pair in reading.votes)


def test_a_larger_fraction_than_before_judges_by_what_no_version_trained_on(house: House) -> None:
    house.publish(holdout_fraction=HOLDOUT / 2, holdout_rule=NEWEST_RULE)

    reading, holdout = house.read(judged_tasks(200))

    assert holdout.rule == NEWEST_RULE
    assert reading.votes and all(Holdout(HOLDOUT / 2).has(pair.prompt) for pair in reading.votes)
    assert not any(Holdout(HOLDOUT).has(pair.prompt) for pair in reading.train)


def test_the_tasks_that_show_nothing_are_those_by_which_the_served_version_was_judged(house: House) -> None:
    """SUGGEST_HELD_OUT=false, after a first round that held out more than HOLDOUT_FRACTION."""
    house.lab.settings = house.lab.settings.replace(suggest_held_out=False, control_percent=0)
    house.publish(holdout_fraction=0.6, holdout_rule=NEWEST_RULE)
    Versions(house.lab.folder).promote(Versions(house.lab.folder).all()[0])
    project = JudgedProject(judged_tasks(200))

    context = RoundContext(project, house.lab.folder, house.lab.settings, house.lab.extractors)

    prompts = [f"Tell me of {number}." for number in range(200)]
    assert [context.control.has(1, prompt) for prompt in prompts] == [Holdout(0.6).has(prompt) for prompt in prompts]
    assert read_pairs(context).holds_out.fraction == HOLDOUT, "the next round needs no more"


def test_the_newest_annotation_is_known_whatever_it_says(house: House) -> None:
    tasks = judged_tasks(5)
    tasks[2]["annotations"].append({"id": 900, "completed_by": 1, "was_cancelled": True, "parent_prediction": None, "result": []})

    assert house.read(tasks)[0].newest_annotation == 900
    assert house.read([])[0].newest_annotation is None


def test_judgements_of_which_the_condition_does_not_hold_are_counted(settings_for: SettingsFactory, tmp_path: Path) -> None:
    house = House(Lab(settings_for(holdout_fraction=HOLDOUT, judgements_where="clarity>=3; tone=kind")), trained_in(tmp_path))
    tasks = judged_tasks(10)
    for number, task in enumerate(tasks):
        stars = {"from_name": "clarity", "to_name": "prompt", "type": "rating", "value": {"rating": number % 5 + 1}}
        task["annotations"][0]["result"].append(stars)
    graded = CONFIG.replace("<Pairwise", '<Rating name="clarity" toName="prompt"/><Pairwise')

    reading, _ = house.read_project(JudgedProject(tasks, label_config=graded))

    assert (len(reading.pairs), reading.dropped) == (6, {"filtered out": 4}), "the project has no tone"


CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")


class Reconfigured(JudgedProject):
    """A project that has the first of these label configs; each time that its tasks are read, somebody sets the next."""

    def __init__(self, tasks: list[dict[str, Any]], *configs: str) -> None:
        super().__init__(tasks)
        self._configs = list(configs)

    def read(self) -> dict[str, Any]:
        return {**super().read(), "label_config": self._configs[0]}

    def annotated_tasks(self, *, page_size: int = 200) -> Iterator[Task]:
        yield from super().annotated_tasks(page_size=page_size)
        if len(self._configs) > 1:
            self._configs.pop(0)

    def task_states(self, *, changed_since: str | None = None, page_size: int = 1000) -> Iterator[Task]:
        return iter(())  # no judgement changes


def test_a_label_config_that_changes_while_judgements_are_read_is_that_of_the_pairs(house: House) -> None:
    tasks = judged_tasks(5)
    for task in tasks:
        task["data"] = {"prompt": task["data"]["prompt"], "a": task["data"]["answer1"], "b": task["data"]["answer2"]}
    renamed = CONFIG.replace("$answer1", "$a").replace("$answer2", "$b")

    reading, _ = house.read_project(Reconfigured(tasks, CONFIG, renamed))

    assert len(reading.pairs) == 5 and not reading.dropped
    assert reading.fields == {"prompt": "prompt", "left": "a", "right": "b"}


def test_a_label_config_in_which_the_answers_changed_places_turns_no_judgement_round(house: House) -> None:
    house.publish(fields={"prompt": "prompt", "left": "answer1", "right": "answer2"})

    with pytest.raises(LayoutError, match="each earlier judgement would count for the other answer"):
        house.read_project(Reconfigured(judged_tasks(5), CONFIG.replace("answer1,answer2", "answer2,answer1")))

    assert len(house.read_project(Reconfigured(judged_tasks(5), CONFIG))[0].pairs) == 5


class Guided(JudgedProject):
    """A project with guidelines."""

    def read(self) -> dict[str, Any]:
        return {**super().read(), "expert_instruction": "<p>Be kind.</p>"}


def test_each_judgement_has_the_version_of_the_guidelines_that_stood_when_it_was_made(house: House) -> None:
    tasks = judged_tasks(4)
    for task, day in zip(tasks, (1, 2, 4, 5), strict=True):
        task["annotations"][0]["created_at"] = f"2026-01-0{day}T00:00:00Z"
    now = datetime(2026, 1, 3, tzinfo=UTC).timestamp()
    note_instruction(house.lab.folder, "", now=0)

    reading, _ = house.read_project(Guided(tasks), clock=lambda: now)

    version = version_of("<p>Be kind.</p>")
    assert [pair.guidelines for pair in reading.pairs] == [None, None, version, version]
    assert {pair.guidelines for pair in (*reading.train, *reading.votes, *reading.holdout)} == {None, version}


def test_no_round_is_lost_for_guidelines_that_are_not_known(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.lab.folder.create()
    (house.lab.folder.path / "guidelines.json").write_text("{")

    reading, _ = house.read_project(Guided(judged_tasks(5)))

    assert [pair.guidelines for pair in reading.pairs] == [None] * 5
    assert "guidelines.json cannot be read (ValidationError)" in caplog.messages[-1]
