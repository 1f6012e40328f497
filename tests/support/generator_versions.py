"""Generator versions that tests publish."""

from pathlib import Path

from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.report_card.generator_card import AnswerFigures, GeneratorCard, GeneratorFigures
from preference.report_card.shares import Share

CARD = GeneratorCard(
    project_id=3,
    method="dpo",
    base="embedded",
    fingerprint="f",
    num_annotations=120,
    num_pairs=45,
    num_held_back=44,
    num_steps=23,
    num_wanted_steps=23,
    metrics=GeneratorFigures(
        num_prompts=60,
        wins=Share(0.75, (0.66, 0.82), 60),
        length_controlled=Share(0.7, (0.6, 0.8), 60),
        kl=0.056,
        answers=AnswerFigures(410.0, 0.08, 0.3, 1.0),
        other=AnswerFigures(380.0, 0.02, 0.25, 1.0),
    ),
    compared_with="base",
    promoted=True,
    reason="it wins .70 at equal length — “more”",
    probe={"prompt": "Why?", "answer": "Because.", "log_prob": -1.5},
)


def publish(folder: ProjectFolder, card: GeneratorCard = CARD, *, promote: bool = False) -> str:
    """A version whose weights are none."""
    draft = folder.path.parent / "draft"
    draft.mkdir(parents=True, exist_ok=True)
    (draft / "adapter_model.safetensors").write_bytes(b"weights")
    return Generators(folder).publish(Path(draft), card, promote=promote)
