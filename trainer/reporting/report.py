"""The report card of a version: its figures for card.json, and README.md for people, in the Hugging Face form."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import ArrayLike

from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import title
from preference.report_card.card import ModelCard
from preference.reward_model.model import RewardModel
from trainer.evaluation.judge import Verdict
from trainer.reporting.annotators import annotator_figures, judgements_of, left_rate
from trainer.reporting.figures import (
    confidences,
    history,
    length_matched,
    prequential,
    reliability,
    reward_and_length,
    suggestions,
)
from trainer.reporting.pictures import Picture
from trainer.reporting.suggestion_effect import compared_versions, control_accuracy, suggestion_effect
from trainer.reporting.suspect_labels import most_suspect
from trainer.reporting.tables import Section, sections

CurvePoint = tuple[int, float, float, float]  # pairs trained on, held-out accuracy, and its interval's ends


def report_figures(
    verdict: Verdict,
    challenger: RewardModel,
    *,
    train: Sequence[PreferencePair],
    holdout: Sequence[PreferencePair],
    votes: Sequence[PreferencePair],
    gaps: ArrayLike | None,
    champion: RewardModel | None,
    champion_card: ModelCard | None,
    earlier: Sequence[ModelCard],
    dropped: Mapping[str, int],
    learning_curve: Sequence[CurvePoint] = (),
    project_url: str,
    load: Callable[[str], RewardModel],
) -> dict[str, Any]:
    """The figures of ModelCard.report, as JSON can hold them; what there are too few data for is None.

    `holdout`: the comparisons that the verdict was found on, in that order; `votes`: all held-out pairs. `gaps`: Trained.gaps,
    of `train`. `earlier`: the cards of all earlier versions that can be read. `project_url`: the project's
    page in Label Studio. `load` gives an earlier version, or raises PairloopError. Scores nothing but, with the champion, the judgements that came
    after it, and, with the version that was served, those of the control group.
    """
    every = [*train, *votes]
    judgements = judgements_of(every)
    rewards, before = verdict.rewards, verdict.champion_rewards
    is_scored = rewards is not None and bool(np.isfinite(rewards.gaps).all())
    ahead = prequential(every, champion, champion_card) if champion is not None and champion_card is not None else None
    return {
        "people": annotator_figures(judgements),
        "left_rate": left_rate(judgements),
        "suggestions": suggestions(judgements),
        "suggestion_effect": suggestion_effect(every, cards=earlier, load=load),
        "control_accuracy": control_accuracy(
            holdout,
            compared_versions(judgements),
            this=rewards.right if rewards and is_scored else None,
            champion=before.right if before is not None else None,
        ),
        "num_ties": sum(made.outcome == "tie" for made in judgements) + dropped.get("tie", 0) + dropped.get("both bad", 0),
        "dropped": dict(dropped),
        "reliability": reliability(confidences(challenger, rewards), rewards.right) if rewards and is_scored else None,
        "length": reward_and_length(holdout, rewards) if rewards and is_scored else None,
        "length_matched": length_matched(holdout, rewards.right) if rewards and is_scored else None,
        "learning_curve": [
            {"num_pairs": num_pairs, "accuracy": round(accuracy, 4), "interval": [round(low, 4), round(high, 4)]}
            for num_pairs, accuracy, low, high in learning_curve
        ],
        "prequential": ahead,
        "versions": history(earlier, ahead),
        "suspects": most_suspect(train, gaps, temperature=challenger.description.temperature, project_url=project_url),
    }


def model_card(card: ModelCard, pictures: Sequence[Picture] = ()) -> str:
    """The README.md of a version, with the pictures that lie beside it."""
    name = f"pairloop-project-{card.project_id}"
    accuracy = card.metrics.get("accuracy")
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="Preference between two answers",
            dataset_type="label-studio",
            dataset_name=f"Held-out comparisons of Label Studio project {card.project_id}",
            dataset_split="holdout",
            metric_type="accuracy",
            metric_name="Pairwise accuracy",
            metric_value=accuracy,
        )
    ]
    metadata = ModelCardData(
        library_name="pairloop",
        tags=["reward-model", "preference", "label-studio"],
        pipeline_tag="text-classification",
        model_name=name,
        eval_results=results if accuracy is not None else None,
    ).to_yaml()
    first, *others = sections(card)
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    template = Environment(loader=folder, undefined=StrictUndefined, autoescape=False).get_template("README.md.jinja")  # noqa: S701 - Markdown, not HTML
    text = template.render(
        card=card,
        base=title(card.base),
        metadata=metadata,
        accuracy=_markdown(first),
        others=[(section.title, _markdown(section)) for section in others],
        pictures=pictures,
    )
    return text.rstrip() + "\n"


def _markdown(section: Section) -> str:
    lines = [section.header, ("---",) * len(section.header), *section.rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |".replace("|  |", "| |") for line in lines)


def _cell(text: str) -> str:
    return f"[open]({text})" if text.startswith("http") else " ".join(text.split()).replace("|", "\\|")
