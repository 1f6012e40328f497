#!/usr/bin/env bash
# transformers 5.23.0: an attention mask of four dimensions ends the sliding windows of Mistral and Gemma 2, and not those of GPT-Neo.
#
# Guess, written down before the run: a window is a part of the architecture, as the number of heads is. A mask of the caller's says what
# else must not be seen, so a layer with a window of 4 tokens sees 4 with it, too: of two dimensions or of four, in every model.
# What happens: with a mask of two dimensions the window stays. One of four dimensions (batch, 1, query, key), as whoever joins several
# texts in one or shares a prompt among answers makes it, is taken as it is: the last token then sees the first one, through every layer that
# has a window. GPT-Neo's local layers keep their window with the same mask. No configuration tells the two kinds apart: GPT-Neo's says
# `attention_types`, the others' `sliding_window` and `layer_types`.
# Who is hurt: a text longer than the window gets other logits than without the mask, and nothing says so; up to the window all is alike, so
# a test on short texts passes. Put the window into such a mask, layer by layer where they differ, or keep to models without windows.
#
# Seen on 2026-11-30, Python 3.11, one layer with a window of 4, 16 tokens; whether the last token's logits depend on the first token:
#   Mistral   no mask False   two dimensions False   four dimensions True
#   Gemma 2   no mask False   two dimensions False   four dimensions True
#   GPT-Neo   no mask False   two dimensions False   four dimensions False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0
cat > "$folder/look.py" <<'PY'
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPTNeoConfig, MistralConfig
from transformers.utils import logging

logging.set_verbosity_error()
LENGTH, WINDOW = 16, 4
LLAMA_LIKE = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "sliding_window": WINDOW, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}
CONFIGS = {
    "Mistral": MistralConfig(**LLAMA_LIKE),
    "Gemma 2": Gemma2Config(**LLAMA_LIKE, head_dim=8, layer_types=["sliding_attention"]),
    "GPT-Neo": GPTNeoConfig(
        vocab_size=40, hidden_size=32, num_layers=1, num_heads=4, attention_types=[[["local"], 1]], window_size=WINDOW,
        bos_token_id=None, eos_token_id=1,
    ),
}
ids = torch.arange(3, 3 + LENGTH)[None]
other = ids.clone()
other[0, 0] = 2
future = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
MASKS = {
    "no mask": None,
    "two dimensions": torch.ones_like(ids),
    "four dimensions": torch.zeros(LENGTH, LENGTH).masked_fill(future, torch.finfo(torch.float32).min)[None, None],
}


@torch.no_grad()
def sees_the_first(model, mask):
    one, two = (model(input_ids=text, attention_mask=mask).logits[0, -1] for text in (ids, other))
    return bool((one - two).abs().max() > 1e-6)


seen = {}
for name, config in CONFIGS.items():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    seen[name] = {kind: sees_the_first(model, mask) for kind, mask in MASKS.items()}
    print(name, *(f"  {kind} {answer}" for kind, answer in seen[name].items()))
as_guessed = {"no mask": False, "two dimensions": False, "four dimensions": False}
assert seen["GPT-Neo"] == as_guessed, "it changed: read the head of this file again"
assert seen["Mistral"] == seen["Gemma 2"] == {**as_guessed, "four dimensions": True}, "it changed: read the head of this file again"
PY
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" "$folder/look.py"
