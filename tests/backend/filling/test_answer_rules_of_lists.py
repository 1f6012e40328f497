"""Answers for a list that people order: all that differ, up to five, in a random order."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from backend.filling.answer_rules import AnswerRules, Attempt, Draft
from backend.generators.echo import EchoGenerator
from preference.labelling.controls.ranker import items_of
from preference.settings import Settings
from preference.studio.task import Task
from tests.conftest import SettingsFactory
from tests.support.answer_drafts import Scripted, draft
from tests.support.ranked_lists import ORDERED

FIVE = ["Yes.", "It rains because clouds cool.", "Nobody knows why it does.", "Ask the moon, not me, please.", "42"]


def unanswered(task_id: int = 1, **data: Any) -> Task:
    return {"id": task_id, "data": {"prompt": "Why?", "items": "", **data}, "meta": {}}


def drafts_of(texts: Sequence[str], settings: Settings, *, count: int = 1) -> tuple[list[Draft], Scripted]:
    writes = Scripted(lambda *_: list(texts))
    return draft([unanswered(number + 1) for number in range(count)], writes, settings, layout=ORDERED)[0], writes


def bodies(made: Draft) -> list[str]:
    return [item["body"] for item in made.answers["items"]]


def test_as_many_answers_as_are_set_are_the_items_of_the_list(settings_for: SettingsFactory) -> None:
    (made,), _ = drafts_of(FIVE[:4], settings_for(num_candidates=4))

    assert sorted(bodies(made)) == sorted(FIVE[:4])
    assert made.answers == {"items": items_of(bodies(made))}
    assert [FIVE[place] for place in made.record["samples"]] == bodies(made)
    assert made.record["filled"] == ["items"] and "left_sample" not in made.record


def test_people_order_five_at_most(settings_for: SettingsFactory) -> None:
    attempt = Attempt(unanswered())
    assert AnswerRules(ORDERED, settings_for(num_candidates=64), EchoGenerator).num_answers(attempt) == 5
    assert AnswerRules(ORDERED, settings_for(num_candidates=3), EchoGenerator).num_answers(attempt) == 3


def test_every_answer_is_as_often_in_every_place(settings_for: SettingsFactory) -> None:
    drafts, _ = drafts_of(FIVE[:3], settings_for(num_candidates=3), count=300)
    again, _ = drafts_of(FIVE[:3], settings_for(num_candidates=3), count=300)

    firsts = Counter(bodies(made)[0] for made in drafts)

    assert min(firsts.values()) >= 67 and len(firsts) == 3  # of 300: four standard deviations
    assert [made.answers for made in again] == [made.answers for made in drafts], "the task and the seed alone decide"


def test_answers_that_are_nearly_the_same_are_shown_once(settings_for: SettingsFactory) -> None:
    (made,), writes = drafts_of([FIVE[1], FIVE[1].upper(), FIVE[0], " ", FIVE[0]], settings_for(num_candidates=5))

    assert sorted(bodies(made)) == sorted([FIVE[0], FIVE[1]])
    assert len(writes.seeds) == 1 and "similarity" not in made.record


def test_if_all_are_alike_they_are_sampled_again_and_then_two_are_kept_and_marked(settings_for: SettingsFactory) -> None:
    (made,), writes = drafts_of(["Same.", "Same.", "Same."], settings_for(num_candidates=3, max_resamples=2))

    assert bodies(made) == ["Same.", "Same."] and made.record["similarity"] == 1.0
    assert len(writes.seeds) == 3


def test_a_model_that_writes_nothing_fills_no_list(settings_for: SettingsFactory) -> None:
    (made,), _ = drafts_of(["", "Alone."], settings_for(max_resamples=0))

    assert made.answers == {} and made.record["refused"] == "the model wrote nothing"


def test_a_list_that_somebody_filled_stays_as_it_is(settings_for: SettingsFactory) -> None:
    settings = settings_for(num_candidates=3)
    theirs = [{"id": "x", "html": "<img/>"}]
    (made,), _ = drafts_of(FIVE[:3], settings)
    rules = AnswerRules(ORDERED, settings, EchoGenerator)

    assert rules.problem(unanswered(items=theirs)) == rules.problem(unanswered(items="text")) == "an answer field holds no text"
    assert rules.fitted(made, unanswered(items=theirs)) is None
    fitted = rules.fitted(made, unanswered(note=1))
    assert fitted is not None and (fitted.answers, fitted.task["data"]["note"]) == (made.answers, 1)
    assert rules.fitted(made, unanswered(prompt="Another?")) is None
