"""Controls that are known by their names: `reward1`, `reward2`, `verdict`, `strength`, `better_answer` and `new_prompt`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from preference.labelling.config_tags import ConfigTag
from preference.labelling.controls.verdict import VerdictControl

_DEFAULT_RATING = 5  # label-studio's docs, tags/rating: maxRating


@dataclass(frozen=True)
class Tag:
    """A control tag and the tag that it belongs to."""

    name: str
    to_name: str


@dataclass(frozen=True)
class Strength:
    """A <Rating>, or a <Choices> in order of growing strength, that says by how much the chosen answer is better."""

    name: str
    num_steps: int
    choices: tuple[frozenset[str], ...] = ()  # what results may hold for each step; () for a <Rating>


def number(tags: Sequence[ConfigTag], name: str) -> Tag | None:
    """The <Number> of this name."""
    tag = _named(tags, name, "Number")
    return None if tag is None else Tag(name, tag.get("toname", ""))


def text_area(tags: Sequence[ConfigTag], name: str) -> str | None:
    """The name, if a <TextArea> has it."""
    return None if _named(tags, name, "TextArea") is None else name


def verdict(tags: Sequence[ConfigTag]) -> VerdictControl | None:
    """The <Choices> named `verdict`."""
    tag = _named(tags, "verdict", "Choices")
    if tag is None:
        return None
    return VerdictControl.of("verdict", ((choice.get("value"), choice.get("alias")) for choice in tag.iter("Choice")))


def strength(tags: Sequence[ConfigTag]) -> Strength | None:
    """The <Rating> or the <Choices> named `strength`."""
    tag = _named(tags, "strength", "Rating", "Choices")
    if tag is None:
        return None
    if tag.tag == "Rating":
        most = tag.get("maxrating", "")
        return Strength("strength", int(most) if re.fullmatch(r"[1-9][0-9]{0,3}", most) else _DEFAULT_RATING)
    steps = tuple(frozenset(filter(None, (step.get("value"), step.get("alias")))) for step in tag.iter("Choice"))
    return Strength("strength", len(steps), steps)


def _named(tags: Sequence[ConfigTag], name: str, *kinds: str) -> ConfigTag | None:
    return next((tag for tag in tags if tag.tag in kinds and tag.get("name") == name and tag.get("toname")), None)
