"""What writes answers. To add an engine: one class that is a Generator, one line in ENGINES."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from preference.settings import Settings


@dataclass(frozen=True)
class Writing:
    """The answers to one prompt."""

    answers: list[str]  # num_answers of them; one may be empty
    num_cut: int = 0  # tokens cut from the prompt's head


class Generator(Protocol):
    """Answers prompts. Used by one thread at a time."""

    name: str  # of the model, for provenance
    sampling: dict[str, Any]  # how it samples, for provenance

    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], num_answers: int = 2) -> list[Writing]:
        """One Writing a prompt, in order. The same prompt and seed give the same answers, whatever else is asked.

        Raises:
            ModelError: the model cannot be loaded, or failed.
        """
        ...


def _echo(settings: Settings) -> Generator:
    from backend.generators.echo import EchoGenerator

    return EchoGenerator()


def _huggingface(settings: Settings) -> Generator:
    from backend.generators.huggingface import HuggingFaceGenerator

    return HuggingFaceGenerator(settings)


# Each is imported when it is chosen: importing torch takes seconds.
ENGINES: dict[str, Callable[[Settings], Generator]] = {"echo": _echo, "huggingface": _huggingface}
