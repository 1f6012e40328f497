import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preference.labelling.holdout import FEWEST_PROMPTS, MIN_HOLDOUT, NEWEST_RULE, Holdout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Turn, normalised, opening
from preference.report_card.card import ReportCard
from tests.support.annotations import PROMPTS, pair

RULES = range(1, NEWEST_RULE + 1)


def split(pairs: list[PreferencePair], fraction: float) -> tuple[list[PreferencePair], list[PreferencePair]]:
    return Holdout(fraction).split(pairs)


def is_held_out(prompt: str, fraction: float) -> bool:
    return Holdout(fraction).has(prompt)


def test_a_held_out_prompt_stays_held_out_when_pairs_are_added() -> None:
    few, many = [pair(p) for p in PROMPTS[:50]], [pair(p) for p in reversed(PROMPTS)]
    _, held_out_of_few = split(few, 0.2)
    train_of_many, held_out_of_many = split(many, 0.2)
    assert held_out_of_few
    assert set(held_out_of_few) <= set(held_out_of_many)
    assert not set(held_out_of_few) & set(train_of_many)


def test_every_pair_is_on_one_side_in_its_order() -> None:
    pairs = [pair(p) for p in PROMPTS]
    train, holdout = split(pairs, 0.2)
    trained_on = set(train)
    assert train == [p for p in pairs if p in trained_on]
    assert holdout == [p for p in pairs if p not in trained_on]


def test_all_votes_on_one_prompt_are_on_one_side() -> None:
    pairs = [PreferencePair(p, chosen, "x") for p in PROMPTS[:100] for chosen in ("a", "b")]
    train, holdout = split(pairs, 0.5)
    assert train and holdout
    assert not {p.prompt for p in train} & {p.prompt for p in holdout}


@pytest.mark.parametrize("rule", RULES)
def test_white_space_and_case_do_not_make_a_new_prompt(rule: int) -> None:
    for prompt in PROMPTS[:200]:
        twin = f"  {prompt.upper()}\n".replace(" ", "\t ")
        assert Holdout(0.3, rule).has(twin) == Holdout(0.3, rule).has(prompt)


@pytest.mark.parametrize(
    "twin_of",
    [
        lambda prompt: prompt.removesuffix("?"),
        lambda prompt: prompt.replace("?", "."),
        lambda prompt: prompt.replace("?", " \N{FULLWIDTH QUESTION MARK}"),
        lambda prompt: prompt.replace("Q", "\N{FULLWIDTH LATIN CAPITAL LETTER Q}"),
    ],
    ids=["none", "full stop", "full width", "letter"],
)
def test_closing_punctuation_and_unicode_form_do_not_either(twin_of: Callable[[str], str]) -> None:
    assert [is_held_out(twin_of(prompt), 0.3) for prompt in PROMPTS[:200]] == [
        is_held_out(prompt, 0.3) for prompt in PROMPTS[:200]
    ]


@pytest.mark.parametrize(
    ("rule", "held_out"),
    [(1, [2, 4, 9, 11, 13, 20, 21, 24, 27, 28, 37, 38]), (2, [0, 2, 3, 8, 9, 12, 15, 22, 27, 32, 34, 37])],
)
def test_the_split_is_the_same_in_every_release(rule: int, held_out: list[int]) -> None:
    assert [n for n, p in enumerate(PROMPTS[:40]) if Holdout(0.2, rule).has(p)] == held_out
    assert Holdout(0.2, rule).has("שלום 👩‍👩‍👧") is False


def test_the_held_out_share_is_the_fraction_and_grows_with_it() -> None:
    tenth, half = ({p for p in PROMPTS if is_held_out(p, fraction)} for fraction in (0.1, 0.5))
    assert len(tenth) == pytest.approx(200, abs=50)
    assert len(half) == pytest.approx(1000, abs=100)
    assert tenth < half


# Projects under way


def test_a_project_keeps_the_rule_of_its_first_version() -> None:
    before = ReportCard.from_values({"holdout_fraction": 0.2}).holdout  # a card of build e08322f

    assert (before, Holdout.after([], 0.2)) == (Holdout(0.2, rule=1), Holdout(0.2, NEWEST_RULE))
    assert [Holdout.after([before] * 3, 0.2).has(prompt) for prompt in PROMPTS] == [before.has(prompt) for prompt in PROMPTS]


def test_under_the_first_rule_twins_of_what_is_trained_on_judge_nothing() -> None:
    twins = [prompt.removesuffix("?") for prompt in PROMPTS]
    before = Holdout(0.2, rule=1)
    num_apart = sum(before.has(one) != before.has(other) for one, other in zip(PROMPTS, twins, strict=True))

    train, holdout = Holdout.after([before], 0.2).split([pair(prompt) for prompt in (*PROMPTS, *twins)])

    assert num_apart > 500, "as many would be on both sides"
    assert {p.prompt for p in train} == {prompt for prompt in (*PROMPTS, *twins) if not before.has(prompt)}
    assert len(holdout) == 2 * sum(before.has(one) and before.has(other) for one, other in zip(PROMPTS, twins, strict=True))


HOLDOUTS = st.builds(Holdout, st.sampled_from([0.1, 0.3, 0.6]), st.sampled_from(RULES))


@settings(max_examples=60, deadline=None)
@given(earlier=st.lists(HOLDOUTS, max_size=3), fraction=st.sampled_from([0.1, 0.3, 0.6]), seed=st.integers(0, 99))
def test_nothing_is_judged_by_that_this_round_or_a_version_may_have_trained_on(
    earlier: list[Holdout], fraction: float, seed: int
) -> None:
    drawn = random.Random(seed).sample(PROMPTS, 60)
    prompts = [twin for prompt in drawn for twin in (prompt, prompt.upper(), prompt.removesuffix("?"))]

    train, holdout = Holdout.after(earlier, fraction).split([pair(prompt) for prompt in prompts])

    judged = {p.prompt for p in holdout}
    assert all(before.has(prompt) for prompt in judged for before in earlier)
    assert not {normalised(p.prompt) for p in train} & {normalised(prompt) for prompt in judged}


@pytest.mark.parametrize("rule", RULES)
def test_conversations_that_share_their_first_question_are_on_one_side(rule: int) -> None:
    """What follows it teaches what it asks: on both sides it would leak."""
    said = [Turn("assistant", "A."), Turn("user", "Go on."), Turn("assistant", "B."), Turn("user", "And then?")]
    prompts = [
        prompt
        for text in PROMPTS[:300]
        for asked in [Turn("user", text)]
        for prompt in (
            text,
            (asked, *said[:2]),
            (asked, *said),
            (Turn("system", "Be brief."), Turn("user", text.upper()), *said[:2]),
        )
    ]
    train, holdout = Holdout(0.3, rule).split([PreferencePair(prompt, "a", "b") for prompt in prompts])

    assert train and len(holdout) == 4 * sum(Holdout(0.3, rule).has(text) for text in PROMPTS[:300])
    assert not {normalised(opening(p.prompt)) for p in train} & {normalised(opening(p.prompt)) for p in holdout}


# Enough to judge by


def test_where_few_prompts_are_judged_more_of_them_are_held_out_until_there_is_a_verdict() -> None:
    judged = [pair(prompt) for prompt in PROMPTS[:FEWEST_PROMPTS]]

    more, num_held_out = Holdout(0.2).with_evidence(judged * 3)

    assert len({p.prompt for p in more.split(judged)[1]}) == num_held_out == MIN_HOLDOUT
    assert all(more.has(prompt) for prompt in PROMPTS if Holdout(0.2).has(prompt)), "none that was held out is trained on"
    fewer, num_held_out = Holdout(0.2).with_evidence(judged[:-1])
    assert (fewer, num_held_out) == (Holdout(0.2), 7), "half of the prompts are trained on at least"


def test_where_enough_is_held_out_nothing_changes() -> None:
    judged = [pair(prompt) for prompt in PROMPTS[:200]]

    assert Holdout(0.2).with_evidence(judged) == (Holdout(0.2), len(Holdout(0.2).split(judged)[1]))


@pytest.mark.parametrize("rule", RULES)
def test_what_an_earlier_version_trained_on_never_comes_back_to_judge(rule: int) -> None:
    earlier = Holdout(0.2, rule)
    judged = [pair(prompt) for prompt in PROMPTS[:20]]
    few, num_held_out = Holdout.after([earlier], 0.1).with_evidence(judged)

    assert num_held_out < MIN_HOLDOUT
    assert {p.prompt for p in few.split(judged)[1]} <= {prompt for prompt in PROMPTS if earlier.has(prompt)}
    many = [pair(prompt) for prompt in PROMPTS[:60]]
    more, num_held_out = Holdout.after([earlier], 0.05).with_evidence(many)
    assert num_held_out >= MIN_HOLDOUT and 0.05 < more.fraction <= 0.2
    assert all(earlier.has(p.prompt) for p in more.split(many)[1])
