"""The training of one generator: pairs in, adapters in a folder, and what its card says of it."""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from preference.errors import CannotLearn
from preference.generation.hardware import pick_dtype
from preference.generation.huggingface import window_of
from preference.generation.kv_cache import can_hold
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.labelling.prompts import Prompt
from preference.models.encoding import encode_prompt
from preference.models.hardware import free_bytes
from preference.models.out_of_memory import release_memory
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.report_card.generator_card import GeneratorCard
from preference.setting_groups import GeneratorSettings
from trainer.aligning.context import AlignContext
from trainer.generator_training.objectives import ReadPair
from trainer.generator_training.preferences import cut_answers, encode_in_hindsight, encode_pairs
from trainer.generator_training.recipe import AlignRecipe
from trainer.generator_training.steps import mean_margin, plan, train
from trainer.generator_training.top_layers import Tokens, TopLayers
from trainer.training.memory_plan import enough_memory
from trainer.training.progress import curves

_MARGIN_PAIRS = 16  # for a figure on the card: of all, it would cost as much as a fifth of the steps


def learn(
    context: AlignContext, pairs: Sequence[PreferencePair], prompts: Sequence[Prompt], layout: LabelingLayout, folder: Path
) -> GeneratorCard:
    """What the card says of the training, after the adapters are in an existing folder. The budget is said before it is spent.

    `prompts`: for a method that learns from rewards, in place of the pairs.

    Raises:
        CannotLearn: the base cannot learn, or there is no reward model to learn from.
        TrainingError: there is no time for it, or the loss became no number.
    """
    with enough_memory(
        f"{context.settings.generator.model} learning by {context.recipe.method}",
        fix="name a smaller GENERATOR_MODEL, or lower MAX_PROMPT_TOKENS or MAX_NEW_TOKENS",
    ):
        if context.recipe.answers_a_prompt:
            card = _by_rewards(context, prompts, folder)
        else:
            card = _by_preferences(context, pairs, layout, folder)
    gc.collect()  # before the engine loads the same base
    release_memory(context.round.extractors.device)
    settings, recipe = context.settings, context.recipe
    return replace(
        card,
        project_id=context.round.project.id,
        method=recipe.method,
        base=settings.generator.model,
        answer_prefix=recipe.answer_prefix,
        learning_rate=recipe.learning_rate,
        rank=recipe.rank,
        seed=settings.seed,
    )


def _by_preferences(
    context: AlignContext, pairs: Sequence[PreferencePair], layout: LabelingLayout, folder: Path
) -> GeneratorCard:
    settings, recipe = context.settings, context.recipe
    most_seconds = 60 * context.minutes
    path, model = _base(context)
    cut = cut_answers(context.round.project, layout, pairs)
    window = window_of(model.config.get_text_config())
    tokenizer, layers = load_tokenizer(path), TopLayers(model, recipe, seed=settings.seed)
    if recipe.method == "hindsight":
        texts = encode_in_hindsight(pairs, tokenizer, settings.generator, window=window, cut=cut)
        read = [ReadPair(layers.read(text), None) for text in texts]
    else:
        encoded = encode_pairs(pairs, tokenizer, settings.generator, window=window, cut=cut)
        read = _read(layers, encoded, recipe, margins=[pair.margin for pair in pairs])
    release_memory(context.round.extractors.device)
    budget = plan(
        layers, read, recipe, most_seconds=most_seconds, clock=context.clock, free=free_bytes(context.round.extractors.device)
    )
    graded = sum(pair.offset > 0 for pair in read)
    strength = f", {graded} of them with how much better one is" if graded and recipe.method == "dpo" else ""
    context.say(f"learning from {len(pairs)} {'answers' if recipe.method == 'sft' else 'comparisons'}{strength}: {budget}")
    with curves(settings.training.report_to, context.curves) as report:
        num_steps = train(
            layers, read, recipe, num_steps=budget.num_steps, seed=settings.seed, most_seconds=most_seconds, clock=context.clock,
            checkpoints=context.checkpoints, report=report,
        )  # fmt: skip
    layers.save(folder)
    return GeneratorCard(
        num_pairs=len(pairs),
        num_steps=num_steps,
        num_wanted_steps=budget.num_wanted,
        margin=round(mean_margin(layers, read[:_MARGIN_PAIRS]), 3) if read[0].rejected else None,
        first_layer=layers.first,
    )


def _read(
    layers: TopLayers, encoded: Sequence[tuple[Tokens, Tokens]], recipe: AlignRecipe, *, margins: Sequence[float]
) -> list[ReadPair]:
    """The texts of each pair that the method looks at."""
    pairs = []
    for place, ((chosen, rejected), margin) in enumerate(zip(encoded, margins, strict=True)):
        if recipe.method == "sft":
            pairs.append(ReadPair(layers.read(chosen), None))
            continue
        both = layers.read_two(chosen, rejected)
        mismatched = _mismatched(encoded, place) if recipe.method == "kto" else None
        pairs.append(ReadPair(*both, layers.read(mismatched) if mismatched else None, offset=margin))
    return pairs


def _mismatched(encoded: Sequence[tuple[Tokens, Tokens]], place: int) -> Tokens | None:
    """This pair's prompt and the next answer to another one: how much likelier that became tells how far the generator is from its base.

    None if there is no other prompt.
    """
    prompt = _prompt_of(encoded[place][0])
    for other, _ in (*encoded[place + 1 :], *encoded[:place]):  # a ranking's pairs stand together, and have one prompt
        if _prompt_of(other) != prompt:
            return Tokens([*prompt, *other.ids[other.start :]], len(prompt))
    return None


def _prompt_of(tokens: Tokens) -> list[int]:
    return tokens.ids[: tokens.start]


def _by_rewards(context: AlignContext, prompts: Sequence[Prompt], folder: Path) -> GeneratorCard:
    from trainer.generator_training.online import explore

    champion = context.round.champion
    if champion is None:
        raise CannotLearn(
            f"Project {context.round.project.id} serves no reward model to learn from; `pairloop-trainer once` trains one."
        )
    judge = context.round.load(champion)
    path, model = _base(context)
    prompts = _that_fit(prompts, path, context.settings.generator, window=window_of(model.config.get_text_config()))
    with curves(context.settings.training.report_to, context.curves) as report:
        explored = explore(
            model, load_tokenizer(path), prompts, judge, context.recipe, context.settings.generator, folder, seed=context.settings.seed,
            most_seconds=60 * context.minutes, say=context.say, clock=context.clock, checkpoints=context.checkpoints, report=report,
        )  # fmt: skip
    return GeneratorCard(
        num_prompts=len(prompts),
        rewarded_by=champion,
        num_steps=explored.num_steps,
        num_wanted_steps=explored.num_wanted,
        first_layer=explored.first_layer,
    )


def _that_fit(prompts: Sequence[Prompt], path: str, generation: GeneratorSettings, *, window: int) -> list[Prompt]:
    """The prompts of which nothing would have to be cut: TRL cuts none."""
    tokenizer, most = load_tokenizer(path), min(generation.max_prompt_tokens, window - generation.max_new_tokens)
    options: dict[str, Any] = {"system": generation.system_prompt, "options": generation.template_options}
    fitting = [prompt for prompt in prompts if not encode_prompt(tokenizer, prompt, max_tokens=most, **options)[1]]
    if not fitting:
        raise CannotLearn(f"No prompt that is not held out has {most} tokens or fewer; import some, or raise MAX_PROMPT_TOKENS.")
    return fitting


def _base(context: AlignContext) -> tuple[str, Any]:
    """(where it lies, the model itself)"""
    settings, device = context.settings, context.round.extractors.device
    path = locate(settings.generator.model, settings.model_dir)
    dtype = pick_dtype(settings.generator.dtype, device)
    dtype = torch.float32 if dtype == torch.float16 else dtype  # in which small gradients are zeros
    model = load_weights(AutoModelForCausalLM, path, dtype=dtype, device=device)
    if not can_hold(model):
        raise CannotLearn(
            f"{path} is a {model.config.model_type} model, with which the huggingface engine cannot write; name another GENERATOR_MODEL."
        )
    return path, model
