"""Versions of tiny models as exported folders."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import RewardModel
from preference.reward_model.probe import load_version, take_probe
from preference.settings import Settings
from tests.support.lab import HOLDOUT, JudgedProject, judged_tasks
from tests.support.reward_models import make_adapter, make_sequence
from tests.support.versions import publish_version
from trainer.classifiers.model_folder import ExportedModel
from trainer.classifiers.project_model import export_version

CPU = torch.device("cpu")
CENTER, SCALE = 0.3, 0.01  # of the network's output; tiny ones give answers nearly the same


@dataclass(frozen=True)
class Exported:
    """A folder, what it says of itself, and the version that it is of."""

    path: Path
    said: ExportedModel
    folder: ProjectFolder
    version: str

    def load(self) -> RewardModel:
        """The version, as Pairloop has it."""
        return load_version(self.folder, self.version, extractor=Extractors(self.folder.path.parent.parent, CPU), device=CPU)


def settings_in(parent: Path, base: Path) -> Settings:
    """With a MODEL_DIR there."""
    changes = {"reward_base": str(base), "holdout_fraction": HOLDOUT, "model_dir": parent / "models"}
    return Settings.of(device="cpu", torch_threads=1, **changes)


def publish_classifier(kind: str, folder: ProjectFolder, base: Path, **described: Any) -> str:
    """A published version of random weights, `sequence` or `adapter`, whose output is centred and scaled."""
    made = (
        make_sequence(base)
        if kind == "sequence"
        else make_adapter(base, Extractors(folder.path.parent.parent, CPU), dtype=described.get("dtype", "float32"))
    )
    model = copy.copy(made)
    model.description = replace(made.description, center=CENTER, scale=SCALE, max_tokens=128, **described)
    draft = folder.path / "draft"
    draft.mkdir(parents=True)
    model.save(draft)
    card = ReportCard(folder.project_id, "full", str(base), num_train_pairs=60, reason="made by a test", probe=take_probe(model))
    return Versions(folder).publish(draft, card)


def export(kind: str, base: Path, parent: Path, **described: Any) -> Exported:
    """A version of project 7, `frozen`, `sequence` or `adapter`, exported from sixty judged tasks. `described`: of its description."""
    settings = settings_in(parent, base)
    folder = ProjectFolder(settings.model_dir, 7)
    if kind == "frozen":
        version = publish_version(folder, base, weight=0.5, layer_weight=1)
    else:
        version = publish_classifier(kind, folder, base, **described)
    Versions(folder).promote(version)
    path = parent / kind
    return Exported(path, export_into(path, folder, settings), folder, version)


def export_into(path: Path, folder: ProjectFolder, settings: Settings) -> ExportedModel:
    """The champion, once more."""
    extractors = Extractors(settings.model_dir, CPU)
    return export_version(JudgedProject(judged_tasks(60)), folder, settings, path, extractors=extractors)
