"""Answers that a limit cut off, and what a model thought before them."""

from collections.abc import Callable, Sequence

import pytest

from backend.filling.answer_rules import AnswerRules, Draft
from preference.generation.jobs import Answer, Job, Jobs, WrittenAnswers
from preference.studio.task import Task
from tests.conftest import SettingsFactory
from tests.support.answer_drafts import LAYOUT, Scripted, draft, task
from tests.support.filling_house import EMPTY, House, RecordingGenerator
from tests.support.ranked_lists import ORDERED

WHOLE = [Answer(f"{word} is the whole of it.", "stop") for word in ("Rain", "Nothing", "The moon", "Bread")]
CUT = [Answer(f"{word}, and so it goes on", "length") for word in ("Bees", "A clock", "Four rivers", "Soup")]


class Ending(Scripted):
    """Its answers say how they came about; `write` gets how often it was asked and how many answers are wanted."""

    def __init__(self, write: Callable[[int, int], Sequence[Answer]]) -> None:
        super().__init__(lambda *_: [])
        self.wanted: list[int] = []
        self._answers = write

    def run(self, jobs: Jobs) -> None:
        for job in jobs.take(1):
            self.wanted.append(job.num_answers)
            job.finish(WrittenAnswers.of(self._answers(len(self.wanted), job.num_answers)))


def shown(made: Draft) -> list[str]:
    """The reasons why the answers ended, by field."""
    return [reason for _, reason in sorted(made.record["finish_reasons"].items())]


def test_the_record_says_why_each_answer_ended(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task()], Ending(lambda *_: [WHOLE[0], Answer("Else.", "eos_token")]), settings_for())

    by_text = {made.answers[field]: reason for field, reason in made.record["finish_reasons"].items()}
    assert by_text == {WHOLE[0].text: "stop", "Else.": "eos_token"}
    assert made.num_cut == 0


def test_two_whole_answers_and_two_that_were_cut_off_are_sampled_once(settings_for: SettingsFactory) -> None:
    for both in (WHOLE[:2], CUT[:2]):
        generator = Ending(lambda *_, both=both: both)

        (made,), _ = draft([task()], generator, settings_for())

        assert (generator.wanted, set(made.answers.values())) == ([2], {answer.text for answer in both})
        assert made.num_cut == (2 if both == CUT[:2] else 0)
        assert "seeds" not in made.record


@pytest.mark.parametrize(("third", "reasons"), [(WHOLE[1], ["stop", "stop"]), (CUT[1], ["length", "length"])])
@pytest.mark.parametrize("order", [1, -1])
def test_beside_a_whole_answer_one_that_was_cut_off_is_replaced_by_one_more(
    settings_for: SettingsFactory, third: Answer, reasons: list[str], order: int
) -> None:
    generator = Ending(lambda times, _: [WHOLE[0], CUT[0]][::order] if times == 1 else [third])

    (made,), _ = draft([task(3)], generator, settings_for())

    assert generator.wanted == [2, 1]
    assert shown(made) == reasons and third.text in made.answers.values()
    fields = {text: field for field, text in made.answers.items()}
    first = next(field for text, field in fields.items() if text != third.text)
    assert made.record["seeds"][first] != made.record["seeds"][fields[third.text]]
    samples = {"answer1": "left_sample", "answer2": "right_sample"}
    assert made.record[samples[fields[third.text]]] == 0  # the first of its seed


def test_if_no_other_can_be_had_a_whole_answer_stands_beside_one_that_was_cut_off(settings_for: SettingsFactory) -> None:
    generator = Ending(lambda times, _: [WHOLE[0], CUT[0]] if times == 1 else [Answer("", "length")])

    (made,), _ = draft([task()], generator, settings_for(max_resamples=3))

    assert generator.wanted == [2, 1, 1, 1]
    assert sorted(shown(made)) == ["length", "stop"]
    assert made.num_cut == 1 and "similarity" not in made.record


@pytest.mark.parametrize("changes", [{"whole_answers": False}, {"max_resamples": 0}])
def test_it_can_be_set_that_nothing_is_sampled_again_for_it(settings_for: SettingsFactory, changes: dict[str, object]) -> None:
    generator = Ending(lambda *_: [WHOLE[0], CUT[0]])

    (made,), _ = draft([task()], generator, settings_for(**changes))

    assert generator.wanted == [2] and sorted(shown(made)) == ["length", "stop"]


def test_of_several_candidates_whole_ones_are_shown(settings_for: SettingsFactory) -> None:
    generator = Ending(lambda *_: [CUT[0], WHOLE[0], CUT[1], WHOLE[1]])

    (made,), _ = draft([task()], generator, settings_for(num_candidates=4, pair_strategy="diverse"))

    assert generator.wanted == [4] and shown(made) == ["stop", "stop"]
    assert {made.record["left_sample"], made.record["right_sample"]} == {1, 3}


def test_beside_a_persons_answer_stands_a_whole_one(settings_for: SettingsFactory) -> None:
    generator = Ending(lambda times, _: CUT[:2] if times == 1 else [WHOLE[0]])

    (made,), _ = draft([task(answer2="Mine.")], generator, settings_for())

    assert generator.wanted == [2, 1]
    assert (made.answers, made.record["finish_reasons"]) == ({"answer1": WHOLE[0].text}, {"answer1": "stop"})


def test_an_answer_that_differs_from_an_earlier_one_alone_is_shown_with_that(settings_for: SettingsFactory) -> None:
    generator = Ending(lambda times, wanted: [WHOLE[0 if times == 1 else 1]] * wanted)

    (made,), _ = draft([task()], generator, settings_for())

    assert generator.wanted == [2, 2]
    assert set(made.answers.values()) == {WHOLE[0].text, WHOLE[1].text} and "similarity" not in made.record


def test_what_a_person_filled_meanwhile_leaves_no_trace_in_the_record(settings_for: SettingsFactory) -> None:
    settings = settings_for(keep_thinking=True)
    thoughtful = [Answer(answer.text, "stop", f"Hm, {answer.text}") for answer in WHOLE[:2]]
    generator = Ending(lambda *_: thoughtful)
    (made,), _ = draft([task()], generator, settings)

    fitted = AnswerRules(LAYOUT, settings, lambda: generator).fitted(made, task(answer2="Mine."))

    assert fitted is not None and list(fitted.answers) == fitted.record["filled"] == ["answer1"]
    assert list(fitted.record["finish_reasons"]) == list(fitted.record["thoughts"]) == ["answer1"]
    assert set(made.record["thoughts"]) == {"answer1", "answer2"}


# Thoughts


def test_a_thought_is_kept_in_the_record_if_that_is_set_and_nowhere_else(settings_for: SettingsFactory) -> None:
    generator = Ending(lambda *_: [Answer("Yes.", "stop", "Is it?"), Answer("No.", "stop", "It is not.")])

    (without,), _ = draft([task()], generator, settings_for())
    (made,), _ = draft([task()], generator, settings_for(keep_thinking=True))

    assert "thoughts" not in without.record
    assert {made.answers[field]: thought for field, thought in made.record["thoughts"].items()} == {
        "Yes.": "Is it?", "No.": "It is not.",
    }  # fmt: skip


def test_a_model_that_only_thought_is_sampled_again_and_then_the_prompt_says_so(settings_for: SettingsFactory) -> None:
    generator = Ending(lambda _, wanted: [Answer("", "length", "Let me think")] * wanted)

    (made,), _ = draft([task()], generator, settings_for(max_resamples=1))

    assert (made.answers, made.record["refused"]) == ({}, "the model thought up to its limit and wrote nothing")
    assert generator.wanted == [2, 2]


# What is counted


def test_answers_that_were_cut_off_are_counted(house: House) -> None:
    def write(job: Job) -> WrittenAnswers:
        pair = CUT if job.prompt in ("Prompt 1", "Prompt 4") else WHOLE
        return WrittenAnswers.of(pair[: job.num_answers])

    house.generator = RecordingGenerator(write=write)
    tasks = house.add_prompts(6)

    assert house.run_pass()

    assert house.figure("answers_cut_total") == 4
    assert [house.record(task)["finish_reasons"]["answer1"] for task in tasks] == [
        "length" if n in (1, 4) else "stop" for n in range(6)
    ]


def test_a_list_holds_none_that_were_cut_off_if_two_whole_ones_differ(settings_for: SettingsFactory) -> None:
    unanswered: Task = {"id": 1, "data": {"prompt": "Why?", "items": []}, "meta": {}}
    generator = Ending(lambda *_: [WHOLE[0], CUT[0], WHOLE[1], CUT[1], WHOLE[2]])

    (made,), _ = draft([unanswered], generator, settings_for(num_candidates=5), layout=ORDERED)

    assert sorted(made.record["samples"]) == [0, 2, 4] and made.num_cut == 0
    assert made.record["finish_reasons"] == {"a": "stop", "b": "stop", "c": "stop"}


def test_how_many_were_cut_off_stands_beside_how_many_tasks_were_answered(house: House) -> None:
    house.generator = RecordingGenerator(write=lambda job: WrittenAnswers.of(CUT[: job.num_answers]))
    house.add({"prompt": "Why?", **EMPTY})

    assert house.run_pass()

    written = house.folder.path / "filling.json"
    assert '"tasks_answered": 1, "answers_cut": 2' in written.read_text()
