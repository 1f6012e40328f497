from pathlib import Path

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from preference.errors import ModelError
from preference.models.encoding import encode_answer, encode_prompt
from preference.models.pretrained import load_tokenizer

EMOJI = "👩‍👩‍👧 🇺🇳 café"
RIGHT_TO_LEFT = "שלום עולם، مرحبا"


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids))


def length(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_without_a_chat_template_a_blank_line_parts_prompt_and_answer(plain: PreTrainedTokenizerBase) -> None:
    encoded = encode_answer(plain, "Why?\n", " Because. ", max_tokens=64)
    assert text_of(plain, encoded.input_ids) == "Why?\n\nBecause.<|im_end|>"
    assert encoded.num_cut == 0


def test_with_a_chat_template_the_prompt_is_the_users_turn(chat: PreTrainedTokenizerBase) -> None:
    encoded = encode_answer(chat, "Why?", "Because.", max_tokens=64)
    expected = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>"
    assert text_of(chat, encoded.input_ids) == expected
    turn, num_cut = encode_prompt(chat, "Why?", max_tokens=64)
    assert encoded.input_ids[: encoded.answer_start] == turn
    assert num_cut == 0


@pytest.mark.parametrize("answer", ["Because.", EMOJI, RIGHT_TO_LEFT, "two\n\nparagraphs", ""])
def test_answer_start_and_the_end_token_enclose_the_answer(
    plain: PreTrainedTokenizerBase, chat: PreTrainedTokenizerBase, answer: str
) -> None:
    for tokenizer in (plain, chat):
        encoded = encode_answer(tokenizer, f"Say {RIGHT_TO_LEFT} {EMOJI}", answer, max_tokens=512)
        assert text_of(tokenizer, encoded.input_ids[encoded.answer_start : -1]) == answer
        assert encoded.input_ids[-1] == tokenizer.eos_token_id
        assert f"Say {RIGHT_TO_LEFT} {EMOJI}" in text_of(tokenizer, encoded.input_ids[: encoded.answer_start])


def test_the_answer_is_kept_before_the_prompt_whose_head_goes_first(plain: PreTrainedTokenizerBase) -> None:
    prompt, answer = " ".join(f"p{n}" for n in range(100)), " ".join(f"a{n}" for n in range(10))
    encoded = encode_answer(plain, prompt, answer, max_tokens=64)
    assert len(encoded.input_ids) == 64
    assert text_of(plain, encoded.input_ids[encoded.answer_start : -1]) == answer
    kept = text_of(plain, encoded.input_ids[: encoded.answer_start])
    assert kept.endswith("p99\n\n")
    assert (prompt + "\n\n").endswith(kept)


def test_at_least_a_quarter_of_the_room_stays_with_the_prompt(plain: PreTrainedTokenizerBase) -> None:
    prompt, answer = "question " * 100, "answer " * 100
    encoded = encode_answer(plain, prompt, answer, max_tokens=64)
    assert encoded.answer_start == 16
    assert len(encoded.input_ids) == 64
    assert answer.startswith(text_of(plain, encoded.input_ids[16:-1]))  # the answer loses its tail


def test_a_short_prompt_leaves_its_room_to_a_long_answer(plain: PreTrainedTokenizerBase) -> None:
    encoded = encode_answer(plain, "Hi", "answer " * 100, max_tokens=64)
    assert encoded.answer_start == length(plain, "Hi\n\n") < 16
    assert len(encoded.input_ids) == 64


@pytest.mark.parametrize("max_tokens", [16, 17, 63, 64, 200, 1000])
@pytest.mark.parametrize(("num_prompt", "num_answer"), [(1, 1), (5, 300), (300, 5), (300, 300), (60, 2), (1, 62)])
def test_no_more_than_max_tokens_and_every_cut_token_is_counted(
    plain: PreTrainedTokenizerBase, chat: PreTrainedTokenizerBase, max_tokens: int, num_prompt: int, num_answer: int
) -> None:
    prompt, answer = "cat " * num_prompt, "dog " * num_answer
    for tokenizer in (plain, chat):
        whole_prompt, _ = encode_prompt(tokenizer, prompt, max_tokens=100_000)
        whole = len(whole_prompt) + length(tokenizer, answer.strip()) + 1
        encoded = encode_answer(tokenizer, prompt, answer, max_tokens=max_tokens)
        assert len(encoded.input_ids) == min(whole, max_tokens)
        assert encoded.num_cut == whole - len(encoded.input_ids)
        assert encoded.answer_start >= min(len(whole_prompt), max_tokens // 4)


def test_a_prompt_of_100_000_characters_keeps_its_end_and_the_whole_answer(plain: PreTrainedTokenizerBase) -> None:
    prompt = "0123456789" * 10_000
    encoded = encode_answer(plain, prompt, "Short.", max_tokens=128)
    assert len(encoded.input_ids) == 128
    assert encoded.num_cut == length(plain, prompt + "\n\n") + length(plain, "Short.") + 1 - 128
    assert text_of(plain, encoded.input_ids).endswith("456789\n\nShort.<|im_end|>")


def test_a_prompt_to_be_continued_is_cut_at_its_head(plain: PreTrainedTokenizerBase) -> None:
    whole, none_cut = encode_prompt(plain, "cat dog " * 50, max_tokens=1000)
    kept, num_cut = encode_prompt(plain, "cat dog " * 50, max_tokens=20)
    assert none_cut == 0
    assert kept == whole[-20:]
    assert num_cut == len(whole) - 20


def enclose(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Makes a tokenizer open and close every text, as some do."""
    eos = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<|im_start|> $A {eos}", special_tokens=[(token, tokenizer.get_vocab()[token]) for token in ("<|im_start|>", eos)]
    )
    assert text_of(tokenizer, tokenizer("x")["input_ids"]) == "<|im_start|>x<|im_end|>"
    return tokenizer


def test_a_tokenizer_that_closes_every_text_does_not_close_the_prompt(tiny_base: Path) -> None:
    closing = enclose(load_tokenizer(str(tiny_base)))
    encoded = encode_answer(closing, "Why?", "Because.", max_tokens=64)
    assert text_of(closing, encoded.input_ids) == "<|im_start|>Why?\n\nBecause.<|im_end|>"


def test_a_tokenizer_that_opens_every_text_adds_nothing_to_its_chat_template(tiny_chat_base: Path) -> None:
    opening = enclose(load_tokenizer(str(tiny_chat_base)))
    encoded = encode_answer(opening, "Why?", "Because.", max_tokens=64)
    expected = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>"
    assert text_of(opening, encoded.input_ids) == expected


# The system prompt

SYSTEM = "You are a poet. Be brief."
NO_SYSTEM_ROLE = (  # as Gemma's
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
BEFORE = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
AFTER = "<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture
def gemma(tiny_base: Path) -> PreTrainedTokenizerBase:
    """A tokenizer whose template knows no system's turn, and strips what it is given."""
    tokenizer = load_tokenizer(str(tiny_base))
    tokenizer.chat_template = NO_SYSTEM_ROLE
    return tokenizer


def whole_of(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    ids, num_cut = encode_prompt(tokenizer, prompt, max_tokens=100_000, system=SYSTEM)
    assert num_cut == 0
    return text_of(tokenizer, ids)


def test_the_system_prompt_is_a_turn_of_its_own(chat: PreTrainedTokenizerBase) -> None:
    assert whole_of(chat, "Why?") == f"{BEFORE}Why?{AFTER}"


def test_without_a_chat_template_the_system_prompt_is_a_paragraph_before(plain: PreTrainedTokenizerBase) -> None:
    assert whole_of(plain, "Why?\n") == f"{SYSTEM}\n\nWhy?\n\n"


def test_a_template_without_a_systems_turn_has_it_in_the_users(gemma: PreTrainedTokenizerBase) -> None:
    assert whole_of(gemma, "Why?") == f"<|im_start|>user\n{SYSTEM}\n\nWhy?<|im_end|>\n<|im_start|>model\n"


def test_no_system_prompt_leaves_no_trace(plain: PreTrainedTokenizerBase, gemma: PreTrainedTokenizerBase) -> None:
    assert encode_prompt(plain, "Why?", max_tokens=64) == encode_prompt(plain, "Why?", max_tokens=64, system="")
    assert (
        text_of(gemma, encode_prompt(gemma, "Why?", max_tokens=64)[0]) == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>model\n"
    )


def test_a_template_that_refuses_every_turn_is_named(plain: PreTrainedTokenizerBase, tiny_base: Path) -> None:
    broken = load_tokenizer(str(tiny_base))
    broken.chat_template = "{{ raise_exception('Conversations begin with a tool') }}"

    for system in ("", SYSTEM):
        with pytest.raises(ModelError) as raised:
            encode_prompt(broken, "Why?", max_tokens=64, system=system)
        assert str(raised.value) == (
            f"The chat template of '{tiny_base}' refuses a user's turn (Conversations begin with a tool); "
            "name a model whose template takes one."
        )


# What is cut

LONG = " ".join(f"word{k}" for k in range(300))


@pytest.mark.parametrize("prompt", [LONG, f"  {LONG}\n"], ids=["clean", "with space around"])
def test_a_cut_prompt_keeps_its_template_its_system_prompt_and_its_end(
    plain: PreTrainedTokenizerBase, chat: PreTrainedTokenizerBase, gemma: PreTrainedTokenizerBase, prompt: str
) -> None:
    for tokenizer in (plain, chat, gemma):
        before, after = whole_of(tokenizer, prompt).split(LONG)
        for max_tokens in (96, 97, 128, 500):
            ids, num_cut = encode_prompt(tokenizer, prompt, max_tokens=max_tokens, system=SYSTEM)
            kept = text_of(tokenizer, ids)

            assert len(ids) == max_tokens
            assert kept.startswith(before.rstrip()) and kept.endswith(f"word299{after}")
            assert LONG.endswith(kept.removeprefix(before.rstrip()).removesuffix(after).lstrip())
            whole, _ = encode_prompt(tokenizer, prompt, max_tokens=100_000, system=SYSTEM)
            assert abs(num_cut - (len(whole) - max_tokens)) <= 2  # cut apart, a text may have a token more or less


def test_a_template_that_nearly_fills_the_window_is_cut_too(chat: PreTrainedTokenizerBase) -> None:
    whole, _ = encode_prompt(chat, LONG, max_tokens=100_000, system=SYSTEM)
    max_tokens = len(encode_prompt(chat, "", max_tokens=100_000, system=SYSTEM)[0]) + 4

    ids, num_cut = encode_prompt(chat, LONG, max_tokens=max_tokens, system=SYSTEM)

    assert ids == whole[-max_tokens:]
    assert num_cut == len(whole) - max_tokens


def test_a_tokenizer_that_opens_every_text_opens_a_cut_one_too(tiny_base: Path) -> None:
    opening = enclose(load_tokenizer(str(tiny_base)))
    for system in ("", SYSTEM):
        ids, num_cut = encode_prompt(opening, LONG, max_tokens=64, system=system)
        assert text_of(opening, ids).startswith(f"<|im_start|>{system}")
        assert text_of(opening, ids).endswith("word299\n\n")
        assert (len(ids), ids.count(opening.eos_token_id)) == (64, 0)
        assert num_cut > 0


def test_a_prompt_that_the_template_repeats_or_alters_is_whole(chat: PreTrainedTokenizerBase, tiny_base: Path) -> None:
    for prompt in ("user", "assistant", "\n", "", "<|im_start|>", "im_end"):
        ids, num_cut = encode_prompt(chat, prompt, max_tokens=64)
        assert num_cut == 0
        assert text_of(chat, ids) == f"<|im_start|>user\n{prompt}{AFTER}"
    shouting = load_tokenizer(str(tiny_base))
    shouting.chat_template = "{% for message in messages %}{{ message['content'] | upper }}\n{% endfor %}"
    ids, num_cut = encode_prompt(shouting, LONG, max_tokens=32)
    assert (len(ids), num_cut > 0) == (32, True)
    assert text_of(shouting, ids).endswith("WORD299\n")


def test_the_count_of_what_is_cut_is_never_less_than_nothing(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_base))
    tokenizer.chat_template = "  {{ messages[0]['content'] }}  "
    prompt = "The user\n   "  # cut apart, the text has two tokens less than in one piece
    whole, _ = encode_prompt(tokenizer, prompt, max_tokens=100)

    assert encode_prompt(tokenizer, prompt, max_tokens=len(whole) - 1)[1] == 0
    assert encode_prompt(tokenizer, prompt, max_tokens=len(whole) - 2)[1] == 0
    assert encode_prompt(tokenizer, prompt, max_tokens=len(whole) - 3)[1] == 1
