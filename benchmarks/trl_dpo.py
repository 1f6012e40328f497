"""What a step of TRL's DPOTrainer costs as TRL has it."""

import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import load_tokenizer
from trainer.generator_training.recipe import DPO

_CPU = torch.device("cpu")
_NUM_STEPS = 2  # the first one also chooses kernels and takes memory


def trl_step_seconds(pairs: Sequence[PreferencePair], path: str, dtype: torch.dtype, *, device: torch.device = _CPU) -> float:
    """Seconds of a step of four pairs, of a CPU's time or on a GPU, by adapters of our rank on the linear layers of all layers.

    All else is TRL's default, but float32 if the processor is slower in bfloat16 (`dtype`).
    """
    rows = [
        {
            "prompt": [{"role": "user", "content": pair.prompt}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]
    clock = _Clock(device)
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, trust_remote_code=False),
            args=DPOConfig(
                output_dir=folder, use_cpu=device.type == "cpu", bf16=dtype == torch.bfloat16, per_device_train_batch_size=DPO.pairs_a_step,
                max_steps=_NUM_STEPS, report_to="none", save_strategy="no", disable_tqdm=True, logging_strategy="no",
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=load_tokenizer(path),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=DPO.rank, target_modules="all-linear"),
            callbacks=[clock],
        )  # fmt: skip
        trainer.train()
    return min(clock.seconds)


class _Clock(TrainerCallback):
    """Seconds of each step: of a CPU's time, or until a GPU is done."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device = device

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.seconds.append(-self._now())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds[-1] += self._now()

    def _now(self) -> float:
        if self._device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self._device)
        return time.monotonic()
