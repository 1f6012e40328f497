"""The table of Label Studio's templates in docs/label-configs.md says what becomes of each."""

import re
from typing import NamedTuple

import pytest

from preference.errors import LayoutError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import layout_of
from tests.support.documents import page
from tests.support.templates import RECORDED, config_of, installed_templates, short_form


class Row(NamedTuple):
    here: str
    advice: str


def rows() -> dict[str, Row]:
    """By the template's name."""
    _, _, section = page("docs/label-configs.md").text.partition("## Templates of Label Studio")
    table = re.findall(r"^\| (`.*?) \| (.*?) \| (.*?)\s*\|$", section.partition("\n## ")[0], re.MULTILINE)
    return {name: Row(here, advice) for names, here, advice in table for name in re.findall("`(.*?)`", names)}


def test_the_table_has_each_template_once() -> None:
    assert sorted(rows()) == sorted(RECORDED)
    assert len(RECORDED) == 18


@pytest.mark.parametrize("template", RECORDED)
def test_the_table_says_what_becomes_of_a_template(template: str) -> None:
    row = rows()[template]
    if row.here.startswith("refused"):
        with pytest.raises(LayoutError) as caught:
            layout_of(RECORDED[template])
        (sentence,) = re.findall("`(.*?)`", row.here)
        assert sentence in str(caught.value)
        assert row.advice, "the way out"
        return
    layout = layout_of(RECORDED[template])
    is_judged = isinstance(layout, LabelingLayout) and layout.prompt_field is not None
    is_whole = is_judged and template != "generative-ai/visual-ranker"  # whose items only look like texts
    assert row.here == ("works" if is_whole else "in part")
    assert is_whole or row.advice, "what is missing"


@pytest.mark.parametrize("template", RECORDED)
def test_the_short_form_of_a_template_is_that_of_the_installed_one(template: str) -> None:
    if (folder := installed_templates()) is None:
        pytest.skip("no Label Studio is installed beside this checkout")
    installed = config_of(folder / template / "config.yml")
    assert short_form(installed) == RECORDED[template]
    assert refusal(installed) == refusal(RECORDED[template])


def refusal(label_config: str) -> str:
    try:
        layout_of(label_config)
    except LayoutError as error:
        return str(error)
    return ""
