"""The label configs of Label Studio's gallery that concern preferences about texts, as short forms: what their tags read and judge."""

import json
import re
from pathlib import Path

from preference.labelling.config_tags import ConfigTag, read_tags
from tests.conftest import REPOSITORY

# By the template's folder in Label Studio's annotation_templates.
RECORDED: dict[str, str] = json.loads((REPOSITORY / "tests/data/label_studio_1.23.2_templates.json").read_text(encoding="utf-8"))
_KEPT = ("name", "value", "toName", "perRegion", "choice", "maxRating", "maxSubmissions", "valueType")
_LAYOUT = ("View", "Style", "Choice", "Bucket")


def installed_templates() -> Path | None:
    """The folder of the templates of a Label Studio that is installed beside the checkout."""
    return next(REPOSITORY.glob(".venv-label-studio/lib/*/site-packages/label_studio/annotation_templates"), None)


def short_form(label_config: str) -> str:
    """The config's tags without layout, choices and words."""
    tags = [tag for tag in read_tags(label_config) if tag.tag not in _LAYOUT]
    return f"<View>{''.join(_short(tag) for tag in tags if tag.tag != 'Header' or '$' in tag.get('value', ''))}</View>"


def config_of(template: Path) -> str:
    """The label config in a template's file, which is YAML with the config as a literal block."""
    block = re.search(r"^config: \|\n((?:(?: .*)?\n)*)", template.read_text(encoding="utf-8") + "\n", re.MULTILINE)
    assert block is not None, template
    return block.group(1)


def _short(tag: ConfigTag) -> str:
    kept = {name: value for name in _KEPT if (value := tag.get(name)) and (name != "value" or value.startswith("$"))}
    attributes = "".join(f' {name}="{value}"' for name, value in kept.items())
    inner = "".join(map(_short, tag)) if tag.tag == "Ranker" else ""
    return f"<{tag.tag}{attributes}>{inner}</{tag.tag}>" if inner else f"<{tag.tag}{attributes}/>"
