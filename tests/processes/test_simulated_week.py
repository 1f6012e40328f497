"""A week that hypothesis draws, with a clock of its own, real rounds and a double of Label Studio.

Two projects. People judge, edit, delete, promote and roll back, also while a round runs; Label Studio or a folder is away for a
while; the trainer starts again. At any time every judgement that stands was read by the latest round or is counted as new, the
champion is what a person or the judge decided last, and no project waits for another.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.lab import CPU
from tests.support.nightly import IS_NIGHTLY
from tests.support.separable_pairs import separable_pairs
from tests.support.studio_double import KEY, StudioDouble
from trainer.daemon.due_rounds import DueRounds
from trainer.judgements.cache_file import JudgementFile
from trainer.rounds.outcome import Round
from trainer.rounds.round import run_round

WEEKS, STEPS = (40, 50) if IS_NIGHTLY else (4, 50)
MINUTE, DAY = 60.0, 24 * 3600.0
MIN_PAIRS, MIN_NEW_PAIRS = 8, 6
WHICH = st.integers(min_value=0, max_value=10**6)
PROJECTS = st.sampled_from((0, 1))
THEN = st.sampled_from(("", "look", "night"))  # what the trainer does after people did something


class Interrupted(Extractors):
    """Lets something happen in the middle of a round: after it read the judgements, before it judges."""

    meanwhile: Callable[[], object] | None = None

    def __call__(self, recipe: FeatureRecipe) -> FeatureExtractor:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return super().__call__(recipe)


@dataclass
class Expected:
    """What must be true of one project."""

    project_id: int
    champion: str | None = None  # as decided last
    unread: set[int] = field(default_factory=set)  # ids of what was judged or edited since a round read


class Week(RuleBasedStateMachine):
    """One week of two projects."""

    def __init__(self, make: Callable[[StudioDouble], Settings], extractors: Interrupted, happened: Counter[str]) -> None:
        """`make`: settings with a MODEL_DIR of their own; `happened`: counts what happened in all weeks."""
        super().__init__()
        self.happened = happened
        self.studio = StudioDouble()
        self.now = 1_790_000_000.0
        self.studio.clock = lambda: self.now
        self.settings = make(self.studio)
        self.extractors = extractors
        self.expected = [Expected(self.studio.add_project()) for _ in range(2)]
        self.folders = [ProjectFolder(self.settings.model_dir, expected.project_id) for expected in self.expected]
        for project in self.folders:
            project.create()
        self.num_pairs = 0
        self.is_broken: set[int] = set()
        self.start_trainer()

    def teardown(self) -> None:
        self.studio.go_down()
        shutil.rmtree(self.settings.model_dir)

    @initialize()
    def begin(self) -> None:
        """Each project has two versions, so that there is something to choose."""
        for number in (24, 8):
            for place in (0, 1):
                self.judge(place, number)
            self.night()

    # People

    @rule(place=PROJECTS, number=st.integers(min_value=1, max_value=20), then=THEN, meanwhile=st.sampled_from((None, 0, 1, 2)))
    def people_judge(self, place: int, number: int, then: str, meanwhile: int | None) -> None:
        """`meanwhile`: of the latest versions, the one that somebody promotes in the middle of the round."""
        self.judge(place, number)
        if meanwhile is not None:
            self.extractors.meanwhile = lambda: self.promote(place, -1 - meanwhile)
        self.go_on(then)
        self.extractors.meanwhile = None

    @rule(place=PROJECTS, which=WHICH, side=st.sampled_from(("left", "right")), then=THEN)
    def people_edit(self, place: int, which: int, side: str, then: str) -> None:
        self.edit(place, which, side)
        self.go_on(then)

    @rule(place=PROJECTS, which=WHICH, number=st.integers(min_value=1, max_value=5), then=THEN)
    def people_delete(self, place: int, which: int, number: int, then: str) -> None:
        self.delete(place, which, number)
        self.go_on(then)

    @rule(place=PROJECTS, which=WHICH, then=THEN)
    def people_begin_anew(self, place: int, which: int, then: str) -> None:
        """They delete nearly everything, and judge too little for a round."""
        self.delete(place, which, max(0, len(self.standing(place)) - 3))
        self.judge(place, 2)
        self.go_on(then)

    def judge(self, place: int, number: int) -> None:
        """New tasks, each with one judgement."""
        for pair in separable_pairs(number, start=self.num_pairs):
            is_left = self.num_pairs % 2 == 0
            left, right = (pair.chosen, pair.rejected) if is_left else (pair.rejected, pair.chosen)
            project_id = self.expected[place].project_id
            (task,) = self.studio.add_tasks(project_id, {"prompt": pair.prompt, "answer1": left, "answer2": right})
            self.tick()
            made = self.studio.annotate(task, vote("left" if is_left else "right"))
            self.expected[place].unread.add(made["id"])
            self.num_pairs += 1

    def edit(self, place: int, which: int, side: str) -> None:
        if standing := self.standing(place):
            self.tick()
            annotation_id = sorted(standing)[which % len(standing)]
            self.studio.edit(annotation_id, result=vote(side))
            self.expected[place].unread.add(annotation_id)

    def delete(self, place: int, which: int, number: int) -> None:
        """Judgements, or whole tasks."""
        for _ in range(number):
            if standing := self.standing(place):
                annotation_id = sorted(standing)[which % len(standing)]
                self.tick()
                if which % 2:
                    self.studio.delete_annotation(annotation_id)
                else:
                    tasks = self.studio.tasks
                    del tasks[
                        next(task for task in tasks if any(made["id"] == annotation_id for made in tasks[task]["annotations"]))
                    ]

    @rule(place=PROJECTS, which=WHICH)
    def promote(self, place: int, which: int) -> None:
        versions = Versions(self.folders[place])
        if (names := versions.all()) and place not in self.is_broken:
            versions.promote(names[which % len(names)], by="hand")
            self.expected[place].champion = names[which % len(names)]
            self.happened["promoted by hand"] += 1

    @rule(place=PROJECTS)
    def roll_back(self, place: int) -> None:
        if place not in self.is_broken:
            with suppress(RegistryError):  # there is none before
                self.expected[place].champion = Versions(self.folders[place]).rollback()
                self.happened["rolled back"] += 1

    @rule(place=PROJECTS, which=WHICH, what=st.sampled_from(("promote", "roll_back", "judge", "edit", "delete")))
    def something_happens_in_the_middle_of_a_round(self, place: int, which: int, what: str) -> None:
        """Of a round that begins now, of whichever project."""
        actions: dict[str, Callable[[], object]] = {
            "promote": lambda: self.promote(place, which),
            "roll_back": lambda: self.roll_back(place),
            "judge": lambda: self.judge(place, 1 + which % 5),
            "edit": lambda: self.edit(place, which, "left"),
            "delete": lambda: self.delete(place, which, 1),
        }
        self.extractors.meanwhile = actions[what]
        self.judge(place, MIN_NEW_PAIRS)
        self.look()
        self.extractors.meanwhile = None

    # What breaks

    @rule(place=PROJECTS)
    def break_folder(self, place: int) -> None:
        """A file where a round's folder has to be."""
        if not (self.folders[place].path / "training").exists():
            (self.folders[place].path / "training").write_text("in the way")
            self.is_broken.add(place)

    @precondition(lambda self: self.is_broken)
    @rule()
    def repair(self) -> None:
        for place in self.is_broken:
            (self.folders[place].path / "training").unlink()
        self.is_broken.clear()

    # The trainer

    @rule()
    def start_trainer(self) -> None:
        """A new one, which knows nothing of what the one before knew."""
        self.due = DueRounds(self.settings, self.run_round, open_project=self.open_project, clock=lambda: self.now)

    @rule()
    def look(self) -> None:
        self.now += MINUTE
        self.due.look()

    @rule()
    def night(self) -> None:
        """The schedule's round; all that could be done has been done after it."""
        self.now += DAY
        self.due.scheduled()
        for place, expected in enumerate(self.expected):
            if place not in self.is_broken:
                self.check_is_up_to_date(place, expected)

    @rule()
    def night_without_label_studio(self) -> None:
        self.now += DAY
        self.studio.go_down()
        self.due.scheduled()
        self.studio.go_up()

    # What holds at any time

    @invariant()
    def the_champion_is_what_was_decided_last(self) -> None:
        for project, expected in zip(self.folders, self.expected, strict=True):
            assert Versions(project).champion() == expected.champion

    def check_is_up_to_date(self, place: int, expected: Expected) -> None:
        """Everything that was judged or edited, and still stands, has been read by a round, unless there is too little of it."""
        standing = self.standing(place)
        assert not expected.unread & standing.keys() or len(standing) < MIN_PAIRS, "judgements wait"

    def run_round(self, project: LabelStudioProject, folder: ProjectFolder) -> Round:
        place = next(i for i, expected in enumerate(self.expected) if expected.project_id == project.id)
        expected, before = self.expected[place], self.standing(place)
        expected.unread = set()  # but for what somebody judges in its middle
        chosen = expected.champion
        ended = run_round(project, folder, self.settings, extractors=self.extractors, clock=lambda: self.now)
        self.happened[ended.outcome] += 1
        self.happened["another champion was chosen in a round"] += expected.champion != chosen
        if ended.outcome in ("promoted", "rejected"):
            assert self.kept(place) == before
            card = Versions(folder).card(ended.version or "")
            assert card.num_annotations == len(before)
            assert (card.compared_with or expected.champion) == expected.champion, "judged against what a person chose"
        elif ended.outcome == "skipped":
            assert len(before) < MIN_PAIRS or any(words in ended.reason for words in ("held out", "held-out", "nothing is new"))
        if ended.outcome == "promoted":
            expected.champion = ended.version
        return ended

    def go_on(self, then: str) -> None:
        if then:
            (self.look if then == "look" else self.night)()

    # What there is

    def tick(self) -> None:
        self.now += 1.0

    def open_project(self, studio: Any, project_id: int) -> LabelStudioProject:
        return LabelStudioProject(studio, project_id, patience_seconds=0.1)

    def standing(self, place: int) -> dict[int, Any]:
        """The judgements that stand in Label Studio: by id, what each says."""
        tasks = [task for task in self.studio.tasks.values() if task["project"] == self.expected[place].project_id]
        return {made["id"]: made["result"] for task in tasks for made in task["annotations"]}

    def kept(self, place: int) -> dict[int, Any]:
        """Those that the trainer read."""
        path = self.folders[place].path / "judgements.jsonl"

        header = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
        file = JudgementFile(path, header)
        file.load()
        return {made["id"]: made["result"] for task in file.tasks.values() for made in task["annotations"]}


def vote(side: str) -> list[dict[str, Any]]:
    return [{"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": side}}]


@pytest.mark.timeout(3600 if IS_NIGHTLY else 300)
def test_a_simulated_week(settings_for: SettingsFactory, tiny_base: Path, tmp_path: Path) -> None:
    numbers, happened = count(), Counter[str]()
    extractors = Interrupted(tmp_path, CPU)  # features are computed once for all weeks

    def make(studio: StudioDouble) -> Settings:
        return settings_for(
            model_dir=tmp_path / str(next(numbers)), label_studio_url=studio.url, label_studio_api_key=KEY,
            reward_base=str(tiny_base), min_pairs=MIN_PAIRS, min_new_pairs=MIN_NEW_PAIRS, holdout_fraction=0.5, seed=5,
        )  # fmt: skip

    run_state_machine_as_test(
        cast(type[Week], lambda: Week(make, extractors, happened)),  # it takes whatever makes one
        settings=settings(
            max_examples=WEEKS, stateful_step_count=STEPS, deadline=None, database=None, derandomize=not IS_NIGHTLY,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),  # to shrink a week of rounds takes minutes
        ),
    )  # fmt: skip

    drawn = {"promoted", "rejected", "skipped", "promoted by hand", "rolled back", "another champion was chosen in a round"}
    assert not IS_NIGHTLY or drawn <= set(+happened), happened
    assert happened["promoted"] and happened["rejected"], happened
