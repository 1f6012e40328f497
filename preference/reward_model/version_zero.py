"""Version 0: a reward model that others trained (REWARD_MODEL), which scores a project until one of its own is better.

It is published as any version is, so that it is served, judged beside challengers, promoted and rolled back to like one. It keeps
no weights: its reward_model.json names the model and its commit, and all projects that have it share one copy in memory.
Covered: several processes at once; a pointer that was deleted; REWARD_MODEL that names another model later; a rollback to another version.
Not covered: a project without comparisons, which no caller has take it up; a project whose champion was trained here before REWARD_MODEL was set; it stays, and nothing is published.
"""

import importlib.metadata
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from preference.errors import ChampionChanged, ModelError
from preference.labelling.holdout import NEWEST_RULE
from preference.models.files import EMBEDDED, check_score_head, read_config, title
from preference.models.hardware import reward_dtype
from preference.models.number_formats import NumberFormat, four_bit_libraries
from preference.models.reward_bases import DESCRIPTION, most_tokens
from preference.projects.folder import ProjectFolder
from preference.projects.versions import SHELF, Versions
from preference.report_card.card import ReportCard
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import Description, ShelfRewardModel, read_description
from preference.reward_model.probe import take_probe
from preference.reward_model.shared_base import BaseRecipe
from preference.setting_groups import TrainingSettings

_NOBODY_JUDGED = "1970-01-01T00:00:00.000000Z"  # before any judgement, so that all of them are new to it
_README = """# {title}

A reward model that others trained, `{name}`{at}, which Pairloop took up as REWARD_MODEL: it scores the project until a version that
is trained here is better. Its weights are not in this folder.
"""


def publish_version_zero(folder: ProjectFolder, training: TrainingSettings, extractors: Extractors) -> str | None:
    """The version of REWARD_MODEL, which is the champion from now on; None if the project keeps the one that it has.

    A project takes it up if it has no champion, or one of another REWARD_MODEL; and each name once, so that a rollback stays.

    Raises:
        ModelError: there is no such reward model, or too little memory.
        RegistryError: MODEL_DIR is full or not writable.
    """
    name, versions = training.reward_model, Versions(folder)
    champion, known = versions.champion(), list(versions.cards(logs_damaged=False))
    has_none = champion is None and versions.has_no_pointer and folder.path.is_dir()
    if not has_none and not any(card.version == champion and card.recipe == SHELF for card in known):
        return None
    reason = f"REWARD_MODEL={name}, before any version that was trained here"
    if before := next((card.version for card in known if (card.recipe, card.base) == (SHELF, name)), None):
        if has_none:
            versions.promote(before, reason=reason)
        return before if has_none else None
    model = load_from_shelf(name, extractors, dtype=training.reward_dtype)
    with tempfile.TemporaryDirectory() as draft:
        model.save(Path(draft))
        revision = model.description.revision
        readme = _README.format(title=title(name), name=name, at=f" at the commit `{revision}`" if revision else "")
        (Path(draft) / "README.md").write_text(readme, encoding="utf-8")
        try:
            card = _card(folder, model, reason)
            return versions.publish(Path(draft), card, judged_against=champion, promote=True, first=0)
        except ChampionChanged:  # another process was first
            return None


def load_from_shelf(name: str, extractors: Extractors, *, dtype: Literal["auto"] | NumberFormat = "auto") -> ShelfRewardModel:
    """A reward model of the field, with its own head, chat template and padding. `dtype`: as the setting REWARD_DTYPE has it.

    The folder of a version that was trained here whole is read, and its rewards are scaled, as that version's are.

    Raises:
        ModelError: it is not there, is none, or has no chat template.
    """
    if name == EMBEDDED:
        raise ModelError(f"REWARD_MODEL={EMBEDDED} writes text; name a reward model.")
    check_score_head(name, read_config(name))
    chosen = reward_dtype(dtype, extractors.device)
    base = extractors.shared_base(BaseRecipe(name, dtype=chosen))
    if (Path(name) / DESCRIPTION).is_file():
        trained = read_description(Path(name))
        return ShelfRewardModel(replace(trained, kind="shelf", base=name, dtype=chosen), base)
    if not base.tokenizer.chat_template:
        raise ModelError(
            f"The reward model {name!r} has no chat template, so nobody can say which text it reads; name one that has."
        )
    positions = getattr(base.network.config.get_text_config(), "max_position_embeddings", None)
    description = Description(
        "shelf", name, most_tokens(base.tokenizer, positions), revision=base.recipe.revision, dtype=chosen,
        closing="template",
    )  # fmt: skip
    return ShelfRewardModel(description, base)


def _card(folder: ProjectFolder, model: ShelfRewardModel, reason: str) -> ReportCard:
    return ReportCard(
        project_id=folder.project_id,
        recipe=SHELF,
        base=model.description.base,
        num_annotations=0,
        newest_annotation=0,
        newest_change=_NOBODY_JUDGED,
        num_train_pairs=0,
        promoted=True,
        reason=reason,
        probe=take_probe(model),
        holdout_rule=NEWEST_RULE,
        libraries={
            library: importlib.metadata.version(library)
            for library in ("torch", "transformers", *four_bit_libraries(model.description.dtype))
        },
    )
