"""Label Studio's result JSON for a comparison, read and written. Shapes are measured on label-studio 1.23.2.

Covered: what the editor writes by hand and from a prediction; results of an older label config; anything else that JSON can
hold, which counts as no judgement.
Not covered: results for single regions or items (perRegion, perItem).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from preference.labelling.controls.criteria import NONE, criteria_text
from preference.labelling.controls.repeats import Shown
from preference.labelling.controls.verdict import Meaning, Side, VerdictControl
from preference.labelling.label_config import LabelingLayout
from preference.labelling.task_data import readable

Suggest = Literal["choice", "scores", "none"]
Outcome = Literal["left", "right", "tie", "both_bad"]
Region = dict[str, Any]
ShapedRegion = tuple[str, str, dict[str, Any]]  # from_name, type, value
_JUDGING = ("pairwise", "ranker", "choices", "rating")
_VERDICT = "verdict"
_MARK = re.compile(r"certified-(.+)-c[1-9][0-9]*")


@dataclass(frozen=True)
class ParsedResult:
    """What one result says of a comparison; empty if it says nothing."""

    outcome: Outcome | None = None
    grades: tuple[tuple[str, ...], ...] = ()  # of a <Ranker>: the answers' ids in groups, each better than those after it
    wants_new_answers: bool = False  # instead of a comparison
    is_unsure: bool = False  # the annotator cannot say which is better
    is_not_understood: bool = False  # the verdict says something that nobody here understands, or two things at once
    strength: float | None = None  # by how much the chosen answer is better, 0..1
    written: str | None = None  # a better answer than those that were shown
    is_of_another_config: bool = False  # a control judged that the label config no longer has
    criteria: str = NONE  # what else was filled, as criteria_text has it


class Pairwise:
    """The <Pairwise> control: which of two answers is better."""

    @staticmethod
    def suggestion(
        layout: LabelingLayout, rewards: Sequence[float], *, suggest: Suggest = "choice", show_rewards: bool = True
    ) -> list[Region]:
        """The regions that preselect the answer with the higher reward and show both rewards; fewer, or none, by the settings."""
        if suggest == "none":
            return []
        side: Side = "left" if rewards[0] >= rewards[1] else "right"
        left, right = (round(reward, 3) if show_rewards else None for reward in rewards)
        return Pairwise.showing(layout, Shown(side if suggest == "choice" else None, (left, right)))

    @staticmethod
    def showing(layout: LabelingLayout, shown: Shown) -> list[Region]:
        """The regions that show this; a reward only if the label config has a box for it.

        `to_name` is the first answer's tag: Label Studio's validation refuses the control's own name, which is what
        its editor writes, and preselects nothing for "answer1,answer2". `readonly` keeps its editor from changing rewards.
        """
        regions = [_region(layout.control, layout.answer_tags[0], "pairwise", {"selected": shown.lit})] if shown.lit else []
        for tag, reward in zip(layout.reward_tags, shown.rewards, strict=True):
            if tag is not None and reward is not None:
                regions.append(_region(tag.name, tag.to_name, "number", {"number": reward}) | {"readonly": True})
        return regions

    @staticmethod
    def shown(layout: LabelingLayout, result: object) -> Shown:
        """What a prediction with this result shows."""
        numbers = {name: value.get("number") for name, kind, value in shaped_regions(result) if kind == "number"}
        held = [numbers.get(tag.name) if tag is not None else None for tag in layout.reward_tags]
        left, right = (float(number) if isinstance(number, int | float) else None for number in held)
        return Shown(Pairwise.choice(layout, result), (left, right))

    @staticmethod
    def choice(layout: LabelingLayout, result: object) -> Side | None:
        """The side that a result names, or None if it names none.

        `to_name` is not looked at: by hand it is the control's name, from a prediction the first answer's.
        """
        for name, kind, value in shaped_regions(result):
            selected = value.get("selected")
            if name == layout.control and kind == "pairwise" and selected in ("left", "right"):
                return "left" if selected == "left" else "right"
        return None

    @staticmethod
    def suggested(layout: LabelingLayout, result: object) -> Side | None:
        """The side that a prediction speaks for: the one it preselects, else the one with the higher of the rewards it shows."""
        shown = Pairwise.shown(layout, result)
        left, right = shown.rewards
        if shown.lit is not None or left is None or right is None or left == right:
            return shown.lit
        return "left" if left > right else "right"

    @staticmethod
    def judgement(layout: LabelingLayout, result: object) -> ParsedResult:
        """What an annotation's result says; never raises, whatever JSON it is given.

        The verdict goes before the side, because choosing Tie leaves a preselected side lit. So a side says nothing beside a
        verdict that is not understood, or that the label config no longer has. So does an order: the editor submits the one that it
        showed if nobody moved anything.
        """
        regions = shaped_regions(result)
        known = layout.control_names | {layout.control}
        words = [
            text for name, kind, value in regions if name == _VERDICT for text in _texts(value, kind, "choices") if text.strip()
        ]
        said, side = _said(layout.verdict, words), None if words else Pairwise.choice(layout, result)
        if layout.ranker is not None and said in ("left", "right"):  # of more than two
            said = None
        return ParsedResult(
            outcome=side if said is None or said == "unsure" or said == "new_answers" else said,
            grades=() if layout.ranker is None or words else layout.ranker.grades(_ranked(layout, regions)),
            wants_new_answers=said == "new_answers",
            is_unsure=said == "unsure",
            is_not_understood=layout.verdict is not None and bool(words) and said is None,
            strength=_strength(layout, regions, words),
            written=written_text(result, layout.better_answer),
            is_of_another_config=any(kind in _JUDGING and name not in known for name, kind, _ in regions),
            criteria=criteria_text(region for region in regions if region[0] in layout.criteria),
        )


class Ranking:
    """The <Ranker> control: in which order answers are, best first."""

    @staticmethod
    def suggestion(
        layout: LabelingLayout, task_data: Mapping[str, Any], rewards: Sequence[float], *, suggest: Suggest = "choice"
    ) -> list[Region]:
        """The region that puts the task's answers into the order of their rewards, one an answer; none if no choice is suggested."""
        if layout.ranker is None or suggest != "choice":
            return []
        value = {"ranker": layout.ranker.ranking(task_data, rewards)}
        return [_region(layout.control, layout.answer_tags[0], "ranker", value)]

    @staticmethod
    def suggested(layout: LabelingLayout, result: object) -> dict[str, int]:
        """The place of each answer, by its id, in a prediction's order."""
        ids = layout.ranker.order(_ranked(layout, shaped_regions(result))) if layout.ranker is not None else []
        return {key: place for place, key in enumerate(ids)}


def suggestion(
    layout: LabelingLayout, task_data: Mapping[str, Any], rewards: Sequence[float], *, suggest: Suggest = "choice",
    show_rewards: bool = True,
) -> list[Region]:  # fmt: skip
    """The regions that show people what a model thinks of a task's answers. `rewards`: one an answer, in their order."""
    if layout.ranker is not None:
        return Ranking.suggestion(layout, task_data, rewards, suggest=suggest)
    return Pairwise.suggestion(layout, rewards, suggest=suggest, show_rewards=show_rewards)


def with_confidence(result: Sequence[Region], confidence: float) -> list[Region]:
    """The regions of a prediction whose own score is a place by lot: they keep how sure the model is. `kept_confidence` reads it."""
    return [region | {"score": confidence} for region in result]


def kept_confidence(result: object) -> float | None:
    """How sure the model was, .5..1, of a prediction that got its place by lot; None of any other."""
    regions = [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []
    kept = (region.get("score") for region in regions)
    return next((float(score) for score in kept if isinstance(score, int | float) and not isinstance(score, bool)), None)


def certified_mark(version: str, look: int | None) -> str:
    """The model version of predictions that the certificate of a version's look covers.

    No version's name is part of it: Label Studio's filters would take the predictions for the version's own.
    """
    return f"certified-{version.removeprefix('v')}-c{look}"


def version_behind(model_version: str | None) -> str | None:
    """The version whose side such a prediction shows; of any other prediction, its model version."""
    match = _MARK.fullmatch(model_version or "")
    return f"v{match.group(1)}" if match else model_version


def _ranked(layout: LabelingLayout, regions: list[ShapedRegion]) -> dict[str, Any]:
    """What the <Ranker> says: ids by column."""
    held = [value.get("ranker") for name, kind, value in regions if name == layout.control and kind == "ranker"]
    return next((value for value in held if isinstance(value, dict)), {})


def _region(from_name: str, to_name: str, kind: str, value: Mapping[str, object]) -> Region:
    return {"from_name": from_name, "to_name": to_name, "type": kind, "value": value}


def shaped_regions(result: object) -> list[ShapedRegion]:
    """Each region that has the shape of one."""
    regions = [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []
    shaped = [(region.get("from_name"), region.get("type"), region.get("value")) for region in regions]
    return [(n, k, v) for n, k, v in shaped if isinstance(n, str) and isinstance(k, str) and isinstance(v, dict)]


def _said(verdict: VerdictControl | None, words: list[str]) -> Meaning | None:
    """What the verdict's words mean together; None if that is not understood."""
    meanings = {meaning for text in words if verdict is not None and (meaning := verdict.meaning(text)) is not None}
    return meanings.pop() if len(meanings) == 1 else None


def _strength(layout: LabelingLayout, regions: list[ShapedRegion], words: list[str]) -> float | None:
    """By how much the chosen answer is better, 0..1: what the strength says, else what the words of the verdict say."""
    step = _step(layout, regions)
    if layout.verdict is None or step is not None:
        return step
    return next((share for text in words if (share := layout.verdict.share(text)) is not None), None)


def _step(layout: LabelingLayout, regions: list[ShapedRegion]) -> float | None:
    """Step i of n as (i - 1) / (n - 1): Llama 2 (arXiv 2307.09288), appendix A.3.3, "Margin Small"."""
    strength = layout.strength
    if strength is None or strength.num_steps < 2:
        return None
    for name, kind, value in regions:
        if name != strength.name:
            continue
        step = value.get("rating") if kind == "rating" else None
        for text in _texts(value, kind, "choices"):
            step = next((i for i, texts in enumerate(strength.choices, start=1) if text in texts), step)
        if isinstance(step, int | float) and not isinstance(step, bool) and 1 <= step <= strength.num_steps:
            return (step - 1) / (strength.num_steps - 1)
    return None


def written_text(result: object, text_area: str | None) -> str | None:
    """What a <TextArea> holds; if it was submitted piece by piece, the pieces are its lines. None without any."""
    regions = [(kind, value) for name, kind, value in shaped_regions(result) if name == text_area]
    return readable("\n".join(text for kind, value in regions for text in _texts(value, kind, "textarea")))


def _texts(value: dict[str, Any], kind: str, wanted: Literal["choices", "textarea"]) -> list[str]:
    held = value.get("choices" if wanted == "choices" else "text") if kind == wanted else None
    texts = held if isinstance(held, list) else [held]
    # With allowNested, each is the list of choices on the way to it.
    return [text for each in texts for text in (each[-1:] if isinstance(each, list) else [each]) if isinstance(text, str)]
