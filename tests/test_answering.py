from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backend.answering import Draft, answer_seed, draft_answers, left_sample
from backend.generators import Writing
from backend.generators.echo import EchoGenerator
from preference.layout import LabelingLayout
from preference.studio import Task
from tests.conftest import SettingsFactory
from tests.studio_double import LABEL_CONFIG

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)


class Scripted:
    """A Generator whose answers a function of (prompt, how often it was asked) decides."""

    def __init__(self, write: Callable[[str, int], list[str]], *, num_cut: int = 0) -> None:
        self.name = "scripted"
        self.sampling: dict[str, Any] = {"temperature": 0.7}
        self.asked: Counter[str] = Counter()
        self.seeds: list[int] = []
        self._write, self._num_cut = write, num_cut

    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], num_answers: int = 2) -> list[Writing]:
        self.seeds += seeds
        writings = []
        for prompt in prompts:
            self.asked[prompt] += 1
            writings.append(Writing(self._write(prompt, self.asked[prompt]), self._num_cut))
        return writings


def task(task_id: int = 1, /, **data: Any) -> Task:
    return {"id": task_id, "data": {"prompt": "Why?", "answer1": "", "answer2": "", **data}, "meta": {}}


def draft(tasks: list[Task], generator: Any, settings: Any) -> tuple[list[Draft], Counter[str]]:
    dropped: Counter[str] = Counter()
    return draft_answers(tasks, LAYOUT, generator, settings, dropped=dropped), dropped


def test_over_400_tasks_the_sides_are_balanced_and_the_task_id_alone_decides(settings_for: SettingsFactory) -> None:
    always = Scripted(lambda prompt, _: ["first", "second"])
    drafts, _ = draft([task(number) for number in range(1, 401)], always, settings_for())

    lefts = {draft.task["id"]: draft.answers["answer1"] for draft in drafts}

    assert 160 <= sum(text == "first" for text in lefts.values()) <= 240  # four standard deviations
    assert all(text == ("first", "second")[left_sample(0, number)] for number, text in lefts.items())
    again, _ = draft([task(number) for number in (377, 5, 198)], always, settings_for())
    assert {draft.task["id"]: draft.answers["answer1"] for draft in again} == {n: lefts[n] for n in (377, 5, 198)}
    assert [left_sample(1, number) for number in lefts] != [left_sample(0, number) for number in lefts]


def test_the_record_says_where_the_answers_came_from(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task(7)], Scripted(lambda *_: ["a", "b"], num_cut=12), settings_for(seed=3))

    assert made.record == {
        "generator": "scripted",
        "sampling": {"temperature": 0.7},
        "seed": answer_seed(3, 7, 0),
        "left_sample": left_sample(3, 7),
        "filled": ["answer1", "answer2"],
        "prompt_tokens_cut": 12,
    }


def test_the_recorded_seed_writes_the_same_answers_again(settings_for: SettingsFactory) -> None:
    drafts, _ = draft([task(number) for number in range(1, 9)], EchoGenerator(), settings_for())

    for made in drafts:
        samples = EchoGenerator().generate(["Why?"], seeds=[made.record["seed"]])[0].answers
        first = made.record["left_sample"]
        assert made.answers == {"answer1": samples[first], "answer2": samples[1 - first]}
    assert len({made.record["seed"] for made in drafts}) == 8


def test_identical_answers_are_drawn_again_until_they_differ(settings_for: SettingsFactory) -> None:
    generator = Scripted(lambda prompt, times: ["Yes.", " yes. \n"] if prompt == "Same?" and times < 3 else ["Yes.", "No."])

    drafts, dropped = draft([task(1, prompt="Same?"), task(2)], generator, settings_for())

    assert {made.task["id"]: set(made.answers.values()) for made in drafts} == {1: {"Yes.", "No."}, 2: {"Yes.", "No."}}
    assert generator.asked == {"Same?": 3, "Why?": 1}
    assert len(set(generator.seeds)) == 4
    assert {made.task["id"]: made.record["seed"] for made in drafts} == {1: answer_seed(0, 1, 2), 2: answer_seed(0, 2, 0)}
    assert all("identical" not in made.record for made in drafts)
    assert not dropped


@pytest.mark.parametrize("max_resamples", [0, 4])
def test_answers_that_stay_identical_are_kept_and_marked(settings_for: SettingsFactory, max_resamples: int) -> None:
    generator = Scripted(lambda *_: ["42", "42"])

    (made,), dropped = draft([task()], generator, settings_for(max_resamples=max_resamples))

    assert made.answers == {"answer1": "42", "answer2": "42"}
    assert made.record["identical"] is True
    assert generator.asked == {"Why?": max_resamples + 1}
    assert not dropped


@pytest.mark.parametrize(
    "data", [{"answer1": "", "answer2": ""}, {"answer1": None, "answer2": None}, {}], ids=["empty", "null", "missing"]
)
@pytest.mark.parametrize("answers", [["", "No."], ["No.", ""], [" \n", ""]], ids=["first", "second", "both"])
def test_empty_answers_are_drawn_again_and_then_dropped_with_a_count(
    settings_for: SettingsFactory, answers: list[str], data: dict[str, str | None]
) -> None:
    generator = Scripted(lambda *_: answers)

    drafts, dropped = draft([{"id": 5, "data": {"prompt": "Why?", **data}}], generator, settings_for(max_resamples=2))

    assert drafts == []
    assert dropped == {"the model wrote nothing": 1}
    assert generator.asked == {"Why?": 3}


def test_an_empty_answer_that_is_followed_by_a_good_one_is_forgotten(settings_for: SettingsFactory) -> None:
    drafts, dropped = draft([task()], Scripted(lambda _, times: ["", ""] if times == 1 else ["a", "b"]), settings_for())

    assert [set(made.answers.values()) for made in drafts] == [{"a", "b"}]
    assert not dropped


@pytest.mark.parametrize(("given", "missing"), [("answer1", "answer2"), ("answer2", "answer1")])
def test_a_half_answered_task_keeps_its_text(settings_for: SettingsFactory, given: str, missing: str) -> None:
    drafts, _ = draft(
        [task(number, **{given: "Mine."}) for number in range(1, 9)], Scripted(lambda *_: ["a", "b"]), settings_for()
    )

    assert [list(made.answers) for made in drafts] == [[missing]] * 8
    assert all(made.record["filled"] == [missing] for made in drafts)
    assert all(made.task["data"][given] == "Mine." for made in drafts)


def test_an_answer_like_the_text_that_is_there_is_drawn_again(settings_for: SettingsFactory) -> None:
    generator = Scripted(lambda _, times: ["MINE.", "mine."] if times == 1 else ["Yours.", "Theirs."])

    (made,), _ = draft([task(answer1="Mine.")], generator, settings_for())

    assert made.answers["answer2"] in ("Yours.", "Theirs.")
    assert generator.asked == {"Why?": 2}


@pytest.mark.parametrize("field", ["answer1", "answer2"])
@pytest.mark.parametrize("value", [5, 0, False, [], ["a"], {}, {"text": "a"}], ids=repr)
def test_an_answer_field_that_holds_no_text_is_not_touched(settings_for: SettingsFactory, field: str, value: object) -> None:
    generator = Scripted(lambda *_: ["a", "b"])

    drafts, dropped = draft([task(**{field: value})], generator, settings_for())

    assert drafts == []
    assert dropped == {"an answer field holds no text": 1}
    assert not generator.asked


def test_prompts_that_are_missing_blank_or_no_text_are_counted(settings_for: SettingsFactory) -> None:
    wrong: list[object] = ["", " \n\t", None, 5, ["Why?"], {}]
    tasks = [task(prompt=value) for value in wrong] + [{"id": 9, "data": {}}, task(10)]

    drafts, dropped = draft(tasks, EchoGenerator(), settings_for())

    assert [made.task["id"] for made in drafts] == [10]
    assert dropped == {"prompt missing, empty or not text": 7}


def test_no_tasks_ask_nothing_of_the_generator(settings_for: SettingsFactory) -> None:
    generator = Scripted(lambda *_: ["a", "b"])

    assert draft([], generator, settings_for()) == ([], Counter())
    assert generator.seeds == []
