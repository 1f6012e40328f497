import pytest

from preference.errors import LayoutError
from preference.labelling.label_config import LabelingLayout

PAIRWISE = '<Pairwise name="comparison" toName="answer1,answer2"/>'
ANSWERS = '<Text name="answer1" value="$answer1"/><Text name="answer2" value="$answer2"/>'


def layout(*tags: str) -> LabelingLayout:
    return LabelingLayout.from_label_config(f"<View>{''.join(tags)}</View>")


@pytest.mark.parametrize(
    "tag",
    ['<Text name="prompt" value="prompt"/>', '<Header value="Asked: $question"/>', '<Text name="q">$question</Text>'],
)
def test_a_config_that_means_to_show_a_prompt_and_shows_none_is_refused(tag: str) -> None:
    with pytest.raises(LayoutError) as refused:
        layout(tag, ANSWERS, PAIRWISE)
    assert str(refused.value) == (
        'The label config must show the prompt, such as <Text name="prompt" value="$prompt"/>: no tag shows it.'
    )


@pytest.mark.parametrize(
    "tags",
    [
        (),
        ('<Header value="Choose the more polite answer"/>',),
        ('<Header value="$answer1"/>',),
        ('<Markdown value="$answer1_html"/>',),
        ('<Style>a[href$="x"] { color: red }</Style>', '<Choices name="c" toName="answer1" value="$options"/>'),
    ],
    ids=["alone", "instruction", "an answer", "an answer laid out", "a control"],
)
def test_a_config_may_compare_two_texts_without_a_prompt(tags: tuple[str, ...]) -> None:
    parsed = layout(*tags, ANSWERS, PAIRWISE)
    assert parsed.prompt_field is None
    assert parsed.prompt({"prompt": "not shown", "answer1": "a", "answer2": "b"}) == ""
    assert parsed.task_data({"answer1": "a"}) == {"answer1": "a", "answer2": ""}


def test_choices_round_the_two_texts_hide_no_prompt() -> None:
    inside = (
        f'<Choices name="verdict" toName="answer1"><View>{ANSWERS}</View><Choice value="Left"/><Choice value="Right"/></Choices>'
    )
    assert layout(PAIRWISE, inside).prompt_field is None


def test_a_list_may_be_ordered_without_a_prompt() -> None:
    parsed = layout('<List name="answers" value="$items"/><Ranker name="rank" toName="answers"/>')
    assert (parsed.prompt_field, parsed.answer_fields) == (None, ("items",))


def test_a_prompt_that_nobody_is_shown_lies_beside_the_texts() -> None:
    parsed = layout(ANSWERS, PAIRWISE)
    assert parsed.with_prompt({"answer1": "a"}, "Why?") == {"answer1": "a", "prompt": "Why?"}
    assert parsed.prompt_problem({"prompt": "Why?"}) == "the label config shows no prompt"
