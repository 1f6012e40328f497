import random

import numpy as np

from preference.labelling.pairs import PreferencePair
from trainer.evaluation.baselines import baselines

WORDS = ["a", "moon", "cat?", "good", "-", "answer,", "12", "I", "you", "not", "sorry", "yes", "no", "kind!", "true"]


def random_pairs(num_pairs: int, *, seed: int, votes: int = 1) -> list[PreferencePair]:
    """Pairs in which chance chose; each prompt has that many votes, all the same."""
    chance = random.Random(seed)
    pairs = []
    for i in range(num_pairs):
        first, second = (" ".join(chance.choices(WORDS, k=chance.randint(3, 20))) for _ in range(2))
        pairs += [PreferencePair(f"prompt {i}", first, second)] * votes
    return pairs


def by_name(train: list[PreferencePair], holdout: list[PreferencePair]) -> dict[str, float]:
    return {rule.name: rule.train_accuracy for rule in baselines(train, holdout)}


def test_the_style_rule_learns_what_people_look_at() -> None:
    pairs = [PreferencePair(f"prompt {i}", f"Yes. It is {i} of them.", f"Well, I'm sorry, {i}.") for i in range(40)]
    style = {rule.name: rule for rule in baselines(pairs[:30], pairs[30:])}["style"]

    assert style.train_accuracy == 1.0
    assert style.outcomes.tolist() == [1.0] * 10
    turned = [PreferencePair(pair.prompt, pair.rejected, pair.chosen) for pair in pairs[30:]]
    assert {rule.name: rule for rule in baselines(pairs[:30], turned)}["style"].outcomes.tolist() == [0.0] * 10


def test_a_rule_of_chance_is_not_made_to_look_good_by_its_own_training_pairs() -> None:
    """In sample, 24 features of 40 pairs are right three times in four; many votes on a prompt must not leak either."""
    for votes in (1, 5):
        rules = [by_name(random_pairs(40, seed=seed, votes=votes), [])["style"] for seed in range(8)]
        assert 0.4 < np.mean(rules) < 0.6


def test_the_rules_are_ordered_by_their_accuracy_in_training() -> None:
    longer = [PreferencePair(f"prompt {i}", f"a longer answer {i}", f"no {i}") for i in range(20)]
    shorter = [PreferencePair(pair.prompt, pair.rejected, pair.chosen) for pair in longer]

    assert [rule.name for rule in baselines(longer, shorter) if rule.name != "style"] == ["longer", "shorter"]
    assert [rule.name for rule in baselines(shorter, longer) if rule.name != "style"] == ["shorter", "longer"]


def test_a_pair_counts_by_its_weight() -> None:
    votes = [PreferencePair(f"prompt {i}", f"a longer answer {i}", f"no {i}") for i in range(3)]
    half = [PreferencePair("another", "no", "a longer answer", weight=0.5, kind="tie")]

    assert by_name([*votes, *half], [])["longer"] == 3 / 3.5


def test_answers_that_annotators_wrote_do_not_choose_the_rule() -> None:
    votes = [PreferencePair(f"prompt {i}", f"no {i}", f"a longer answer {i}") for i in range(5)]
    written = [PreferencePair(f"prompt {i}", f"a much longer answer {i}", f"no {i}", kind="written") for i in range(20)]

    rules = by_name([*votes, *written], [])

    assert (rules["shorter"], rules["longer"]) == (1.0, 0.0)


def test_only_ties_teach_no_rule() -> None:
    both_ways = [
        PreferencePair(f"prompt {i}", *answers, kind="tie", weight=0.5)
        for i in range(10)
        for answers in (("no", "a longer answer"), ("a longer answer", "no"))
    ]

    assert by_name(both_ways, both_ways) == {"longer": 0.5, "shorter": 0.5, "style": 0.5}


def test_one_training_prompt_teaches_no_style() -> None:
    assert set(by_name([PreferencePair("Why?", "no", "yes")] * 9 + [PreferencePair(" why? ", "no", "yes")], [])) == {
        "longer",
        "shorter",
    }


def test_the_same_pairs_give_the_same_rules() -> None:
    train, holdout = random_pairs(60, seed=1), random_pairs(20, seed=2)
    first, second = ([(r.name, r.train_accuracy, r.outcomes.tolist()) for r in baselines(train, holdout)] for _ in range(2))

    assert first == second
