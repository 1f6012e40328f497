"""How many people judge a task: one, or several of a part of the tasks, so that it is known how often people agree.

Measured on label-studio 1.23.2. Its free edition takes both fields by an update of the project, and not when it is made
(label-studio-sdk#339); its pages show neither. It chooses the tasks by itself, those first that were judged already. People get
a task that somebody else began before any other, whatever the scores.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from preference.studio.project import LabelStudioProject
from preference.studio.tabs import THIRD_LOOK


@dataclass(frozen=True)
class Overlap:
    """So many people judge a part of the tasks."""

    share: float  # of the tasks, 0..1
    annotators: int  # people that judge each of these

    @property
    def fields(self) -> dict[str, Any]:
        """What Label Studio keeps of it, in the project."""
        if self.annotators == 1 or not self.share:
            return {"maximum_annotations": 1, "overlap_cohort_percentage": 100}
        return {"maximum_annotations": self.annotators, "overlap_cohort_percentage": max(1, round(100 * self.share))}


def set_overlap(project: LabelStudioProject, overlap: Overlap, *, state: dict[str, Any]) -> Iterator[str]:
    """Sets it, and makes the tab for a third look. Yields a sentence for each thing that was done. `state`: what `project.read` gave."""
    if any(state.get(name) != value for name, value in overlap.fields.items()):
        project.update(**overlap.fields)
        yield f"set the overlap: {in_words(overlap.fields)}"
    if overlap.fields["maximum_annotations"] > 1 and project.tabs.add(THIRD_LOOK):
        yield f'made the tab "{THIRD_LOOK}"'


def in_words(state: dict[str, Any]) -> str:
    """How many people judge a task of this project."""
    annotators, percent = state.get("maximum_annotations") or 1, state.get("overlap_cohort_percentage")
    if annotators == 1:
        return "one person judges each task"
    part = "each task" if percent in (None, 100) else f"each of {percent} % of the tasks"
    return f"{annotators} people judge {part}"
