from collections import Counter
from collections.abc import Sequence

import pytest

from preference.labelling.prompts import Prompt
from tests.conftest import SettingsFactory
from tests.support.answer_drafts import Scripted, draft, task

SHORT, LONG, OTHER, LAST = "Yes.", "It rains because clouds cool.", "Nobody knows why it does.", "Ask the moon, not me, please."


# More candidates than two


def by_length(prompt: Prompt, answers: Sequence[str]) -> list[float]:
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


def test_a_pair_without_the_present_answer_is_never_chosen(settings_for: SettingsFactory) -> None:
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
