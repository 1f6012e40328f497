"""The training of one generator: pairs in, adapters in a folder, and what its card says of it."""

import gc
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from preference.errors import CannotLearn
from preference.generation.hardware import pick_dtype
from preference.generation.huggingface import window_of
from preference.generation.kv_cache import can_hold
from preference.labelling.label_config import LabelingLayout
from preference.labelling.pairs import PreferencePair
from preference.models.out_of_memory import release_memory
from preference.models.pretrained import load_tokenizer, load_weights, locate
from preference.report_card.generator_card import GeneratorCard
from trainer.aligning.context import AlignContext
from trainer.aligning.dpo import ReadPair, mean_margin, plan, train
from trainer.aligning.preferences import cut_answers, encode_pairs
from trainer.aligning.top_layers import TopLayers


def learn(context: AlignContext, pairs: Sequence[PreferencePair], layout: LabelingLayout, folder: Path) -> GeneratorCard:
    """What the card says of the training, after the adapters are in an existing folder. The budget is said before the first step.

    Raises:
        TrainingError: the base cannot learn, there is no time for it, or the loss became no number.
    """
    settings, recipe, device = context.settings, context.recipe, context.round.extractors.device
    most_seconds = 60 * context.minutes
    path = locate(settings.generator.model, settings.model_dir)
    dtype = pick_dtype(settings.generator.dtype, device)
    dtype = torch.float32 if dtype == torch.float16 else dtype  # in which small gradients are zeros
    model = load_weights(AutoModelForCausalLM, path, dtype=dtype, device=device)
    if not can_hold(model):
        raise CannotLearn(
            f"{path} is a {model.config.model_type} model, with which the huggingface engine cannot write; name another GENERATOR_MODEL."
        )
    cut = cut_answers(context.round.project, layout, pairs)
    window = window_of(model.config.get_text_config())
    encoded = encode_pairs(pairs, load_tokenizer(path), settings.generator, window=window, cut=cut)
    layers = TopLayers(model, recipe, seed=settings.seed)
    read = [ReadPair(layers.read(chosen), layers.read(rejected)) for chosen, rejected in encoded]
    budget = plan(layers, read, recipe, most_seconds=most_seconds, clock=context.clock)
    context.say(f"learning from {len(read)} comparisons: {budget}")
    num_steps = train(
        layers, read, recipe, num_steps=budget.num_steps, seed=settings.seed, most_seconds=most_seconds, clock=context.clock
    )
    layers.save(folder)
    card = GeneratorCard(
        project_id=context.round.project.id,
        method=recipe.method,
        base=settings.generator.model,
        num_pairs=len(read),
        num_steps=num_steps,
        num_wanted_steps=budget.num_wanted,
        margin=round(mean_margin(layers, read), 3),
        learning_rate=recipe.learning_rate,
        rank=recipe.rank,
        first_layer=layers.first,
        seed=settings.seed,
    )
    del layers, model, read
    gc.collect()  # before the engine loads the same base
    release_memory(device)
    return card
