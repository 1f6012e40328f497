import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.generators import Job, Writing
from backend.importing import Import
from preference.errors import ModelError, RegistryError, StudioError, StudioUnreachable
from preference.studio import Task
from tests.conftest import SettingsFactory
from tests.filling_house import CHOICE, EMPTY, Asked, House, echo, warnings_of
from tests.studio_double import KEY, LABEL_CONFIG, StudioDouble, publish_version, wait_until

PROMPTS = "skipped, the project holds the prompt"


class Unsteady(StudioDouble):
    """A Label Studio that goes away during imports; its `fates` are what becomes of the next ones.

    lost     the connection ends before it took the tasks
    taken    it ends after that
    half     it ends after the first half
    late     it ends, and the tasks are stored when tasks are listed for the second time from then on
    """

    def __init__(self) -> None:
        super().__init__()
        self.fates: list[str] = []
        self.late: list[Callable[[], object]] = []  # what happens at the next listings

    def _import_tasks(self, project: Task, body: list[Task]) -> Task:
        take = super()._import_tasks
        fate = self.fates.pop(0) if self.fates else ""
        match fate:
            case "taken":
                take(project, body)
            case "half":
                take(project, body[: len(body) // 2])
            case "late":
                self.late = [lambda: None, lambda: take(project, body)]
            case "":
                return take(project, body)
        raise ConnectionAbortedError(fate)

    def _list_tasks(self, query: Task) -> Task:
        if self.late:
            self.late.pop(0)()
        return super()._list_tasks(query)


@pytest.fixture
def studio() -> Iterator[Unsteady]:
    with Unsteady() as double:
        yield double


@pytest.fixture
def house(studio: Unsteady, settings_for: SettingsFactory) -> Iterator[House]:
    with House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def begin(house: House, **changes: Any) -> Import:
    """An import of a new process, which hardly waits for what Label Studio may still be storing."""
    champion = house.champions.of(house.project_id)
    parts: dict[str, Any] = {"champion": champion, "scheduler": house.scheduler(), "settle_seconds": 0.3, **changes}
    return Import(house.project(), house.registry, house.settings, **parts)


def bring(house: House, rows: Iterable[Task], **changes: Any) -> Counter[str]:
    """What an import says of its rows."""
    work = begin(house, **changes)
    work.run(rows)
    return work.counts


def rows(count: int, *, start: int = 0) -> list[Task]:
    return [{"prompt": f"Prompt {n}", **EMPTY} for n in range(start, start + count)]


def held(house: House) -> list[Task]:
    """The project's tasks, in the order in which they came."""
    return [task for task in house.studio.tasks.values() if task["project"] == house.project_id]


def prompts(house: House) -> list[Any]:
    return [task["data"].get("prompt") for task in held(house)]


def num_imports(house: House) -> int:
    return house.studio.requests.count(f"POST /api/projects/{house.project_id}/import")


def holds_each_once(house: House, count: int) -> bool:
    """Whether it holds "Prompt 0" and so on, each once and answered."""
    assert sorted(prompts(house)) == sorted(row["prompt"] for row in rows(count))
    return house.is_answered(*(task["id"] for task in held(house)))


# What becomes of a prompt


def test_each_prompt_becomes_one_task_that_is_answered_scored_and_recorded(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)

    counts = bring(house, rows(7))

    assert counts == {"imported": 7}
    assert holds_each_once(house, 7)
    for task in held(house):
        assert task["data"].keys() == {"prompt", "answer1", "answer2"}
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == version and 0.5 <= prediction["score"] <= 1
        assert {region["from_name"] for region in prediction["result"]} == {"comparison", "reward1", "reward2"}
        record = house.record(task["id"])
        assert (record["generator"], record["filled"]) == ("echo", ["answer1", "answer2"])
        assert {record["left_sample"], record["right_sample"]} == {0, 1}
        samples = echo(Job(task["data"]["prompt"], record["seed"])).answers
        assert house.answers(task["id"]) == (samples[record["left_sample"]], samples[record["right_sample"]])


def test_what_was_imported_leaves_nothing_to_do_for_the_filler(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    bring(house, rows(12))

    house.generator = Asked()
    house.fill()

    assert (house.generator.jobs, house.patched(), house.num_bulks()) == ([], [], 1), "the import's own"
    assert house.versions([task["id"] for task in held(house)]) == [[version]] * 12


def test_without_a_champion_nothing_is_suggested(house: House) -> None:
    bring(house, rows(3))

    assert holds_each_once(house, 3)
    assert [task["predictions"] for task in held(house)] == [[], [], []]


def test_tasks_are_imported_by_the_hundred(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)

    counts = bring(house, rows(300))

    assert counts == {"imported": 300} and holds_each_once(house, 300)
    assert num_imports(house) <= 10
    assert len(house.studio.requests) <= 20  # and hardly anything else was asked


def test_answers_do_not_wait_for_a_hundred_where_the_model_is_slow(house: House) -> None:
    def wait_for_the_first(prompts: list[str]) -> None:
        if "Prompt 4" in prompts:
            wait_until(lambda: num_imports(house) > 0)

    house.generator.meanwhile = wait_for_the_first

    assert bring(house, rows(8)) == {"imported": 8}
    assert holds_each_once(house, 8)


def test_memory_does_not_grow_with_the_file(house: House) -> None:
    """No more rows are taken than two and a half batches ahead of what was imported."""
    ahead = []

    def each() -> Iterator[Task]:
        for place, row in enumerate(rows(900)):
            ahead.append(place - len(held(house)))
            yield row

    bring(house, each())

    assert 100 < max(ahead) <= 350  # what is being written, and the hundred that are being stored


def test_other_fields_are_kept(house: House) -> None:
    row = {"prompt": "Why?", **EMPTY, "topic": "tea", "n": 7, "tags": ["a", None], "deep": {"x": 1.5}}

    bring(house, [row])

    (task,) = held(house)
    assert {**task["data"], **EMPTY} == row and house.is_answered(task["id"])


@pytest.mark.parametrize("given", ["answer1", "answer2"])
def test_a_half_answered_row_keeps_its_answer(house: House, given: str) -> None:
    (missing,) = {"answer1", "answer2"} - {given}

    assert bring(house, [{"prompt": "Why?", given: "Mine.", missing: ""}]) == {"imported": 1}

    (task,) = held(house)
    assert task["data"][given] == "Mine." and task["data"][missing].startswith("Echo ")
    assert house.record(task["id"])["filled"] == [missing]


def test_a_fully_answered_row_is_imported_without_asking_the_model_and_scored(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    row = {"prompt": "Why?", "answer1": "A much longer answer.", "answer2": "No."}

    assert bring(house, [row]) == {"imported": 1}

    (task,) = held(house)
    assert house.generator.jobs == [] and task["data"] == row and task["meta"] == {}
    assert house.versions([task["id"]]) == [[version]]
    assert task["predictions"][0]["result"][0]["value"] == {"selected": "left"}


def test_the_fields_are_those_of_the_projects_layout(studio: Unsteady, house: House) -> None:
    renamed = LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")
    studio.projects[house.project_id]["label_config"] = renamed

    bring(house, [{"question": "Why?", "left": "", "right": ""}, {"question": "Why?", "left": "", "right": ""}])

    (task,) = held(house)
    assert task["data"]["left"].startswith("Echo ") and task["data"]["right"].startswith("Echo ")


# What is left out, or comes unanswered


def test_a_prompt_that_the_project_holds_and_a_double_in_the_file_are_skipped_and_counted(house: House) -> None:
    by_hand, judged = house.add({"prompt": "Prompt 1", **EMPTY}, {"prompt": "Prompt 2", "answer1": "A", "answer2": "B"})
    house.studio.annotate(judged, CHOICE)
    house.add({"text": "a task without a prompt"})
    House(house.studio, house.settings).add({"prompt": "Prompt 3", **EMPTY})  # in another project

    counts = bring(house, [*rows(5), *rows(2, start=3), *rows(1)])

    assert counts == {"imported": 3, PROMPTS: 5}
    assert sorted(house.generator.prompts) == ["Prompt 0", "Prompt 3", "Prompt 4"]
    assert prompts(house).count("Prompt 1") == prompts(house).count("Prompt 2") == 1
    assert house.answers(by_hand) == ("", "")  # to fill it is the filler's


def test_a_second_run_skips_what_the_first_brought(house: House) -> None:
    bring(house, rows(120))
    house.generator = Asked()

    assert bring(house, rows(130)) == {"imported": 10, PROMPTS: 120}

    assert house.generator.prompts == [row["prompt"] for row in rows(10, start=120)]
    assert holds_each_once(house, 130)
    assert bring(house, rows(130)) == {PROMPTS: 130}


def test_a_project_of_more_tasks_than_a_page_is_known_to_its_end(house: House) -> None:
    house.add_prompts(1005)

    assert bring(house, rows(1010)) == {"imported": 5, PROMPTS: 1005}


def test_nothing_is_imported_from_nothing(house: House) -> None:
    assert bring(house, []) == {}

    assert num_imports(house) == 0


@pytest.mark.parametrize("weight", [None, 1.0], ids=["without a champion", "with a champion"])
def test_a_refused_prompt_comes_unanswered_with_the_mark_and_is_counted(
    house: House, tiny_base: Path, weight: float | None
) -> None:
    if weight:
        house.promote(tiny_base, weight=weight)
    refusal = Writing([], refused="the server refuses it: 400 maximum context length")
    house.generator = Asked(write=lambda job: refusal if job.prompt == "Prompt 1" else echo(job))

    counts = bring(house, rows(3))

    assert counts == {"imported": 3, "unanswered, the server refuses it": 1}
    (task,) = [task for task in held(house) if task["data"]["prompt"] == "Prompt 1"]
    assert house.answers(task["id"]) == ("", "") and task["predictions"] == []
    assert house.record(task["id"])["refused"] == "the server refuses it: 400 maximum context length"
    house.fill()
    assert house.generator.prompts.count("Prompt 1") == 1, "the filler knows the mark, and asks again in a day"


def test_a_refused_prompt_keeps_the_answer_that_it_came_with(house: House) -> None:
    house.generator = Asked(write=lambda job: Writing([], refused="no"))

    assert bring(house, [{"prompt": "Why?", "answer1": "Mine.", "answer2": ""}]) == {"imported": 1, "unanswered, no": 1}

    assert house.answers(held(house)[0]["id"]) == ("Mine.", "")


def test_a_prompt_that_the_model_answers_with_nothing_is_asked_again_and_then_marked(house: House) -> None:
    house.generator = Asked(write=lambda job: Writing(["", " "]))

    assert bring(house, rows(1)) == {"imported": 1, "unanswered, the model wrote nothing": 1}

    assert len({job.seed for job in house.generator.jobs}) == 1 + house.settings.max_resamples


def test_an_answer_field_that_holds_no_text_is_not_overwritten(house: House) -> None:
    odd = {"prompt": "Why?", "answer1": {"text": "a"}, "answer2": ""}

    assert bring(house, [odd, *rows(1)]) == {"imported": 1, "skipped, an answer field holds no text": 1}

    assert prompts(house) == ["Prompt 0"]


def test_answers_that_are_nearly_the_same_are_sampled_again(house: House) -> None:
    def write(job: Job) -> Writing:
        return Writing(["It is quite so.", "It is quite so!"]) if len(house.generator.jobs) < 3 else echo(job)

    house.generator = Asked(write=write)

    bring(house, rows(1))

    (task,) = held(house)
    assert house.is_answered(task["id"]) and "similarity" not in house.record(task["id"])
    assert len({job.seed for job in house.generator.jobs}) == 3


def test_answers_that_stay_nearly_the_same_are_kept_and_marked(house: House) -> None:
    house.generator = Asked(write=lambda job: Writing(["It is quite so.", "It is quite so!"]))

    assert bring(house, rows(1)) == {"imported": 1}

    (task,) = held(house)
    assert set(house.answers(task["id"])) == {"It is quite so.", "It is quite so!"}
    assert house.record(task["id"])["similarity"] == pytest.approx(0.933, abs=1e-3)
    assert len(house.generator.jobs) == 1 + house.settings.max_resamples


def test_the_pair_that_is_shown_is_the_strategys_by_the_served_models_rewards(
    studio: Unsteady, settings_for: SettingsFactory, tiny_base: Path
) -> None:
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, num_candidates=4, pair_strategy="best_vs_random"
    )
    with House(studio, settings) as house:
        house.promote(tiny_base, weight=1)  # the longer, the better
        house.generator = Asked(write=lambda job: Writing([letter * n for n, letter in enumerate("abcd", 2)]))

        bring(house, rows(1))

        (task,) = held(house)
        record = house.record(task["id"])
        assert (record["strategy"], record["candidates"], len(record["rewards"])) == ("best_vs_random", 4, 4)
        best = "abcd"[record["rewards"].index(max(record["rewards"]))]
        assert best in {answer[0] for answer in house.answers(task["id"])}


def test_a_version_that_is_promoted_meanwhile_scores_what_comes_after_it(house: House, tiny_base: Path) -> None:
    first, second = house.promote(tiny_base, weight=1), ""

    def promote() -> None:
        nonlocal second
        second = publish_version(house.registry, tiny_base, weight=-1)
        house.registry.promote(second)  # by the trainer, in another process

    house.at(f"POST /api/projects/{house.project_id}/import", promote)
    bring(house, rows(300))

    versions = house.versions([task["id"] for task in held(house)])
    assert sorted({version for (version,) in versions}) == sorted([first, second]) and len(versions) == 300
    assert versions == sorted(versions), "each batch has one version, the newest"


# What happens while a batch is scored


def after_the_import(house: House, happens: Callable[[], object]) -> None:
    """Lets something happen before the request that follows the first import has arrived."""
    came: list[str] = []

    def watch(request: str) -> None:
        came.append(request)
        if len(came) > 1 and came[-2] == f"POST /api/projects/{house.project_id}/import":
            house.studio.on_arrival = lambda request: None
            happens()

    house.studio.on_arrival = watch


def test_tasks_that_the_filler_scored_meanwhile_get_no_second_prediction(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    filled: list[bool] = []
    after_the_import(house, lambda: filled.append(house.visit().run(lambda: False, has_new_version=False)))

    assert bring(house, rows(30)) == {"imported": 30}

    assert filled == [True], "the filler heard of the tasks and saw to all of them"
    assert house.versions([task["id"] for task in held(house)]) == [[version]] * 30


def test_tasks_that_were_judged_or_deleted_meanwhile_get_no_prediction_and_the_others_do(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)

    def judge_and_delete() -> None:
        judged, deleted = (task["id"] for task in held(house)[:2])
        house.studio.annotate(judged, CHOICE)
        del house.studio.tasks[deleted]

    after_the_import(house, judge_and_delete)
    bring(house, rows(12))

    assert house.versions([task["id"] for task in held(house)]) == [[], *[[version]] * 10]
    assert warnings_of(caplog) == []


# When something goes wrong


def test_a_model_that_fails_ends_it_and_a_second_run_brings_the_rest(house: House) -> None:
    def fail(prompts: list[str]) -> None:
        if "Prompt 300" in prompts:
            raise ModelError("out of memory; lower BATCH_PROMPTS.")

    house.generator.meanwhile = fail
    with pytest.raises(ModelError, match="out of memory; lower BATCH_PROMPTS"):
        bring(house, rows(400))
    num_before = len(held(house))
    assert num_before >= 100

    house.generator = Asked()

    assert bring(house, rows(400)) == {"imported": 400 - num_before, PROMPTS: num_before}
    assert holds_each_once(house, 400)


@pytest.mark.parametrize(
    "fates",
    [["lost"], ["taken"], ["half"], ["late"], ["", "taken", "lost", "lost", "half"], ["half", "half", "taken"]],
    ids="-".join,
)
def test_a_connection_that_ends_during_an_import_makes_no_double_and_loses_nothing(
    studio: Unsteady, house: House, tiny_base: Path, fates: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)
    studio.fates = list(fates)

    assert bring(house, rows(210), settle_seconds=20 if "late" in fates else 0.3) == {"imported": 210}

    assert holds_each_once(house, 210) and studio.fates == []
    assert house.versions([task["id"] for task in held(house)]) == [[version]] * 210
    assert len(warnings_of(caplog)) == len([fate for fate in fates if fate])
    assert all(
        "tasks wait to be imported: Label Studio at http://127.0.0.1:" in warning and " does not answer (" in warning
        for warning in warnings_of(caplog)
    )
    assert not (house.registry.folder / "importing.json").exists()


def test_a_label_studio_that_is_away_is_waited_for(studio: Unsteady, house: House) -> None:
    """Nothing answers for a while, whatever is asked."""
    house.at(f"POST /api/projects/{house.project_id}/import", lambda: studio.failures.extend([0, 0, 503]), time=2)

    assert bring(house, rows(250)) == {"imported": 250}

    assert studio.failures == [] and holds_each_once(house, 250)


def test_a_busy_label_studio_is_asked_again(studio: Unsteady, house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.at(f"POST /api/projects/{house.project_id}/import", lambda: studio.failures.extend([503, 429]))

    assert bring(house, rows(3)) == {"imported": 3}

    assert holds_each_once(house, 3) and num_imports(house) == 3
    assert warnings_of(caplog) == []


def test_a_batch_that_label_studio_always_fails_at_ends_it(studio: Unsteady, house: House) -> None:
    """It says 500 to a text with a NUL where it keeps its tasks in PostgreSQL, however often it is asked."""
    studio.fates = ["", *["lost"] * 99]

    with pytest.raises(StudioUnreachable):
        bring(house, rows(250), settle_seconds=0.1)

    assert len(held(house)) == 100 and num_imports(house) == 1 + 5


def test_tasks_that_label_studio_refuses_end_it_and_the_next_run_waits_for_nothing(studio: Unsteady, house: House) -> None:
    studio.projects[house.project_id]["label_config"] = LABEL_CONFIG.replace(
        '<View className="prompt">', '<View className="prompt"><Text name="context" value="$context"/>'
    )

    with pytest.raises(StudioError) as refused:
        bring(house, rows(3))

    assert '"context" key is expected in task data' in str(refused.value)
    assert held(house) == [] and not (house.registry.folder / "importing.json").exists()


@pytest.mark.parametrize(
    ("fate", "expected"),
    [("taken", {PROMPTS: 20}), ("late", {PROMPTS: 20}), ("half", {PROMPTS: 10, "imported": 10}), ("lost", {"imported": 20})],
)
def test_a_batch_that_an_import_had_sent_when_it_ended_is_looked_for(
    studio: Unsteady, house: House, fate: str, expected: dict[str, int]
) -> None:
    scheduler = house.scheduler()
    studio.fates = [fate]
    house.at(f"POST /api/projects/{house.project_id}/import", scheduler.stop)  # the process ends
    with pytest.raises(StudioUnreachable):
        bring(house, rows(20), scheduler=scheduler)
    assert (house.registry.folder / "importing.json").exists()

    assert bring(house, rows(20), settle_seconds=20 if fate == "late" else 0.3) == expected

    assert holds_each_once(house, 20)
    assert not (house.registry.folder / "importing.json").exists()


def test_a_damaged_note_of_what_was_sent_is_passed_over(house: House) -> None:
    house.registry.folder.joinpath("importing.json").write_text('{"half', encoding="utf-8")

    assert bring(house, rows(3)) == {"imported": 3}
    assert not (house.registry.folder / "importing.json").exists()


def test_two_imports_into_one_project_at_once_are_one_too_many(house: House) -> None:
    began, end = threading.Event(), threading.Event()

    def hold(prompts: list[str]) -> None:
        began.set()
        assert end.wait(20)

    house.generator.meanwhile = hold
    first = begin(house)
    running = threading.Thread(target=first.run, args=[rows(3)])
    running.start()
    try:
        assert began.wait(20)
        with pytest.raises(RegistryError) as refused:
            bring(house, rows(5))
    finally:
        end.set()
        running.join()

    assert str(refused.value) == f"Another import into project {house.project_id} is running; wait for its end, or stop it."
    assert bring(house, rows(5)) == {"imported": 2, PROMPTS: 3}


def test_imports_into_two_projects_do_not_hinder_each_other(house: House) -> None:
    with House(house.studio, house.settings) as other:
        house.generator.meanwhile = lambda prompts: bring(other, rows(2)) if not held(other) else None

        assert bring(house, rows(3)) == {"imported": 3}

        assert len(held(other)) == 2
