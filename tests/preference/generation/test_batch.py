import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from preference.generation.batch import Batch, Prompt
from preference.generation.jobs import Job, WrittenAnswers
from preference.generation.sampling import SamplingOptions
from preference.models.pretrained import load_tokenizer
from tests.support.alike_answers import are_alike

MakeBatch = Callable[..., Batch]
SAMPLING = SamplingOptions(
    temperature=1.0, top_k=50, top_p=1.0, max_new_tokens=12, stop_tokens=torch.arange(0, 400, 12), stop_texts=()
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(tiny_base))


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    network: PreTrainedModel = LlamaForCausalLM(config)
    network.requires_grad_(False)
    network.eval()
    return network


@pytest.fixture(scope="module")
def make(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> MakeBatch:
    """Makes a batch that writes in SAMPLING; keyword arguments are the batch's own, or change the sampling."""

    def make(*, max_rows: int = 8, max_tokens: int = 10**9, **changes: Any) -> Batch:
        sampling = SamplingOptions(**{**vars(SAMPLING), **changes})
        return Batch(model, tokenizer, sampling, max_rows=max_rows, max_tokens=max_tokens)

    return make


def prompts_of(*lengths: int, num_answers: int = 1) -> list[Prompt]:
    """Prompts of so many tokens, which differ."""
    numbers = random.Random(sum(lengths))
    return [
        Prompt(Job(f"Prompt {k}", seed=k, num_answers=num_answers), [numbers.randrange(3, 300) for _ in range(length)], 0)
        for k, length in enumerate(lengths)
    ]


def write(batch: Batch, prompts: Sequence[Prompt]) -> list[WrittenAnswers]:
    batch.add(prompts)
    while batch.prompts:
        batch.advance()
    return [prompt.job.written.result(0) for prompt in prompts]


def alone(make: MakeBatch, prompts: Sequence[Prompt], **options: Any) -> list[WrittenAnswers]:
    """What each prompt gets if nothing is beside it."""
    return [write(make(**options), [prompt])[0] for prompt in map(fresh, prompts)]


def fresh(prompt: Prompt) -> Prompt:
    return Prompt(Job(prompt.job.prompt, prompt.job.seed, prompt.job.num_answers), prompt.ids, prompt.num_cut)


# Who joins, and who leaves


def test_a_row_that_ends_leaves_and_a_prompt_that_waits_takes_its_place(make: MakeBatch) -> None:
    batch, prompts, sizes = make(max_rows=8), prompts_of(*[9] * 40), list[int]()
    batch.add(prompts)
    while batch.prompts:
        batch.advance()
        sizes.append(batch.num_rows)

    assert are_alike([prompt.job.written.result(0) for prompt in prompts], alone(make, prompts))
    assert any(before < after for before, after in itertools.pairwise(sizes) if before)
    assert max(sizes) <= 8
    # Twelve tokens each, one batch after the other: five times twelve steps, were no place taken before all are free.
    assert len(sizes) < 50


@pytest.mark.parametrize("seed", range(6))
def test_a_prompt_gets_the_same_answers_beside_any_others(make: MakeBatch, seed: int) -> None:
    numbers = random.Random(seed)
    prompts = prompts_of(*[numbers.randint(1, 60) for _ in range(30)])
    prompts = [Prompt(Job(p.job.prompt, p.job.seed, numbers.choice([1, 1, 2, 3])), p.ids, k) for k, p in enumerate(prompts)]
    batch = make(max_rows=numbers.randint(1, 12), max_tokens=numbers.choice([100, 400, 10**9]))

    for start in range(0, 30, 10):  # some are added while others are written
        batch.add(prompts[start : start + 10])
        for _ in range(5):
            batch.advance()
    while batch.prompts:
        batch.advance()

    assert are_alike([prompt.job.written.result(0) for prompt in prompts], alone(make, prompts))
    assert [prompt.job.written.result(0).num_cut for prompt in prompts] == list(range(30))


def test_the_longest_prompts_are_read_first(make: MakeBatch) -> None:
    batch, prompts = make(max_rows=2, stop_tokens=torch.tensor([])), prompts_of(5, 50, 20, 40)
    batch.add(prompts)

    batch.advance()

    assert {len(prompt.ids) for prompt in batch.in_use} == {50, 40}
    assert batch.num_queued_prompts == 2


def test_prompts_wait_behind_those_that_wait_already(make: MakeBatch) -> None:
    batch, (first, second) = make(max_rows=1), prompts_of(5, 50)
    batch.add([first])
    batch.add([second])

    batch.advance()

    assert batch.in_use == [first]


def test_a_prompt_of_more_answers_than_there_are_rows_is_written_alone(make: MakeBatch) -> None:
    batch, prompts = make(max_rows=4), [*prompts_of(9, 8, num_answers=7), *prompts_of(7, 6, num_answers=2)]
    most = 0
    batch.add(prompts)
    while batch.prompts:
        batch.advance()
        most = max(most, batch.num_rows)
        assert batch.num_rows <= 4 or len(batch.in_use) == 1

    assert most > 4
    assert are_alike([prompt.job.written.result(0) for prompt in prompts], alone(make, prompts, max_rows=4))
    assert [len(prompt.answers) for prompt in prompts] == [7, 7, 2, 2]


def test_no_more_join_than_there_is_memory_for(make: MakeBatch) -> None:
    batch, prompts = make(max_rows=64, max_tokens=120, stop_tokens=torch.tensor([])), prompts_of(*range(5, 29))
    batch.add(prompts)
    while batch.prompts:
        batch.advance()
        longest, num_answers = max((len(p.ids) for p in batch.in_use), default=0), len(batch.in_use)
        assert (longest + 12) * num_answers <= 120

    batch.add(prompts_of(300))  # alone it may pass
    batch.advance()
    assert batch.num_tokens == 312


def test_prompts_that_are_longer_than_one_pass_are_written_together(tokenizer: PreTrainedTokenizerBase) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, max_position_embeddings=8192
    )  # fmt: skip
    sampling = SamplingOptions(**{**vars(SAMPLING), "stop_tokens": torch.tensor([])})
    batch = Batch(LlamaForCausalLM(config).eval(), tokenizer, sampling, max_rows=8, max_tokens=10**9)
    batch.add(prompts_of(4200, 4100))

    batch.advance()

    assert batch.num_rows == 2


# How an answer ends


def test_answers_end_at_their_first_stop_token(make: MakeBatch) -> None:
    prompts = prompts_of(9, 5, 7, 30, num_answers=3)

    all_stop = write(make(stop_tokens=torch.arange(400)), prompts)

    assert are_alike(all_stop, alone(make, prompts, max_new_tokens=1))
    assert not are_alike(all_stop, alone(make, prompts))


def test_an_answer_of_one_token_never_becomes_a_row(make: MakeBatch) -> None:
    batch, prompts = make(max_rows=2, max_new_tokens=1), prompts_of(*[4] * 9)
    batch.add(prompts)

    assert batch.advance() == 9
    assert (batch.num_rows, batch.prompts, batch.in_use) == (0, [], [])
    assert all(prompt.job.written.done() for prompt in prompts)


def test_the_tokens_that_are_written_are_counted(make: MakeBatch) -> None:
    prompts = prompts_of(9, 5, 7, 30, 2, 2, 11, num_answers=2)
    batch, num_tokens = make(max_rows=4, stop_tokens=torch.tensor([])), 0
    batch.add(prompts)
    while batch.prompts:
        num_tokens += batch.advance()

    assert num_tokens == 7 * 2 * 12
    assert batch.advance() == 0


def test_a_text_that_ends_an_answer_is_cut_from_it(make: MakeBatch) -> None:
    prompts = prompts_of(*range(3, 15), num_answers=2)
    whole = alone(make, prompts, stop_tokens=torch.tensor([]))
    stops = tuple(writing.answers[0][4:7] for writing in whole[:4])
    assert any(len(stop) == 3 for stop in stops)

    batch = make(stop_tokens=torch.tensor([]), stop_texts=stops)
    cut = write(batch, prompts)

    expected = [
        WrittenAnswers([min((text.partition(stop)[0] for stop in stops), key=len).strip() for text in before.answers])
        for before in whole
    ]
    assert are_alike(cut, expected)
    assert sum(before != after for before, after in zip(whole, cut, strict=True)) >= 4


# What goes wrong


def prompts_of_several_passes() -> list[Prompt]:
    """Several passes in each step: those of as many answers are read together."""
    return [prompt for k in range(3, 9) for prompt in prompts_of(*range(2 * k, 2 * k + 2), num_answers=1 + k % 2)]


@pytest.fixture(scope="module", params=[1, 2, 12])
def undisturbed(request: pytest.FixtureRequest, make: MakeBatch) -> tuple[int, list[WrittenAnswers]]:
    """How many tokens an answer has, and what those prompts are answered if nothing fails."""
    return request.param, alone(make, prompts_of_several_passes(), max_new_tokens=request.param)


@pytest.mark.parametrize("num_passes", [0, 1, 2, 3, 5, 9])
def test_whenever_it_fails_no_prompt_is_lost(
    model: PreTrainedModel, make: MakeBatch, undisturbed: tuple[int, list[WrittenAnswers]], num_passes: int
) -> None:
    (max_new_tokens, expected), prompts = undisturbed, prompts_of_several_passes()
    batch, passes = make(max_rows=16, max_new_tokens=max_new_tokens), list[int]()

    def fail(*_: Any) -> None:
        passes.append(1)
        if len(passes) == num_passes + 1:
            raise RuntimeError("can't allocate memory")

    with model.register_forward_pre_hook(fail):
        batch.add(prompts)
        failed = False
        while batch.prompts and not failed:
            try:
                batch.advance()
            except RuntimeError:
                failed = True
                assert batch.in_use
    left = batch.prompts
    assert {prompt.job for prompt in prompts if not prompt.job.written.done()} == {prompt.job for prompt in left}
    write(make(max_rows=4, max_new_tokens=max_new_tokens), [prompt.again() for prompt in left])

    assert are_alike([prompt.job.written.result(0) for prompt in prompts], expected)
