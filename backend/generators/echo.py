"""An engine without a model: to try the plumbing, and the shortest example of a Generator."""

from collections.abc import Sequence
from typing import Any

from backend.generators import Writing


class EchoGenerator:
    """Repeats the prompt, with a number that the seed decides."""

    def __init__(self) -> None:
        self.name = "echo"
        self.sampling: dict[str, Any] = {}

    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], num_answers: int = 2) -> list[Writing]:
        """One Writing a prompt, in order."""
        return [
            Writing([f"Echo {(seed + k) % 100_000} of: {prompt[:200]}" for k in range(num_answers)])
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
