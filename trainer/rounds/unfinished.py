"""What a round leaves behind until it ends, so that the next process can go on where a killed one stopped.

    <project folder>/training/
        round.json            how often it was begun, and what the snapshot is of; its presence makes the round unfinished
        pairs.jsonl           what is trained on, written before the first step
        base/, champion/      checkpoints, by what the weights started from (trainer/training/checkpoints.py)
        version/              what is about to be published
    <project folder>/round.lock    held by the process that runs a round of this project

Covered: a kill at any time, two processes at once. Not covered: storage without file locks.
"""

import dataclasses
import json
import logging
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from preference.atomic_files import replacing, write_whole, writing
from preference.labelling.pairs import PreferencePair, read_pairs, write_pairs
from preference.projects.folder import ProjectFolder

logger = logging.getLogger("pairloop.rounds")
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Snapshot:
    """What a round trains on, and how."""

    pairs: list[PreferencePair]
    num_annotations: int  # of the project, when the pairs were read
    dropped: dict[str, int]  # how many judgements give no pair, by the reason
    key: dict[str, Any] = field(default_factory=dict)  # everything beside the pairs that decides the weights
    newest_annotation: int | None = None  # the highest id that was read; None if build e08322f read them
    newest_change: str | None = None  # when the last of them was made or edited; None likewise


class Unfinished:
    """What of one project is running, or was killed: a round, or what else a process of its own does."""

    name: ClassVar[str]  # what it is called
    room: ClassVar[str]  # the folder in that of the project
    record: ClassVar[str]  # the file in it whose presence makes it unfinished
    advice: ClassVar[str]  # if it is killed again and again for lack of memory

    def __init__(self, folder: ProjectFolder) -> None:
        self.folder = folder.path / self.room
        self._record = self.folder / self.record

    @property
    def exists(self) -> bool:
        """Whether one began and did not end."""
        return self._record.is_file()

    @property
    def num_attempts(self) -> int:
        """How often this one was begun."""
        return self._read().attempts

    @property
    def began_at(self) -> datetime:
        """When it was begun for the first time."""
        return datetime.fromisoformat(self._read().began_at)

    def announce(self) -> None:
        """Marks it as unfinished before its process is started: that loads for seconds, in which it may be killed.

        Raises:
            RegistryError: the folder is not writable, or the disk is full.
        """
        if not self.exists:
            self.remove()
            self._write(_Record())

    def begin(self) -> None:
        """Counts one attempt. After MAX_ATTEMPTS, everything is removed, and this is the first attempt of another one.

        Raises:
            RegistryError: the folder is not writable, or the disk is full.
        """
        if self.exists and self.num_attempts >= MAX_ATTEMPTS:
            self.give_up()
        if not self.exists:
            self.remove()
        record = self._read()
        self._write(dataclasses.replace(record, attempts=record.attempts + 1))

    def put_off(self) -> None:
        """Takes back the attempt that `begin` counted: what stopped it was outside it, and will pass.

        One that kept nothing has nothing to go on with, and is removed.
        """
        record = self._read()
        if record.key is None:
            self.remove()
        else:
            self._write(dataclasses.replace(record, attempts=record.attempts - 1))

    @property
    def version(self) -> Path:
        """The folder for what will be published."""
        return self.folder / "version"

    def version_folder(self) -> Path:
        """The same, empty."""
        folder = self.version
        shutil.rmtree(folder, ignore_errors=True)
        with writing(self.folder):
            folder.mkdir(mode=0o700, parents=True)  # it holds what was learnt from people's texts
        return folder

    def restart(self) -> None:
        """Removes snapshot and checkpoints; the attempt that is running is the first of another one."""
        self.remove()
        self.begin()

    def give_up(self) -> None:
        """Removes one that was killed MAX_ATTEMPTS times, and logs that."""
        logger.error(
            "%s: the %s was killed %d times before it could end and is given up; the log above says by what (out of memory: %s)",
            self.folder,
            self.name,
            self.num_attempts,
            self.advice,
        )
        self.remove()

    def remove(self) -> None:
        """Removes everything; the record goes first, as the other files mean nothing without it."""
        self._record.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> "_Record":
        try:
            return _Record(**json.loads(self._record.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return _Record()
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s is damaged (%s); the %s begins from nothing", self._record, type(error).__name__, self.name)
            return _Record()

    def _write(self, record: "_Record") -> None:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._record, json.dumps(dataclasses.asdict(record), ensure_ascii=False))


class UnfinishedRound(Unfinished):
    """The round of one project that is running, or was killed."""

    name, room, record, advice = "round", "training", "round.json", "take a smaller REWARD_BASE, or RECIPE=frozen"

    def __init__(self, folder: ProjectFolder) -> None:
        super().__init__(folder)
        self._pairs = self.folder / "pairs.jsonl"

    def keep(self, snapshot: Snapshot) -> None:
        """Writes what is about to be trained on.

        Raises:
            RegistryError: the folder is not writable, or the disk is full.
        """
        # It holds prompts and answers, and outlives a kill.
        with writing(self.folder), replacing(self._pairs, is_private=True, is_only_writer=True) as temporary:
            write_pairs(snapshot.pairs, temporary)
        record = self._read()
        names = ("num_annotations", "dropped", "newest_annotation", "newest_change")
        reading = {name: getattr(snapshot, name) for name in names}
        self._write(dataclasses.replace(record, num_pairs=len(snapshot.pairs), key=snapshot.key, told=reading))

    def snapshot(self) -> Snapshot | None:
        """What `keep` wrote; None if nothing was, or it is damaged."""
        record = self._read()
        if record.key is None:
            return None
        try:
            pairs = read_pairs(self._pairs)
            if len(pairs) != record.num_pairs:
                raise ValueError("cut short")
            told = record.told
            newest = told.get("newest_annotation"), told.get("newest_change")
            return Snapshot(pairs, told["num_annotations"], told["dropped"], record.key, *newest)
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            logger.warning("%s is damaged (%s); the round begins from nothing", self._pairs, type(error).__name__)
            return None


@dataclass(frozen=True)
class _Record:
    attempts: int = 0
    began_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    num_pairs: int = 0
    key: dict[str, Any] | None = None
    told: dict[str, Any] = field(default_factory=dict)  # the numbers of the reading; the file's own name for them
