#!/usr/bin/env bash
# TRL 1.16.0: a pair that is longer than `max_length` is left out by one trainer and cut by another, and nothing says how many there were.
#
# Guess, written down before the run: all trainers cut what is longer than `max_length` (1,024 by default), and warn.
# What happens: RewardTrainer leaves a pair out if either side has one token more. DPOTrainer and SFTTrainer cut the end, and leave a row
# out only if its prompt alone fills `max_length`. A prompt one token shorter keeps its row: of both answers one token is read. If
# they begin alike, that pair's loss is ln 2 for ever, and it teaches nothing. No warning, no line of a log, and no figure of the
# trainer counts any of them.
# Who is hurt: the same file gives a reward model and a policy that saw different pairs; conversations with long prompts train on
# beginnings of answers. Set `max_length` to what the longest row needs, and compare `len(trainer.train_dataset)` with the file's rows.
#
# Seen on 2026-11-30, Python 3.11, transformers 5.23.0, with max_length=16:
#   RewardTrainer  4 rows (short, long answer, long prompt, longer prompt): 1 left, loss of step 10 0.000, told: nothing
#   DPOTrainer     4 rows (short, long answer, long prompt, longer prompt): 3 left, loss of step 10 0.693, told: nothing
#   SFTTrainer     4 rows (short, long answer, long prompt, longer prompt): 3 left, loss of step 10 0.501, told: nothing
#   DPOTrainer     1 rows (short): 1 left, loss of step 10 0.161, told: nothing
#   DPOTrainer     1 rows (long prompt): 1 left, loss of step 10 0.693, told: nothing
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet trl==1.16.0 transformers==5.23.0 torch==2.13.0 datasets==5.2.0 accelerate==1.15.0
cat > "$folder/look.py" <<'PY'
import logging
import sys
import warnings
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

folder, said = Path(sys.argv[1]), []
torch.set_num_threads(1)


class Kept(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


warnings.showwarning = lambda message, *_, **__: said.append(str(message))
for name in ("trl", "transformers"):
    logging.getLogger(name).addHandler(Kept())
words = {word: n for n, word in enumerate(["<pad>", "</s>", "<unk>", *"abcdefgh"])}
backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
shape = LlamaConfig(
    vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0,
    eos_token_id=1, num_labels=1,
)
pairs = {
    "short": {"prompt": "a b", "chosen": " c d", "rejected": " c e"},
    "long answer": {"prompt": "a b", "chosen": " c d" * 20, "rejected": " c e"},
    "long prompt": {"prompt": "a b f " * 5, "chosen": " c d", "rejected": " c e"},  # 15 tokens: one of each answer is read
    "longer prompt": {"prompt": "a b " * 20, "chosen": " c d", "rejected": " c e"},
}


def run(trainer_of, config, model, names):
    """(rows left, loss of the tenth step)."""
    said.clear()
    torch.manual_seed(0)
    model(shape).save_pretrained(folder / "base")
    rows = [pairs[name] for name in names]
    if trainer_of is SFTTrainer:
        rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    trainer = trainer_of(
        model=model.from_pretrained(folder / "base"),
        args=config(
            output_dir=str(folder / "out"), max_length=16, max_steps=10, per_device_train_batch_size=1, use_cpu=True, bf16=False,
            report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True, gradient_checkpointing=False, learning_rate=0.1,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    loss = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry][-1]
    told = [line for line in said if any(word in line.lower() for word in ("max_length", "truncat", "too long", "dropp", "filter"))]
    print(f"{trainer_of.__name__:14} {len(names)} rows ({', '.join(names)}): {len(trainer.train_dataset)} left, "
          f"loss of step 10 {loss:.3f}, told: {told or 'nothing'}")
    assert not told, "it changed: read the head of this file again"
    return len(trainer.train_dataset), loss


assert run(RewardTrainer, RewardConfig, LlamaForSequenceClassification, list(pairs))[0] == 1
assert run(DPOTrainer, DPOConfig, LlamaForCausalLM, list(pairs))[0] == 3
assert run(SFTTrainer, SFTConfig, LlamaForCausalLM, list(pairs))[0] == 3
assert run(DPOTrainer, DPOConfig, LlamaForCausalLM, ["short"])[1] < 0.5
assert abs(run(DPOTrainer, DPOConfig, LlamaForCausalLM, ["long prompt"])[1] - 0.693) < 0.001
PY
export HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1
"$folder/venv/bin/python" "$folder/look.py" "$folder" 2> "$folder/errors" | grep "Trainer " || {
  tail -5 "$folder/errors"
  exit 1
}
