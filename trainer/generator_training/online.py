"""RLOO (arXiv 2402.14740) and GRPO (arXiv 2402.03300): the generator answers prompts, the champion rewards the answers, the better ones
become likelier. TRL's trainers do it. The only file of this room with TRL and datasets.

Unlike preferences, which were written once, every step writes answers first; that is most of its cost.

Covered: prompts that are held out are never answered; the time of ALIGN_MINUTES is kept to, from a step that is measured.
Not covered: a kill; the next call begins anew. An engine that writes faster than TRL's own calls of transformers.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, ProgressCallback, TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from preference.errors import TrainingError
from preference.formatting import duration
from preference.labelling.prompts import Prompt, messages, turns_of
from preference.reward_model.model import RewardModel
from preference.setting_groups import GeneratorSettings
from trainer.generator_training.recipe import AlignRecipe
from trainer.generator_training.top_layers import adapters_on, save_adapters

_TRAINERS: dict[str, tuple[Any, Any]] = {"rloo": (RLOOTrainer, RLOOConfig), "grpo": (GRPOTrainer, GRPOConfig)}
_LEAST_STEPS = 4


@dataclass(frozen=True)
class Explored:
    """What a training by rewards did."""

    num_steps: int
    num_wanted: int  # steps for all passes over the prompts
    first_layer: int  # of those that learnt, counted from 0


def explore(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], champion: RewardModel, recipe: AlignRecipe,
    generation: GeneratorSettings, folder: Path, *, seed: int, most_seconds: float, say: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic,
) -> Explored:  # fmt: skip
    """Trains adapters on the model's top layers by the champion's rewards, and writes them into an existing folder.

    Raises:
        CannotLearn: the model has no layers that adapters can be put on.
        TrainingError: there is no time for even a few steps, or what it learnt became no numbers.
    """
    disable_progress_bar()
    config = adapters_on(model, recipe)
    num_wanted = max(1, math.ceil(recipe.epochs * len(prompts) / recipe.pairs_a_step))
    budget = _Budget(num_wanted, most_seconds, say, clock)
    trainer_of, config_of = _TRAINERS[recipe.method]
    rows = [
        {"prompt": messages(turns_of(prompt, system=generation.system_prompt)), "place": i} for i, prompt in enumerate(prompts)
    ]
    torch.manual_seed(seed)
    with warnings.catch_warnings():  # TRL's and peft's own
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer = trainer_of(
            model=model,
            reward_funcs=_rewards(prompts, champion),
            args=config_of(**_arguments(recipe, generation, folder, model.device, num_wanted, seed=seed)),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=config,
            callbacks=[budget],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        trainer.train()
    adapted = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if not all(bool(weight.isfinite().all()) for weight in adapted.parameters() if weight.requires_grad):
        raise TrainingError(
            f"What it learnt became no numbers; lower the learning rate of {recipe.method!r} ({recipe.learning_rate:g}) in "
            "trainer/generator_training/recipe.py, or look for damaged weights in GENERATOR_MODEL."
        )
    save_adapters(adapted, folder)
    return Explored(trainer.state.global_step, num_wanted, min(config.layers_to_transform))


def _rewards(prompts: Sequence[Prompt], champion: RewardModel) -> Callable[..., list[float]]:
    def champions(completions: Sequence[Any], place: Sequence[int], **_: Any) -> list[float]:
        answers = [str(completion[0]["content"]).strip() for completion in completions]
        rewards: list[float] = champion.score([prompts[i] for i in place], answers).tolist()
        return rewards

    return champions


def _arguments(
    recipe: AlignRecipe, generation: GeneratorSettings, folder: Path, device: torch.device, num_steps: int, *, seed: int
) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": num_steps,
        "per_device_train_batch_size": recipe.pairs_a_step * recipe.answers_a_prompt,
        "gradient_accumulation_steps": 1,
        "num_generations": recipe.answers_a_prompt,
        "max_completion_length": generation.max_new_tokens,
        "temperature": generation.temperature or 1.0,  # it has to try different answers
        "top_p": generation.top_p,
        "top_k": generation.top_k,
        "chat_template_kwargs": dict(generation.template_options),
        "beta": recipe.beta,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "constant",  # how many steps there is time for is known after the first
        "max_grad_norm": recipe.most_norm,
        "seed": seed,
        "use_cpu": device.type == "cpu",
        "bf16": False,  # the weights have their format already, and the adapters are float32
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "no",
    }


class _Budget(TrainerCallback):
    """Says after the first step how many there is time for, and ends the training then."""

    def __init__(self, num_wanted: int, most_seconds: float, say: Callable[[str], object], clock: Callable[[], float]) -> None:
        self._num_wanted, self._most_seconds, self._say, self._clock = num_wanted, most_seconds, say, clock
        self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = self._clock()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        spent = self._clock() - self._began
        if state.global_step == 1:
            num_steps = min(self._num_wanted, int(self._most_seconds / spent)) if spent > 0 else self._num_wanted
            if num_steps < min(self._num_wanted, _LEAST_STEPS):
                raise TrainingError(
                    f"A step takes {spent:.1f} s, so {duration(self._most_seconds)} have room for {num_steps} of {self._num_wanted} "
                    "steps; raise ALIGN_MINUTES, or name a smaller GENERATOR_MODEL."
                )
            cut = "" if num_steps == self._num_wanted else f" of {self._num_wanted}, which would take longer than ALIGN_MINUTES"
            self._say(
                f"learning by rewards: {num_steps} steps{cut}, {spent:.1f} s a step (measured): about {duration(num_steps * spent)}"
            )
        control.should_training_stop = spent * (1 + 1 / state.global_step) > self._most_seconds or control.should_training_stop
