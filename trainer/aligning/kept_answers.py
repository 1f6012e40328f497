"""What the served generator wrote to held-out prompts, kept for the next judging: it would write the same again, in a minute or an hour.

    <project folder>/served_answers.json

Covered: another base, generator version, setting or library, which misses all that is kept; a damaged file, which keeps nothing; a full
disk. It holds the answers of one generator to the prompts of one judging at most. Whoever holds align.lock writes it.
Not covered: another processor, whose rounding changes few answers (docs of the seed in preference/generation/jobs.py).
"""

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from preference.atomic_files import write_whole
from preference.generation.hardware import pick_dtype
from preference.generation.jobs import Adapter, WrittenAnswers
from preference.labelling.prompts import Prompt, transcript
from preference.models.device import pick_device
from preference.settings import Settings
from trainer.aligning.writing import NUM_ANSWERS

logger = logging.getLogger("pairloop.aligning")
_LIBRARIES = ("torch", "transformers")
_NO_MATTER = {
    "engine",
    "model",
    "batch_prompts",
}  # of the generator's settings, for what is written; the fingerprint is the model's


@dataclass(frozen=True)
class KeptAnswers:
    """Those of one generator, under the settings as they are."""

    key: str
    answers: Mapping[str, WrittenAnswers] = field(default_factory=dict)  # by the digest of the prompt

    @classmethod
    def read(cls, folder: Path, key: str) -> "KeptAnswers":
        """What a project's folder keeps under this key; nothing if it has another one, or cannot be read."""
        try:
            kept = _FILE.validate_json(_path(folder).read_bytes())
        except (OSError, ValueError):  # none is kept, or it is damaged
            return cls(key)
        return kept if kept.key == key else cls(key)

    def find(self, prompt: Prompt) -> WrittenAnswers | None:
        """The answers to this prompt, if they are kept."""
        return self.answers.get(_digest(prompt))

    def with_new(self, prompts: Sequence[Prompt], written: Sequence[WrittenAnswers], *, among: Sequence[Prompt]) -> "KeptAnswers":
        """These and new ones, as far as they are to prompts `among` which they may be asked for again."""
        new = {_digest(prompt): answers for prompt, answers in zip(prompts, written, strict=True) if answers.answers}
        known = {**self.answers, **new}
        return KeptAnswers(self.key, {name: known[name] for name in map(_digest, among) if name in known})

    def write(self, folder: Path) -> None:
        """Keeps them in place of what the project's folder has; a disk that refuses costs time the next time, and nothing else."""
        try:
            write_whole(_path(folder), _FILE.dump_json(self), is_durable=False, is_private=True)
        except (OSError, ValueError) as error:
            logger.warning("answers for the next judging are not kept in %s (%s)", folder, error)


_FILE = TypeAdapter(KeptAnswers)


def key_of(settings: Settings, served: Adapter | None, *, fingerprint: str) -> str:
    """Everything beside the prompt that decides what a generator writes for its judge. `fingerprint`: of the base."""
    generation = settings.generator
    decides = [
        fingerprint,
        served.version if served else None,
        generation.model_dump(mode="json", exclude=_NO_MATTER),
        str(pick_dtype(generation.dtype, pick_device(settings.device))),
        NUM_ANSWERS,
        [importlib.metadata.version(name) for name in _LIBRARIES],
    ]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


def _path(folder: Path) -> Path:
    return folder / "served_answers.json"


def _digest(prompt: Prompt) -> str:
    return hashlib.sha256(transcript(prompt).encode("utf-8", "surrogatepass")).hexdigest()
