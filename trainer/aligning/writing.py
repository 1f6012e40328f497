"""What two generators write for their judge: the prompts, the answers with the same seeds, and how far the new one is from its base."""

import hashlib
from collections.abc import Collection, Iterable, Iterator

from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter, WrittenAnswers, write_all
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.labelling.prompts import Prompt, normalised, opening, transcript, turns_of
from preference.studio.project import LabelStudioProject

MOST_PROMPTS = 60  # 95 % of win rates are known to 12 points then
NUM_ANSWERS = 2  # to each prompt: two of one generator tell what length alone does
_KL_PROMPTS = 20  # their answers tell the distance to the base to about .02 nats a token, and each is read twice for it


def held_out_prompts(
    project: LabelStudioProject, layout: LabelingLayout, holdout: Holdout, *, judged: Iterable[Prompt], learnt: Iterable[Prompt]
) -> list[Prompt]:
    """At most MOST_PROMPTS prompts that no version may train on, twins once, those that people judged first.

    `learnt`: the prompts that the generator learnt from.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
    """
    known = {normalised(opening(prompt)) for prompt in learnt}
    prompts: list[Prompt] = []
    for prompt in _candidates(project, layout, judged):
        twin = normalised(opening(prompt))
        if holdout.judges_by(prompt) and twin not in known and turns_of(prompt)[-1].role == "user":
            known.add(twin)
            prompts.append(prompt)
            if len(prompts) == MOST_PROMPTS:
                break
    return prompts


def prompts_to_answer(
    project: LabelStudioProject, layout: LabelingLayout, holdout: Holdout, *, judged: Iterable[Prompt]
) -> list[Prompt]:
    """The prompts that a version may train on, twins once, those that people judged first.

    Raises:
        StudioError: Label Studio does not answer, or refuses.
    """
    found: dict[str, Prompt] = {}
    for prompt in _candidates(project, layout, judged):
        if not holdout.judges_by(prompt) and turns_of(prompt)[-1].role == "user":
            found.setdefault(normalised(opening(prompt)), prompt)
    return list(found.values())


def write(
    generator: HuggingFaceGenerator, prompts: Collection[Prompt], adapter: Adapter | None, *, num_answers: int = NUM_ANSWERS,
    draw: str = "judge",
) -> list[WrittenAnswers]:  # fmt: skip
    """The answers to each prompt, in order; the prompt and the name of the draw decide its seed.

    Raises:
        ModelError: the model failed, or cannot use the adapter.
    """
    if adapter is not None:
        generator.check(adapter)  # else the base would answer in its place
    seeds = [_seed(prompt, draw) for prompt in prompts]
    return write_all(generator, list(prompts), seeds=seeds, num_answers=num_answers, adapter=adapter)


def distance_to_base(
    generator: HuggingFaceGenerator, prompts: Collection[Prompt], written: Collection[WrittenAnswers], adapter: Adapter
) -> float:
    """How far a generator is from its base, in nats a token of its own answers: an estimate of the Kullback-Leibler divergence.

    The first answers to the first prompts are read, no others.
    """
    pairs = zip(prompts, written, strict=True)
    texts = [(prompt, answers.answers[0]) for prompt, answers in pairs if answers.answers][:_KL_PROMPTS]
    own, base = ([generator.log_probs(*text, adapter=used) for text in texts] for used in (adapter, None))
    differences = [float((ours - theirs).sum()) for ours, theirs in zip(own, base, strict=True)]
    return sum(differences) / max(1, sum(map(len, own)))


def _candidates(project: LabelStudioProject, layout: LabelingLayout, judged: Iterable[Prompt]) -> Iterator[Prompt]:
    yield from judged
    for task in project.all_tasks(page_size=200):
        prompt = layout.prompt(task["data"])
        if prompt is not None:
            yield prompt


def _seed(prompt: Prompt, draw: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{draw}|{transcript(prompt)}".encode()).digest()[:6], "big")
