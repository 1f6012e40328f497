import pytest

from preference.labelling.pairs import (
    PreferencePair,
    is_held_out,
    split_holdout,
)
from tests.support.annotations import PROMPTS, pair

# The holdout


def test_a_held_out_prompt_stays_held_out_when_pairs_are_added() -> None:
    few, many = [pair(p) for p in PROMPTS[:50]], [pair(p) for p in reversed(PROMPTS)]
    _, held_out_of_few = split_holdout(few, 0.2)
    train_of_many, held_out_of_many = split_holdout(many, 0.2)
    assert held_out_of_few
    assert set(held_out_of_few) <= set(held_out_of_many)
    assert not set(held_out_of_few) & set(train_of_many)


def test_every_pair_is_on_one_side_in_its_order() -> None:
    pairs = [pair(p) for p in PROMPTS]
    train, holdout = split_holdout(pairs, 0.2)
    trained_on = set(train)
    assert train == [p for p in pairs if p in trained_on]
    assert holdout == [p for p in pairs if p not in trained_on]


def test_all_votes_on_one_prompt_are_on_one_side() -> None:
    pairs = [PreferencePair(p, chosen, "x") for p in PROMPTS[:100] for chosen in ("a", "b")]
    train, holdout = split_holdout(pairs, 0.5)
    assert train and holdout
    assert not {p.prompt for p in train} & {p.prompt for p in holdout}


def test_white_space_and_case_do_not_make_a_new_prompt() -> None:
    for prompt in PROMPTS[:200]:
        assert is_held_out(f"  {prompt.upper()}\n".replace(" ", "\t "), 0.3) == is_held_out(prompt, 0.3)


def test_the_split_is_the_same_in_every_release() -> None:
    assert [n for n, p in enumerate(PROMPTS[:40]) if is_held_out(p, 0.2)] == [2, 4, 9, 11, 13, 20, 21, 24, 27, 28, 37, 38]
    assert is_held_out("שלום 👩‍👩‍👧", 0.2) is False


def test_the_held_out_share_is_the_fraction_and_grows_with_it() -> None:
    tenth, half = ({p for p in PROMPTS if is_held_out(p, fraction)} for fraction in (0.1, 0.5))
    assert len(tenth) == pytest.approx(200, abs=50)
    assert len(half) == pytest.approx(1000, abs=100)
    assert tenth < half
