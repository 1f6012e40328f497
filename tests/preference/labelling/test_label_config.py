import pytest

from preference.errors import LayoutError
from preference.labelling.controls.named import Strength, Tag
from preference.labelling.controls.verdict import VerdictControl
from preference.labelling.label_config import LabelingLayout
from tests.conftest import REPOSITORY

PAIRWISE = '<Pairwise name="comparison" toName="answer1,answer2"/>'
PROMPT = '<Text name="prompt" value="$prompt"/>'
ANSWERS = '<Text name="answer1" value="$answer1"/><Text name="answer2" value="$answer2"/>'
# Label Studio's own template for pairwise comparison, as older versions wrote it.
OLDER = """
<View>
  <Header value="Compare the answers"/>
  <Text name="prompt" value="$prompt"/>
  <View style="display:flex">
    <Text name="answer1" value="$answer1"/>
    <Text name="answer2" value="$answer2"/>
  </View>
  <Pairwise name="pw" toName="answer1,answer2"/>
</View>
"""


def layout(*tags: str) -> LabelingLayout:
    return LabelingLayout.from_label_config(f"<View>{''.join(tags)}</View>")


def refusal(label_config: str) -> str:
    with pytest.raises(LayoutError) as caught:
        LabelingLayout.from_label_config(label_config)
    return str(caught.value)


def refusal_of(*tags: str) -> str:
    return refusal(f"<View>{''.join(tags)}</View>")


# What is read


def test_our_own_label_config_is_read_whole() -> None:
    ours = LabelingLayout.from_label_config((REPOSITORY / "label_config.xml").read_text(encoding="utf-8"))
    assert ours == LabelingLayout(
        control="comparison",
        answer_tags=("answer1", "answer2"),
        answer_fields=("answer1", "answer2"),
        prompt_field="prompt",
        reward_tags=(Tag("reward1", "answer1"), Tag("reward2", "answer2")),
        verdict=VerdictControl(
            "verdict",
            (
                ("First is better", "left"),
                ("left", "left"),
                ("Second is better", "right"),
                ("right", "right"),
                ("Tie", "tie"),
                ("tie", "tie"),
                ("Both bad", "both_bad"),
                ("both_bad", "both_bad"),
                ("New answers", "new_answers"),
                ("new_answers", "new_answers"),
            ),
        ),
        strength=Strength("strength", 4),
        better_answer="better_answer",
    )
    assert ours.formatted == (("answer1", "answer1_html"), ("answer2", "answer2_html"))
    assert not ours.unescaped and not ours.context_fields
    assert ours.control_names == {"comparison", "verdict", "strength", "reward1", "reward2", "better_answer"}


SIDES = '<Choice value="A is better" alias="left"/><Choice value="B is better"/>'


def test_choices_may_stand_round_answers_and_prompt() -> None:
    def prompt_field(*tags: str) -> str | None:
        return layout(PAIRWISE, f'<Choices name="verdict" toName="a">{SIDES}<View>{"".join(tags)}</View></Choices>').prompt_field

    assert prompt_field('<Text name="question" value="$question"/>', ANSWERS) == "question"
    assert prompt_field('<Text name="topic" value="$topic"/>', PROMPT, ANSWERS) == "prompt"


def test_answers_are_laid_out_into_the_fields_beside_them_that_the_config_shows() -> None:
    both = layout(PROMPT, PAIRWISE, ANSWERS, '<Markdown value="$answer1_html"/>', '<Markdown value="$answer2_html"/>')
    one = layout(PROMPT, PAIRWISE, ANSWERS, '<Markdown value="$answer2_html"/>')
    data = {"prompt": "p", "answer1": "", "answer2": "an *old* one", "answer2_html": "<script>"}

    assert both.laid_out(data | {"answer1": "**new**"}) == data | {
        "answer1": "**new**",
        "answer1_html": "<div><p><strong>new</strong></p>&#10;</div>",
        "answer2_html": "<div><p>an <em>old</em> one</p>&#10;</div>",
    }
    assert one.laid_out(data | {"answer1": "a", "answer2": ""}) == data | {"answer1": "a", "answer2": "", "answer2_html": ""}
    assert both.laid_out({"prompt": "p", "answer1": ""}) == {"prompt": "p", "answer1": ""}
    assert layout(PROMPT, PAIRWISE, ANSWERS).laid_out(data) == both.with_answers(data, {}) == data
    assert both.prompt_field == "prompt" and not both.context_fields
    nested = layout(PROMPT, PAIRWISE, ANSWERS.replace("$answer1", "$out.left"), '<Markdown value="$out.left_html"/>')
    assert nested.laid_out({"out": {"left": "a"}}) == {"out": {"left": "a", "left_html": "<div><p>a</p>&#10;</div>"}}
    assert nested.laid_out({"out": "b", "out.left": "a"}) == {"out": "b", "out.left": "a"}, "there is no place for it"


def test_a_markdown_that_shows_a_text_with_its_html_is_known() -> None:
    asked = layout('<Markdown value="## Question&#10;$prompt"/>', '<Markdown value="$answer2"/>', PROMPT, PAIRWISE, ANSWERS)
    assert asked.unescaped == ("answer2", "prompt")


def test_an_older_template_names_its_control_pw_and_shows_no_rewards() -> None:
    older = LabelingLayout.from_label_config(OLDER)
    assert (older.control, older.prompt_field, older.reward_tags) == ("pw", "prompt", (None, None))


def test_names_and_fields_may_differ_and_hypertext_is_an_answer_too() -> None:
    parsed = layout(
        '<Pairwise name="which" toName="b, a"/>',
        '<HyperText name="a" value="$completions[0].text"/>',
        '<Text name="b" value="$completion.b"/>',
        '<HyperText name="question" value="$question_1"/>',
    )
    assert parsed == LabelingLayout("which", ("b", "a"), ("completion.b", "completions[0].text"), "question_1", (None, None))
    assert parsed.is_html and not layout(PROMPT, ANSWERS, PAIRWISE).is_html


def test_the_case_of_attributes_does_not_count() -> None:
    parsed = layout(
        PROMPT,
        ANSWERS,
        '<Pairwise NAME="c" toname="answer1,answer2"/>',
        '<Rating name="strength" toname="prompt" MaxRating="3"/>',
    )
    assert (parsed.control, parsed.strength) == ("c", Strength("strength", 3))


def test_tags_in_any_depth_and_order_are_read() -> None:
    parsed = layout(f"<View><View>{ANSWERS}</View></View>", f"<View><View><View>{PAIRWISE}</View></View></View>", PROMPT)
    assert parsed.answer_fields == ("answer1", "answer2")


def test_only_numbers_that_belong_to_a_tag_and_bear_our_names_take_rewards() -> None:
    parsed = layout(
        PROMPT, ANSWERS, PAIRWISE,
        '<Number name="reward1"/>', '<Number name="reward2" toName="answer1"/>', '<Number name="age" toName="prompt"/>',
    )  # fmt: skip
    assert parsed.reward_tags == (None, Tag("reward2", "answer1"))
    assert layout(PROMPT, ANSWERS, PAIRWISE, '<Rating name="reward1" toName="answer1"/>').reward_tags == (None, None)


# What may stand beside the comparison


def test_a_config_without_verdict_strength_and_better_answer_has_none() -> None:
    plain = layout(PROMPT, ANSWERS, PAIRWISE)
    assert (plain.verdict, plain.strength, plain.better_answer) == (None, None, None)


def test_tags_of_another_name_or_kind_or_without_a_target_are_not_taken() -> None:
    parsed = layout(
        PROMPT, ANSWERS, PAIRWISE,
        '<Rating name="verdict" toName="prompt"/>', '<Choices name="tone" toName="prompt"><Choice value="Tie"/></Choices>',
        '<Rating name="strength"/>', '<Number name="strength" toName="prompt"/>', '<TextArea name="comment" toName="prompt"/>',
        '<Text name="better_answer" value="$prompt"/>',
    )  # fmt: skip
    assert (parsed.verdict, parsed.strength, parsed.better_answer) == (None, None, None)


def test_a_choice_has_the_meaning_of_its_value_and_results_may_hold_its_alias() -> None:
    choices = '<Choice value="About the same" alias="x1"/><View><Choice value="Neither" alias="x2"/></View><Choice value="Unclear" alias="x3"/>'
    verdict = layout(PROMPT, ANSWERS, PAIRWISE, f'<Choices name="verdict" toName="prompt">{choices}</Choices>').verdict
    assert verdict == VerdictControl(
        "verdict", (("About the same", "tie"), ("x1", "tie"), ("Neither", "both_bad"), ("x2", "both_bad"))
    )
    assert (verdict.texts("tie"), verdict.texts("new_answers")) == (["About the same", "x1"], [])
    assert [verdict.meaning(words) for words in ("x1", "x2", "x3", "Unclear")] == ["tie", "both_bad", None, None]


@pytest.mark.parametrize(
    ("most", "num_steps"),
    [('maxRating="3"', 3), ("", 5), ('maxRating="many"', 5), ('maxRating="-2"', 5), (f'maxRating="{"9" * 5000}"', 5)],
)
def test_a_rating_has_as_many_steps_as_stars_and_five_by_default(most: str, num_steps: int) -> None:
    parsed = layout(PROMPT, ANSWERS, PAIRWISE, f'<Rating name="strength" toName="prompt" {most}/>')
    assert parsed.strength == Strength("strength", num_steps)


def test_choices_of_strength_are_steps_in_their_order() -> None:
    choices = '<Choice value="Slightly"/><Choice value="Clearly" alias="2"/><Choice value="Far"/>'
    parsed = layout(PROMPT, ANSWERS, PAIRWISE, f'<Choices name="strength" toName="prompt">{choices}</Choices>')
    assert parsed.strength == Strength("strength", 3, (frozenset({"Slightly"}), frozenset({"Clearly", "2"}), frozenset({"Far"})))


# Which field is the prompt


def test_the_only_other_tag_with_a_field_is_the_prompt_under_any_name() -> None:
    assert layout(ANSWERS, PAIRWISE, '<HyperText name="q" value="$dialogue"/>').prompt_field == "dialogue"
    assert layout(ANSWERS, PAIRWISE, '<Header value="$question"/>').prompt_field == "question"


def test_among_several_tags_the_one_named_prompt_is_the_prompt() -> None:
    parsed = layout('<Text name="source" value="$source"/>', ANSWERS, PAIRWISE, '<Text name="prompt" value="$question"/>')
    assert parsed.prompt_field == "question"


def test_two_tags_on_one_field_are_one_candidate() -> None:
    assert layout('<Header value="$q"/><Text name="q" value="$q"/>', ANSWERS, PAIRWISE).prompt_field == "q"


def test_fixed_texts_answers_shown_twice_and_control_tags_are_no_prompt() -> None:
    parsed = layout(
        '<Header value="Which costs $5 more?"/>', '<Text name="again" value="$answer1"/>',
        '<Choices name="c" toName="q" value="$choices"><Choice value="$one"/></Choices>', '<Text name="q" value="$question"/>',
        ANSWERS, PAIRWISE,
    )  # fmt: skip
    assert parsed.prompt_field == "question"


# What is refused


@pytest.mark.parametrize("text", ["", "<View>", "plain text", "<View>&nbsp;</View>", "<View/><View/>", "<View>\0</View>"])
def test_what_is_not_xml_is_refused_with_the_page_to_open(text: str) -> None:
    message = refusal(text)
    assert message.startswith("The label config is not valid XML (")
    assert message.endswith("); open Settings > Labeling Interface.")


SECRET_FILE = (REPOSITORY / "Makefile").as_uri()
ENTITIES = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
DECLARING = {
    "entities that expand to 10**11 texts": f'<!DOCTYPE View [<!ENTITY l0 "lol">{ENTITIES}]><View>&l11;</View>',
    "one long entity, often": f'<!DOCTYPE View [<!ENTITY x "{"x" * 50_000}">]><View>{"&x;" * 50_000}</View>',
    "an external entity": f'<!DOCTYPE View [<!ENTITY x SYSTEM "{SECRET_FILE}">]><View>&x;</View>',
    "an external parameter entity": f'<!DOCTYPE View [<!ENTITY % x SYSTEM "{SECRET_FILE}"> %x;]><View/>',
    "an external document type": f'<!DOCTYPE View SYSTEM "{SECRET_FILE}"><View/>',
    "a public document type": '<!DOCTYPE View PUBLIC "-//x//x" "http://127.0.0.1:9/x.dtd"><View/>',
    "a document type of its own": "<!DOCTYPE View><View/>",
}


@pytest.mark.parametrize("config", DECLARING.values(), ids=DECLARING)
def test_entities_and_document_types_are_refused_before_they_expand_or_read_a_file(config: str) -> None:
    assert refusal(config) == (
        "The label config declares a document type or an entity, which Pairloop does not read; remove <!DOCTYPE ...> from it."
    )


def test_a_config_of_ten_megabytes_is_refused_unread() -> None:
    config = f"<View>{'<Text/>' * 1_500_000}"  # not even closed

    assert refusal(config) == "The label config has 10,500,006 characters; Pairloop reads one of 1,000,000 at most."


@pytest.mark.parametrize("depth", [101, 140_000])
def test_a_config_that_nests_too_deep_is_refused(depth: int) -> None:
    assert refusal("<a>" * depth + "</a>" * depth) == (
        "The label config nests its tags more than 100 deep; Pairloop reads no deeper one."
    )


def test_a_config_may_nest_a_hundred_deep() -> None:
    inside = "".join([PROMPT, ANSWERS, PAIRWISE])

    assert LabelingLayout.from_label_config("<View>" * 99 + inside + "</View>" * 99).control == "comparison"


@pytest.mark.parametrize(
    "config",
    [
        "<View " + " ".join(f"a{n}='1'" for n in range(80_000)) + "/>",
        f'<View a="{"&amp;" * 190_000}"/>',
        "<View>" + "<![CDATA[" * 100_000,
        "<a>" * 300_000,
        f'<View><Pairwise name="c" toName="{"a," * 400_000}"/></View>',
    ],
    ids=["attributes", "character references", "open CDATA", "open tags", "names"],
)
def test_a_config_that_is_large_and_wrong_is_refused_like_a_small_one(config: str) -> None:
    refusal(config)


def test_a_config_without_or_with_two_pairwise_tags_is_refused() -> None:
    advice = 'Pairloop needs exactly one, such as <Pairwise name="comparison" toName="answer1,answer2"/>.'
    assert refusal_of(PROMPT, ANSWERS) == f"The label config has no <Pairwise> tags; {advice}"
    second = '<Pairwise name="tone" toName="answer1,answer2"/>'
    assert refusal_of(PROMPT, ANSWERS, PAIRWISE, second) == f"The label config has 2 <Pairwise> tags; {advice}"


@pytest.mark.parametrize(
    ("name", "to_name"),
    [
        ("", "answer1,answer2"),
        ("c", ""),
        ("c", "answer1"),
        ("c", "answer1,answer1"),
        ("c", "answer1,answer2,prompt"),
        ("c", "a,,"),
    ],
)
def test_a_pairwise_without_a_name_or_two_different_tags_is_refused(name: str, to_name: str) -> None:
    assert refusal_of(PROMPT, ANSWERS, f'<Pairwise name="{name}" toName="{to_name}"/>') == (
        f'<Pairwise name="{name}" toName="{to_name}"> must have a name and compare exactly two tags, '
        'such as toName="answer1,answer2".'
    )


def test_a_compared_tag_that_is_missing_or_no_text_is_named() -> None:
    assert refusal_of(PROMPT, '<Text name="answer1" value="$answer1"/>', PAIRWISE) == (
        '<Pairwise name="comparison"> compares "answer2", which is missing; it must be a <Text> or <HyperText> tag.'
    )
    images = '<Image name="answer1" value="$answer1"/><Image name="answer2" value="$answer2"/>'
    assert refusal_of(PROMPT, images, PAIRWISE) == (
        '<Pairwise name="comparison"> compares "answer1", which is a <Image>; it must be a <Text> or <HyperText> tag.'
    )


@pytest.mark.parametrize(
    "attributes",
    [
        'value="always this"', "", 'value="Answer: $answer2"', 'value="$answer2" valueType="url"', 'value="$answer2" valuetype="url"',
        'value="$answer2" encoding="base64"', 'value="$answer2" resolver="csv"',
    ],
)  # fmt: skip
def test_an_answer_that_reads_no_plain_field_is_refused(attributes: str) -> None:
    tags = f'<Text name="answer1" value="$answer1"/><HyperText name="answer2" {attributes}/>'
    assert refusal_of(PROMPT, tags, PAIRWISE) == (
        '<HyperText name="answer2"> must read a task field, such as value="$answer1", and no URL.'
    )


def test_an_answer_whose_tag_has_a_text_of_its_own_is_refused() -> None:
    tags = '<Text name="answer1" value="$answer1"/><HyperText name="answer2" value="$answer2"><b>This</b></HyperText>'
    assert "must read a task field" in refusal_of(PROMPT, tags, PAIRWISE)


@pytest.mark.parametrize("field", ["answer-a", "réponse", "a.", ".a", "a..b", "a[b]", "a[0", "[0]", "a[{{idx}}]", "a/b", "$a"])
def test_a_field_that_label_studio_cannot_show_is_refused_with_its_name(field: str) -> None:
    tags = f'<Text name="answer1" value="$answer1"/><Text name="answer2" value="${field}"/>'
    sentence = refusal_of(PROMPT, tags, PAIRWISE)
    assert sentence.startswith(
        f'<Text name="answer2"> reads "${field}", which Label Studio\'s editor cannot show; rename the field:'
    )
    assert f'reads "${field}"' in refusal_of(ANSWERS, PAIRWISE, f'<Header name="q" value="${field}"/>')


def test_an_answer_that_label_studio_cannot_search_is_refused_and_such_a_prompt_is_not() -> None:
    tags = '<Text name="answer1" value="$answer1"/><Text name="answer2" value="$answer__b"/>'
    assert refusal_of(PROMPT, tags, PAIRWISE) == (
        'An answer reads "$answer__b", in which Label Studio\'s filters take __ for a path, so that no task would be found; rename the field.'
    )
    assert layout('<Text name="q" value="$my__prompt"/>', ANSWERS, PAIRWISE).prompt_field == "my__prompt"


@pytest.mark.parametrize("tag", ["Image", "Audio", "Video", "Table", "List", "TimeSeries", "Pdf"])
@pytest.mark.parametrize("name", ["image", "prompt"])
def test_a_prompt_that_is_no_text_is_refused(tag: str, name: str) -> None:
    assert refusal_of(f'<{tag} name="{name}" value="$image"/>', ANSWERS, PAIRWISE) == (
        f"The prompt is in {name}, a <{tag}>, which shows no text: Pairloop answers a text and would fill no task; "
        'show the prompt as one text, such as <Text name="prompt" value="$prompt"/>.'
    )


@pytest.mark.parametrize("attributes", ['valueType="url"', 'valuetype="url"', 'encoding="base64"', 'resolver="csv"'])
@pytest.mark.parametrize("tag", ["Text", "HyperText", "Paragraphs"])
def test_a_prompt_whose_text_is_elsewhere_is_refused_like_an_answer(tag: str, attributes: str) -> None:
    assert refusal_of(f'<{tag} name="q" value="$q" {attributes}/>', ANSWERS, PAIRWISE) == (
        f'<{tag} name="q"> must read a task field, such as value="$prompt", and no URL.'
    )


def test_a_picture_beside_a_prompt_of_that_name_is_left_alone() -> None:
    assert layout('<Image name="i" value="$image"/>', PROMPT, ANSWERS, PAIRWISE).prompt_field == "prompt"
    assert layout('<Image name="i" value="$q"/><Text name="q" value="$q"/>', ANSWERS, PAIRWISE).prompt_field == "q"


def test_two_answers_from_one_field_are_refused() -> None:
    tags = '<Text name="answer1" value="$answer"/><Text name="answer2" value="$answer"/>'
    assert refusal_of(PROMPT, tags, PAIRWISE) == "Both answers read $answer; give each answer a task field of its own."


def test_several_possible_prompts_are_named_and_none_is_guessed() -> None:
    advice = 'The label config must show the prompt, such as <Text name="prompt" value="$prompt"/>: several tags could be it'
    tags = '<Text name="title" value="$title"/><Header value="$question"/>'
    assert refusal_of(tags, ANSWERS, PAIRWISE) == f"{advice} (<Header>, title); name one of them prompt."
    unnamed = '<Header value="$title"/><Header value="$question"/>'
    assert refusal_of(unnamed, ANSWERS, PAIRWISE) == f"{advice} (<Header>, <Header>); name one of them prompt."
