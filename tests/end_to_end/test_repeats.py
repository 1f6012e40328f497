"""Comparisons come back to people in a real Label Studio."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from backend.new_tasks.repeats import ask_for_repeats
from demo.stack import Stack
from preference.errors import ExportError
from preference.labelling.controls.repeats import repeat_of
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.results import Pairwise
from preference.projects.status_files import OpenRepeats
from preference.settings import Settings
from preference.studio.account import Account
from tests.support.filling_house import House
from tests.support.loop_stack import LABEL_CONFIG, call
from tests.support.person import Person
from trainer.exporting.export import judgement_rows
from trainer.judgements.new_judgements import NewJudgements
from trainer.people.agreement import people_figures
from trainer.people.judgements import judgements_of
from trainer.rounds.reading import read_pairs
from trainer.rounds.reading_context import ReadingContext

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)


@pytest.fixture
def house(settings: Settings, tiny_base: Path, tmp_path: Path) -> Iterator[House]:
    """A project of thirty tasks whose filler runs in this process; a version lights a side of each."""
    settings = settings.replace(model_dir=tmp_path, suggest_from=0.5, control_percent=0, suggest_held_out=True)
    project = Account(settings.studio).create_project(title="Repeats", label_config=LABEL_CONFIG)
    project.import_tasks(
        [{"data": {"prompt": f"p{n}", "answer1": f"first {n} {'x' * n}", "answer2": f"second {n}"}} for n in range(30)]
    )
    project.update(sampling="Uncertainty sampling")
    with House(cast(Any, None), settings, project_id=project.id) as house:
        version = house.promote(tiny_base, weight=1.0)
        house.fill()
        project.update(model_version=version)  # as the title of a connection, which this project has none of
        assert look(house) == 0, "nothing was judged yet"
        yield house


def look(house: House) -> int:
    """As the filler does, for a share that draws every judgement, and people who forget soon."""
    project = house.project()
    made = ask_for_repeats(project, house.folder, LAYOUT, state=project.read(), share=0.999, least_between=3)
    if made:
        house.fill()  # which scores the copy
    return made


def lit(task: dict[str, Any]) -> str:
    """The text of the answer that the task's page lights."""
    side = Pairwise.choice(LAYOUT, task["predictions"][0]["result"])
    assert side is not None
    return str(task["data"]["answer1" if side == "left" else "answer2"])


def choose(person: Person, task: dict[str, Any], text: str) -> None:
    person.judge(task, "left" if task["data"]["answer1"] == text else "right")


@pytest.fixture
def people(stack: Stack, house: House) -> Iterator[list[Person]]:
    everyone = [Person(stack, f"{name}-{house.project_id}", house.project_id) for name in ("ann", "ben")]
    yield everyone
    for person in everyone:
        person.close()


def test_a_comparison_comes_back_to_whoever_judged_it_and_counts_for_nothing_but_agreement(
    stack: Stack, house: House, people: list[Person]
) -> None:
    project, (ann, ben) = house.project(), people
    seen: dict[int, dict[str, Any]] = {}

    def is_repeat(task: dict[str, Any]) -> bool:
        return repeat_of(project.tasks([task["id"]])[task["id"]]) is not None

    def judge_one(person: Person) -> None:
        task = person.next_task()
        assert not is_repeat(task)
        seen[task["id"]] = task
        choose(person, task, task["data"]["answer1"])

    def come_back(person: Person, *, same: bool = True) -> None:
        """The next task of all is the copy, which shows the same of the same answers; the person says the same, or not."""
        assert look(house) == 1
        copy = person.next_task()
        repeat = repeat_of(project.tasks([copy["id"]])[copy["id"]])
        assert repeat is not None, (copy["id"], copy["predictions"], project.tasks(OpenRepeats.read(house.folder.path).open))
        first = seen[repeat.of_task]
        assert (copy["data"]["answer1"], copy["data"]["answer2"]) == (first["data"]["answer2"], first["data"]["answer1"])
        assert lit(copy) == lit(first)
        rewards = [Pairwise.shown(LAYOUT, task["predictions"][0]["result"]).rewards for task in (first, copy)]
        assert rewards[0] == rewards[1][::-1] and None not in rewards[0]
        choose(person, copy, first["data"]["answer1" if same else "answer2"])

    for _ in range(3):
        judge_one(ann)
    for number in range(5):
        judge_one(ann)
        come_back(ann, same=number > 0)
    judge_one(ann)
    come_back(ben)  # who came first
    num_judged = len(seen)

    context = ReadingContext(project, house.folder, house.settings)
    reading = read_pairs(context)
    assert len(reading.pairs) == num_judged and reading.dropped == {"judged again": 6}
    figures = people_figures(judgements_of(reading.pairs), again=judgements_of(reading.again))
    (row,) = figures.annotators
    assert row.num_judgements == num_judged and row.with_self is not None
    assert (row.with_self.value, row.with_self.count) == (0.8, 5)
    assert figures.num_shared == 1, "what another said of a comparison tells how two people agree"
    num_new = NewJudgements.since(None).count(project, int(project.read()["total_annotations_number"]))
    assert num_new == num_judged, "second judgements begin no round"
    rows, excluded = judgement_rows(project.annotated_tasks(), format_name="trl", layout=LAYOUT, holdout=Holdout(0.2))
    assert len(rows) == num_judged and excluded == Counter({"judged again": 6})
    with pytest.raises(ExportError, match="6 judged again"):
        again = (task for task in project.annotated_tasks() if repeat_of(task))
        judgement_rows(again, format_name="trl", layout=LAYOUT, holdout=Holdout(0.2))

    for _ in range(3):
        judge_one(ben)
    judge_one(ben)
    assert look(house) == 1
    (copy,) = OpenRepeats.read(house.folder.path).open
    of_task = call(stack, "GET", f"/api/tasks/{copy}/")["meta"]["pairloop_repeat"]["of_task"]
    project.remove_task(of_task)
    other = next(task for task in project.open_tasks(above=0, most=100) if repeat_of(task) is None)
    ann.judge({**other, "predictions": []}, "left")
    look(house)
    left = [repeat_of(task) for task in project.open_tasks(above=0, most=100)]
    assert of_task not in [repeat.of_task for repeat in left if repeat], "a copy that nobody judged goes with its task"
