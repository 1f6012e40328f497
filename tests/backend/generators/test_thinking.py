"""What a model thinks before it answers, in each engine that may have such a model."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, LlamaConfig

from preference.errors import ModelError
from preference.generation.jobs import write_all
from preference.models.encoding import ThinkingTokens, thinking_tokens
from preference.models.pretrained import load_tokenizer
from tests.conftest import SettingsFactory
from tests.support.openai_double import Fields, OpenAIDouble
from tests.support.openai_engine import MakeGenerator as MakeOpenAI
from tests.support.openai_engine import write
from tests.support.word_models import NUM_WORDS, SIZES, MakeGenerator, maker, save_words, words_of

OPENING, CLOSING = NUM_WORDS - 2, NUM_WORDS - 1
# As Qwen 3's: without the variable the model may think, with `false` the thought is empty; and as DeepSeek's, which opens it.
SWITCHED = "{{ messages[0]['content'] }}{% if enable_thinking is defined and not enable_thinking %} <think> </think>{% endif %}"
OPENED = "{{ messages[0]['content'] }} <think>"


@pytest.fixture
def local(settings_for: SettingsFactory) -> MakeGenerator:
    return maker(settings_for)


def thinker(folder: Path, template: str, *, opening: int = OPENING) -> Path:
    """A model of random weights that has tokens for the ends of a thought."""
    save_words(folder, LlamaConfig(**SIZES), names={opening: "<think>", CLOSING: "</think>"})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


# The local model


def test_a_thought_is_ended_at_its_budget_and_told_from_the_answer(tmp_path: Path, local: MakeGenerator) -> None:
    generator = local(thinker(tmp_path / "opened", OPENED), max_new_tokens=6, max_thinking_tokens=4)

    (written,) = write_all(generator, words_of(5), seeds=[1], num_answers=8)

    sizes = {(len(answer.thought.split()), len(answer.text.split()), answer.finish_reason) for answer in written.each}
    assert (4, 6, "length") in sizes
    assert all(thought <= 4 and text <= 6 for thought, text, _ in sizes)
    assert not any("think>" in answer.text + answer.thought for answer in written.each)
    assert generator.sampling["max_thinking_tokens"] == 4


def test_a_budget_of_nothing_leaves_no_thought(tmp_path: Path, local: MakeGenerator) -> None:
    generator = local(thinker(tmp_path / "opened", OPENED), max_new_tokens=6, max_thinking_tokens=0)

    (written,) = write_all(generator, words_of(5), seeds=[1], num_answers=4)

    assert [answer.thought for answer in written.each] == [""] * 4
    assert any(len(answer.text.split()) == 6 for answer in written.each)


def test_a_thought_that_the_model_opens_itself_is_ended_too(tmp_path: Path, local: MakeGenerator) -> None:
    """The mark is the token that the same weights write first."""
    (prompt,) = words_of(5)
    silent = local(thinker(tmp_path / "silent", SWITCHED), max_new_tokens=1, max_thinking_tokens=0, top_k=1)
    first = write_all(silent, [prompt], seeds=[1], num_answers=1)[0].answers[0]
    assert first not in prompt.split()
    folder = thinker(tmp_path / "switched", SWITCHED, opening=int(first.removeprefix("w")))

    (written,) = write_all(local(folder, max_new_tokens=5, max_thinking_tokens=3, top_k=1), [prompt], seeds=[1], num_answers=1)

    (answer,) = written.each
    assert (len(answer.thought.split()), len(answer.text.split()), answer.finish_reason) == (2, 5, "length")


def test_a_model_that_may_think_and_does_not_writes_as_much_as_any_other(tmp_path: Path, local: MakeGenerator) -> None:
    generator = local(thinker(tmp_path / "switched", SWITCHED), max_new_tokens=6, max_thinking_tokens=4)

    (written,) = write_all(generator, words_of(5), seeds=[2], num_answers=8)

    assert max(len(answer.text.split()) for answer in written.each) == 6
    assert {len(answer.text.split()) == 6 for answer in written.each if answer.finish_reason == "length"} == {True}


def test_the_template_gets_the_setting(tmp_path: Path, local: MakeGenerator) -> None:
    tokenizer = load_tokenizer(str(thinker(tmp_path / "switched", SWITCHED)))
    opened = load_tokenizer(str(thinker(tmp_path / "opened", OPENED)))

    assert thinking_tokens(tokenizer) == ThinkingTokens(OPENING, CLOSING, is_begun=False)
    assert thinking_tokens(tokenizer, options={"enable_thinking": False}) == ThinkingTokens(OPENING, CLOSING, is_begun=False)
    assert thinking_tokens(opened) == ThinkingTokens(OPENING, CLOSING, is_begun=True)
    generator = local(tmp_path / "switched", enable_thinking=False, max_thinking_tokens=4)
    assert generator.sampling["enable_thinking"] is False


def test_a_model_without_thoughts_has_no_budget_for_them(tiny_base: Path, local: MakeGenerator) -> None:
    assert "max_thinking_tokens" not in local(tiny_base).sampling


def test_a_window_that_a_thought_leaves_no_room_in_is_named(tmp_path: Path, local: MakeGenerator) -> None:
    with pytest.raises(ModelError, match="MAX_NEW_TOKENS=8 and MAX_THINKING_TOKENS=1024 leave no room for a prompt"):
        local(thinker(tmp_path / "opened", OPENED), max_thinking_tokens=1024)


# A server


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
@pytest.mark.parametrize("text", ["<think>Is it?</think>\n\nYes, {seed}.", "Is it?\n</think>\n\nYes, {seed}."])
def test_a_servers_thought_is_told_from_the_answer(server: OpenAIDouble, make: MakeOpenAI, text: str, endpoint: str) -> None:
    server.write = lambda prompt, seed: text.format(seed=seed)

    (written,) = write(make(openai_endpoint=endpoint), "a")

    assert (written.answers, list(written.thoughts)) == (["Yes, 1.", "Yes, 2."], ["Is it?", "Is it?"])
    assert list(written.finish_reasons) == ["stop", "stop"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_thought_that_the_server_took_apart_is_known(server: OpenAIDouble, make: MakeOpenAI, name: str) -> None:
    server.message = {name: "Is it?"}

    (written,) = write(make(), "a")

    assert (written.answers, list(written.thoughts)) == (["a/1", "a/2"], ["Is it?", "Is it?"])


def test_a_model_that_thinks_gets_room_for_it_once_that_is_known(server: OpenAIDouble, make: MakeOpenAI) -> None:
    def finish(body: Fields) -> str:
        return "length" if body["max_tokens"] == 7 else "stop"

    server.finish_reason = finish
    server.message = {"reasoning_content": "Is it?"}
    generator = make(max_new_tokens=7, max_thinking_tokens=100, openai_concurrency=1)

    writings = write(generator, "a", "b")

    assert [request["max_tokens"] for request in server.requests] == [7, 107, 107]
    assert [list(written.finish_reasons) for written in writings] == [["stop", "stop"]] * 2


def test_a_model_that_does_not_think_gets_no_more_room(server: OpenAIDouble, make: MakeOpenAI) -> None:
    server.finish_reason = "length"

    (written,) = write(make(max_new_tokens=7), "a")

    assert [request["max_tokens"] for request in server.requests] == [7]
    assert list(written.finish_reasons) == ["length", "length"]


def test_a_server_gets_the_setting_for_its_template(server: OpenAIDouble, make: MakeOpenAI) -> None:
    write(make(), "a")
    write(make(enable_thinking=False), "a")
    write(make(enable_thinking=True, openai_endpoint="completions"), "a")

    assert [request.get("chat_template_kwargs") for request in server.requests] == [None, {"enable_thinking": False}, None]
    assert make(enable_thinking=True).sampling["enable_thinking"] is True
