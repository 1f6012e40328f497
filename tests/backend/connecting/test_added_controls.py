import pytest
from label_studio_sdk.label_interface.interface import LabelInterface

from backend.connecting.added_controls import difference, with_controls
from backend.connecting.default_label_config import default_label_config
from preference.errors import LayoutError
from preference.labelling.config_tags import read_tags
from preference.labelling.label_config import LabelingLayout

# Label Studio's template "Human Preference collection for RLHF" in its form: boxes of their own, a comment behind.
BOXES = """<View className="root">
  <Style>
    .answers { display: flex; }
  </Style>
  <View className="container">
    <View className="prompt">
      <Text name="prompt" value="$prompt" />
    </View>
    <View className="answers">
      <Pairwise name="comparison" toName="answer1,answer2"
                selectionStyle="background-color: #27ae60;" />
      <View className="answer-box">
        <Text name="answer1" value="$answer1" />
      </View>
      <View className="answer-box">
        <Text name="answer2" value="$answer2" />
      </View>
    </View>
  </View>
</View>
<!--{ "data" : { "prompt": "a > b", "answer1": "</View>" }} -->
"""
FLAT = """<View>
  <Text name="question" value="$question"/>
  <Pairwise name="which" toName="second,first"/>
  <HyperText name="first" value="$reply_a"/>
  <Text name="second" value="$reply_b"/>
</View>"""
LINE = (
    '<View><!-- <Text name="x"/> --><Header value="a > b"/><Text name="prompt" value="$prompt"/><Pairwise name="w" toName="a,b"/>'
    """<Text name="a" value='$a'/><Text name="b" value="$b"></Text></View>"""
)
TOGETHER = """<View>
  <View className="all">
    <Text name="prompt" value="$prompt"/>
    <Pairwise name="w" toName="a,b"/>
    <View>
      <Text name="a" value="$a"/>
    </View>
    <Text name="b" value="$b"/>
  </View>
</View>"""


@pytest.mark.parametrize("config", [BOXES, FLAT, LINE, TOGETHER], ids=["boxes", "flat", "line", "together"])
def test_a_config_gets_keys_a_tie_stars_and_a_better_answer(config: str) -> None:
    before, written = LabelingLayout.from_label_config(config), with_controls(config)
    after = LabelingLayout.from_label_config(written)

    assert (after.prompt_field, after.answer_fields, after.answer_tags, after.control) == (
        before.prompt_field, before.answer_fields, before.answer_tags, before.control,
    )  # fmt: skip
    assert after.verdict is not None and after.verdict.texts("new_answers") and not after.verdict.not_understood
    assert after.strength is not None and after.better_answer == "better_answer"
    LabelInterface(written).validate()
    assert with_controls(written) == written, "nothing is added twice"


@pytest.mark.parametrize("config", [BOXES, FLAT, TOGETHER], ids=["boxes", "flat", "together"])
def test_nothing_that_was_there_is_changed(config: str) -> None:
    lines = difference(config, with_controls(config)).splitlines()[2:]

    assert [line for line in lines if line.startswith("-")] == []
    assert sum(line.startswith("+") for line in lines) == len(with_controls(config).splitlines()) - len(config.splitlines())


def test_the_first_answer_is_the_one_that_stands_first() -> None:
    choices = [
        (tag.get("value"), tag.get("alias"), tag.get("hotkey")) for tag in read_tags(with_controls(FLAT)) if tag.tag == "Choice"
    ]

    assert choices[:2] == [("First is better", "right", "1"), ("Second is better", "left", "2")]


def test_a_layout_is_not_torn_apart() -> None:
    written = with_controls(BOXES)

    assert (
        written.index("<Choices") < written.index('<View className="answers">') < written.index('<View className="answer-box">')
    )
    assert '<Text name="prompt" value="$prompt" />' in written[: written.index("<Choices")]


def test_keys_that_are_taken_stay_with_what_has_them() -> None:
    rating = '<Rating name="tone" toName="a" hotkey="t"/>'
    written = with_controls(LINE.replace("</View>", f"{rating}</View>"))

    assert '<Choice value="Tie" alias="tie"/>' in written and written.count('hotkey="t"') == 1


def test_what_is_there_already_is_not_added() -> None:
    ours = default_label_config()
    verdict = '<Choices name="verdict" toName="a"><Choice value="Tie"/></Choices>'
    partly = with_controls(LINE.replace("</View>", f"{verdict}</View>"))

    assert with_controls(ours) == ours and difference(ours, ours) == ""
    assert partly.count("<Choices") == 1 and "strength" in partly and "better_answer" in partly


def test_other_choices_between_the_answers_are_refused() -> None:
    tone = '<Choices name="tone" toName="a"><Choice value="kind"/></Choices>'

    with pytest.raises(LayoutError) as refused:
        with_controls(LINE.replace('<Text name="b"', f'{tone}<Text name="b"'))
    assert str(refused.value).startswith("Other choices stand between the answers of this label config")


def test_a_config_that_does_not_fit_is_refused_as_ever() -> None:
    with pytest.raises(LayoutError, match="no <Pairwise> tags"):
        with_controls("<View/>")
