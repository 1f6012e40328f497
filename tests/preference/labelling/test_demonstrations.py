"""Label configs that collect answers which people write."""

from typing import Any

import pytest

from preference.errors import LayoutError, NoComparison
from preference.labelling.controls.criteria import criteria_of
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import judged_layout_of, layout_of
from preference.studio.prediction_validation import prediction_problems
from tests.support.annotations import tag_result
from tests.support.templates import RECORDED

SUPERVISED = RECORDED["generative-ai/supervised-llm"]
GRADED = SUPERVISED.replace("</View>", '<Rating name="clarity" toName="prompt"/></View>')


def layout(label_config: str) -> DemonstrationLayout:
    found = DemonstrationLayout.of(label_config)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("template", "control", "field"),
    [
        ("generative-ai/supervised-llm", "instruction", "prompt"),
        ("natural-language-processing/text-summarization", "answer", "text"),
        ("natural-language-processing/machine-translation", "spanish", "english"),
    ],
)
def test_templates_with_one_text_area_collect_demonstrations(template: str, control: str, field: str) -> None:
    found = layout(RECORDED[template])
    assert (found.control, found.prompt_field, found.criteria) == (control, field, frozenset())


def test_people_may_answer_a_conversation() -> None:
    found = layout(RECORDED["conversational-ai/response-generation"])
    dialogue = [
        {"author": "user", "text": "Name a tree."},
        {"author": "assistant", "text": "Oak."},
        {"author": "user", "text": "More."},
    ]
    assert found.prompt({"dialogue": dialogue}) == (("user", "Name a tree."), ("assistant", "Oak."), ("user", "More."))
    assert found.prompt({"dialogue": "Name a tree."}) is None
    assert found.prompt_problem({"dialogue": []}) == "conversation empty"


def test_beside_other_controls_the_text_area_is_named_instruction() -> None:
    assert layout(GRADED).criteria == {"clarity"}
    assert DemonstrationLayout.of(GRADED.replace('"instruction"', '"comments"')) is None


@pytest.mark.parametrize(
    "label_config",
    [
        RECORDED["generative-ai/human-feedback-collection"],
        RECORDED["generative-ai/llm-ranker"],
        SUPERVISED.replace("<Text ", "<Chat "),
        SUPERVISED.replace("<TextArea", '<TextArea perRegion="true"'),
        SUPERVISED.replace('value="$prompt"', 'value="Write something."'),
        '<View><Text name="prompt" value="$prompt"/></View>',
    ],
)
def test_other_label_configs_collect_none(label_config: str) -> None:
    assert DemonstrationLayout.of(label_config) is None


def test_a_prompt_that_is_no_text_of_the_task_is_refused_with_a_sentence() -> None:
    with pytest.raises(LayoutError, match=r'<Text name="prompt"> must read a task field'):
        layout_of(SUPERVISED.replace('value="$prompt"', 'value="$prompt" valueType="url"'))


def test_a_label_config_is_read_as_what_it_is() -> None:
    assert isinstance(layout_of(SUPERVISED), DemonstrationLayout)
    assert isinstance(layout_of(RECORDED["generative-ai/human-feedback-collection"]), LabelingLayout)
    with pytest.raises(NoComparison) as refused:
        judged_layout_of(SUPERVISED, instead="write something")
    assert str(refused.value) == (
        'The label config collects answers that people write ("instruction"), and no comparison: write something.'
    )


def test_label_studio_takes_a_draft_and_what_it_says_is_read_back() -> None:
    found = layout(SUPERVISED)
    draft = found.draft("Once upon\na time.")
    assert prediction_problems(SUPERVISED, {"result": draft, "score": 0.5, "model_version": "v"}) == []
    assert found.written(draft) == "Once upon\na time."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"text": ["One.", "Two."]}, "One.\nTwo."),
        ({"text": "One."}, "One."),
        ({"text": [" "]}, None),
        ({"text": []}, None),
        ({"text": None}, None),
        ({}, None),
    ],
)
def test_what_people_wrote_is_read(value: dict[str, Any], text: str | None) -> None:
    assert layout(SUPERVISED).written([tag_result("instruction", "textarea", value)]) == text


def test_what_else_they_said_is_kept() -> None:
    result = [tag_result("instruction", "textarea", {"text": ["One."]}), tag_result("clarity", "rating", {"rating": 4})]
    assert criteria_of(layout(GRADED).said(result)) == {"clarity": 4}
    assert layout(GRADED).written(None) is None
