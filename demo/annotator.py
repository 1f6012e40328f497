"""A scripted annotator: judges by a rule that is printed, through Label Studio's API, as a stand-in for people."""

import re
from collections.abc import Iterable, Iterator

from preference.labelling.controls.verdict import Side
from preference.labelling.label_config import LabelingLayout
from preference.studio.project import LabelStudioProject
from preference.studio.task import Task

RULE = (
    "An answer that speaks to its reader more often (you, your) is better. If both do as often, the one that talks less about itself "
    "(I, me, my, we, our, us) is better. If nothing decides, the task is skipped."
)
_READER = {"you", "you'd", "you'll", "you're", "you've", "your", "yours", "yourself"}
_SELF = {"i", "i'd", "i'll", "i'm", "i've", "me", "my", "mine", "we", "our", "us"}


def choose(left: str, right: str) -> Side | None:
    """The better side by RULE, or None if it does not decide."""
    first, second = _rank(left), _rank(right)
    return None if first == second else "left" if first > second else "right"


def judge(project: LabelStudioProject, layout: LabelingLayout, tasks: Iterable[Task]) -> Iterator[Side | None]:
    """Judges each task and yields the side it chose; None is a skip."""
    for task in tasks:
        left, right = layout.answers(task["data"])
        side = choose(left or "", right or "")
        # As the editor writes it by hand: `to_name` is the control's own name.
        region = {
            "from_name": layout.control,
            "to_name": layout.control,
            "type": "pairwise",
            "origin": "manual",
            "value": {"selected": side},
        }
        project.annotate(task["id"], [region] if side else [], skip=side is None)
        yield side


def _rank(answer: str) -> tuple[int, int]:
    words = re.findall(r"[a-z']+", answer.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    return (
        sum(word in _READER for word in words),
        -sum(word in _SELF for word in words),
    )
