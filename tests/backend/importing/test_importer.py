from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.importing.importer import Import
from preference.generation.jobs import Job, WrittenAnswers
from preference.labelling.controls.repeats import Repeat, Shown, repeat_of
from preference.labelling.prompts import transcript
from preference.projects.versions import Versions
from preference.studio.task import Annotation, Task
from tests.conftest import SettingsFactory
from tests.support.filling_house import CHOICE, EMPTY, LAYOUT, House, RecordingGenerator, echo, warnings_of
from tests.support.importing_house import (
    PROMPTS,
    UnsteadyStudio,
    holds_each_once,
    import_tasks,
    num_imports,
    prompts,
    rows,
    run_import,
    stored_tasks,
)
from tests.support.studio_double import KEY, wait_until
from tests.support.studio_records import LABEL_CONFIG, Fields
from tests.support.versions import publish_version


@pytest.fixture
def studio() -> Iterator[UnsteadyStudio]:
    with UnsteadyStudio() as double:
        yield double


@pytest.fixture
def house(studio: UnsteadyStudio, settings_for: SettingsFactory) -> Iterator[House]:
    with House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def test_to_make_an_import_asks_nobody_and_to_open_one_reads_the_label_config(house: House) -> None:
    Import(house.project(), LAYOUT, house.folder, house.bench())
    assert house.studio.requests == []

    assert Import.open(house.project(), house.folder, house.bench()).layout == LAYOUT
    assert house.studio.requests == [f"GET /api/projects/{house.project_id}/"]


# What becomes of a prompt


def test_each_prompt_becomes_one_task_that_is_answered_scored_and_recorded(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)

    counts = run_import(house, rows(7))

    assert counts == {"imported": 7}
    assert holds_each_once(house, 7)
    for task in stored_tasks(house):
        assert task["data"].keys() == {"prompt", "answer1", "answer2", "answer1_html", "answer2_html"}
        assert LAYOUT.laid_out(task["data"]) == task["data"]
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == version and 0.5 <= prediction["score"] <= 1
        assert {region["from_name"] for region in prediction["result"]} == {"comparison", "reward1", "reward2"}
        record = house.record(task["id"])
        assert (record["generator"], record["filled"]) == ("echo", ["answer1", "answer2"])
        assert {record["left_sample"], record["right_sample"]} == {0, 1}
        samples = echo(Job(task["data"]["prompt"], record["seed"])).answers
        assert house.answers(task["id"]) == (samples[record["left_sample"]], samples[record["right_sample"]])


def test_a_comparison_that_came_back_in_another_project_is_none_here_unless_somebody_judged_it(house: House) -> None:
    answers, meta = {"answer1": "b", "answer2": "a"}, Repeat(3, 31, Shown("right")).to_meta()
    made: Annotation = {"result": CHOICE, "ground_truth": False, "was_cancelled": False}
    copied: list[Task] = [
        {"data": {"prompt": "p", **answers}, "meta": meta},
        {"data": {"prompt": "q", **answers}, "meta": meta, "annotations": [made]},
    ]

    counts = import_tasks(house, copied)

    assert counts["skipped, a comparison that came back elsewhere, which nobody judged"] == counts["imported"] == 1
    (task,) = stored_tasks(house)
    assert task["data"]["prompt"] == "q" and repeat_of(task) == Repeat(3, 31, Shown("right"))


def test_what_was_imported_leaves_nothing_to_do_for_the_filler(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    run_import(house, rows(12))

    house.generator = RecordingGenerator()
    house.fill()

    assert (house.generator.jobs, house.patched(), house.num_bulks()) == ([], [], 1), "the import's own"
    assert house.versions([task["id"] for task in stored_tasks(house)]) == [[version]] * 12


def test_without_a_champion_nothing_is_suggested(house: House) -> None:
    run_import(house, rows(3))

    assert holds_each_once(house, 3)
    assert [task["predictions"] for task in stored_tasks(house)] == [[], [], []]


def test_tasks_are_imported_by_the_hundred(house: House, tiny_base: Path) -> None:
    house.promote(tiny_base, weight=1)

    counts = run_import(house, rows(300))

    assert counts == {"imported": 300} and holds_each_once(house, 300)
    assert num_imports(house) <= 10
    assert len(house.studio.requests) <= 20  # and hardly anything else was asked


def test_answers_of_a_slow_model_do_not_wait_for_a_hundred(house: House) -> None:
    def wait_for_the_first(prompts: list[str]) -> None:
        if "Prompt 4" in prompts:
            wait_until(lambda: num_imports(house) > 0)

    house.generator.meanwhile = wait_for_the_first

    assert run_import(house, rows(8), most_seconds=0.2) == {"imported": 8}
    assert holds_each_once(house, 8)


def test_tasks_have_the_order_of_the_rows_whatever_the_model_answers_last(house: House) -> None:
    """Label Studio lists them so, and serves them so if its sampling is sequential."""

    def write(job: Job) -> WrittenAnswers:
        is_again = house.generator.prompts.count(transcript(job.prompt)) > 1
        return (
            echo(job)
            if is_again or not transcript(job.prompt).endswith("7")
            else WrittenAnswers(["It is quite so.", "It is quite so!"])
        )

    house.generator = RecordingGenerator(write=write)

    assert run_import(house, rows(330)) == {"imported": 330}

    assert prompts(house) == [row["prompt"] for row in rows(330)]
    assert len(house.generator.jobs) == 330 + 33


def test_memory_does_not_grow_with_the_file(house: House) -> None:
    """No more rows are taken than two and a half batches ahead of what was imported."""
    ahead = []

    def each() -> Iterator[Fields]:
        for place, row in enumerate(rows(900)):
            ahead.append(place - len(stored_tasks(house)))
            yield row

    run_import(house, each())

    assert 100 < max(ahead) <= 350  # what is being written, and the hundred that are being stored


def test_other_fields_are_kept(house: House) -> None:
    row = {"prompt": "Why?", **EMPTY, "topic": "tea", "n": 7, "tags": ["a", None], "deep": {"x": 1.5}}

    run_import(house, [row])

    (task,) = stored_tasks(house)
    assert LAYOUT.laid_out({**row, **{field: task["data"][field] for field in EMPTY}}) == task["data"] and house.is_answered(
        task["id"]
    )


@pytest.mark.parametrize("given", ["answer1", "answer2"])
def test_a_half_answered_row_keeps_its_answer(house: House, given: str) -> None:
    (missing,) = {"answer1", "answer2"} - {given}

    assert run_import(house, [{"prompt": "Why?", given: "Mine.", missing: ""}]) == {"imported": 1}

    (task,) = stored_tasks(house)
    assert task["data"][given] == "Mine." and task["data"][missing].startswith("Echo ")
    assert house.record(task["id"])["filled"] == [missing]


def test_a_fully_answered_row_is_imported_without_asking_the_model_and_scored(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    row = {"prompt": "Why?", "answer1": "A much longer answer.", "answer2": "No."}

    assert run_import(house, [row]) == {"imported": 1}

    (task,) = stored_tasks(house)
    assert house.generator.jobs == [] and task["data"] == LAYOUT.laid_out(row) and task["meta"] == {}
    assert house.versions([task["id"]]) == [[version]]
    assert task["predictions"][0]["result"][0]["value"] == {"selected": "left"}


def test_the_fields_are_those_of_the_projects_layout(studio: UnsteadyStudio, house: House) -> None:
    renamed = LABEL_CONFIG.replace("$answer1", "$left").replace("$answer2", "$right").replace("$prompt", "$question")
    studio.projects[house.project_id]["label_config"] = renamed

    run_import(house, [{"question": "Why?", "left": "", "right": ""}, {"question": "Why?", "left": "", "right": ""}])

    (task,) = stored_tasks(house)
    assert task["data"]["left"].startswith("Echo ") and task["data"]["right"].startswith("Echo ")


# What is skipped, or has no answers


def test_a_prompt_that_the_project_holds_and_a_double_in_the_file_are_skipped_and_counted(house: House) -> None:
    by_hand, judged = house.add({"prompt": "Prompt 1", **EMPTY}, {"prompt": "Prompt 2", "answer1": "A", "answer2": "B"})
    house.studio.annotate(judged, CHOICE)
    house.add({"text": "a task without a prompt"})
    House(house.studio, house.settings).add({"prompt": "Prompt 3", **EMPTY})  # in another project

    counts = run_import(house, [*rows(5), *rows(2, start=3), *rows(1)])

    assert counts == {"imported": 3, PROMPTS: 5}
    assert sorted(house.generator.prompts) == ["Prompt 0", "Prompt 3", "Prompt 4"]
    assert prompts(house).count("Prompt 1") == prompts(house).count("Prompt 2") == 1
    assert house.answers(by_hand) == ("", "")  # to fill it is the filler's


def test_a_twin_of_a_prompt_is_skipped_too(house: House) -> None:
    house.add({"prompt": "Prompt 1?", **EMPTY})
    twins = [{"prompt": prompt, **EMPTY} for prompt in ("PROMPT  1", "Prompt 2", "Prompt 2.", "Prompt \N{FULLWIDTH DIGIT TWO}")]

    assert run_import(house, twins) == {"imported": 1, PROMPTS: 3}

    assert prompts(house) == ["Prompt 1?", "Prompt 2"]


def test_a_second_run_skips_what_the_first_brought(house: House) -> None:
    run_import(house, rows(120))
    house.generator = RecordingGenerator()

    assert run_import(house, rows(130)) == {"imported": 10, PROMPTS: 120}

    assert house.generator.prompts == [row["prompt"] for row in rows(10, start=120)]
    assert holds_each_once(house, 130)
    assert run_import(house, rows(130)) == {PROMPTS: 130}


def test_a_project_of_more_tasks_than_a_page_is_known_to_its_end(house: House) -> None:
    house.add_prompts(1005)

    assert run_import(house, rows(1010)) == {"imported": 5, PROMPTS: 1005}


def test_nothing_is_imported_from_nothing(house: House) -> None:
    assert run_import(house, []) == {}

    assert num_imports(house) == 0


@pytest.mark.parametrize("weight", [None, 1.0], ids=["without a champion", "with a champion"])
def test_a_refused_prompt_is_imported_unanswered_with_the_mark_and_is_counted(
    house: House, tiny_base: Path, weight: float | None
) -> None:
    if weight:
        house.promote(tiny_base, weight=weight)
    refusal = WrittenAnswers([], refused="the server refuses it: 400 maximum context length")
    house.generator = RecordingGenerator(write=lambda job: refusal if job.prompt == "Prompt 1" else echo(job))

    counts = run_import(house, rows(3))

    assert counts == {"imported": 3, "unanswered, the server refuses it": 1}
    (task,) = [task for task in stored_tasks(house) if task["data"]["prompt"] == "Prompt 1"]
    assert house.answers(task["id"]) == ("", "") and task["predictions"] == []
    assert house.record(task["id"])["refused"] == "the server refuses it: 400 maximum context length"
    house.fill()
    assert house.generator.prompts.count("Prompt 1") == 1, "the filler knows the mark, and asks again in a day"


def test_a_refused_prompt_keeps_the_answer_of_its_row(house: House) -> None:
    house.generator = RecordingGenerator(write=lambda job: WrittenAnswers([], refused="no"))

    assert run_import(house, [{"prompt": "Why?", "answer1": "Mine.", "answer2": ""}]) == {"imported": 1, "unanswered, no": 1}

    assert house.answers(stored_tasks(house)[0]["id"]) == ("Mine.", "")


def test_a_prompt_that_the_model_answers_with_nothing_is_asked_again_and_then_marked(house: House) -> None:
    house.generator = RecordingGenerator(write=lambda job: WrittenAnswers(["", " "]))

    assert run_import(house, rows(1)) == {"imported": 1, "unanswered, the model wrote nothing": 1}

    assert len({job.seed for job in house.generator.jobs}) == 1 + house.settings.filling.max_resamples


def test_an_answer_field_that_holds_no_text_is_not_overwritten(house: House) -> None:
    odd = {"prompt": "Why?", "answer1": {"text": "a"}, "answer2": ""}

    assert run_import(house, [odd, *rows(1)]) == {"imported": 1, "skipped, an answer field holds no text": 1}

    assert prompts(house) == ["Prompt 0"]


def test_answers_that_are_nearly_the_same_are_sampled_again(house: House) -> None:
    def write(job: Job) -> WrittenAnswers:
        return WrittenAnswers(["It is quite so.", "It is quite so!"]) if len(house.generator.jobs) < 3 else echo(job)

    house.generator = RecordingGenerator(write=write)

    run_import(house, rows(1))

    (task,) = stored_tasks(house)
    assert house.is_answered(task["id"]) and "similarity" not in house.record(task["id"])
    assert len({job.seed for job in house.generator.jobs}) == 3


def test_answers_that_stay_nearly_the_same_are_kept_and_marked(house: House) -> None:
    house.generator = RecordingGenerator(write=lambda job: WrittenAnswers(["It is quite so.", "It is quite so!"]))

    assert run_import(house, rows(1)) == {"imported": 1}

    (task,) = stored_tasks(house)
    assert set(house.answers(task["id"])) == {"It is quite so.", "It is quite so!"}
    assert house.record(task["id"])["similarity"] == pytest.approx(0.933, abs=1e-3)
    assert len(house.generator.jobs) == 1 + house.settings.filling.max_resamples


def test_the_pair_that_is_shown_is_the_strategys_by_the_served_models_rewards(
    studio: UnsteadyStudio, settings_for: SettingsFactory, tiny_base: Path
) -> None:
    settings = settings_for(
        label_studio_url=studio.url, label_studio_api_key=KEY, num_candidates=4, pair_strategy="best_vs_random"
    )
    with House(studio, settings) as house:
        house.promote(tiny_base, weight=1)  # the longer, the better
        house.generator = RecordingGenerator(write=lambda job: WrittenAnswers([letter * n for n, letter in enumerate("abcd", 2)]))

        run_import(house, rows(1))

        (task,) = stored_tasks(house)
        record = house.record(task["id"])
        assert (record["strategy"], record["candidates"], len(record["rewards"])) == ("best_vs_random", 4, 4)
        best = "abcd"[record["rewards"].index(max(record["rewards"]))]
        assert best in {answer[0] for answer in house.answers(task["id"])}


def test_a_version_that_is_promoted_meanwhile_scores_the_later_batches(house: House, tiny_base: Path) -> None:
    first, second = house.promote(tiny_base, weight=1), ""

    def promote() -> None:
        nonlocal second
        second = publish_version(house.folder, tiny_base, weight=-1)
        Versions(house.folder).promote(second)  # by the trainer, in another process

    house.before_request(f"POST /api/projects/{house.project_id}/import", promote)
    run_import(house, rows(300))

    versions = house.versions([task["id"] for task in stored_tasks(house)])
    assert sorted({version for (version,) in versions}) == sorted([first, second]) and len(versions) == 300
    assert versions == sorted(versions), "each batch has one version, the newest"


# What happens while a batch is scored


def after_the_import(house: House, happens: Callable[[], object]) -> None:
    """Lets something happen before the request that follows the first import has arrived."""
    requests: list[str] = []

    def watch(request: str) -> None:
        requests.append(request)
        if len(requests) > 1 and requests[-2] == f"POST /api/projects/{house.project_id}/import":
            house.studio.on_arrival = lambda request: None
            happens()

    house.studio.on_arrival = watch


def test_tasks_that_the_filler_scored_meanwhile_get_no_second_prediction(house: House, tiny_base: Path) -> None:
    version = house.promote(tiny_base, weight=1)
    filled: list[bool] = []
    after_the_import(house, lambda: filled.append(house.run_pass()))

    assert run_import(house, rows(30)) == {"imported": 30}

    assert filled == [True], "the filler heard of the tasks and saw to all of them"
    assert house.versions([task["id"] for task in stored_tasks(house)]) == [[version]] * 30


def test_tasks_that_were_judged_or_deleted_meanwhile_get_no_prediction_and_the_others_do(
    house: House, tiny_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = house.promote(tiny_base, weight=1)

    def judge_and_delete() -> None:
        judged, deleted = (task["id"] for task in stored_tasks(house)[:2])
        house.studio.annotate(judged, CHOICE)
        del house.studio.tasks[deleted]

    after_the_import(house, judge_and_delete)
    run_import(house, rows(12))

    assert house.versions([task["id"] for task in stored_tasks(house)]) == [[], *[[version]] * 10]
    assert warnings_of(caplog) == []
