"""The label config of projects to which nobody gave one."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

_NO_CONFIG = re.compile(r"\s*(<View>\s*</View>|<View\s*/>)?\s*")  # what a new project has

_PROMPT = '<Text name="prompt" value="$prompt"/>'
_CONVERSATION = '<Paragraphs name="prompt" value="$prompt" layout="dialogue" nameKey="role" textKey="content"/>'


def has_no_config(state: Mapping[str, Any]) -> bool:
    """Whether nobody has given the project a label config."""
    return _NO_CONFIG.fullmatch(state["label_config"]) is not None


def default_label_config(*, show_rewards: bool = True, conversations: bool = False) -> str:
    """The label config of a project that has none yet; without rewards, also without the boxes that show them.

    `conversations`: `$prompt` is a list of messages, which a <Paragraphs> shows.
    """
    installed = Path(str(files("backend"))) / "label_config.xml"
    path = installed if installed.is_file() else installed.parent.parent / "label_config.xml"  # of a checkout
    text = path.read_text(encoding="utf-8")
    if conversations:
        text = text.replace(_PROMPT, _CONVERSATION)
    return text if show_rewards else re.sub(r' *<View className="reward">.*\n', "", text)
