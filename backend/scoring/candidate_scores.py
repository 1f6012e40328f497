"""Rewards for candidate answers: by them a strategy chooses which two are shown."""

from collections.abc import Callable, Sequence

from backend.scoring.champion import ServedVersion
from preference.labelling.prompts import Prompt

Score = Callable[[Prompt, Sequence[str]], Sequence[float]]  # (prompt, answers) to one reward an answer


def candidate_scores(serving: ServedVersion | None) -> Score | None:
    """What gives candidate answers their rewards; None without a served model."""
    if serving is None:
        return None
    return lambda prompt, answers: serving.model.score([prompt] * len(answers), answers).tolist()
