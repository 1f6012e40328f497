import pytest

from backend.filling.answer_rules import AnswerRules, Attempt, left_sample
from backend.filling.pair_strategies import similarity
from backend.generators.echo import EchoGenerator
from preference.generation.jobs import write_all
from preference.settings import Settings
from preference.studio.task import Task
from tests.conftest import SettingsFactory
from tests.support.answer_drafts import LAYOUT, Scripted, draft, task


def seed_of(settings: Settings, task_id: int, number: int) -> int:
    """The generator's seed for a task, the first time (0) or a later one."""
    return AnswerRules(LAYOUT, settings, EchoGenerator).seed(Attempt(task(task_id), number))


# Sides, seeds and the record


def test_over_400_tasks_the_sides_are_balanced_and_the_task_id_alone_decides(settings_for: SettingsFactory) -> None:
    always = Scripted(lambda prompt, _: ["first", "second"])
    drafts, _ = draft([task(number) for number in range(1, 401)], always, settings_for())

    lefts = {draft.task["id"]: draft.answers["answer1"] for draft in drafts}

    assert 160 <= sum(text == "first" for text in lefts.values()) <= 240  # four standard deviations
    assert all(text == ("first", "second")[left_sample(0, number)] for number, text in lefts.items())
    again, _ = draft([task(number) for number in (377, 5, 198)], always, settings_for())
    assert {draft.task["id"]: draft.answers["answer1"] for draft in again} == {n: lefts[n] for n in (377, 5, 198)}
    assert [left_sample(1, number) for number in lefts] != [left_sample(0, number) for number in lefts]


def test_the_record_names_the_origin_of_the_answers(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task(7)], Scripted(lambda *_: ["a", "b"], num_cut=12), settings_for(seed=3))

    assert made.record == {
        "generator": "scripted",
        "sampling": {"temperature": 0.7},
        "seed": seed_of(settings_for(seed=3), 7, 0),
        "left_sample": left_sample(3, 7),
        "right_sample": 1 - left_sample(3, 7),
        "filled": ["answer1", "answer2"],
        "prompt_tokens_cut": 12,
    }


@pytest.mark.parametrize("num_candidates", [2, 5])
def test_the_recorded_seed_writes_the_same_answers_again(settings_for: SettingsFactory, num_candidates: int) -> None:
    drafts, _ = draft(
        [task(number) for number in range(1, 9)],
        EchoGenerator(),
        settings_for(num_candidates=num_candidates, pair_strategy="diverse"),
    )

    for made in drafts:
        (writing,) = write_all(EchoGenerator(), ["Why?"], seeds=[made.record["seed"]], num_answers=num_candidates)
        assert made.answers == {
            "answer1": writing.answers[made.record["left_sample"]],
            "answer2": writing.answers[made.record["right_sample"]],
        }
        assert made.record.get("candidates", 2) == num_candidates
    assert len({made.record["seed"] for made in drafts}) == 8


def test_seeds_are_in_range_and_differ_by_task_attempt_and_setting(settings_for: SettingsFactory) -> None:
    seeds = [seed_of(settings_for(seed=seed), number, attempt) for seed in (0, 9) for number in (1, 2) for attempt in range(5)]

    assert len(set(seeds)) == 20
    assert all(0 <= seed < 2**48 for seed in seeds)


def test_a_task_that_is_not_in_label_studio_yet_is_known_by_its_key(settings_for: SettingsFactory) -> None:
    tasks: list[Task] = [{"data": {"prompt": text}, "key": text} for text in ("One?", "Two?", "One?")]

    drafts, _ = draft(tasks, EchoGenerator(), settings_for())

    assert drafts[0].answers == drafts[2].answers
    assert len({made.record["seed"] for made in drafts}) == 2
    assert [made.record["left_sample"] for made in drafts] == [left_sample(0, text) for text in ("One?", "Two?", "One?")]


# Answers that are too much alike, or empty


def test_identical_answers_are_drawn_again_until_they_differ(settings_for: SettingsFactory) -> None:
    generator = Scripted(lambda prompt, times: ["Yes.", " yes. \n"] if prompt == "Same?" and times < 3 else ["Yes.", "No."])

    drafts, dropped = draft([task(1, prompt="Same?"), task(2)], generator, settings_for())

    assert {made.task["id"]: set(made.answers.values()) for made in drafts} == {1: {"Yes.", "No."}, 2: {"Yes.", "No."}}
    assert generator.asked == {"Same?": 3, "Why?": 1}
    assert len(set(generator.seeds)) == 4
    assert {made.task["id"]: made.record["seed"] for made in drafts} == {
        1: seed_of(settings_for(), 1, 2),
        2: seed_of(settings_for(), 2, 0),
    }
    assert all("similarity" not in made.record for made in drafts)
    assert not dropped


@pytest.mark.parametrize("max_resamples", [0, 4])
@pytest.mark.parametrize(
    "answers", [["42", "42"], ["The cat sat on the mat.", "the cat  sat on the mat!"]], ids=["identical", "nearly identical"]
)
def test_answers_that_stay_alike_are_kept_and_marked(
    settings_for: SettingsFactory, max_resamples: int, answers: list[str]
) -> None:
    generator = Scripted(lambda *_: answers)

    (made,), dropped = draft([task()], generator, settings_for(max_resamples=max_resamples))

    assert sorted(made.answers.values()) == sorted(answers)
    assert made.record["similarity"] == round(similarity(*answers), 3) >= 0.9
    assert made.record["filled"] == ["answer1", "answer2"]
    assert generator.asked == {"Why?": max_resamples + 1}
    assert len(set(generator.seeds)) == max_resamples + 1
    assert not dropped


@pytest.mark.parametrize(("max_similarity", "times"), [(1.0, 1), (0.9, 3), (0.2, 3)])
def test_max_similarity_decides_what_is_drawn_again(settings_for: SettingsFactory, max_similarity: float, times: int) -> None:
    generator = Scripted(lambda _, n: ["It is the moon.", "It is the moon!"] if n < 3 else ["xyz", "Why not?"])

    (made,), _ = draft([task()], generator, settings_for(max_similarity=max_similarity))

    assert generator.asked == {"Why?": times}
    assert "similarity" not in made.record


@pytest.mark.parametrize(
    "data", [{"answer1": "", "answer2": ""}, {"answer1": None, "answer2": None}, {}], ids=["empty", "null", "missing"]
)
@pytest.mark.parametrize("answers", [["", "No."], ["No.", ""], [" \n", ""]], ids=["first", "second", "both"])
def test_empty_answers_are_drawn_again_and_then_the_prompt_is_marked(
    settings_for: SettingsFactory, answers: list[str], data: dict[str, str | None]
) -> None:
    generator = Scripted(lambda *_: answers)

    (made,), _ = draft([{"id": 5, "data": {"prompt": "Why?", **data}}], generator, settings_for(max_resamples=2))

    assert made.answers == {}
    assert made.record["refused"] == "the model wrote nothing"
    assert generator.asked == {"Why?": 3}


def test_an_empty_answer_that_is_followed_by_a_good_one_is_forgotten(settings_for: SettingsFactory) -> None:
    drafts, dropped = draft([task()], Scripted(lambda _, times: ["", ""] if times == 1 else ["a", "b"]), settings_for())

    assert [set(made.answers.values()) for made in drafts] == [{"a", "b"}]
    assert "refused" not in drafts[0].record
    assert not dropped


# Tasks with one answer


@pytest.mark.parametrize(("given", "missing"), [("answer1", "answer2"), ("answer2", "answer1")])
def test_a_half_answered_task_keeps_its_text(settings_for: SettingsFactory, given: str, missing: str) -> None:
    drafts, _ = draft(
        [task(number, **{given: "Mine."}) for number in range(1, 9)], Scripted(lambda *_: ["a", "b"]), settings_for()
    )

    sample = {"answer1": "left_sample", "answer2": "right_sample"}
    assert [made.answers for made in drafts] == [{missing: "a"}] * 8
    assert all(made.record["filled"] == [missing] for made in drafts)
    assert all((made.record[sample[missing]], made.record.get(sample[given])) == (0, None) for made in drafts)
    assert all(made.task["data"][given] == "Mine." for made in drafts)


def test_an_answer_like_the_text_that_is_there_is_drawn_again(settings_for: SettingsFactory) -> None:
    generator = Scripted(lambda _, times: ["MINE.", "mine."] if times == 1 else ["Yours.", "Theirs."])

    (made,), _ = draft([task(answer1="Mine.")], generator, settings_for(max_similarity=0.6))

    assert made.answers["answer2"] in ("Yours.", "Theirs.")
    assert generator.asked == {"Why?": 2}


def test_the_sample_that_differs_from_the_present_text_is_taken(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task(answer1="Mine.")], Scripted(lambda *_: ["mine. ", "Something else."]), settings_for())

    assert made.answers == {"answer2": "Something else."}
    assert (made.record["right_sample"], made.record["filled"]) == (1, ["answer2"])


@pytest.mark.parametrize("answers", [["", "b"], ["b", ""]])
def test_one_written_answer_is_enough_for_a_task_with_one(settings_for: SettingsFactory, answers: list[str]) -> None:
    (made,), _ = draft([task(answer2="Mine.")], Scripted(lambda *_: answers), settings_for())

    assert made.answers == {"answer1": "b"}
    assert made.record["left_sample"] == answers.index("b")


def test_a_half_answered_task_whose_other_answer_stays_alike_gets_it_marked(settings_for: SettingsFactory) -> None:
    (made,), _ = draft([task(answer1="Mine.")], Scripted(lambda *_: ["mine.", "MINE."]), settings_for(max_resamples=1))

    assert made.answers == {"answer2": "mine."}
    assert (made.record["similarity"], made.record["right_sample"]) == (1.0, 0)
