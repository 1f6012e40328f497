"""RLOO (arXiv 2402.14740) and GRPO (arXiv 2402.03300): the generator answers prompts, the champion rewards the answers, the better ones
become likelier. TRL's trainers do it. The only file of this room with TRL and datasets.

Unlike preferences, which were written once, every step writes answers first; that is most of its cost.

Covered: prompts that are held out are never answered; the time of ALIGN_MINUTES is kept to, from a step that is measured; a kill: the
next call goes on with the prompts, and the random numbers, that would have come. The Trainer's own checkpoints are not used: they are
pickles, which run code when they are read.
Not covered: an engine that writes faster than TRL's own calls of transformers.
"""

import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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
from preference.models.hardware import peak_bytes
from preference.setting_groups import GeneratorSettings
from trainer.evaluation.pair_rewards import Scores
from trainer.generator_training.checkpoints import Checkpoints, Progress
from trainer.generator_training.recipe import AlignRecipe
from trainer.generator_training.steps import LINE_SECONDS, batches
from trainer.generator_training.top_layers import adapters_on, save_adapters
from trainer.training.memory_plan import size_in_words
from trainer.training.progress import Report

logger = logging.getLogger("pairloop.aligning")
_TRAINERS: dict[str, tuple[Any, Any]] = {"rloo": (RLOOTrainer, RLOOConfig), "grpo": (GRPOTrainer, GRPOConfig)}
_LEAST_STEPS = 4


@dataclass(frozen=True)
class Explored:
    """What a training by rewards did."""

    num_steps: int
    num_wanted: int  # steps for all passes over the prompts
    first_layer: int  # of those that learnt, counted from 0


def explore(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], champion: Scores, recipe: AlignRecipe,
    generation: GeneratorSettings, folder: Path, *, seed: int, most_seconds: float, say: Callable[[str], object],
    clock: Callable[[], float] = time.monotonic, checkpoints: Checkpoints | None = None, report: Report | None = None,
) -> Explored:  # fmt: skip
    """Trains adapters on the model's top layers by the champion's rewards, and writes them into an existing folder.

    With `checkpoints`, it goes on after those of a training that was killed. `report` takes what TRL logs of each step: rewards, the
    divergence from the base, losses, lengths.

    Raises:
        CannotLearn: the model has no layers that adapters can be put on.
        TrainingError: there is no time for even a few steps, or what it learnt became no numbers.
    """
    disable_progress_bar()
    config = adapters_on(model, recipe)
    num_wanted = max(1, math.ceil(recipe.epochs * len(prompts) / recipe.pairs_a_step))
    trainer_of, config_of = _TRAINERS[recipe.method]
    order = chain.from_iterable(batches(range(len(prompts)), recipe.pairs_a_step, num_wanted, seed=seed))
    rows = Dataset.from_list(
        [{"prompt": messages(turns_of(prompts[i], system=generation.system_prompt)), "place": i} for i in order]
    )
    torch.manual_seed(seed)
    with warnings.catch_warnings():  # TRL's and peft's own
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer = trainer_of(
            model=model,
            reward_funcs=_rewards(prompts, champion),
            args=config_of(**_arguments(recipe, generation, folder, model.device, num_wanted, seed=seed)),
            train_dataset=rows,
            processing_class=tokenizer,
            peft_config=config,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        optimizer = trainer.create_optimizer()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        kept = checkpoints.restore(weights, optimizer) if checkpoints else None
        steps = _Steps(kept or Progress(0, num_wanted, 0.0), seed, most_seconds, say, clock)
        trainer.add_callback(steps)
        if checkpoints:
            trainer.add_callback(_Kept(steps, weights, checkpoints))
        trainer.add_callback(_Curves(steps, report))
        if (num_remaining := steps.progress.num_steps - steps.progress.step) > 0:
            # To the Trainer these are all that there are: what was done before a kill is no business of its own.
            trainer.args.max_steps = num_remaining
            trainer.train_dataset = rows.select(range(steps.progress.step * recipe.pairs_a_step, len(rows)))
            trainer.train()
    adapted = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if not all(bool(weight.isfinite().all()) for weight in adapted.parameters() if weight.requires_grad):
        raise TrainingError(
            f"What it learnt became no numbers; lower the learning rate of {recipe.method!r} ({recipe.learning_rate:g}) in "
            "trainer/generator_training/recipe.py, or look for damaged weights in GENERATOR_MODEL."
        )
    save_adapters(adapted, folder)
    return Explored(steps.progress.step, num_wanted, min(config.layers_to_transform))


def _rewards(prompts: Sequence[Prompt], champion: Scores) -> Callable[..., list[float]]:
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
        "shuffle_dataset": False,  # their order is ours
        "lr_scheduler_type": "constant",  # how many steps there is time for is known after the first
        "max_grad_norm": recipe.most_norm,
        "seed": seed,
        "use_cpu": device.type == "cpu",
        "bf16": False,  # the weights have their format already, and the adapters are float32
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "steps",
        "logging_steps": 1,
    }


class _Steps(TrainerCallback):
    """How far the training is; says after the first step how many there is time for, and ends it then."""

    def __init__(
        self, progress: Progress, seed: int, most_seconds: float, say: Callable[[str], object], clock: Callable[[], float]
    ) -> None:  # fmt: skip
        """`progress`: before the Trainer's first step."""
        self.progress = progress
        self._num_wanted, self._seed, self._most_seconds, self._say, self._clock = (
            progress.num_steps, seed, most_seconds, say, clock,
        )  # fmt: skip
        self._began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = self._clock() - self.progress.seconds

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        torch.manual_seed((self._seed << 24) + self.progress.step)  # its answers are the same, whatever was killed before it

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        step, num_steps, spent = self.progress.step + 1, self.progress.num_steps, self._clock() - self._began
        if step == 1:
            num_steps = self._planned(spent, args.device)
        self.progress = Progress(step, num_steps, spent)
        is_time_up = spent * (1 + 1 / step) > self._most_seconds
        if step < num_steps and is_time_up:
            logger.warning("the time is up after %d of %d steps", step, num_steps)
        control.should_training_stop = step >= num_steps or is_time_up

    def _planned(self, seconds: float, device: torch.device) -> int:
        """How many steps there is time for, which is said."""
        num_steps = min(self._num_wanted, int(self._most_seconds / seconds)) if seconds > 0 else self._num_wanted
        if num_steps < min(self._num_wanted, _LEAST_STEPS):
            raise TrainingError(
                f"A step takes {seconds:.1f} s, so {duration(self._most_seconds)} have room for {num_steps} of {self._num_wanted} "
                "steps; raise ALIGN_MINUTES, or name a smaller GENERATOR_MODEL."
            )
        cut = "" if num_steps == self._num_wanted else f" of {self._num_wanted}, which would take longer than ALIGN_MINUTES"
        self._say(
            f"learning by rewards: {num_steps} steps{cut}, {seconds:.1f} s a step (measured): about {duration(num_steps * seconds)}; "
            f"the process has taken up to {size_in_words(peak_bytes(device))} so far"
        )
        return num_steps


class _Kept(TrainerCallback):
    """Keeps a checkpoint of ours now and then."""

    def __init__(self, steps: _Steps, weights: Sequence[torch.Tensor], checkpoints: Checkpoints) -> None:
        self._steps, self._weights, self._checkpoints = steps, weights, checkpoints

    def on_step_end(self, args: Any, state: Any, control: Any, **of_trainer: Any) -> None:
        self._checkpoints.keep(self._weights, of_trainer["optimizer"], self._steps.progress)


class _Curves(TrainerCallback):
    """Reports the figures of each step, and logs a line now and then."""

    def __init__(self, steps: _Steps, report: Report | None) -> None:
        self._steps, self._report = steps, report
        self._last_line = 0.0

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs is None or "reward" not in logs:  # the last line of a Trainer is about its own speed
            return
        progress = self._steps.progress
        figures = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        if self._report is not None:
            self._report(progress.step, figures)
        if progress.seconds - self._last_line >= LINE_SECONDS:
            remaining = progress.seconds / progress.step * (progress.num_steps - progress.step)
            logger.info(
                "aligning: step %d of %d, reward %.2f, about %s to go",
                progress.step, progress.num_steps, figures["reward"], duration(remaining),
            )  # fmt: skip
            self._last_line = progress.seconds
