import time
from typing import Any

import pytest

from backend.connecting.default_label_config import default_label_config
from backend.filling.answer_rules import AnswerRules
from backend.filling.workbench import Refusals
from backend.generators.echo import EchoGenerator
from preference.generation.jobs import WrittenAnswers
from preference.labelling.label_config import LabelingLayout
from preference.settings import Settings
from preference.studio.task import Task
from tests.conftest import SettingsFactory
from tests.support.answer_drafts import Scripted, draft, task
from tests.support.filling_house import House, echo
from tests.support.templates import RECORDED

# Tasks that cannot be answered


def test_without_a_prompt_on_the_page_there_is_nothing_to_answer(settings_for: SettingsFactory) -> None:
    layout = LabelingLayout.from_label_config(RECORDED["ranking-and-scoring/pairwise-classification"])

    problem = AnswerRules(layout, settings_for(), EchoGenerator).problem({"id": 1, "data": {"prompt": "Why?"}, "meta": {}})

    assert problem == "the label config shows no prompt"


@pytest.mark.parametrize("field", ["answer1", "answer2"])
@pytest.mark.parametrize("value", [{}, {"text": "a"}, [{"text": "a"}]], ids=repr)
def test_an_answer_field_that_holds_no_text_is_not_touched(settings_for: SettingsFactory, field: str, value: object) -> None:
    generator = Scripted(lambda *_: ["a", "b"])

    drafts, dropped = draft([task(**{field: value})], generator, settings_for())

    assert drafts == []
    assert dropped == {"an answer field holds no text": 1}
    assert not generator.asked


@pytest.mark.parametrize("field", ["answer1", "answer2"])
@pytest.mark.parametrize(("value", "shown"), [(5, "5"), (0, "0"), (False, "false"), (["a", 2], "a,2")], ids=repr)
def test_an_answer_that_label_studio_shows_as_text_stays_and_gets_another_beside_it(
    settings_for: SettingsFactory, field: str, value: object, shown: str
) -> None:
    generator = Scripted(lambda *_: [shown, "Mine."])

    (made,), dropped = draft([task(**{field: value})], generator, settings_for())

    assert made.answers == {"answer2" if field == "answer1" else "answer1": "Mine."}, "another than the one that is there"
    assert not dropped


def test_an_empty_list_is_an_empty_box(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task(answer1=[])], EchoGenerator(), settings_for())

    assert set(made.answers) == {"answer1", "answer2"}


def test_prompts_that_are_missing_blank_or_no_text_are_counted(settings_for: SettingsFactory) -> None:
    wrong: list[object] = ["", " \n\t", None, [], {}, [{"role": "user", "content": "Why?"}]]
    tasks = [task(prompt=value) for value in wrong] + [{"id": 9, "data": {}}, task(10)]

    drafts, dropped = draft(tasks, EchoGenerator(), settings_for())

    assert [made.task["id"] for made in drafts] == [10]
    assert dropped == {"prompt missing, empty or not text": 7}


def test_a_refused_prompt_is_asked_once_and_marked(settings_for: SettingsFactory) -> None:
    generator = Scripted(lambda *_: [], refused="the server refused the prompt (400): too long")
    before = int(time.time())

    (made,), _ = draft([task()], generator, settings_for(generator_engine="openai", generator_model="tiny"))

    assert made.answers == {}
    assert set(made.record) == {"refused", "model", "prompt", "at"}
    assert (made.record["refused"], made.record["model"]) == ("the server refused the prompt (400): too long", "openai tiny")
    assert before <= made.record["at"] <= time.time()
    assert len(made.record["prompt"]) == 16 and "Why" not in made.record["prompt"]
    assert generator.asked == {"Why?": 1}


def test_a_half_answered_task_whose_prompt_is_refused_is_marked_and_not_taken_for_answered(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task(answer1="Mine.")], Scripted(lambda *_: [], refused="no"), settings_for())

    assert (made.answers, made.record["refused"]) == ({}, "no")


def marked(settings: Settings, *, seconds_ago: float = 0, **data: Any) -> Task:
    """A task whose prompt the model of these settings refused."""
    (made,), _ = draft([task(**data)], Scripted(lambda *_: [], refused="no"), settings)
    return {**made.task, "meta": {"pairloop": {**made.record, "at": time.time() - seconds_ago}}}


def test_a_refused_prompt_is_not_asked_again_for_a_day(settings_for: SettingsFactory) -> None:
    settings, generator = settings_for(), Scripted(lambda *_: ["a", "b"])

    drafts, dropped = draft([marked(settings), marked(settings, seconds_ago=86_300)], generator, settings)

    assert (drafts, dropped) == ([], {"no": 2})
    assert not generator.asked


@pytest.mark.parametrize("why", ["edited", "another engine", "another model", "a day later"])
def test_a_refused_prompt_is_asked_again_if_the_answer_may_be_another(settings_for: SettingsFactory, why: str) -> None:
    settings = settings_for()
    refused = marked(settings, seconds_ago=86_500 if why == "a day later" else 0)
    if why == "edited":
        refused["data"] = {**refused["data"], "prompt": "Why not?"}
    changes = {"another engine": {"generator_engine": "echo"}, "another model": {"generator_model": "larger"}}.get(why, {})

    (made,), dropped = draft([refused], Scripted(lambda *_: ["a", "b"]), settings_for(**changes))

    assert set(made.answers.values()) == {"a", "b"}
    assert "refused" not in made.record
    assert not dropped


@pytest.mark.parametrize(
    "meta",
    [
        None, {}, {"pairloop": None}, {"pairloop": "text"}, {"pairloop": {"generator": "old"}}, [], ["a", "list"], "text", 7, True,
        {"pairloop": {"refused": ["no"], "at": "now"}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_meta_of_another_shape_stops_nothing(settings_for: SettingsFactory, meta: Any) -> None:
    drafts, dropped = draft([{**task(), "meta": meta}], EchoGenerator(), settings_for())

    assert len(drafts) == 1 and not dropped


def test_a_refused_prompt_whose_task_has_a_meta_that_holds_no_mark_is_asked_once_by_a_process(house: House) -> None:
    tasks = house.add_prompts(2)
    for task_id in tasks:
        house.studio.tasks[task_id]["meta"] = ["theirs"]
    house.generator.write = lambda job: WrittenAnswers([], refused="no")
    filler = house.filler()

    for _ in range(3):
        house.fill(filler)

    assert sorted(house.generator.prompts) == ["Prompt 0", "Prompt 1"]
    assert house.figure(f'tasks_unfillable{{project="{house.project_id}",reason="no"}}') == 2
    assert [house.studio.tasks[task_id]["meta"] for task_id in tasks] == [["theirs"], ["theirs"]]
    house.generator.write = echo
    house.edit(tasks[0], prompt="Another")
    house.fill(filler)
    assert house.is_answered(tasks[0]) and not house.is_answered(tasks[1])
    house.fill(house.filler())  # of a new process
    assert house.is_answered(*tasks)
    assert [house.studio.tasks[task_id]["meta"] for task_id in tasks] == [["theirs"], ["theirs"]]


def test_of_refusals_that_no_task_holds_the_latest_are_remembered() -> None:
    refusals = Refusals()

    for number in range(10_001):
        refusals.remember((1, number), {"refused": "no"})

    assert len(refusals) == 10_000 and (1, 0) not in refusals and (1, 10_000) in refusals


# Conversations

CONVERSATION = LabelingLayout.from_label_config(default_label_config(conversations=True))


def said(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in turns]


def test_a_conversation_is_answered_with_its_next_turn(settings_for: SettingsFactory) -> None:
    chat = said(("system", "Be brief."), ("user", "Name a tree."), ("assistant", "Oak."), ("user", "Another one."))
    generator = Scripted(lambda *_: ["Elm.", "Ash."])

    (made,), dropped = draft([task(prompt=chat)], generator, settings_for(), layout=CONVERSATION)

    assert set(made.answers.values()) == {"Elm.", "Ash."} and made.task["data"]["prompt"] == chat
    assert list(generator.asked) == ["System: Be brief.\n\nUser: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one."]
    assert not dropped


def test_what_is_no_conversation_to_go_on_with_is_counted_by_reason(settings_for: SettingsFactory) -> None:
    wrong: dict[str, list[Any]] = {
        "conversation missing, or no list of messages": ["Why?", None, 3, {"role": "user", "content": "Why?"}],
        "conversation empty": [[], said(("user", " "))],
        "conversation with a message that lacks its role or its text": [["Why?"], said(("user", ["Why?"]))],
        "conversation with a role that is none of user, assistant and system": [said(("Ada", "Why?"))],
        "conversation that does not end with the user's turn": [
            said(("user", "Why?"), ("assistant", "So.")),
            said(("system", "Be brief.")),
        ],
    }
    tasks = [task(prompt=prompt) for prompts in wrong.values() for prompt in prompts]

    drafts, dropped = draft(
        [*tasks, task(9, prompt=said(("user", "Why?")))], EchoGenerator(), settings_for(), layout=CONVERSATION
    )

    assert [made.task["id"] for made in drafts] == [9]
    assert dropped == {why: len(prompts) for why, prompts in wrong.items()}
