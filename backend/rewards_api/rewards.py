"""Rewards within a time limit: requests wait for the one seat that they have, and none is answered in part.

So a program that trains on rewards computes beside the people who open tasks, but never in place of them.
Covered: a worker that is to end; versions whose rewards are no numbers; texts that are never asked for again, whose features are not kept.
Not covered: a GPU that could read several requests together; who sends 512 answers in one request has that.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from werkzeug.exceptions import ServiceUnavailable

from backend.rewards_api.arrival import arrived_at
from backend.rewards_api.marked_texts import turns_added
from backend.rewards_api.served_versions import ServedVersions
from backend.scoring.champion import ServedVersion
from backend.serving.process import Backend
from preference.errors import ModelError
from preference.labelling.prompts import Conversation, Prompt
from preference.models.encoding import marked_prompt
from preference.projects.version_name import VersionName

_PIECE = 32  # answers that are scored before the time is looked at
Exchange = tuple[Prompt, str]  # a prompt and its answer
Read = Callable[[Conversation], Sequence[Exchange]]  # from the turns that the version's template adds by itself


@dataclass(frozen=True)
class Rewards:
    """The rewards of a request's answers, in order, and what gave them."""

    of_answers: list[float]
    project: int
    served: ServedVersion

    @property
    def version(self) -> str:
        """The version that gave them, whole."""
        return self.served.version

    @property
    def name(self) -> str:
        """The version with its project, as the path of another request may name it."""
        return f"{self.project}@{self.version}"

    def preferences(self) -> list[list[float]]:
        """Row i, column j: how probable it is that people prefer answer i to answer j."""
        rewards, model = self.of_answers, self.served.model
        return [[_preference(first, second, model.confidence(first, second)) for second in rewards] for first in rewards]


class Scorer:
    """Scores what other programs send to one process. Safe for any number of threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._versions = ServedVersions(backend.settings.model_dir, backend.champions)

    def score(self, name: VersionName, read: Read) -> Rewards:
        """The rewards of what `read` finds, within PREDICT_SECONDS of the request's arrival.

        Raises:
            HTTPException: there is no such version, or no seat or no time for it; or what `read` raises.
            PairloopError: the version cannot be loaded, or cannot score.
        """
        deadline = arrived_at() + self._backend.settings.server.predict_seconds
        with self._backend.predictor.seats.wait_for_rewards(deadline - time.monotonic()) as has_seat:
            if not has_seat:
                raise self._too_late("Other requests for rewards take all the time that there is")
            served = self._versions.find(name)
            exchanges = read(turns_added(marked_prompt(served.model.tokenizer, "x")))
            rewards: list[float] = []
            for start in range(0, len(exchanges), _PIECE):
                if time.monotonic() > deadline or self._backend.is_stopping:
                    raise self._too_late(f"{start} of {len(exchanges)} answers were scored in time")
                prompts, answers = zip(*exchanges[start : start + _PIECE], strict=True)
                rewards += served.model.score_afresh(prompts, answers).tolist()
        if not all(map(math.isfinite, rewards)):
            raise ModelError(
                f"Project {name.project}: {served.version} gives an answer no number as its reward; serve another version."
            )
        return Rewards(rewards, name.project, served)

    def _too_late(self, what: str) -> ServiceUnavailable:
        seconds = self._backend.settings.server.predict_seconds
        return ServiceUnavailable(
            f"{what} (PREDICT_SECONDS={seconds:g}); try again, send fewer answers at a time, or run more WORKERS.", retry_after=1
        )


def _preference(first: float, second: float, confidence: float) -> float:
    return round(confidence if first >= second else 1 - confidence, 6)
