"""How a conversation becomes tokens: every turn by the chat template, and what goes first if there is no room for all of it."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from preference.labelling.prompts import Conversation, Turn
from preference.models.encoding import encode_answer, encode_prompt
from preference.models.pretrained import load_tokenizer

SYSTEM, ASKED, ANSWERED, MORE = (
    Turn("system", "Be brief."), Turn("user", "Name a tree."), Turn("assistant", "Oak."), Turn("user", "Another one."),
)  # fmt: skip
WHOLE = (SYSTEM, ASKED, ANSWERED, MORE)
ALTERNATING = (  # as Gemma's: no system's turn, and user and assistant in turn
    "{% for message in messages %}{% if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)


@pytest.fixture
def gemma(tiny_base: Path) -> PreTrainedTokenizerBase:
    tokenizer = load_tokenizer(str(tiny_base))
    tokenizer.chat_template = ALTERNATING
    return tokenizer


def read(tokenizer: PreTrainedTokenizerBase, prompt: Conversation, **options: Any) -> str:
    return str(tokenizer.decode(encode_prompt(tokenizer, prompt, **{"max_tokens": 100_000, **options})[0]))


def written(*turns: Turn, answers: str = "assistant") -> str:
    """As the template of the tiny bases writes them."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + f"<|im_start|>{answers}\n"


def long(role: str, letter: str, count: int) -> Turn:
    return Turn(role, " ".join(f"{letter}{n}" for n in range(count)))


# Every turn


def test_every_turn_is_one_of_the_template(chat: PreTrainedTokenizerBase) -> None:
    assert read(chat, WHOLE) == written(*WHOLE)
    encoded = encode_answer(chat, WHOLE, " Elm. ", max_tokens=500)
    assert chat.decode(encoded.input_ids) == f"{written(*WHOLE)}Elm.<|im_end|>"
    assert encoded.num_cut == 0


def test_its_own_system_prompt_goes_before_the_general_one(chat: PreTrainedTokenizerBase) -> None:
    assert read(chat, WHOLE, system="Be kind.") == written(*WHOLE)
    assert read(chat, WHOLE[1:], system="Be kind.") == written(Turn("system", "Be kind."), *WHOLE[1:])


def test_a_template_that_refuses_the_turns_gets_them_as_it_takes_them(gemma: PreTrainedTokenizerBase) -> None:
    assert read(gemma, WHOLE) == written(Turn("user", "Be brief.\n\nName a tree."), ANSWERED, MORE, answers="model")
    twice = (ASKED, Turn("user", "Quick."), ANSWERED, MORE)
    assert read(gemma, twice) == written(Turn("user", "Name a tree.\n\nQuick."), ANSWERED, MORE, answers="model")
    begun = Turn("user", "Assistant: Oak.\n\nUser: Another one.")
    assert read(gemma, (ANSWERED, MORE)) == written(begun, answers="model"), "no turns are left, and nothing is lost"


def test_without_a_template_it_is_a_transcript_that_goes_on(plain: PreTrainedTokenizerBase) -> None:
    said = "System: Be brief.\n\nUser: Name a tree.\n\nAssistant: Oak.\n\nUser: Another one.\n\nAssistant:\n\n"
    assert read(plain, WHOLE) == said
    assert read(plain, WHOLE[1:], system="Be brief.\n") == said
    assert read(plain, (SYSTEM, ASKED)) == "Be brief.\n\nName a tree.\n\n"


# What is cut


def test_the_oldest_exchanges_go_first_and_a_system_prompt_never(chat: PreTrainedTokenizerBase) -> None:
    turns = (SYSTEM, *(turn for k in range(9) for turn in (long("user", f"u{k}x", 20), long("assistant", f"a{k}x", 20))), MORE)
    whole, _ = encode_prompt(chat, turns, max_tokens=100_000)
    lengths = [len(encode_prompt(chat, (SYSTEM, *turns[1 + 2 * k :]), max_tokens=100_000)[0]) for k in range(10)]
    for k in range(1, 10):
        for max_tokens in (lengths[k], lengths[k - 1] - 1):  # the least and the most in which this much has room
            kept, num_cut = encode_prompt(chat, turns, max_tokens=max_tokens)
            assert chat.decode(kept) == written(SYSTEM, *turns[1 + 2 * k :])
            assert num_cut == len(whole) - lengths[k]


def test_a_last_turn_without_room_loses_its_head(chat: PreTrainedTokenizerBase, plain: PreTrainedTokenizerBase) -> None:
    last = long("user", "word", 300)
    for tokenizer in (chat, plain):
        whole, _ = encode_prompt(tokenizer, (SYSTEM, ASKED, ANSWERED, last), max_tokens=100_000)
        ids, num_cut = encode_prompt(tokenizer, (SYSTEM, ASKED, ANSWERED, last), max_tokens=128)
        kept = str(tokenizer.decode(ids))

        assert len(ids) == 128 and abs(num_cut - (len(whole) - 128)) <= 2
        assert "Be brief." in kept and "Name a tree." not in kept and "word0" not in kept and "word299" in kept


@pytest.mark.parametrize("max_tokens", [64, 65, 128, 400])
@pytest.mark.parametrize("count", [1, 30, 300])
def test_an_answer_is_kept_before_the_turns_of_which_a_quarter_stays(
    chat: PreTrainedTokenizerBase, plain: PreTrainedTokenizerBase, max_tokens: int, count: int
) -> None:
    answer = long("assistant", "z", count).text
    turns = (SYSTEM, long("user", "x", 60), ANSWERED, long("user", "y", 20))
    for tokenizer in (chat, plain):
        encoded = encode_answer(tokenizer, turns, answer, max_tokens=max_tokens)

        assert len(encoded.input_ids) <= max_tokens and encoded.input_ids[-1] == tokenizer.eos_token_id
        kept = str(tokenizer.decode(encoded.input_ids[encoded.answer_start : -1]))
        assert answer.startswith(kept) and (kept == answer or encoded.num_cut > 0)
        before = str(tokenizer.decode(encoded.input_ids[: encoded.answer_start]))
        assert "Be brief." in before or encoded.answer_start <= max_tokens // 4 + 20
        assert before.endswith(("<|im_start|>assistant\n", "Assistant:\n\n", "\n\n"))
