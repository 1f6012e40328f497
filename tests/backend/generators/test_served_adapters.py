"""Generator versions behind a server of OpenAI's API."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from backend.generators.openai_api import OpenAIGenerator
from preference.generation.jobs import Adapter, GivenJobs, Job, WrittenAnswers
from preference.models.encoding import encode_prompt
from preference.models.pretrained import load_tokenizer
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from tests.support.generator_versions import CARD, publish
from tests.support.openai_double import OpenAIDouble
from tests.support.openai_engine import SECONDS, MakeGenerator

PROMPTS = ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    folder = ProjectFolder(tmp_path, 3)
    folder.create()
    return folder


@pytest.fixture
def adapter(folder: ProjectFolder) -> Adapter:
    """A version that learnt on the server's model."""
    version = publish(folder, replace(CARD, base="tiny"))
    found = Adapter(version, Generators(folder).path(version))
    (found.folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    return found


def write(generator: OpenAIGenerator, adapter: Adapter | None) -> list[WrittenAnswers]:
    jobs = [Job(prompt, 1, 2, adapter=adapter) for prompt in PROMPTS]
    generator.run(GivenJobs(jobs))
    return [job.written.result(timeout=SECONDS) for job in jobs]


def asked(server: OpenAIDouble) -> list[str]:
    """Which model wrote, request by request, and what was loaded."""
    return [request.get("model") or f"load {request['lora_path']}" for request in server.requests]


def test_vllm_is_asked_once_to_load_a_version_and_writes_with_it(
    server: OpenAIDouble, make: MakeGenerator, adapter: Adapter, tmp_path: Path
) -> None:
    server.adapters = {}
    generator = make(openai_model_dir=f"{tmp_path}/", openai_concurrency=3)

    written = write(generator, adapter)

    name = f"pairloop-3-{adapter.version}"
    assert asked(server) == [f"load {adapter.folder}", name, name, name]
    assert {answers.version for answers in written} == {adapter.version}
    assert {answers.version for answers in write(generator, None)} == {""}
    assert asked(server)[-1] == "tiny"


def test_a_version_that_the_operator_serves_is_taken_by_its_name(
    server: OpenAIDouble, make: MakeGenerator, adapter: Adapter
) -> None:
    server.models.append(f"pairloop-3-{adapter.version}")

    assert {answers.version for answers in write(make(), adapter)} == {adapter.version}

    assert set(asked(server)) == {f"pairloop-3-{adapter.version}"}


def test_a_server_that_restarted_is_asked_again(
    server: OpenAIDouble, make: MakeGenerator, adapter: Adapter, tmp_path: Path
) -> None:
    server.adapters = {}
    generator = make(openai_model_dir=str(tmp_path), openai_concurrency=1)
    write(generator, adapter)
    server.adapters.clear()

    assert {answers.version for answers in write(generator, adapter)} == {adapter.version}

    assert asked(server).count(f"load {adapter.folder}") == 2


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_version_goes_on_from_what_its_card_says_and_the_base_in_its_place_does_not(
    server: OpenAIDouble, make: MakeGenerator, adapter: Adapter, tmp_path: Path, tiny_chat_base: Path, endpoint: str
) -> None:
    begun = replace(adapter, answer_prefix="A good answer:\n")
    generator = make(openai_endpoint=endpoint, openai_concurrency=1, enable_thinking="false")
    write(generator, begun)  # the server has no such model, so the base writes
    server.models.append(f"pairloop-3-{adapter.version}")
    write(make(openai_endpoint=endpoint, openai_concurrency=1, enable_thinking="false"), begun)

    first, last = server.requests[0], server.requests[-1]
    assert (first["model"], last["model"]) == ("tiny", f"pairloop-3-{adapter.version}")
    if endpoint == "completions":
        assert (first["prompt"], last["prompt"]) == ("a", "c\n\nA good answer:\n")
        return
    assert [message["role"] for message in first["messages"]] == ["user"] and "continue_final_message" not in first
    assert (last["continue_final_message"], last["add_generation_prompt"]) == (True, False)
    assert first["chat_template_kwargs"] == last["chat_template_kwargs"] == {"enable_thinking": False}
    # What a server makes of it is what the version learnt on.
    tokenizer = load_tokenizer(str(tiny_chat_base))
    text = tokenizer.apply_chat_template(
        last["messages"], continue_final_message=True, add_generation_prompt=False, tokenize=False
    )
    read, _ = encode_prompt(tokenizer, "c", max_tokens=100, answer_prefix=begun.answer_prefix)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == read


@pytest.mark.parametrize(
    ("model_dir", "loads", "sentence"),
    [
        ("", False, "has no model pairloop-3-{version}; serve the adapter under that name, or set OPENAI_MODEL_DIR so that vLLM loads it."),
        ("/elsewhere", True, "does not load the adapter /elsewhere/projects/3/generators/{version} (Loading lora "),
        ("/elsewhere", False, "does not load the adapter /elsewhere/projects/3/generators/{version} (Not Found); start vLLM with "),
    ],
    ids=["nobody serves it", "it lies elsewhere", "a server that loads none"],
)  # fmt: skip
def test_the_base_writes_while_a_version_cannot(
    server: OpenAIDouble, make: MakeGenerator, adapter: Adapter, caplog: pytest.LogCaptureFixture, model_dir: str, loads: bool,
    sentence: str,
) -> None:  # fmt: skip
    server.adapters = {} if loads else None
    generator = make(openai_model_dir=model_dir, openai_concurrency=3)

    written = write(generator, adapter) + write(generator, adapter)

    assert {answers.version for answers in written} == {""} and all(answers.answers for answers in written)
    assert [model for model in asked(server) if not model.startswith("load")] == ["tiny"] * 6
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert sentence.format(version=adapter.version) in error and error.endswith(". The base answers meanwhile.")
    assert len([model for model in asked(server) if model.startswith("load")]) == bool(model_dir), "not again within a minute"


def test_a_version_of_another_base_is_not_asked_for(
    server: OpenAIDouble, make: MakeGenerator, folder: ProjectFolder, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    version = publish(folder)  # on "embedded"
    server.adapters = {}

    written = write(make(openai_model_dir=str(tmp_path)), Adapter(version, Generators(folder).path(version)))

    assert {answers.version for answers in written} == {""}
    assert (
        f"The generator version {version} learnt on 'embedded', and {server.url} writes with 'tiny'; serve that one"
        in caplog.text
    )
    assert set(asked(server)) == {"tiny"}
