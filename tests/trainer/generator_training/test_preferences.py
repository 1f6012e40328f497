from pathlib import Path
from typing import Any

import pytest

from preference.errors import CannotLearn, TrainingError
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Turn
from preference.models.encoding import encode_prompt
from preference.models.pretrained import load_tokenizer
from preference.setting_groups import GeneratorSettings
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY
from tests.support.lab import LABEL_CONFIG
from tests.support.separable_pairs import separable_pairs
from tests.support.studio_double import StudioDouble
from tests.support.tiny_bases import CHAT_TEMPLATE, save_tiny_base
from trainer.generator_training.preferences import (
    check_base,
    cut_answers,
    encode_in_hindsight,
    encode_pairs,
    to_learn_from,
)
from trainer.judgements.hindsight import GOOD

GENERATION = GeneratorSettings(max_new_tokens=40, max_prompt_tokens=100)


def encoded(base: Path, pair: PreferencePair, generation: GeneratorSettings = GENERATION, **options: Any) -> list[list[int]]:
    """The tokens of its answers, chosen and rejected."""
    ((chosen, rejected),) = encode_pairs([pair], load_tokenizer(str(base)), generation, window=2048, **options)
    return [text.ids[text.start :] for text in (chosen, rejected)]


def test_most_votes_decide_and_ties_and_written_answers_teach_nothing() -> None:
    pairs = separable_pairs(30)
    contrary = [PreferencePair(pair.prompt, pair.rejected, pair.chosen) for pair in pairs]
    ties = [PreferencePair(f"{pair.prompt} Or?", "a", "b", kind="tie", weight=0.5) for pair in pairs]
    written = [PreferencePair(pair.prompt, "written", pair.chosen, kind="written") for pair in pairs]

    learnt = to_learn_from([*pairs, *contrary, *pairs, *ties, *written], held_out=separable_pairs(16, start=30))

    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in learnt] == [
        (pair.prompt, pair.chosen, pair.rejected) for pair in pairs
    ]


@pytest.mark.parametrize(("num_train", "num_held_out"), [(15, 40), (40, 15)])
def test_too_few_judgements_are_counted(num_train: int, num_held_out: int) -> None:
    with pytest.raises(
        CannotLearn,
        match=f"^{num_train} judged comparisons to learn from and {num_held_out} held-out prompts with judgements to judge by, 16 ",
    ):
        to_learn_from(separable_pairs(num_train), held_out=[*separable_pairs(num_held_out, start=100)] * 2)


def test_an_answer_ends_with_the_end_token_unless_it_was_cut_off(tiny_chat_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_chat_base))
    pair = PreferencePair("Why?", "Because it is kind.", "It is not", task_id=3)

    whole, cut = encoded(tiny_chat_base, pair, cut={(3, "It is not")})

    assert (tokenizer.decode(whole[:-1]), whole[-1]) == ("Because it is kind.", tokenizer.eos_token_id)
    assert tokenizer.decode(cut) == "It is not"
    long = PreferencePair("Why?", "kind " * 60, "It is not", task_id=4)
    answers = encoded(tiny_chat_base, long, cut={(3, "It is not")})
    assert len(answers[0]) == 40 and tokenizer.eos_token_id not in answers[0]
    assert answers[1][-1] == tokenizer.eos_token_id  # it was another task's that was cut off


def test_the_prompt_is_what_the_generator_reads(tiny_chat_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_chat_base))
    prompt = (Turn("user", "A question"), Turn("assistant", "An answer"), Turn("user", "And then?"))
    generation = GENERATION.model_copy(update={"system_prompt": "Be kind."})

    ((chosen, rejected),) = encode_pairs([PreferencePair(prompt, "So.", "No.")], tokenizer, generation, window=2048)

    read, _ = encode_prompt(tokenizer, prompt, max_tokens=100, system="Be kind.")
    assert chosen.ids[: chosen.start] == rejected.ids[: rejected.start] == read
    assert tokenizer.decode(read).count("<|im_start|>") == 5


def test_a_prompt_leaves_room_for_the_longest_answer(tiny_chat_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_chat_base))

    ((chosen, _),) = encode_pairs([PreferencePair("why " * 200, "So.", "No.")], tokenizer, GENERATION, window=100)

    assert chosen.start == 60


def test_in_hindsight_each_answer_stands_behind_what_it_is_in_both_orders(tiny_chat_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_chat_base))
    pair = PreferencePair("Why?", "It is kind.", "It is not", task_id=3)

    first, second = encode_in_hindsight([pair], tokenizer, GENERATION, window=2048, cut={(3, "It is not")})

    begun, _ = encode_prompt(tokenizer, "Why?", max_tokens=100, answer_prefix=GOOD)
    assert first.ids[: first.start] == begun
    prompt = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    good, worse = "A good answer:\nIt is kind.<|im_end|>", "A worse answer:\nIt is not"  # which a limit cut off
    assert tokenizer.decode(first.ids) == f"{prompt}{good}\n\n{worse}"
    assert tokenizer.decode(second.ids) == f"{prompt}{worse}\n\n{good}"
    for text, marker in ((first, "\n\nA worse answer:\n"), (second, "\n\nA good answer:\n")):
        assert tokenizer.decode(text.ids[text.marker.start : text.marker.stop]) == marker


def test_in_hindsight_a_prompt_leaves_room_for_both_answers(tiny_chat_base: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_chat_base))
    pair = PreferencePair("why " * 200, "kind " * 60, "so " * 60)

    for text in encode_in_hindsight([pair], tokenizer, GENERATION, window=150):
        assert text.num_learnt == 80 and len(text.ids) == 150
    with pytest.raises(
        CannotLearn, match=r"^In hindsight two answers of up to MAX_NEW_TOKENS=40 tokens .* reads 90, which leaves no room"
    ):
        encode_in_hindsight([pair], tokenizer, GENERATION, window=90)


def test_a_record_says_which_answers_were_cut_off(studio: StudioDouble, project: LabelStudioProject) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    left, right = layout.answer_fields
    record = {META_KEY: {"finish_reasons": {left: "stop", right: "length"}}}
    data = {"prompt": "Why?", "answer1": "Because.", "answer2": "It is"}
    cut, unknown, odd = studio.add_tasks(project.id, data, data, data)
    studio.tasks[cut]["meta"], studio.tasks[odd]["meta"] = record, {META_KEY: {"finish_reasons": "length"}}
    pairs = [PreferencePair("Why?", "Because.", "It is", task_id=task) for task in (cut, unknown, odd, None)]

    assert cut_answers(project, layout, pairs) == {(cut, "It is")}
    assert cut_answers(project, layout, []) == set()


def test_a_base_without_a_chat_template_is_refused(tiny_base: Path, tiny_chat_base: Path) -> None:
    generation = GeneratorSettings(model="my/base")
    with pytest.raises(
        TrainingError, match=r"^GENERATOR_MODEL=my/base has no chat template, so it does not know a question from"
    ):
        check_base(load_tokenizer(str(tiny_base)), generation)
    check_base(load_tokenizer(str(tiny_chat_base)), generation)


def test_a_base_that_thinks_is_refused(tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "thinker", chat_template=f"{CHAT_TEMPLATE}<think>")
    tokenizer = load_tokenizer(str(base))
    tokenizer.add_tokens(["<think>", "</think>"])

    with pytest.raises(
        TrainingError, match="thinks before it answers, and what it thought is not kept; set ENABLE_THINKING=false"
    ):
        check_base(tokenizer, GENERATION)


def test_written_answers_are_learnt_from_in_place_of_votes_each_once() -> None:
    votes, held_out = separable_pairs(30), separable_pairs(16, start=100)
    written = [PreferencePair(pair.prompt, f"{pair.chosen} Written.", pair.chosen, kind="written") for pair in votes[:16]]

    learnt = to_learn_from([*votes, *written, *written], held_out=held_out, written=True)

    assert [pair.chosen for pair in learnt] == [pair.chosen for pair in written]
    with pytest.raises(
        CannotLearn,
        match=r"^15 written answers to learn from and 16 held-out .*, or learn from those that they chose: --chosen\.$",
    ):
        to_learn_from([*votes, *written[:15]], held_out=held_out, written=True)
