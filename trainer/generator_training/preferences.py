"""What a generator learns from: judged pairs, each text as the generator itself reads and writes it.

Covered: no prompt that is held out; one vote for each comparison, as most of them went; ties, both bad and written answers are left
out. Every turn of a conversation, in the chat template. The end token follows an answer that ended, and none that a limit cut off: else
the model would learn to stop in the middle of a sentence.
Not covered: what a model thought before an answer, which nobody keeps; a base whose template opens a thought is refused.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from preference.errors import CannotLearn
from preference.generation.jobs import CUT
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair, majority
from preference.labelling.prompts import normalised, opening
from preference.models.chat_template import ids_of
from preference.models.encoding import answer_tokens, encode_prompt, thinking_tokens
from preference.models.files import EMBEDDED
from preference.setting_groups import GeneratorSettings
from preference.studio.project import LabelStudioProject
from preference.studio.task import META_KEY, entry_of
from trainer.generator_training.top_layers import Tokens
from trainer.judgements.hindsight import BETWEEN, in_hindsight

LEAST_PAIRS = 16  # to learn from, and as many held-out prompts for the reward model that judges what was learnt
_LEAST_PROMPT = 16  # tokens
CutAnswers = Collection[tuple[int, str]]  # (task's id, text)


def to_learn_from(
    train: Sequence[PreferencePair], *, held_out: Sequence[PreferencePair], written: bool = False
) -> list[PreferencePair]:
    """What the generator learns from: one vote for each comparison of `train`, the pairs whose prompts are not held out.

    `held_out`: the votes on held-out prompts, by which it is judged (trainer/aligning/held_back.py). `written`: in place of the votes, the answers that
    people wrote themselves, each once.

    Raises:
        CannotLearn: either are too few.
    """
    prompts = {normalised(opening(pair.question)) for pair in held_out}
    learnt = majority(train)
    if written:
        learnt = list({(normalised(pair.question), pair.chosen): pair for pair in train if pair.kind == "written"}.values())
    if min(len(learnt), len(prompts)) >= LEAST_PAIRS:
        return learnt
    judges = f"{len(prompts)} held-out prompts with judgements to judge by, {LEAST_PAIRS} of each are needed"
    if written:
        raise CannotLearn(
            f"{len(learnt)} written answers to learn from and {judges}; have people write more, or learn from those that they chose: --chosen."
        )
    raise CannotLearn(f"{len(learnt)} judged comparisons to learn from and {judges}, without ties; judge more.")


def cut_answers(project: LabelStudioProject, layout: LabelingLayout, pairs: Iterable[PreferencePair]) -> set[tuple[int, str]]:
    """The answers that a limit cut off in the middle, as their tasks' records say; an imported one counts as whole.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
    """
    task_ids = sorted({pair.task_id for pair in pairs if pair.task_id is not None})
    cut = set()
    for task_id, task in project.tasks(task_ids).items():
        reasons = entry_of(task, META_KEY).get("finish_reasons")
        for field, text in _answers_by_field(layout, task["data"]):
            if isinstance(reasons, dict) and reasons.get(field) in CUT and text is not None:
                cut.add((task_id, text))
    return cut


def check_engine(generation: GeneratorSettings) -> None:
    """Looks whether what writes the answers is a model that this machine can load.

    Raises:
        CannotLearn: it is none, or nobody says which.
    """
    if generation.engine == "echo":
        raise CannotLearn(
            "GENERATOR_ENGINE=echo writes with no model that could learn; set GENERATOR_ENGINE=huggingface or openai."
        )
    if generation.engine == "openai" and generation.model == EMBEDDED:
        raise CannotLearn(
            "GENERATOR_ENGINE=openai, and GENERATOR_MODEL does not say which model the server has; set it to the id or folder by which "
            "both the server and this machine know it, or write the pairs for another trainer with `pairloop-trainer export --format dpo`."
        )


def check_base(tokenizer: PreTrainedTokenizerBase, generation: GeneratorSettings) -> None:
    """Looks whether answers alone can teach this base.

    Raises:
        CannotLearn: it has no chat template, or thinks before it answers.
    """
    if not tokenizer.chat_template:
        raise CannotLearn(
            f"GENERATOR_MODEL={generation.model} has no chat template, so it does not know a question from an answer; "
            "name a model that was trained to follow instructions."
        )
    thinking = thinking_tokens(tokenizer, options=generation.template_options)
    if thinking is not None and thinking.is_begun:
        raise CannotLearn(
            f"GENERATOR_MODEL={generation.model} thinks before it answers, and what it thought is not kept; set ENABLE_THINKING=false."
        )


def encode_pairs(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase, generation: GeneratorSettings, *, window: int,
    cut: CutAnswers = (),
) -> list[tuple[Tokens, Tokens]]:  # fmt: skip
    """(chosen, rejected) of each pair, read as the huggingface engine reads its prompts. `window`: the tokens that the base reads."""
    most = window - generation.max_new_tokens
    encoded = []
    for pair in pairs:
        prompt = _prompt(tokenizer, pair, generation, most=most)
        chosen, rejected = (
            _answer(tokenizer, pair, text, most=generation.max_new_tokens, cut=cut) for text in (pair.chosen, pair.rejected)
        )
        encoded.append((Tokens([*prompt, *chosen], len(prompt)), Tokens([*prompt, *rejected], len(prompt))))
    return encoded


def encode_in_hindsight(
    pairs: Sequence[PreferencePair], tokenizer: PreTrainedTokenizerBase, generation: GeneratorSettings, *, window: int,
    cut: CutAnswers = (),
) -> list[Tokens]:  # fmt: skip
    """Both answers of each pair in one text, and in the other order in the next; the markers are no part of what is learnt.

    An answer that has ended is closed before the marker of the other, too: who goes on from the first marker has to learn to end.

    Raises:
        CannotLearn: the answers leave no room for a prompt.
    """
    encoded = []
    for pair in pairs:
        for (first, one), (second, other) in in_hindsight(pair):
            marker = ids_of(tokenizer, f"{BETWEEN}{second}", is_start=False)
            answers = [_answer(tokenizer, pair, text, most=generation.max_new_tokens, cut=cut) for text in (one, other)]
            most = window - max(generation.max_new_tokens, len(marker) + sum(map(len, answers)))
            if most < _LEAST_PROMPT:
                raise CannotLearn(
                    f"In hindsight two answers of up to MAX_NEW_TOKENS={generation.max_new_tokens} tokens stand in one text, and the base reads "
                    f"{window}, which leaves no room for a prompt; lower it, or learn by --method dpo."
                )
            prompt = _prompt(tokenizer, pair, generation, most=most, answer_prefix=first)
            place = len(prompt) + len(answers[0])
            encoded.append(Tokens([*prompt, *answers[0], *marker, *answers[1]], len(prompt), range(place, place + len(marker))))
    return encoded


def _prompt(
    tokenizer: PreTrainedTokenizerBase, pair: PreferencePair, generation: GeneratorSettings, *, most: int, answer_prefix: str = ""
) -> list[int]:
    return encode_prompt(
        tokenizer, pair.prompt, max_tokens=min(generation.max_prompt_tokens, most), system=generation.system_prompt,
        options=generation.template_options, answer_prefix=answer_prefix,
    )[0]  # fmt: skip


def _answer(tokenizer: PreTrainedTokenizerBase, pair: PreferencePair, answer: str, *, most: int, cut: CutAnswers) -> list[int]:
    """An answer's tokens, with the end token if it has ended."""
    ids = answer_tokens(tokenizer, answer)
    has_ended = len(ids) < most and (pair.task_id, answer) not in cut
    return [*ids[:most], int(tokenizer.eos_token_id)] if has_ended else ids[:most]


def _answers_by_field(layout: LabelingLayout, data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """The answers by what their task's record calls them: by their fields, or by their ids in a list."""
    names = layout.answer_fields if layout.ranker is None else layout.ranker.texts(data)
    return zip(names, layout.answers(data), strict=False)
