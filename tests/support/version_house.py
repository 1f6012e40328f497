"""What the tests publish as a version."""

from collections.abc import Callable
from pathlib import Path

import pytest

from preference.errors import RegistryError
from preference.report_card.card import ReportCard
from preference.report_card.figures import JudgedFigures

CARD = ReportCard(
    project_id=3,
    recipe="frozen",
    base="embedded",
    num_annotations=60,
    num_train_pairs=48,
    num_holdout_pairs=12,
    dropped={"skipped": 2, "identical answers": 1},
    metrics=JudgedFigures(accuracy=0.75, interval=(0.6, 0.9)),
    promoted=True,
    reason="it wins 9 of 12 — “the first”",
    probe={"prompt": "שלום 👩‍👩‍👧", "answer": "Good.", "reward": 0.5},
    seed=1,
    seconds={"train": 2.5},
    compared_with=None,
    libraries={"torch": "2"},
)


def trained_in(tmp_path: Path) -> Path:
    """A folder as training leaves it."""
    folder = tmp_path / "trained"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "deep" / "tokenizer.json").write_text("{}")
    return folder


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as caught:
        call()
    return str(caught.value)
