"""Fits one sequence classifier through TRL's RewardTrainer (Bradley-Terry loss). The only file with TRL and datasets.

Covered: a kill at any step (the next call with the same workspace goes on after the last checkpoint and ends with the same
weights, but for rounding), a loss that is not a number, a full disk, a package of REPORT_TO that is not installed.
Not covered: several GPUs at once; the first one trains.
"""

import gc
import logging
import math
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from safetensors import SafetensorError
from torch.utils.data import Sampler
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
)
from transformers.integrations.integration_utils import TensorBoardCallback
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import DataCollatorForPreference, RewardTrainer

from preference.errors import TrainingError
from preference.labelling.pairs import PreferencePair
from preference.models.fingerprint import revision_of
from preference.models.hardware import free_bytes
from preference.models.low_rank import CONFIG, LowRankAdapter
from preference.models.number_formats import COMPUTED_IN
from preference.models.out_of_memory import release_memory
from preference.models.pretrained import load_config, load_tokenizer, load_weights, locate
from preference.models.reward_bases import closing_of
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import AdapterRewardModel, Description, SequenceRewardModel
from preference.reward_model.shared_base import load_classifier
from trainer.training.batches import LengthGroups, rows_of
from trainer.training.checkpoints import Checkpoints, newest_checkpoint
from trainer.training.lora import begun, continued, merged, taken_off
from trainer.training.memory_plan import MemoryPlan, memory_for, plan_memory
from trainer.training.progress import Bar, Lines
from trainer.training.recipes import Recipe
from trainer.training.trained import Start, TrainingContext, Workspace

logger = logging.getLogger("pairloop.training")
_PAIRS_AT_ONCE_ON_CPU = 2


@contextmanager
def _quick_collections() -> Iterator[None]:
    """Garbage is looked for among what is made meanwhile, and not among the objects of all modules, which takes half a second each time."""
    was_frozen = gc.get_freeze_count() > 0  # by whoever started this process
    if not was_frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a training made: an adapter, or a network of its own, on the CPU."""

    description: Description
    tokenizer: PreTrainedTokenizerBase
    weights: LowRankAdapter | PreTrainedModel

    def model(self, extractors: Extractors) -> SequenceRewardModel:
        """The reward model; an adapter on the base that all share.

        Raises:
            ModelError: the base cannot be loaded.
        """
        if isinstance(self.weights, LowRankAdapter):
            return AdapterRewardModel(self.description, self.weights, extractors.shared_base(self.description.base_recipe))
        return SequenceRewardModel(self.description, self.weights, self.tokenizer)


@_quick_collections()
def fit_sequence(
    pairs: Sequence[PreferencePair], recipe: Recipe, context: TrainingContext, workspace: Workspace, start: Start = "base"
) -> Fitted:
    """The weights of the base or of the champion, trained on the pairs; it goes on from a checkpoint of the same training.

    A `lora` recipe gives an adapter on the base itself, also if it started from a champion. Nothing of it stays on a GPU.
    """
    disable_progress_bar()
    _check_device(recipe, context.extractors.device)
    path, revision = locate(context.base, context.extractors.model_dir), revision_of(context.base)
    tokenizer = load_tokenizer(path, revision=revision)
    closing = closing_of(path, tokenizer, revision=revision)
    rows, num_cut = rows_of(pairs, recipe, tokenizer, closing)
    if num_cut and start == "base":
        logger.info("%d of %d answers were cut to %d tokens, prompts first", num_cut, 2 * len(pairs), recipe.max_tokens)
    plan = _plan(recipe, context, rows, load_config(path, revision=revision))
    if start == "base":
        logger.info("training %s takes %s", recipe.name, plan)
    arguments = _arguments(recipe, context, workspace, start, plan)
    torch.manual_seed(context.seed)  # the score head of a base is new, and random
    with memory_for(recipe), warnings.catch_warnings():  # as in lora.py
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        trainer = _Trainer(
            recipe,
            model=_network(recipe, context, path, revision, workspace.champion if start == "champion" else None),
            args=arguments,
            data_collator=_Collator(tokenizer.pad_token_id, pad_to_multiple_of=recipe.pad_to or None),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )
    _follow(trainer, recipe, workspace, start)
    checkpoint = newest_checkpoint(workspace.folder / start)
    with memory_for(recipe):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    # Without accelerate's wrapper, which would go on to compute in bfloat16 what is served in float32.
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if recipe.lora_rank:
        description = Description(
            "adapter", context.base, recipe.max_tokens, revision=revision, dtype=context.dtype, closing=closing
        )
        fitted = Fitted(description, tokenizer, taken_off(model, base=path, revision=revision))
    else:
        fitted = Fitted(
            Description("sequence", context.base, recipe.max_tokens, closing=closing),
            tokenizer,
            model.to("cpu").requires_grad_(False),
        )
    del trainer, model
    gc.collect()  # the optimizer's state, twice the weights, hangs in cycles
    return fitted


def _network(recipe: Recipe, context: TrainingContext, path: str, revision: str, champion: Path | None) -> Any:
    """What is trained: in float32, but for a base under adapters."""
    is_adapted = champion is not None and (champion / CONFIG).is_file()
    if champion is not None and not is_adapted:
        network = load_weights(AutoModelForSequenceClassification, str(champion), num_labels=1, dtype=torch.float32)
    else:
        dtype = context.dtype if recipe.lora_rank else "float32"
        # What is quantized on a device stays there; the trainer moves the others.
        device = context.extractors.device if dtype == "nf4" else None
        network = load_classifier(path, revision=revision, dtype=dtype, device=device)
    if recipe.lora_rank:
        adapted: Any = begun(network, recipe) if champion is None else continued(network, champion)
        adapted.is_loaded_in_4bit = False  # by which TRL 1.16 would round what learns to bfloat16; peft asks the network under it
        return adapted
    if champion is not None and is_adapted:
        network = merged(network, champion)
    return network.requires_grad_(True)


def _follow(trainer: "_Trainer", recipe: Recipe, workspace: Workspace, start: Start) -> None:
    """Our bar or lines, our checkpoints, and curves where the workspace wants them, in place of the libraries' own."""
    trainer.remove_callback(PrinterCallback)  # it prints dictionaries into the daemon's log
    trainer.remove_callback(ProgressCallback)
    name = recipe.name if start == "base" else f"{recipe.name} from the champion"
    trainer.add_callback(Bar() if sys.stderr.isatty() else Lines(name))
    trainer.add_callback(Checkpoints(workspace.folder / start, every_seconds=workspace.checkpoint_seconds))
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(workspace.curves / start)


def advice(recipe: Recipe) -> str:
    """What to do if losses or rewards are no numbers."""
    return f"lower the learning rate of recipe {recipe.name!r} ({recipe.learning_rate:g}) in trainer/training/recipes.py"


def _check_device(recipe: Recipe, device: torch.device) -> None:
    if device.type == "cuda" and device.index:
        raise TrainingError(
            f"Recipe {recipe.name!r} trains on the first GPU that it sees, and DEVICE={device} is another; "
            f"set CUDA_VISIBLE_DEVICES={device.index} and DEVICE=cuda."
        )


def _plan(recipe: Recipe, context: TrainingContext, rows: Sequence[dict[str, Any]], config: PreTrainedConfig) -> MemoryPlan:
    """How a step is done in the memory that is free.

    Raises:
        TrainingError: it does not fit.
    """
    device = context.extractors.device
    release_memory(device)
    longest = max(len(row[column]) for row in rows for column in ("chosen_ids", "rejected_ids"))
    return plan_memory(
        config,
        recipe,
        dtype=context.dtype,
        tokens=math.ceil(longest / recipe.pad_to) * recipe.pad_to if recipe.pad_to else longest,
        # On a CPU more pairs at once are no faster.
        most_at_once=math.gcd(recipe.batch_pairs, _PAIRS_AT_ONCE_ON_CPU) if device.type == "cpu" else recipe.batch_pairs,
        free=free_bytes(device) if context.free_bytes is None else context.free_bytes,
    )


def _arguments(
    recipe: Recipe, context: TrainingContext, workspace: Workspace, start: Start, plan: MemoryPlan
) -> RewardConfig:  # fmt: skip
    on_cpu = context.extractors.device.type == "cpu"
    arguments = RewardConfig(
        output_dir=str(workspace.folder / start),
        run_name=f"{workspace.curves.name}-{start}",
        use_cpu=on_cpu,
        bf16=COMPUTED_IN[context.dtype] == "bfloat16",
        activation_checkpointing=plan.is_checkpointed,
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=plan.pairs_at_once,
        gradient_accumulation_steps=recipe.batch_pairs // plan.pairs_at_once,
        center_rewards_coefficient=recipe.center_coefficient or None,
        max_length=None,  # TRL would drop longer pairs silently; encode_closed has cut them
        remove_unused_columns=False,  # it would remove the weights
        disable_dropout=True,
        seed=context.seed,
        save_strategy="no",  # Checkpoints decides when
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to=workspace.report_to.split(","),
        disable_tqdm=True,  # Bar and Lines stand in
        dataloader_pin_memory=not on_cpu,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # if several are visible, TRL 1.16 refuses to train on one
    return arguments


class _Trainer(RewardTrainer):
    """TRL's trainer with a weight for each pair, batches of like lengths, and errors that say what to do."""

    def __init__(self, recipe: Recipe, **options: Any) -> None:
        super().__init__(**options)
        self._recipe = recipe

    def _send_telemetry(self) -> None:
        """Nothing: TRL 1.16 would tell Hugging Face of each training, the base's architecture and the GPU's name."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """TRL's loss; if pairs have weights, the weighted mean of it."""
        weight = inputs.pop("weight", None)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)  # type: ignore[no-untyped-call]
        if weight is not None:
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)  # (num_pairs,) each
            losses = -torch.nn.functional.logsigmoid(chosen - rejected - inputs.get("margin", 0))
            losses = losses + self._recipe.center_coefficient * (chosen + rejected) ** 2
            loss = (weight * losses).mean()  # weights have mean 1 over all pairs, so batches of ties pull less
        if not loss.isfinite():
            raise TrainingError(
                f"The loss became {loss.item()} at step {self.state.global_step + 1} of {self.state.max_steps}; "
                f"{advice(self._recipe)}, or look for damaged weights in REWARD_BASE."
            )
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int] | None:
        if self._recipe.pad_to:
            return super()._get_train_sampler(train_dataset)
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        lengths = [max(map(len, both)) for both in zip(rows["chosen_ids"], rows["rejected_ids"], strict=True)]
        return LengthGroups(lengths, batch_size=self._recipe.batch_pairs, seed=self.args.seed)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: TRL would write one with each checkpoint, and nobody reads it."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError, SafetensorError) as error:  # a full disk costs a killed round's time, not the round
            shutil.rmtree(f"{self.args.output_dir}/checkpoint-{self.state.global_step}", ignore_errors=True)
            logger.warning("no checkpoint could be written to %s (%s)", self.args.output_dir, " ".join(str(error).split())[:200])


class _Collator(DataCollatorForPreference):
    """TRL's batches, with the weights of their pairs."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Chosen answers first, then rejected ones."""
        batch: dict[str, Any] = super().torch_call(examples)
        if "weight" in examples[0]:
            batch["weight"] = torch.tensor([example["weight"] for example in examples])
        return batch
