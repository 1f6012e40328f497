"""Trains one challenger from pairs, through TRL's RewardTrainer (Bradley-Terry loss)."""

import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForSequenceClassification, PrinterCallback
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from preference.backbone import load_tokenizer, load_weights, locate
from preference.encoding import encode_answer
from preference.errors import ModelError, TrainingError
from preference.features import Extractors, FeatureRecipe
from preference.pairs import PreferencePair
from preference.reward_model import (
    Description,
    FrozenRewardModel,
    RewardHead,
    RewardHeadConfig,
    RewardModel,
    SequenceRewardModel,
)
from trainer.recipes import Recipe

logger = logging.getLogger(__name__)


def train_challenger(
    pairs: Sequence[PreferencePair],
    recipe: Recipe,
    folder: Path,
    *,
    base: str,
    model_dir: Path,
    extractors: Extractors,
    device: torch.device,
    seed: int,
) -> RewardModel:
    """A reward model trained on `pairs` and saved into the existing `folder`; same pairs and seed, same weights.

    Raises:
        TrainingError: there is nothing to train on.
        ModelError: the base cannot be loaded.
    """
    if not pairs:
        raise TrainingError("There are no training pairs.")
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = _arguments(recipe, Path(scratch), device=device, seed=seed, num_pairs=len(pairs))
        if recipe.kind == "frozen":
            model = _train_head(pairs, recipe, arguments, base=base, model_dir=model_dir, extractors=extractors)
        else:
            model = _train_sequence(pairs, recipe, arguments, base=base, model_dir=model_dir, device=device)
    model.save(folder)
    return model


def _arguments(recipe: Recipe, scratch: Path, *, device: torch.device, seed: int, num_pairs: int) -> RewardConfig:
    on_cpu = device.type == "cpu" or recipe.kind == "frozen"
    steps = {"max_steps": recipe.steps} if recipe.kind == "frozen" else {"num_train_epochs": recipe.epochs}
    return RewardConfig(
        output_dir=str(scratch),
        use_cpu=on_cpu,
        bf16=not on_cpu and torch.cuda.is_bf16_supported(),
        activation_checkpointing=not on_cpu,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=num_pairs if recipe.kind == "frozen" else recipe.batch_pairs,
        center_rewards_coefficient=recipe.center_coefficient,
        max_length=None,  # TRL would drop longer pairs without a word; encode_answer has cut them
        disable_dropout=True,
        seed=seed,
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_pin_memory=not on_cpu,
        **steps,
    )


def _train_head(
    pairs: Sequence[PreferencePair],
    recipe: Recipe,
    arguments: RewardConfig,
    *,
    base: str,
    model_dir: Path,
    extractors: Extractors,
) -> RewardModel:
    layer = max(1, round(recipe.layer_share * _depth(locate(base, model_dir))))
    extractor = extractors(FeatureRecipe(base, layer, recipe.max_tokens))
    prompts = [pair.prompt for pair in pairs]
    features = extractor.features(
        [*prompts, *prompts], [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    )  # (2 * num_pairs, size): the chosen answers, then the rejected ones
    head = RewardHead(RewardHeadConfig(extractor.size))
    head.mean.copy_(features.mean(0))
    head.spread.copy_(features.std(0).clamp(min=1e-6))
    # TRL takes a dataset with these columns as it is; here they are rows of `features`.
    rows = Dataset.from_list([{"chosen_ids": [i], "rejected_ids": [len(pairs) + i]} for i in range(len(pairs))])

    def collate(examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        index = [e["chosen_ids"][0] for e in examples] + [e["rejected_ids"][0] for e in examples]
        return {"features": features[index], "attention_mask": torch.ones(len(index), 1)}

    # Adam's weight decay is the gradient of `l2 * |w|^2` (torch.optim.Adam, unlike AdamW).
    optimizer = torch.optim.Adam([head.weight], lr=recipe.learning_rate, weight_decay=2 * recipe.l2)
    trainer = RewardTrainer(
        model=head,
        args=arguments,
        data_collator=collate,
        train_dataset=rows,
        processing_class=extractor.tokenizer,
        optimizers=(optimizer, None),
    )
    _train(trainer)
    description = Description("frozen", base, recipe.max_tokens, layer=layer)
    return FrozenRewardModel(description, head.requires_grad_(False), extractor)


def _depth(path: str) -> int:
    """How many layers the base has."""
    try:
        return int(AutoConfig.from_pretrained(path, trust_remote_code=False).num_hidden_layers)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split("\n", 1)[0].split())[:200]
        raise ModelError(
            f"The model {path!r} cannot be loaded ({type(error).__name__}: {reason}); "
            "name a folder with safetensors weights, or an id that this machine can fetch."
        ) from error


def _train_sequence(
    pairs: Sequence[PreferencePair], recipe: Recipe, arguments: RewardConfig, *, base: str, model_dir: Path, device: torch.device
) -> RewardModel:
    path = locate(base, model_dir)
    tokenizer = load_tokenizer(path)
    torch.manual_seed(arguments.seed)  # the score head is new, and random
    network = load_weights(AutoModelForSequenceClassification, path, num_labels=1, dtype=torch.float32)
    network.requires_grad_(True)
    num_cut, rows = 0, []
    for pair in pairs:
        row = {}
        for column, answer in (("chosen_ids", pair.chosen), ("rejected_ids", pair.rejected)):
            encoded = encode_answer(tokenizer, pair.prompt, answer, max_tokens=recipe.max_tokens)
            row[column] = encoded.input_ids
            num_cut += encoded.num_cut > 0
        rows.append({**row, "length": max(len(row["chosen_ids"]), len(row["rejected_ids"]))})
    if num_cut:
        logger.info("%d of %d answers were cut to %d tokens, prompts first", num_cut, 2 * len(pairs), recipe.max_tokens)
    lora = None
    if recipe.lora_rank:
        lora = LoraConfig(
            task_type="SEQ_CLS",
            r=recipe.lora_rank,
            lora_alpha=2 * recipe.lora_rank,
            target_modules="all-linear",
            exclude_modules=["score"],
            modules_to_save=["score"],
        )
    trainer = RewardTrainer(
        model=network, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora
    )
    _train(trainer)
    trained: Any = trainer.model
    merged: Any = (trained.merge_and_unload() if lora else trained).to(device)
    description = Description("sequence", base, recipe.max_tokens)
    return SequenceRewardModel(description, merged.requires_grad_(False), tokenizer)


def _train(trainer: RewardTrainer) -> None:
    trainer.remove_callback(PrinterCallback)  # it prints dictionaries into the daemon's log
    trainer.train()
