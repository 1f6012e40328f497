"""What a process of its own does for a project, one at a time: a round, or an alignment."""

from dataclasses import dataclass

from preference.projects.folder import RequestKind
from preference.projects.status_files import LastRound
from trainer.rounds.unfinished import Unfinished, UnfinishedRound


@dataclass(frozen=True)
class Work:
    """By what its lock, its requests, its remains and its end are known."""

    name: str
    lock: str  # the file in the project's folder that is held by who does it
    request: RequestKind
    last: type[LastRound]
    unfinished: type[Unfinished]
    arguments: tuple[str, ...]  # of pairloop-trainer, beside --project

    @property
    def one(self) -> str:
        """One of them, with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


ROUND = Work("round", "round.lock", "train", LastRound, UnfinishedRound, ("once", "--json"))
