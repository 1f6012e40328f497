"""A list of answers that people order: what a task holds, what a result says, and the pairs that this makes."""

import json
from collections import Counter
from typing import Any

import pytest

from preference.errors import LayoutError
from preference.labelling.controls.ranker import Bucket, items_of
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair, majority, num_votes
from preference.labelling.results import Pairwise, Ranking
from preference.labelling.task_pairs import pairs_of_task
from tests.conftest import REPOSITORY
from tests.support.annotations import tag_result
from tests.support.ranked_lists import LIST, ORDER, ORDERED, PROMPT, SORTED, listed, ranking


def pairs_of(task: dict[str, Any], layout: LabelingLayout = ORDERED) -> tuple[list[PreferencePair], Counter[str]]:
    dropped: Counter[str] = Counter()
    return pairs_of_task(task, layout, dropped=dropped), dropped


def compared(pairs: list[PreferencePair]) -> set[tuple[str, str]]:
    return {(pair.chosen, pair.rejected) for pair in pairs}


def with_buckets(*buckets: str) -> str:
    return f'<View>{PROMPT}{LIST}<Ranker name="rank" toName="answers">{"".join(buckets)}</Ranker></View>'


# The label config


def test_label_studios_template_is_read_as_it_is() -> None:
    assert (SORTED.control, SORTED.answer_tags, SORTED.answer_fields, SORTED.prompt_field) == (
        "rank",
        ("answers",),
        ("items",),
        "prompt",
    )
    assert SORTED.ranker is not None
    assert SORTED.ranker.buckets == (
        Bucket("relevant_results", "Relevant Results", 1.0),
        Bucket("biased_results", "Biased Results", -1.0),
    )
    assert (SORTED.ranker.first_column, set(SORTED.context_fields)) == ("_", {"task"})


def test_a_ranker_that_orders_no_list_is_refused() -> None:
    for config in (
        f'<View>{PROMPT}<Ranker name="rank" toName="answers"/></View>',
        f'<View>{PROMPT}<Text name="answers" value="$items"/><Ranker name="rank" toName="answers"/></View>',
        f"<View>{PROMPT}{LIST}<Ranker toName='answers'/></View>",
    ):
        with pytest.raises(
            LayoutError, match=r"must have a name and order the items of a <List>, such as <List name=\"answers\""
        ):
            LabelingLayout.from_label_config(config)


def test_a_pairwise_beside_a_ranker_is_what_counts() -> None:
    answers = '<Pairwise name="which" toName="a,b"/><Text name="a" value="$a"/><Text name="b" value="$b"/>'
    layout = LabelingLayout.from_label_config(ORDER.replace(PROMPT, PROMPT + answers))

    assert (layout.control, layout.ranker) == ("which", None)


def test_buckets_that_do_not_say_which_is_better_are_refused() -> None:
    for buckets in (
        ['<Bucket name="cats"/>', '<Bucket name="dogs"/>'],
        ['<Bucket name="good"/>'],
        ['<Bucket name="x" title="Good"/>', '<Bucket name="y" title="Helpful"/>'],
    ):
        with pytest.raises(
            LayoutError, match=r'^The buckets of <Ranker name="rank"> do not say which is better; give two of them'
        ):
            LabelingLayout.from_label_config(with_buckets(*buckets))


@pytest.mark.parametrize(
    ("title", "grade"),
    [
        ("Best answers", 2.0), ("Highly relevant", 1.5), ("Good", 1.0), ("Unbiased", 1.0), ("Partially relevant", 0.5), ("so-so", 0.0),
        ("Not relevant", -1.0), ("non_relevant", -1.0), ("Irrelevant results", -1.0), ("Very bad", -1.5), ("The worst", -2.0),
        ("Not bad", None), ("Not very good", None), ("Good and bad", None), ("Paid results", None), ("1", None), ("", None),
    ],
)  # fmt: skip
def test_a_buckets_title_says_how_good_it_is_or_nothing(title: str, grade: float | None) -> None:
    config = with_buckets(
        f'<Bucket name="x" title="{title}"/>', '<Bucket name="b" title="Superb"/>', '<Bucket name="c" title="Awful"/>'
    )
    ranker = LabelingLayout.from_label_config(config).ranker

    assert ranker is not None and ranker.buckets[0].grade == grade


def test_a_bucket_in_another_language_may_say_it_by_its_name() -> None:
    ranker = LabelingLayout.from_label_config(
        with_buckets('<Bucket name="bad" title="Schlecht"/>', '<Bucket name="good" title="Gut" default="true"/>')
    ).ranker

    assert ranker is not None
    assert [bucket.grade for bucket in ranker.buckets] == [-1.0, 1.0], "whatever their order"
    assert ranker.first_column == "good"


# The list


def test_the_answers_are_the_bodies_in_the_order_in_which_the_editor_shows_them() -> None:
    items = [{"id": "b", "body": "bee"}, {"id": 10, "body": 4}, {"id": "2", "body": "two"}, {"id": "b", "body": "the last b"}]
    data = {"prompt": "Why?", "items": items}

    assert ORDERED.answers(data) == ("two", "4", "the last b")
    assert ORDERED.ranker is not None and list(ORDERED.ranker.texts(data)) == ["2", "10", "b"]
    assert not ORDERED.has_room(data) and ORDERED.empty_fields(data) == []


@pytest.mark.parametrize("items", [None, "", []])
def test_an_empty_list_is_an_answer_that_is_missing_and_has_room(items: Any) -> None:
    data = {"prompt": "Why?", "items": items}

    assert (ORDERED.answers(data), ORDERED.has_room(data), ORDERED.empty_fields(data)) == ((None,), True, ["items"])
    assert ORDERED.has_room({"prompt": "Why?"})


@pytest.mark.parametrize(
    "items", ["a text", ["texts"], [{"id": "a", "html": "<img/>"}], {"a": 1}, 7, [{"body": " "}, {"body": True}]]
)
def test_what_is_no_list_of_texts_is_left_alone(items: Any) -> None:
    data = {"prompt": "Why?", "items": items}

    assert None in ORDERED.answers(data) and not ORDERED.has_room(data)
    assert pairs_of({**listed(ranking("ab")), "data": data}) == ([], Counter({"missing answer": 1}))


def test_a_list_of_more_than_thirty_is_not_read() -> None:
    many = [{"id": f"n{n}", "body": f"Answer {n}."} for n in range(31)]

    assert len(ORDERED.answers({"items": many[:30]})) == 30
    assert ORDERED.answers({"items": many}) == (None,) and not ORDERED.has_room({"items": many})


def test_our_own_items_have_letters_for_ids_and_stay_in_their_order() -> None:
    assert items_of(["Yes.", "No."]) == [
        {"id": "a", "title": "Answer A", "body": "Yes."},
        {"id": "b", "title": "Answer B", "body": "No."},
    ]
    assert ORDERED.answers(ORDERED.with_answers({}, ORDERED.answered(["z", "y", "", "x"]))) == ("z", "y", "x")


def test_a_row_without_a_list_becomes_a_task_that_label_studio_takes() -> None:
    assert ORDERED.task_data({"prompt": "Why?"}) == {"prompt": "Why?", "items": ""}
    assert ORDERED.task_data({"prompt": "Why?", "items": items_of(["a"])})["items"] == items_of(["a"])


# What an order says


def test_a_ranking_is_its_pairs_which_together_weigh_one_vote() -> None:
    pairs, dropped = pairs_of(listed(ranking("bca")))

    assert compared(pairs) == {("Two.", "One."), ("Three.", "One."), ("Two.", "Three.")}
    assert {(pair.kind, round(pair.weight, 6), pair.task_id, pair.annotator_id) for pair in pairs} == {
        ("ranking", 0.333333, 7, 5)
    }
    assert (num_votes(pairs), dropped) == (1, Counter())


def test_five_answers_are_ten_pairs_of_one_judgement() -> None:
    pairs, _ = pairs_of(listed(ranking("edcba"), texts=["1", "2", "3", "4", "5"]))

    assert len(pairs) == 10 and sum(pair.weight for pair in pairs) == pytest.approx(1)


def test_the_side_is_that_which_stood_first_in_the_task() -> None:
    sides = {(pair.chosen, pair.rejected): pair.chosen_side for pair in pairs_of(listed(ranking("bca")))[0]}

    assert sides == {("Two.", "One."): "right", ("Three.", "One."): "right", ("Two.", "Three."): "left"}


def test_what_was_suggested_is_known_of_each_pair() -> None:
    data = listed()["data"]
    suggestion = {"id": 3, "result": Ranking.suggestion(ORDERED, data, [0.1, 0.5, -2.0]), "score": 0.7, "model_version": "v1"}
    pairs, _ = pairs_of(listed(ranking("bca", parent_prediction=3), predictions=[suggestion]))

    agreed = {(pair.chosen, pair.rejected): pair.suggested_side == pair.chosen_side for pair in pairs}

    assert suggestion["result"] == [
        {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": {"rank": ["b", "a", "c"]}}}
    ]
    assert agreed == {("Two.", "One."): True, ("Three.", "One."): False, ("Two.", "Three."): True}
    assert {(pair.suggested_version, pair.suggested_confidence, pair.is_blind) for pair in pairs} == {("v1", 0.7, False)}


def test_a_suggestion_orders_the_column_in_which_all_answers_begin() -> None:
    (region,) = Ranking.suggestion(SORTED, listed()["data"], [0.1, 0.5, -2.0])

    assert region["value"] == {"ranker": {"_": ["b", "a", "c"]}}
    assert Ranking.suggested(SORTED, [region]) == {"b": 0, "a": 1, "c": 2}
    assert Ranking.suggestion(SORTED, listed()["data"], [1, 2, 3], suggest="scores") == []


def test_answers_in_a_better_bucket_beat_those_in_a_worse_one_and_no_others() -> None:
    columns = {"_": ["d"], "relevant_results": ["c", "a"], "biased_results": ["b"]}
    pairs, dropped = pairs_of(listed(ranking(columns), texts=["One.", "Two.", "Three.", "Four."]), SORTED)

    assert compared(pairs) == {("Three.", "Two."), ("One.", "Two.")}
    assert {pair.weight for pair in pairs} == {0.5} and not dropped


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"_": ["a", "b", "c"], "relevant_results": [], "biased_results": []}, "empty"),
        ({"_": ["b", "c"], "relevant_results": ["a"], "biased_results": []}, "empty"),
        ({"_": [], "relevant_results": ["a", "b", "c"], "biased_results": []}, "tie"),
        ({"relevant_results": ["x"], "biased_results": ["y"]}, "missing answer"),
        ({"another_bucket": ["a"]}, "empty"),
    ],
)
def test_buckets_that_compare_nothing_are_counted(columns: dict[str, list[str]], reason: str) -> None:
    assert pairs_of(listed(ranking(columns)), SORTED) == ([], Counter({reason: 1}))


def test_the_same_text_twice_is_not_compared_with_itself() -> None:
    pairs, dropped = pairs_of(listed(ranking("abc"), texts=["Same.", "Same. ", "Other."]))
    assert compared(pairs) == {("Same.", "Other."), ("Same. ", "Other.")} and not dropped

    assert pairs_of(listed(ranking("ab"), texts=["Same.", "Same. "])) == ([], Counter({"identical answers": 1}))


def test_answers_that_were_deleted_or_added_since_are_left_out() -> None:
    pairs, dropped = pairs_of(listed(ranking(["x", "b", "a"])))
    assert (compared(pairs), dropped) == ({("Two.", "One.")}, Counter())

    assert pairs_of(listed(ranking(["x", "y", "a"]))) == ([], Counter({"missing answer": 1}))


def test_a_verdict_goes_before_the_order_which_the_editor_always_sends() -> None:
    choices = "".join(f'<Choice value="{value}"/>' for value in ("Tie", "Both bad", "Unsure", "New answers", "Left", "Blue"))
    verdict = f'<Choices name="verdict" toName="prompt">{choices}</Choices>'
    layout = LabelingLayout.from_label_config(ORDER.replace(PROMPT, PROMPT + verdict))

    def reason(word: str) -> Counter[str]:
        pairs, dropped = pairs_of(listed(ranking("abc", tag_result("verdict", "choices", {"choices": [word]}))), layout)
        assert pairs == []
        return dropped

    assert reason("Tie") == {"tie": 1} and reason("Both bad") == {"both bad": 1}
    assert reason("Unsure") == {"unsure": 1} and reason("New answers") == {"new answers wanted": 1}
    assert reason("Left") == reason("Blue") == {"verdict not understood": 1}


def test_a_written_answer_beats_the_best_one() -> None:
    layout = LabelingLayout.from_label_config(ORDER.replace(PROMPT, f'{PROMPT}<TextArea name="better_answer" toName="prompt"/>'))
    written = tag_result("better_answer", "textarea", {"text": ["Better."]})

    pairs, _ = pairs_of(listed(ranking("bca", written)), layout)

    assert [(pair.chosen, pair.rejected, pair.weight) for pair in pairs if pair.kind == "written"] == [("Better.", "Two.", 1.0)]
    assert sum(pair.kind == "ranking" for pair in pairs) == 3


@pytest.mark.parametrize(
    "value", [None, [], {"ranker": ["a"]}, {"ranker": {"rank": "ab"}}, {"ranker": {"rank": [1, None, ["a"]]}}, {}]
)
def test_whatever_json_a_result_holds_it_is_no_error(value: Any) -> None:
    region = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": value}

    for layout in (ORDERED, SORTED):
        assert Pairwise.judgement(layout, [region]).grades == ()
        assert Ranking.suggested(layout, [region]) == {}


def test_a_vote_of_an_earlier_config_is_one_by_another_control() -> None:
    vote = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}

    assert pairs_of(listed({**ranking("ab"), "result": [vote]})) == ([], Counter({"judged by another control": 1}))


# Several rankings


def test_contradicting_rankings_are_counted_by_comparison() -> None:
    orders = [ranking(order, id=number) for number, order in enumerate(("abc", "acb", "cab"), 1)]
    pairs, _ = pairs_of(listed(*orders))

    assert num_votes(pairs) == 3
    assert compared(majority(pairs)) == {("One.", "Two."), ("One.", "Three."), ("Three.", "Two.")}


def test_all_pairs_of_a_ranking_are_on_one_side_of_the_split() -> None:
    tasks = [listed(ranking("cba"), id=number) for number in range(200)]
    for number, task in enumerate(tasks):
        task["data"]["prompt"] = f"Question {number}?"
    pairs = [pair for task in tasks for pair in pairs_of(task)[0]]

    train, held_out = Holdout(0.2).split(pairs)

    assert len(train) + len(held_out) == 600 and 60 <= len(held_out) <= 180
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in held_out}


# As the editor of label-studio 1.23.2 wrote it: tests/end_to_end/test_ranker.py, by keyboard


@pytest.mark.parametrize(
    ("name", "layout", "expected"),
    [
        ("order", ORDERED, [{("c", "b"), ("c", "a"), ("b", "a")}, {("c", "a"), ("c", "b"), ("a", "b")}]),
        ("template", SORTED, [{("c", "a")}, set()]),
    ],
)
def test_rankings_that_the_editor_wrote_are_read(name: str, layout: LabelingLayout, expected: list[set[tuple[str, str]]]) -> None:
    recorded = json.loads((REPOSITORY / "tests/data/label_studio_1.23.2_rankings.json").read_text(encoding="utf-8"))[name]
    read = [pairs_of(task, layout) for task in recorded]
    ids = {item["body"]: item["id"] for item in recorded[0]["data"]["items"]}

    assert [{(ids[pair.chosen], ids[pair.rejected]) for pair in pairs} for pairs, _ in read] == expected
    assert [dropped for _, dropped in read] == [Counter(), Counter() if expected[1] else Counter(empty=1)]
    assert {(pair.suggested_version, pair.suggested_confidence) for pairs, _ in read for pair in pairs} == {("v1", 0.7)}
