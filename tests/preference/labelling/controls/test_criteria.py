"""What annotators fill beside the comparison is kept by its control's name, and filters judgements."""

from collections import Counter
from typing import Any

import pytest

from preference.labelling.controls.criteria import Condition, applying, conditions, criteria_of, criteria_text
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair, majority
from preference.labelling.results import Pairwise
from preference.labelling.task_pairs import pairs_of_task
from tests.support.annotations import THREE_STARS, TIE, WRITTEN, tag_result, task, vote, vote_with

LABEL_CONFIG = """
<View>
  <Text name="prompt" value="$prompt"/>
  <Choices name="clarity" toName="prompt"><Choice value="Clear"/><Choice value="Unclear" alias="no"/></Choices>
  <Pairwise name="comparison" toName="answer1,answer2"/>
  <Text name="answer1" value="$answer1"/><Text name="answer2" value="$answer2"/>
  <Choices name="verdict" toName="prompt"><Choice value="Tie"/></Choices>
  <Rating name="strength" toName="prompt" maxRating="4"/>
  <Rating name="relevance" toName="prompt"/>
  <Choices name="flaws" toName="answer1" choice="multiple"><Choice value="Rude"/><Choice value="Wrong"/></Choices>
  <TextArea name="reason" toName="prompt"/>
  <TextArea name="better_answer" toName="prompt"/>
  <Number name="reward1" toName="answer1"/><Number name="reward2" toName="answer2"/>
</View>
"""
LAYOUT = LabelingLayout.from_label_config(LABEL_CONFIG)
CLEAR = tag_result("clarity", "choices", {"choices": ["Clear"]})
UNCLEAR = tag_result("clarity", "choices", {"choices": ["no"]})


def relevance(stars: int) -> dict[str, Any]:
    return tag_result("relevance", "rating", {"rating": stars})


def pairs_of(*annotations: dict[str, Any], where: str = "", dropped: Counter[str] | None = None) -> list[PreferencePair]:
    counted = Counter[str]() if dropped is None else dropped
    return pairs_of_task(task(*annotations), LAYOUT, dropped=counted, where=conditions(where))


def test_each_control_that_compares_nothing_is_kept_as_people_filled_it() -> None:
    rewards = [tag_result(f"reward{n}", "number", {"number": n}) for n in (1, 2)]
    reason = tag_result("reason", "textarea", {"text": ["It is right.", "And short."]})
    flaws = tag_result("flaws", "choices", {"choices": ["Rude", "Wrong"]})

    (pair, written) = pairs_of(
        vote_with(TIE | {"value": {"choices": []}}, THREE_STARS, WRITTEN, *rewards, reason, flaws, relevance(4), side="left")
    )

    expected = {"flaws": ["Rude", "Wrong"], "reason": "It is right.\nAnd short.", "relevance": 4}
    assert criteria_of(pair.criteria) == criteria_of(written.criteria) == expected


def test_a_judgement_without_any_has_an_empty_object() -> None:
    (pair,) = pairs_of(vote("left"))
    assert pair.criteria == "{}"
    assert Pairwise.judgement(LAYOUT, None).criteria == "{}"


@pytest.mark.parametrize(
    ("kind", "value", "held"),
    [
        ("choices", {"choices": [["Tone", "Rude"]]}, "Rude"),  # allowNested
        ("choices", {"choices": []}, None),
        ("number", {"number": 0}, 0),
        ("datetime", {"datetime": "2026-01-01"}, "2026-01-01"),
        ("taxonomy", {"taxonomy": [["a", "b"], ["c"]]}, [["a", "b"], ["c"]]),
        ("labels", {"start": 0, "end": 4, "labels": ["Fact"]}, "Fact"),
        ("textarea", {"text": "alone"}, "alone"),
        ("odd", {"x": 1}, {"x": 1}),
        ("rating", {"x": 1}, None),
        ("choices", {"choices": None}, None),
    ],
)  # fmt: skip
def test_every_kind_of_control_leaves_its_value(kind: str, value: dict[str, Any], held: object) -> None:
    assert criteria_of(criteria_text([("c", kind, value)])) == ({} if held is None else {"c": held})


def test_several_values_of_one_control_are_a_list() -> None:
    regions = [("fact", "labels", {"labels": ["True"]}), ("fact", "labels", {"labels": ["False"]})]
    assert criteria_of(criteria_text(regions)) == {"fact": ["True", "False"]}


def test_the_majority_keeps_what_all_of_its_votes_say() -> None:
    same = [vote_with(CLEAR, side="left", id=n, completed_by=n) for n in (1, 2)]
    (kept,), (lost,) = majority(pairs_of(*same)), majority(pairs_of(*same, vote_with(UNCLEAR, side="left", id=3)))
    assert (criteria_of(kept.criteria), lost.criteria) == ({"clarity": "Clear"}, "{}")


# Conditions


@pytest.mark.parametrize(
    ("where", "num_kept"),
    [
        ("", 4),
        ("clarity=Clear", 2),
        ("clarity != no", 3),  # who says nothing does not say that
        ("relevance>=3", 2),
        ("relevance<3", 1),
        ("relevance=4", 1),
        ("clarity=Clear; relevance>=4", 1),
        ("clarity=clear", 0),
    ],
)
def test_conditions_filter_judgements_and_count_the_others(where: str, num_kept: int) -> None:
    dropped: Counter[str] = Counter()
    annotations = [
        vote_with(CLEAR, relevance(4), side="left", id=1),
        vote_with(CLEAR, relevance(2), side="left", id=2),
        vote_with(UNCLEAR, relevance(3), side="left", id=3),
        vote("left", id=4),
    ]
    assert len(pairs_of(*annotations, where=where, dropped=dropped)) == num_kept
    assert dropped == Counter({"filtered out": 4 - num_kept}) - Counter()


def test_a_control_of_several_choices_has_each_of_them() -> None:
    flawed = criteria_of(criteria_text([("flaws", "choices", {"choices": ["Rude", "Wrong"]})]))
    assert Condition.parse("flaws=Rude").holds(flawed)
    assert not Condition.parse("flaws!=Wrong").holds(flawed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("clarity", "'clarity' should be a condition such as clarity=Clear or relevance>=3 (=, !=, >=, <=, >, <)"),
        ("=3", "'=3' should be a condition such as clarity=Clear or relevance>=3 (=, !=, >=, <=, >, <)"),
        ("clarity=", "'clarity=' should be a condition such as clarity=Clear or relevance>=3 (=, !=, >=, <=, >, <)"),
        ("relevance>=high", "'relevance>=high' should compare with a number, such as relevance>=3"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"should") as refused:
        conditions(f"relevance>1; {text}")
    assert str(refused.value) == reason


def test_conditions_of_other_projects_do_not_apply() -> None:
    assert [str(condition) for condition in applying("clarity = Clear; tone=kind", LAYOUT.criteria)] == ["clarity=Clear"]
