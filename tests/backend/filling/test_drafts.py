"""A project that collects demonstrations: each open task gets a draft in the annotator's box."""

from typing import Any

import pytest

from backend.filling.project_pass import open_pass
from backend.filling.shown_version import ShownVersion
from preference.errors import ModelError
from preference.generation.jobs import Job, WrittenAnswers
from preference.projects.versions import UNTRAINED
from tests.support.filling_house import House, RecordingGenerator, echo
from tests.support.templates import RECORDED


@pytest.fixture
def drafting(house: House) -> House:
    """A project of Label Studio's template `supervised-llm`."""
    house.studio.projects[house.project_id]["label_config"] = RECORDED["generative-ai/supervised-llm"]
    return house


def run(house: House) -> Any:
    return open_pass(house.project(), house.folder, ShownVersion(is_sure=True), house.bench()).run(
        lambda: False, has_new_version=False
    )


def drafts(house: House, task_id: int) -> list[str | None]:
    """The text of each prediction of a task."""
    results = [prediction["result"] for prediction in house.studio.tasks[task_id]["predictions"]]
    return [result[0]["value"]["text"][0] if result else None for result in results]


def test_each_open_task_gets_one_draft(drafting: House) -> None:
    ids = drafting.add(*({"prompt": f"Prompt {n}"} for n in range(45)))

    assert run(drafting).is_done and run(drafting).is_done

    assert all([(text or "")[:5] for text in drafts(drafting, task_id)] == ["Echo "] for task_id in ids)
    assert {job.num_answers for job in drafting.generator.jobs} == {1} and len(drafting.generator.jobs) == 45
    (prediction,) = drafting.studio.tasks[ids[0]]["predictions"]
    assert prediction["model_version"] == UNTRAINED
    assert {key: prediction["result"][0][key] for key in ("from_name", "to_name", "type")} == {
        "from_name": "instruction", "to_name": "prompt", "type": "textarea"
    }  # fmt: skip
    assert drafting.data(ids[0]) == {"prompt": "Prompt 0"}, "the task itself stays"


def test_the_filler_knows_such_a_project(drafting: House) -> None:
    (task_id,) = drafting.add({"prompt": "Why?"})
    drafting.fill()
    assert len(drafts(drafting, task_id)) == 1


def test_what_somebody_wrote_or_edited_meanwhile_gets_no_draft(drafting: House) -> None:
    written, edited, deleted, open_ = drafting.add(*({"prompt": f"Prompt {n}"} for n in range(4)))

    def meanwhile(prompts: list[str]) -> None:
        if not drafting.studio.tasks[written]["annotations"]:
            drafting.studio.annotate(written, [])
            drafting.edit(edited, prompt="Another?")
            drafting.studio.tasks.pop(deleted)

    drafting.generator = RecordingGenerator(meanwhile)
    run(drafting)

    assert [len(drafts(drafting, task_id)) for task_id in (written, edited, open_)] == [0, 0, 1]


def test_a_prompt_that_cannot_be_answered_is_asked_once(drafting: House) -> None:
    def write(job: Job) -> WrittenAnswers:
        return WrittenAnswers([], refused="the server refused the prompt (400): too long") if job.prompt == "Bad?" else echo(job)

    drafting.generator = RecordingGenerator(write=write)
    bad, good, blank = drafting.add({"prompt": "Bad?"}, {"prompt": "Good?"}, {"prompt": " "})

    first, second = run(drafting), run(drafting)

    assert first.dropped == {"the server refused the prompt (400)": 1, "prompt missing, empty or not text": 1}
    assert second.dropped == {"prompt missing, empty or not text": 1}
    assert (drafts(drafting, bad), len(drafts(drafting, good)), drafts(drafting, blank)) == ([None], 1, [])
    assert drafting.generator.prompts.count("Bad?") == 1


def test_a_model_that_fails_ends_the_pass_and_the_next_goes_on(drafting: House) -> None:
    (task_id,) = drafting.add({"prompt": "Why?"})

    def fail(job: Job) -> WrittenAnswers:
        raise ModelError("out of memory")

    drafting.generator = RecordingGenerator(write=fail)
    with pytest.raises(ModelError, match="out of memory"):
        run(drafting)
    drafting.generator = RecordingGenerator()
    assert run(drafting).is_done
    assert len(drafts(drafting, task_id)) == 1
