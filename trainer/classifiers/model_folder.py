"""A version as a folder that programs without Pairloop load, with its model card.

    config.json, model.safetensors, tokenizer.json, ...   the classifier (classifier.py)
    README.md                                             what it is, and what it is worth beside the version
    card.json, reward_model.json                          if it is the version: with these, Pairloop loads the folder, too
    version/                                              else: the version itself, for Pairloop

Covered: a full disk, an error, a kill: the folder is there whole or not at all. Figures of single people and tasks stay at home.
Not covered: after a kill, an unfinished folder with a name of its own stays beside it.
"""

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification

from preference.atomic_files import sync, sync_all
from preference.errors import ExportError
from preference.labelling.pairs import PreferencePair
from preference.models.files import is_local, title
from preference.models.pretrained import load_tokenizer, load_weights
from preference.models.reward_bases import DESCRIPTION
from preference.report_card.card import ReportCard
from preference.report_card.figures import ReportFigures
from preference.reward_model.model import RewardModel, SequenceRewardModel
from preference.reward_model.probe import take_probe
from preference.reward_model.reward_function import EXPORTED
from trainer.classifiers.classifier import Classifier, classifier_of, is_exact
from trainer.classifiers.elsewhere import ReadElsewhere
from trainer.classifiers.folder_card import folder_card
from trainer.classifiers.side_by_side import SideBySide, figure_rows, side_by_side
from trainer.evaluation.pair_rewards import score_pairs

_CARD = "card.json"


@dataclass(frozen=True)
class ExportedModel:
    """What a folder holds."""

    card: ReportCard
    is_the_version: bool  # whether its rewards are the version's, but for a constant
    figures: SideBySide

    def __str__(self) -> str:
        rows = (
            "; ".join(f"{what}: {value}" for what, value in figure_rows(self.figures)) or "nothing is held out to compare them on"
        )
        what = "with its rewards less a constant" if self.is_the_version else "that comes near it"
        return f"{self.card.version}, as a classifier {what} ({rows}),"


def export_model(
    model: RewardModel, card: ReportCard, path: Path, *, train: Sequence[PreferencePair], holdout: Sequence[PreferencePair],
    model_dir: Path, device: torch.device, name: str = ".",
) -> ExportedModel:  # fmt: skip
    """Writes the folder `path`, which is new. `name`: what its README.md loads: a folder, or an id of the Hub.

    `train`: what the version was trained on; `holdout`: one pair for each held-out comparison. The model scores no more.

    Raises:
        ExportError: there is something at `path`, it cannot be written, or there is no such classifier.
        ModelError: the base cannot be loaded.
    """
    check_new_folder(path)
    needs_base = is_local(card.base) and not is_exact(model)
    card = replace(card, base=_name(card.base), rater=_name(card.rater), report=ReportFigures(), fields={}, promotions=())
    version_rewards = score_pairs(model, holdout)
    with _new_folder(path) as draft:
        if not is_exact(model):
            (draft / EXPORTED).mkdir()
            _without_place(model).save(draft / EXPORTED)
        classifier = classifier_of(model, train, model_dir=model_dir, device=device)
        _without_place(classifier.model).save(draft)
        _make_readable_by_transformers_4(draft)
        read = _as_others_load(draft, classifier, device)
        if classifier.is_the_version:
            # An adapter in bfloat16 weights is rounded: what is loaded from here proves to be what lies here.
            card = replace(card, probe=take_probe(SequenceRewardModel(read.description, read.network, read.tokenizer)))
            (draft / _CARD).write_text(card.to_json(), encoding="utf-8")
        else:
            (draft / DESCRIPTION).unlink()  # Pairloop loads what it comes near to
            (draft / EXPORTED / _CARD).write_text(card.to_json(), encoding="utf-8")
        figures = side_by_side(version_rewards, score_pairs(read, holdout), holdout, read)
        exported = ExportedModel(card, classifier.is_the_version, figures)
        (draft / "README.md").write_text(
            folder_card(card, exported.figures, is_the_version=exported.is_the_version, name=name, needs_base=needs_base),
            encoding="utf-8",
        )
    return exported


def _name(model: str) -> str:
    """What a model is called in what leaves the house; "" stays that."""
    return title(str(Path(model).absolute())) if model and is_local(model) else model


def _without_place(model: RewardModel) -> RewardModel:
    """The same model, which names its base by no path of this machine."""
    named = copy.copy(model)
    named.description = replace(model.description, base=_name(model.description.base))
    return named


def check_new_folder(path: Path) -> None:
    """Raises ExportError if no folder can be made there, before anything is read."""
    if path.exists():
        raise ExportError(f"{path} exists; name a folder that does not, since nothing is overwritten.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ExportError(f"{path} cannot be written; name a folder in one that exists and that you may write to.")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled, which becomes `path` unless something is raised. Several exports into one folder are apart."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True) as scratch:
            draft = Path(scratch) / path.name  # `scratch` is its user's alone (0700)
            draft.mkdir()
            yield draft
            sync_all(draft)
            draft.rename(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        raise ExportError(
            f"{path} cannot be written ({getattr(error, 'strerror', None) or error}); free some space, or name another folder."
        ) from error


def _as_others_load(folder: Path, classifier: Classifier, device: torch.device) -> ReadElsewhere:
    network = load_weights(AutoModelForSequenceClassification, str(folder), dtype=torch.float32, device=device)
    return ReadElsewhere(classifier.model.description, network, load_tokenizer(str(folder)))


def _make_readable_by_transformers_4(folder: Path) -> None:
    """Adds what transformers 5 (5.23) no longer writes, and reads all the same; RewardBench (0.1.4) pins transformers 4.51."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rope = config.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        config.setdefault("rope_theta", rope["rope_theta"])
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    path = folder / "tokenizer_config.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    if tokenizer.get("tokenizer_class") == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    tokenizer.setdefault("model_input_names", ["input_ids", "attention_mask"])  # else transformers 4 adds token types
    path.write_text(json.dumps(tokenizer, indent=2, ensure_ascii=False), encoding="utf-8")
