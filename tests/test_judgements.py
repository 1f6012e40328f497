import itertools
import json
import logging
import random
import shutil
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preference.errors import StudioUnreachable
from preference.layout import LabelingLayout
from preference.pairs import pairs_of_task
from preference.settings import Settings
from preference.studio import LabelStudioProject, Task
from tests.conftest import REPOSITORY, SettingsFactory
from tests.studio_double import KEY, LABEL_CONFIG, StudioDouble
from trainer.judgements import read_judgements

MINUTE, DAY = 60.0, 24 * 3600.0
LEFT = [{"from_name": "comparison", "to_name": "answer1", "type": "pairwise", "value": {"selected": "left"}}]
RIGHT = [{**LEFT[0], "value": {"selected": "right"}}]


class House:
    """A Label Studio with judged tasks, a clock that it shares with the trainer, and the trainer's folder."""

    def __init__(self, studio: StudioDouble, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
        self.studio, self.settings, self.now = studio, settings, 1_790_000_000.0
        self.folder = settings.model_dir / "projects" / "1"
        studio.clock = lambda: self.now
        self.project = LabelStudioProject(settings, studio.add_project(), patience_seconds=0)
        self._caplog = caplog
        caplog.set_level(logging.INFO, logger="trainer.judgements")

    def judged(self, count: int) -> list[int]:
        """Ids of new tasks with one judgement each, long ago."""
        ids = self.studio.add_tasks(self.project.id, *({"prompt": f"p{n}", "answer1": "a", "answer2": "b"} for n in range(count)))
        for task_id in ids:
            self.studio.annotate(task_id, LEFT)
        self.now += 60 * MINUTE
        return ids

    def read(self, folder: Path | None = None) -> list[Task]:
        return read_judgements(self.project, folder or self.folder, state=self.project.read(), now=self.now)

    def truth(self) -> list[Task]:
        """What a round from nothing reads."""
        num_records = len(self._caplog.records)
        found = self.read(self.settings.model_dir / f"fresh-{random.random()}")
        del self._caplog.records[num_records:]
        return found

    @property
    def said(self) -> str:
        """The one line of the last read."""
        return next(r.getMessage() for r in reversed(self._caplog.records) if r.name == "trainer.judgements")

    def annotation(self, task_id: int) -> int:
        """The id of a task's first annotation."""
        return int(self.studio.tasks[task_id]["annotations"][0]["id"])

    @property
    def file(self) -> Path:
        return self.folder / "judgements.jsonl"


@pytest.fixture
def house(settings_for: SettingsFactory, caplog: pytest.LogCaptureFixture) -> Iterator[House]:
    with StudioDouble() as studio:
        yield House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY), caplog)


def ids_of(tasks: list[Task]) -> list[int]:
    return [task["id"] for task in tasks]


def test_what_pairs_need_is_read_and_no_more(house: House) -> None:
    (task_id,) = house.studio.add_tasks(
        house.project.id, {"prompt": "p", "answer1": "a", "answer2": "b", "note": 7}, meta={"m": 1}
    )
    for version in ("seen", "other"):
        house.project.store_predictions([{"task": task_id, "result": RIGHT, "score": 0.7, "model_version": version}])
    seen = house.studio.tasks[task_id]["predictions"][0]["id"]
    made = house.studio.annotate(task_id, LEFT, parent_prediction=seen, lead_time=2.5, completed_by=3)

    (task,) = house.read()

    assert task == {
        "id": task_id,
        "updated_at": house.studio.tasks[task_id]["updated_at"],
        "data": {"prompt": "p", "answer1": "a", "answer2": "b", "note": 7},
        "annotations": [
            {
                "id": made["id"],
                "result": LEFT,
                "was_cancelled": False,
                "ground_truth": False,
                "completed_by": 3,
                "created_at": made["created_at"],
                "updated_at": made["updated_at"],
                "lead_time": 2.5,
                "parent_prediction": seen,
            }
        ],
        "predictions": [{"id": seen, "model_version": "seen", "result": RIGHT, "score": 0.7}],
    }
    assert house.read() == [task], "kept and read again it is the same"


def test_the_pairs_are_those_of_the_tasks_as_label_studio_lists_them(house: House) -> None:
    first, second = house.judged(2)
    house.project.store_predictions([{"task": first, "result": RIGHT, "score": 0.7, "model_version": "v"}])
    house.studio.edit(house.annotation(first), parent_prediction=house.studio.tasks[first]["predictions"][0]["id"])
    house.studio.annotate(second, [], is_skip=True)
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    read, listed = Counter[str](), Counter[str]()

    pairs = [pair for task in house.read() for pair in pairs_of_task(task, layout, dropped=read)]

    assert pairs == [pair for task in house.project.annotated_tasks() for pair in pairs_of_task(task, layout, dropped=listed)]
    assert (pairs[0].suggested_version, len(pairs)) == ("v", 2)
    assert read == listed == {"skipped": 1}


def test_a_project_without_judgements_gives_none_and_then_its_first(house: House) -> None:
    (task_id,) = house.studio.add_tasks(house.project.id, {"prompt": "p"})

    assert (house.read(), house.read()) == ([], [])
    house.studio.annotate(task_id, LEFT)

    assert ids_of(house.read()) == [task_id]


def test_a_round_downloads_only_what_changed_since_the_last(house: House) -> None:
    ids = house.judged(130)
    assert ids_of(house.read()) == ids
    assert house.said == f"project {house.project.id}: 130 judged tasks came, 130 are known: all were read, as none were kept yet"
    new = house.judged(2)
    house.studio.edit(house.annotation(ids[7]), result=RIGHT)
    house.studio.requests.clear()

    tasks = house.read()

    assert tasks == house.truth()
    assert house.said.startswith(f"project {house.project.id}: 3 judged tasks came, 132 are known: changes since 2026-")
    assert ids_of(tasks) == ids + new
    assert tasks[7]["annotations"][0]["result"] == RIGHT


def test_a_round_without_changes_asks_once_and_writes_nothing(house: House) -> None:
    house.judged(3)
    house.read()
    before, house.studio.requests[:] = house.file.stat().st_mtime_ns, []

    tasks = house.read()

    assert len(tasks) == 3
    assert " 0 judged tasks came, 3 are known" in house.said
    assert house.studio.requests == [f"GET /api/projects/{house.project.id}/", "GET /api/tasks/"]
    assert house.file.stat().st_mtime_ns == before


def skip(house: House, task_id: int) -> None:
    house.studio.edit(house.annotation(task_id), was_cancelled=True, result=[])


def skip_and_unskip(house: House, task_id: int) -> None:
    skip(house, task_id)
    house.read()
    house.studio.edit(house.annotation(task_id), was_cancelled=False, result=RIGHT)


def mark_another_as_ground_truth(house: House, task_id: int) -> None:
    house.studio.edit(house.annotation(task_id), ground_truth=True)
    house.read()
    house.studio.edit(house.studio.annotate(task_id, RIGHT)["id"], ground_truth=True)


def delete_one_of_two(house: House, task_id: int) -> None:
    house.studio.annotate(task_id, RIGHT)
    house.read()
    house.studio.delete_annotation(house.annotation(task_id))


def delete_and_judge_again(house: House, task_id: int) -> None:
    house.studio.delete_annotation(house.annotation(task_id))
    house.studio.annotate(task_id, RIGHT)


def delete_here_and_judge_there(house: House, task_id: int) -> None:
    house.studio.delete_annotation(house.annotation(task_id))
    house.studio.annotate(house.studio.add_tasks(house.project.id, {"prompt": "new"})[0], LEFT)


CHANGES: dict[str, Callable[[House, int], object]] = {
    "edited": lambda house, task_id: house.studio.edit(house.annotation(task_id), result=RIGHT),
    "judged by a second annotator": lambda house, task_id: house.studio.annotate(task_id, RIGHT, completed_by=2),
    "moved to skip": skip,
    "skipped and unskipped": skip_and_unskip,
    "ground truth handed on": mark_another_as_ground_truth,
    "one of two deleted": delete_one_of_two,
    "the only one deleted": lambda house, task_id: house.studio.delete_annotation(house.annotation(task_id)),
    "deleted and judged again": delete_and_judge_again,
    "deleted here, judged there": delete_here_and_judge_there,
    "data corrected": lambda house, task_id: house.project.store_answers(task_id, data={"prompt": "new"}, meta={}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_judgements_count_as_they_stand_now_without_a_look_at_the_others(
    house: House, change: Callable[[House, int], object]
) -> None:
    ids = house.judged(5)
    before = house.read()

    change(house, ids[2])
    tasks = house.read()

    assert tasks == house.truth() != before
    assert "changes since" in house.said
    assert house.read() == tasks


def test_a_deleted_task_is_noticed_by_the_count_and_found_by_comparing_states(house: House) -> None:
    ids = house.judged(5)
    house.read()
    del house.studio.tasks[ids[1]]

    tasks = house.read()

    assert ids_of(tasks) == [ids[0], *ids[2:]]
    assert house.said == (
        f"project {house.project.id}: 0 judged tasks came, 4 are known: the states of all were compared, "
        "as Label Studio counted -1 judgements and +0 skips"
    )
    assert house.read() == tasks
    assert "changes since" in house.said


def test_a_deleted_task_is_noticed_where_a_new_judgement_makes_the_count_equal(house: House) -> None:
    ids = house.judged(5)
    house.read()
    del house.studio.tasks[ids[1]]
    new = house.judged(1)

    assert ids_of(house.read()) == [ids[0], *ids[2:], *new]


def test_a_new_task_with_the_id_of_a_deleted_one_does_not_get_its_judgement(house: House) -> None:
    ids = house.judged(3)
    house.read()
    del house.studio.tasks[ids[2]]
    (other,) = house.studio.add_tasks(house.project.id, {"prompt": "new"})
    house.studio.tasks[ids[2]] = {**house.studio.tasks.pop(other), "id": ids[2]}

    assert ids_of(house.read()) == ids[:2]


def test_what_was_committed_late_is_found_within_five_minutes_of_overlap(house: House) -> None:
    ids = house.judged(3)
    house.studio.edit(house.annotation(ids[2]), result=RIGHT)
    house.read()
    house.now -= 4.9 * MINUTE
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    house.now += 4.9 * MINUTE

    tasks = house.read()

    assert tasks[0]["annotations"][0]["result"] == RIGHT
    assert "changes since" in house.said


def test_an_edit_while_a_whole_read_is_under_way_is_found_by_the_next(house: House) -> None:
    ids = house.judged(501)  # two pages
    began, state = house.now, house.project.read()

    def judge_between_the_pages(request: str) -> None:
        if house.studio.requests.count("GET /api/tasks/") == 2 and house.now == began:
            house.now = began + MINUTE
            house.studio.edit(house.annotation(ids[0]), result=RIGHT)
            house.now = began + 20 * MINUTE
            house.studio.edit(house.annotation(ids[-1]), result=RIGHT)

    house.studio.on_request = judge_between_the_pages
    first = read_judgements(house.project, house.folder, state=state, now=began)
    house.studio.on_request = lambda request: None

    assert [first[n]["annotations"][0]["result"] for n in (0, -1)] == [LEFT, RIGHT]
    assert house.read() == house.truth()
    assert "changes since" in house.said


def meanwhile(house: House, **happens: Callable[[], object]) -> None:
    """Does something just before the n-th request of a kind is answered: `tasks_2` the second for tasks, `project_1` ..."""
    house.studio.requests.clear()

    def look(request: str) -> None:
        kind = "tasks" if request == "GET /api/tasks/" else "project"
        happens.pop(f"{kind}_{house.studio.requests.count(request)}", lambda: None)()

    house.studio.on_request = look


def test_people_who_judge_meanwhile_do_not_make_it_compare_everything(house: House) -> None:
    ids = house.judged(4)
    house.read()

    meanwhile(house, tasks_1=lambda: house.studio.annotate(ids[1], RIGHT))
    tasks = house.read()

    assert len(tasks[1]["annotations"]) == 2
    assert "changes since" in house.said


def test_a_judgement_that_goes_and_comes_back_meanwhile_is_kept(house: House) -> None:
    ids = house.judged(4)
    house.read()
    house.studio.delete_annotation(house.annotation(ids[0]))

    meanwhile(
        house,
        tasks_1=lambda: house.studio.annotate(ids[1], RIGHT),
        project_2=lambda: house.studio.annotate(ids[0], RIGHT),
    )
    tasks = house.read()

    assert tasks == house.truth()
    assert ids_of(tasks) == ids
    for _ in range(3):
        house.judged(1)
        assert house.read() == house.truth()
        assert "changes since" in house.said, "it was kept"


def test_a_judgement_that_comes_and_goes_meanwhile_is_not(house: House) -> None:
    ids = house.judged(4)
    house.read()
    (new,) = house.studio.add_tasks(house.project.id, {"prompt": "p"})

    meanwhile(
        house,
        tasks_1=lambda: house.studio.annotate(new, RIGHT),
        project_2=lambda: house.studio.delete_annotation(house.annotation(new)),
    )
    tasks = house.read()

    assert tasks == house.truth() == house.read()
    assert ids_of(tasks) == ids


def test_a_task_that_is_deleted_before_it_was_fetched_is_not_known_any_more(house: House) -> None:
    ids = house.judged(4)
    house.read()
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    state = house.project.read()

    meanwhile(house, tasks_2=lambda: house.studio.tasks.pop(ids[0]))
    tasks = read_judgements(house.project, house.folder, state=state, now=house.now)

    assert ids_of(tasks) == ids[1:]


def test_tasks_come_by_id_in_whichever_order_they_were_judged(house: House) -> None:
    first, second, third = house.studio.add_tasks(house.project.id, *[{"prompt": "p"}] * 3)
    for task_id in (second, third, first):
        house.studio.annotate(task_id, LEFT)
        house.read()

    assert ids_of(house.read()) == [first, second, third]


def test_a_judgement_from_a_clock_that_was_set_back_is_noticed_by_the_count(house: House) -> None:
    house.judged(3)
    house.read()
    house.now -= 5 * 60 * MINUTE
    (late,) = house.judged(1)
    house.now += 4 * 60 * MINUTE

    assert late in ids_of(house.read())


@pytest.mark.parametrize("is_first", [True, False], ids=["during the first read", "later"])
def test_a_clock_that_was_ahead_and_is_corrected_hides_no_edit(house: House, is_first: bool) -> None:
    ids = house.judged(3)
    if not is_first:
        house.read()
    house.now += DAY
    house.studio.edit(house.annotation(ids[1]), result=RIGHT)
    house.now -= DAY
    house.read()
    house.now += 10 * MINUTE
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)

    assert house.read()[0]["annotations"][0]["result"] == RIGHT
    assert "changes since" in house.said


def test_a_trainer_whose_clock_was_set_back_reads_all(house: House) -> None:
    house.judged(3)
    house.read()
    house.now -= DAY

    assert len(house.read()) == 3
    assert house.said.endswith("all were read, as the clock was set back")


def test_once_a_week_all_are_read_which_ends_what_leaves_no_trace(house: House) -> None:
    twin, double = house.judged(2)
    house.judged(1)
    house.read()
    house.studio.remove_duplicate(double, twin=twin)
    assert [len(task["annotations"]) for task in house.read()] == [1, 1, 1], "the same judgements, under the old ids"
    house.now += 6.9 * DAY
    house.read()
    assert "changes since" in house.said
    house.now += 0.2 * DAY

    assert [len(task["annotations"]) for task in house.read()] == [2, 1]
    assert house.said.endswith("all were read, as the last time was over a week ago")


@pytest.mark.parametrize(("counter", "num_known"), [(0, 2), (5, 3)])
def test_stale_counters_of_a_task_do_not_make_it_compare_everything(house: House, counter: int, num_known: int) -> None:
    """Label Studio itself lists a task whose counters say 0 as not annotated."""
    ids = house.judged(3)
    house.studio.tasks[ids[1]]["total_annotations"] = counter
    house.studio.tasks[ids[1]]["updated_at"] = house.studio.tasks[ids[0]]["updated_at"]
    house.read()

    house.read()

    assert f" 0 judged tasks came, {num_known} are known: changes since" in house.said


@pytest.mark.parametrize("changed", ["studio", "project", "created_at", "format"])
def test_judgements_of_another_place_or_format_are_not_trusted(house: House, changed: str) -> None:
    house.judged(2)
    house.read()
    head, *rest = house.file.read_bytes().splitlines(keepends=True)
    header = json.loads(head)
    assert header["studio"] == house.studio.url
    assert header["project"] == house.project.id
    house.file.write_bytes(json.dumps({**header, changed: 0}).encode() + b"\n" + b"".join(rest))

    assert house.read() == house.truth()
    assert house.said.endswith("all were read, as those kept are of another Label Studio, project or format")
    house.read()
    assert "changes since" in house.said


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content.splitlines(keepends=True)[0],
        lambda content: content.replace(b'"annotations"', b'"annotation"', 1),
        lambda content: content.replace(b'"was_cancelled"', b'"was"', 1),
        lambda content: content[:300] + b"\0" * 40 + content[340:],
        lambda content: content.replace(b'"until": "', b'"until": "x'),
        lambda content: b"[]\n" + content,
        lambda content: content + b"[]\n",
    ],
    ids=[
        "empty",
        "torn header",
        "only a header",
        "no annotations",
        "no votes",
        "zeros in the middle",
        "no time",
        "no header",
        "no object",
    ],
)
def test_a_damaged_file_is_read_anew(house: House, damage: Callable[[bytes], bytes]) -> None:
    house.judged(3)
    before = house.read()
    house.file.write_bytes(damage(house.file.read_bytes()))

    assert house.read() == before
    assert "all were read, as " in house.said
    house.read()
    assert "changes since" in house.said


def test_a_torn_line_is_cut_off_even_where_it_is_longer_than_what_comes(house: House) -> None:
    ids = house.judged(3)
    house.read()
    with house.file.open("ab") as file:
        file.write(b'{"id": 1, "data": "' + b"x" * 5000)
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)

    for _ in range(2):
        assert house.read() == house.truth()
        assert "changes since" in house.said
    assert b"xxx" not in house.file.read_bytes()


def test_texts_of_every_kind_are_kept_as_they_are(house: House) -> None:
    texts = "🐈‍⬛ مرحبا", "line\nline\u2028line\u0085\0", "half a pair \ud83d", "'\"\\"
    for task_id in house.studio.add_tasks(house.project.id, *({"prompt": text} for text in texts)):
        house.studio.annotate(task_id, LEFT)
    house.read()

    assert [task["data"]["prompt"] for task in house.read()] == list(texts)
    assert "changes since" in house.said


def test_only_the_trainer_may_read_the_file(house: House) -> None:
    house.judged(1)
    house.read()

    assert stat.S_IMODE(house.file.stat().st_mode) == 0o600


def test_the_file_does_not_grow_with_the_number_of_rounds(house: House) -> None:
    (task_id,) = house.judged(1)
    sizes = []
    for n in range(120):
        house.now += 1
        house.studio.edit(house.annotation(task_id), lead_time=n)
        assert house.read()[0]["annotations"][0]["lead_time"] == n
        sizes.append(house.file.stat().st_size)

    assert sizes[-1] < sizes[40]


def test_a_folder_that_cannot_be_used_costs_whole_reads_and_one_warning_each(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    ids = house.judged(2)
    house.folder.parent.parent.mkdir()
    house.folder.parent.write_text("a file where a folder should be")

    assert ids_of(house.read()) == ids_of(house.read()) == ids
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert f"judgements cannot be kept in {house.file} (" in warnings[0]
    assert "mount MODEL_DIR read-write" in warnings[0]
    assert house.said.endswith("2 judged tasks came, 2 are known: all were read, as none can be kept")


def test_a_label_studio_that_goes_away_leaves_what_was_kept(house: House) -> None:
    ids = house.judged(3)
    house.read()
    house.studio.edit(house.annotation(ids[0]), result=RIGHT)
    state = house.project.read()
    before = house.file.read_bytes()

    def fail_the_second(request: str) -> None:
        house.studio.failures = [503] if house.studio.requests.count("GET /api/tasks/") == 3 else []

    house.studio.on_request = fail_the_second
    with pytest.raises(StudioUnreachable):
        read_judgements(house.project, house.folder, state=state, now=house.now)
    house.studio.on_request = lambda request: None

    assert house.file.read_bytes() == before
    assert house.read() == house.truth()
    assert "changes since" in house.said


def test_two_at_once_wait_for_each_other(house: House, caplog: pytest.LogCaptureFixture) -> None:
    ids = house.judged(20)
    house.read()
    for task_id in ids:
        house.studio.edit(house.annotation(task_id), result=RIGHT)
    caplog.clear()
    found: list[list[Task]] = []

    def read() -> None:
        project = LabelStudioProject(house.settings, house.project.id)
        found.append(read_judgements(project, house.folder, state=project.read(), now=house.now))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    came = [record.getMessage() for record in caplog.records if " 20 judged tasks came" in record.getMessage()]
    assert len(came) == 1, "what the first brought, the others find"
    assert found == [house.truth()] * 4
    assert len(house.file.read_bytes().splitlines()) == 1 + 20 + 1 + 20 + 1


def test_whatever_happens_the_changes_add_up_to_a_whole_read(house: House) -> None:
    chance = random.Random(4)
    ids, studio = house.judged(8), house.studio
    house.read()

    def any_annotation() -> int | None:
        made: list[int] = [made["id"] for task in studio.tasks.values() for made in task["annotations"]]
        return chance.choice(made) if made else None

    def step() -> None:
        task_id, made = chance.choice(ids), any_annotation()
        match chance.choice(["judge", "judge", "judge", "skip", "edit", "truth", "delete", "cancel", "task", "data", "new"]):
            case "judge" | "skip" as kind:
                studio.annotate(task_id, LEFT, is_skip=kind == "skip")
            case "edit" if made:
                studio.edit(made, result=chance.choice([LEFT, RIGHT, []]))
            case "truth" if made:
                studio.edit(made, ground_truth=chance.random() < 0.5)
            case "cancel" if made:
                studio.edit(made, was_cancelled=chance.random() < 0.5)
            case "delete" if made:
                studio.delete_annotation(made)
            case "task" if len(ids) > 4:
                ids.remove(task_id)
                del studio.tasks[task_id]
            case "data":
                house.project.store_answers(task_id, data={"prompt": str(chance.random())}, meta={})
            case "new":
                ids.extend(house.judged(1))

    ways = Counter[bool]()
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            house.now += chance.choice([0, 1, 30 * MINUTE])
            step()
        assert house.read() == house.truth()
        ways["changes since" in house.said] += 1
    assert ways[True] > 2 * ways[False] > 0


# Reads judgements in processes that may write no file beyond so many bytes: with `dies` the write that would is their end
# (SIGXFSZ, with the bytes up to there written), else it fails as on a full disk.
LIMITED_READER = """
import json, logging, os, resource, shutil, signal, sys
from pathlib import Path
from preference.settings import Settings
from preference.studio import LabelStudioProject
from trainer.judgements import read_judgements

for line in sys.stdin:
    asked = json.loads(line)
    settings = Settings(label_studio_url=asked["url"], label_studio_api_key=asked["key"], model_dir=Path(asked["folder"]))
    project = LabelStudioProject(settings, asked["project"])
    state = project.read()
    if os.fork() == 0:
        if asked["dies"]:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["limit"], asked["limit"]))
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
        tasks = read_judgements(LabelStudioProject(settings, asked["project"]), Path(asked["folder"]), state=state, now=asked["now"])
        print(json.dumps(tasks), flush=True)
        os._exit(0)
    print("status", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
KILLED = ["status -25"]


@pytest.fixture(scope="module")
def limited_reader() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LIMITED_READER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        yield process


def read_with_limit(reader: subprocess.Popen[str], house: House, folder: Path, *, limit: int, dies: bool) -> list[str]:
    """What such a process printed, and its status."""
    asked = {"url": house.studio.url, "key": KEY, "project": house.project.id, "now": house.now, "folder": str(folder)}
    assert reader.stdin is not None and reader.stdout is not None
    reader.stdin.write(json.dumps({**asked, "limit": limit, "dies": dies}) + "\n")
    reader.stdin.flush()
    printed: list[str] = []
    while not printed or not printed[-1].startswith("status"):
        printed.append(reader.stdout.readline().rstrip())
        assert printed[-1], "it ended"
    return printed


def kept_and_changed(house: House) -> tuple[Path, list[int]]:
    """A folder, and where the lines end that a read of three edits appends to its file; the first is by far the latest edit."""
    ids = house.judged(4)
    kept, whole = house.settings.model_dir / "kept", house.settings.model_dir / "whole"
    house.read(kept)
    shutil.copytree(kept, whole)
    for task_id in reversed(ids[:3]):
        house.now += 20 * MINUTE
        house.studio.edit(house.annotation(task_id), result=RIGHT)
    house.read(whole)
    lines = (whole / "judgements.jsonl").read_bytes().splitlines(keepends=True)
    ends = list(itertools.accumulate(map(len, lines)))
    assert ends[-5] == (kept / "judgements.jsonl").stat().st_size
    return kept, ends[-5:]


def test_a_kill_anywhere_in_the_writing_loses_no_change(house: House, limited_reader: subprocess.Popen[str]) -> None:
    kept, (begin, first, second, third, end) = kept_and_changed(house)
    truth = house.truth()

    for limit in (begin, begin + 1, first - 1, first, first + 50, second, third - 1, third, end - 1):
        folder = kept.with_name(f"at-{limit}")
        shutil.copytree(kept, folder)
        assert read_with_limit(limited_reader, house, folder, limit=limit, dies=True) == KILLED
        assert (folder / "judgements.jsonl").stat().st_size == limit
        assert house.read(folder) == truth
        assert "changes since" in house.said, "a torn line is cut off, what was kept before is not read again"
        assert house.read(folder) == truth
        assert (folder / "judgements.jsonl").read_bytes().endswith(b"\n")


def test_a_kill_while_all_is_written_leaves_nothing_half(house: House, limited_reader: subprocess.Popen[str]) -> None:
    kept, (begin, *_) = kept_and_changed(house)

    for limit in (0, 1, 60, begin - 1):
        folder = kept.with_name(f"at-{limit}")
        assert read_with_limit(limited_reader, house, folder, limit=limit, dies=True) == KILLED
        assert not (folder / "judgements.jsonl").exists()
        assert house.read(folder) == house.truth()
        assert sorted(path.name for path in folder.iterdir()) == ["judgements.jsonl", "judgements.lock"]


def test_a_full_disk_costs_a_warning_and_no_judgement(house: House, limited_reader: subprocess.Popen[str]) -> None:
    kept, (begin, _, second, _, end) = kept_and_changed(house)
    truth = house.truth()

    for limit in (begin, second + 40, end):
        folder = kept.with_name(f"at-{limit}")
        shutil.copytree(kept, folder)
        *warnings, tasks, status = read_with_limit(limited_reader, house, folder, limit=limit, dies=False)
        assert (json.loads(tasks), status) == (truth, "status 0")
        assert warnings == [
            f"project {house.project.id}: judgements cannot be kept in {folder / 'judgements.jsonl'} (File too large), "
            "so that more of them are read than need be; free some space, or mount MODEL_DIR read-write"
        ] * (limit < end)
        assert house.read(folder) == truth
        assert "changes since" in house.said
