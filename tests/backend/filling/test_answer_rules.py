import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from backend.filling.answer_rules import AnswerRules, Attempt, Draft, Score, left_sample
from backend.filling.pair_strategies import similarity
from backend.generators.echo import EchoGenerator
from backend.generators.jobs import Jobs, WrittenAnswers
from backend.generators.scheduler import write_all
from preference.labelling.label_config import LabelingLayout
from preference.settings import Settings
from preference.studio.project import Task
from tests.conftest import SettingsFactory
from tests.support.studio_double import LABEL_CONFIG

LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
SHORT, LONG, OTHER, LAST = "Yes.", "It rains because clouds cool.", "Nobody knows why it does.", "Ask the moon, not me, please."


class Scripted:
    """A Generator whose answers a function of (prompt, how often it was asked) decides."""

    def __init__(self, write: Callable[[str, int], list[str]], *, num_cut: int = 0, refused: str = "") -> None:
        self.name, self.capacity = "scripted", 1
        self.sampling: dict[str, Any] = {"temperature": 0.7}
        self.asked: Counter[str] = Counter()
        self.seeds: list[int] = []
        self._write, self._num_cut, self._refused = write, num_cut, refused

    def run(self, jobs: Jobs) -> None:
        for job in jobs.take(1):
            self.asked[job.prompt] += 1
            self.seeds.append(job.seed)
            answers = [] if self._refused else self._write(job.prompt, self.asked[job.prompt])
            job.finish(WrittenAnswers(answers, self._num_cut, self._refused))


def task(task_id: int = 1, /, **data: Any) -> Task:
    return {"id": task_id, "data": {"prompt": "Why?", "answer1": "", "answer2": "", **data}, "meta": {}}


def draft(
    tasks: Sequence[Task], generator: Any, settings: Settings, *, score: Score | None = None
) -> tuple[list[Draft], Counter[str]]:
    """A draft for each task that can be answered, and how many cannot, by reason."""
    answering = AnswerRules(LAYOUT, settings, lambda: generator)
    drafts, dropped = [], Counter[str]()
    for one in tasks:
        if problem := answering.problem(one):
            dropped[problem] += 1
            continue
        outcome: Draft | Attempt = Attempt(one)
        while isinstance(outcome, Attempt):
            seed, num_answers = answering.seed(outcome), answering.num_answers
            (writing,) = write_all(generator, [answering.prompt(one)], seeds=[seed], num_answers=num_answers)
            outcome = answering.judge(outcome, writing, score=score)
        drafts.append(outcome)
    return drafts, dropped


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


def test_the_record_says_where_the_answers_came_from(settings_for: SettingsFactory) -> None:
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


def test_the_sample_that_differs_from_the_text_that_is_there_is_taken(settings_for: SettingsFactory) -> None:
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


# More candidates than two


def by_length(prompt: str, answers: Sequence[str]) -> list[float]:
    return [len(answer) / 3 for answer in answers]


def test_the_rewards_of_all_candidates_are_recorded(settings_for: SettingsFactory) -> None:
    settings = settings_for(num_candidates=4, pair_strategy="uncertain")

    (made,), _ = draft([task()], Scripted(lambda *_: [SHORT, LONG, OTHER, LAST]), settings, score=by_length)

    assert made.record["candidates"] == 4
    assert made.record["strategy"] == "uncertain"
    assert made.record["rewards"] == [round(len(text) / 3, 4) for text in (SHORT, LONG, OTHER, LAST)]
    assert set(made.answers.values()) == {LONG, LAST}  # 29 and 29 letters: the nearest rewards
    assert {made.record["left_sample"], made.record["right_sample"]} == {1, 3}


@pytest.mark.parametrize(
    ("strategy", "recorded"), [("uncertain", "random"), ("best_vs_random", "random"), ("diverse", "diverse")]
)
def test_without_a_served_model_a_strategy_by_rewards_takes_any_pair_and_says_so(
    settings_for: SettingsFactory, strategy: str, recorded: str
) -> None:
    settings = settings_for(num_candidates=3, pair_strategy=strategy)

    (made,), _ = draft([task()], Scripted(lambda *_: [SHORT, LONG, OTHER]), settings)

    assert made.record["strategy"] == recorded
    assert "rewards" not in made.record
    assert len(made.answers) == 2


def test_candidates_that_are_too_much_alike_are_never_shown_together(settings_for: SettingsFactory) -> None:
    settings = settings_for(num_candidates=3, pair_strategy="uncertain")

    (made,), _ = draft([task()], Scripted(lambda *_: [LONG, LONG.upper(), SHORT]), settings, score=by_length)

    assert SHORT in made.answers.values() and len(set(made.answers.values())) == 2
    assert "similarity" not in made.record


@pytest.mark.parametrize("strategy", ["random", "uncertain", "diverse", "best_vs_random"])
def test_with_candidates_too_the_answer_that_is_there_is_one_of_the_pair(settings_for: SettingsFactory, strategy: str) -> None:
    settings = settings_for(num_candidates=3, pair_strategy=strategy)

    (made,), _ = draft([task(answer2=LAST)], Scripted(lambda *_: [SHORT, LONG, OTHER]), settings, score=by_length)

    assert list(made.answers) == ["answer1"]
    assert made.answers["answer1"] == [SHORT, LONG, OTHER][made.record["left_sample"]]
    assert "right_sample" not in made.record
    assert len(made.record["rewards"]) == made.record["candidates"] == 4
    if strategy == "uncertain":
        assert made.answers["answer1"] == LONG
    if strategy == "best_vs_random":
        assert made.record["rewards"][0] == max(made.record["rewards"])


def test_a_pair_without_the_answer_that_is_there_is_not_chosen_however_good(settings_for: SettingsFactory) -> None:
    settings = settings_for(num_candidates=3, pair_strategy="uncertain")
    rewards = {LAST: 100.0, SHORT: 1.0, LONG: 1.1, OTHER: 50.0}

    (made,), _ = draft(
        [task(answer2=LAST)],
        Scripted(lambda *_: [SHORT, LONG, OTHER]),
        settings,
        score=lambda prompt, answers: [rewards[answer] for answer in answers],
    )

    assert made.answers == {"answer1": OTHER}


def test_with_candidates_the_sides_are_balanced_too(settings_for: SettingsFactory) -> None:
    settings = settings_for(num_candidates=3, pair_strategy="best_vs_random")
    generator = Scripted(lambda *_: [SHORT, LONG, OTHER])

    drafts, _ = draft([task(number) for number in range(1, 201)], generator, settings, score=by_length)
    again, _ = draft([task(number) for number in range(1, 201)], generator, settings, score=by_length)

    assert 72 <= sum(made.answers["answer1"] == LONG for made in drafts) <= 128  # of 200: four standard deviations
    assert [made.answers for made in again] == [made.answers for made in drafts]
    partners = Counter(text for made in drafts for text in made.answers.values() if text != LONG)
    assert min(partners[SHORT], partners[OTHER]) >= 72


# Tasks that cannot be answered


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
def test_a_refused_prompt_is_asked_again_where_the_answer_may_be_another(settings_for: SettingsFactory, why: str) -> None:
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
    "meta", [None, {}, {"pairloop": None}, {"pairloop": "text"}, {"pairloop": {"generator": "old"}}], ids=repr
)
def test_a_meta_of_another_shape_stops_nothing(settings_for: SettingsFactory, meta: Any) -> None:
    drafts, dropped = draft([{**task(), "meta": meta}], EchoGenerator(), settings_for())

    assert len(drafts) == 1 and not dropped
