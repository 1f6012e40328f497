"""The engines by name."""

from collections.abc import Callable

from preference.generation.jobs import Generator
from preference.settings import Settings


def _echo(settings: Settings) -> Generator:
    from backend.generators.echo import EchoGenerator

    return EchoGenerator()


def _huggingface(settings: Settings) -> Generator:
    from preference.generation.huggingface import HuggingFaceGenerator

    return HuggingFaceGenerator(settings)


def _openai(settings: Settings) -> Generator:
    from backend.generators.openai_api import OpenAIGenerator

    return OpenAIGenerator(settings)


# Each is imported when it is chosen: importing torch takes seconds.
ENGINES: dict[str, Callable[[Settings], Generator]] = {"echo": _echo, "huggingface": _huggingface, "openai": _openai}
