"""What an alignment leaves behind until it ends, so that the next process can go on where a killed one stopped.

    <project folder>/aligning/
        alignment.json           how often it was begun, and what decides its weights; its presence makes it unfinished
        checkpoint.safetensors   how far the steps are (trainer/generator_training/checkpoints.py)
        trained.json             what the card says of the training, once its adapters lie in version/
        version/                 what is about to be published
    <project folder>/align.lock    held by the process that lets the project's generator learn

Covered: a kill at any time, two processes at once. Not covered: storage without file locks.
"""

import dataclasses
import logging
from dataclasses import asdict
from typing import Any

from preference.projects.status_files import LastAlignment
from trainer.generator_training.recipe import CHOSEN, METHODS, AlignRecipe
from trainer.rounds.unfinished import MAX_ATTEMPTS, Unfinished
from trainer.rounds.work import Work

logger = logging.getLogger("pairloop.aligning")


class UnfinishedAlignment(Unfinished):
    """The alignment of one project that is running, or was killed."""

    name, room, record, advice = "alignment", "aligning", "alignment.json", "name a smaller GENERATOR_MODEL"

    @property
    def recipe(self) -> AlignRecipe | None:
        """How one that was killed learnt; None if none is to be taken up, or this build learns otherwise by that method."""
        record = self._read()
        known = (record.key or {}).get("recipe") if record.attempts < MAX_ATTEMPTS else None
        return next((recipe for recipe in (*METHODS.values(), CHOSEN) if asdict(recipe) == known), None)

    def take_up(self, key: dict[str, Any]) -> None:
        """Removes what a killed one kept, unless it has the same key; it is of this one from here on.

        `key`: everything that decides the weights, as JSON holds it.

        Raises:
            RegistryError: the folder is not writable, or the disk is full.
        """
        kept = self._read()
        if kept.key == key:
            logger.info("%s: taking up the alignment that was killed (attempt %d)", self.folder, kept.attempts)
            return
        if kept.key is not None:
            changed = ", ".join(name for name in key if kept.key.get(name) != key[name])
            logger.info("%s: the alignment that was killed is not taken up: it had other %s", self.folder, changed)
            self.restart()
        elif any(path.name != self.record for path in self.folder.iterdir()):  # of one whose record is damaged
            self.restart()
        self._write(dataclasses.replace(self._read(), key=key))


ALIGNMENT = Work("alignment", "align.lock", "align", LastAlignment, UnfinishedAlignment, ("align", "--json"))
