"""An engine without a model: to try the plumbing, and the shortest example of a Generator."""

import hashlib
from typing import Any

from preference.generation.jobs import Answer, Jobs, WrittenAnswers
from preference.labelling.prompts import turns_of


class EchoGenerator:
    """Repeats the beginning of the prompt's last turn, after some letters that the seed decides."""

    def __init__(self) -> None:
        self.name = "echo"
        self.sampling: dict[str, Any] = {}
        self.capacity = 16

    def run(self, jobs: Jobs) -> None:
        """Writes all jobs, one after the other."""
        while not jobs.is_stopped and (taken := jobs.take(1)):
            for job in taken:
                texts = [f"Echo {_letters(job.seed, k)} of: {turns_of(job.prompt)[-1].text[:40]}" for k in range(job.num_answers)]
                jobs.report(num_tokens=4 * len(texts), batch_size=len(texts))
                job.finish(WrittenAnswers.of([Answer(text, "stop") for text in texts]))


def _letters(seed: int, k: int) -> str:
    return hashlib.sha256(f"{seed}|{k}".encode()).hexdigest()[:16]
