import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.generators.openai_api import OpenAIGenerator
from demo.process import Process
from demo.stack import PROGRAMS, free_port
from preference.generation.jobs import WrittenAnswers
from tests.conftest import SettingsFactory
from tests.support.alike_answers import are_alike
from tests.support.openai_engine import write

# A real server

NAME = "tests/tiny-chat-base"


@pytest.fixture(scope="module")
def serving(tiny_chat_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` on a small model, which it finds in a Hugging Face cache."""
    folder = tmp_path_factory.mktemp("serving")
    repository, revision = folder / "hub" / f"models--{NAME.replace('/', '--')}", "0" * 40
    snapshot = Path(shutil.copytree(tiny_chat_base, repository / "snapshots" / revision))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    generation = json.loads((snapshot / "generation_config.json").read_text())
    # `transformers serve` samples only if the model's own file says so.
    (snapshot / "generation_config.json").write_text(json.dumps({**generation, "do_sample": True}))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = Process(
        "transformers serve",
        [
            str(PROGRAMS / "transformers"), "serve", NAME,
            "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
        ],
        {**os.environ, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        folder / "serve.log",
        lambda: _is_up(url),
    )  # fmt: skip
    process.start()
    try:
        process.wait_until_up(timeout_seconds=120)
        yield f"{url}/v1"
    finally:
        process.stop()


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.e2e
@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_real_server_writes_two_different_answers_to_each_prompt(
    serving: str, settings_for: SettingsFactory, endpoint: str
) -> None:
    # One at a time: its seed is the process's.
    settings = settings_for(
        openai_base_url=serving, openai_endpoint=endpoint, openai_concurrency=1, max_new_tokens=16, top_p=0.95,
        system_prompt="This is a poem.", stop=("\n\nHuman:", "</s>"),
    )  # fmt: skip
    generator = OpenAIGenerator(settings)
    assert generator.name == NAME  # the only one that it serves

    for writing in write(generator, "Once upon a time a fox and the", "The moon is as bright as", seed=2**48 - 1):
        assert len({answer for answer in writing.answers if answer}) == 2


@pytest.mark.e2e
def test_a_real_server_is_asked_for_several_at_once(serving: str, settings_for: SettingsFactory) -> None:
    generator = OpenAIGenerator(settings_for(openai_base_url=serving, openai_concurrency=4, max_new_tokens=4))

    writings = write(generator, *["Count to ten."] * 5, num_answers=3)

    assert [(len(writing.answers), writing.refused) for writing in writings] == [(3, "")] * 5


@pytest.mark.e2e
def test_a_real_server_writes_the_same_for_the_same_seed_and_ends_at_a_stop_text(
    serving: str, settings_for: SettingsFactory
) -> None:
    settings = settings_for(openai_base_url=serving, openai_concurrency=1, max_new_tokens=16)
    prompt = "Write a long sentence about the sea."

    once, again = write(OpenAIGenerator(settings), prompt, prompt, seed=7)
    assert are_alike([once], [again])
    letter = next(letter for letter in once.answers[0][3:] if letter.isascii() and letter.isalpha())
    settings = settings_for(openai_base_url=serving, openai_concurrency=1, max_new_tokens=16, stop=(letter,))
    (cut,) = write(OpenAIGenerator(settings), prompt, seed=7)

    assert cut.answers[0] and not any(letter in text for text in cut.answers)
    assert are_alike([cut], [WrittenAnswers([text.split(letter)[0].strip() for text in once.answers])])
