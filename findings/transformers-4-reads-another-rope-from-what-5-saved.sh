#!/usr/bin/env bash
# transformers 5.23.0 and 4.51.3: a model that 5 saved is another one to 4, and nothing says so.
#
# Guess, written down before the run: 4.51 reads what 5.23 saved as it was, or refuses it, since every config names the release that
# wrote it ("transformers_version").
# What happens: 5.23 writes the base of the rotary positions into `rope_parameters` alone. 4.51 looks for `rope_theta`, keeps the new
# entry as one that it does not know, and computes with its default of 10,000: for a Llama 3 (500,000) or a Qwen 2.5 (1,000,000) every
# position is turned by other angles. No warning, no error. Its tokenizer is refused, with a sentence, since the class has a new name; who
# mends that by hand has a model that loads and is wrong.
# Who is hurt: tools that pin an older transformers (RewardBench 0.1.4 pins 4.51) on models that were trained or saved with a newer one.
# Write `rope_theta` beside `rope_parameters` into config.json; 5.23 reads it all the same.
#
# Seen on 2026-11-30, Python 3.11:
#   5.23.0 llama  saved with 500000: 500000
#   5.23.0 qwen2  saved with 1000000: 1000000
#   5.23.0 tokenizer: TokenizersBackend
#   4.51.3 llama  saved with 500000: 10000
#   4.51.3 qwen2  saved with 1000000: 10000
#   4.51.3 tokenizer: ValueError, Tokenizer class TokenizersBackend does not exist or is not currently imported.
#   4.51.3 llama  with rope_theta beside it: 500000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 5.23.0 4.51.3; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "transformers==$version"
done
cat > "$folder/save.py" <<'PY'
import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

words = {word: n for n, word in enumerate(["<pad>", "</s>", "<unk>", *"abcd"])}
backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
backend.pre_tokenizer = pre_tokenizers.Whitespace()
PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>").save_pretrained(sys.argv[1])
for name, config, theta in (("llama", LlamaConfig, 500_000.0), ("qwen2", Qwen2Config, 1_000_000.0)):
    config(rope_parameters={"rope_type": "default", "rope_theta": theta}).save_pretrained(f"{sys.argv[1]}/{name}")
PY
cat > "$folder/read.py" <<'PY'
import json
import sys
import warnings
from pathlib import Path

import transformers
from transformers import AutoConfig, AutoTokenizer

warnings.simplefilter("error")  # nothing warns
version = transformers.__version__
for name, saved in (("llama", 500_000), ("qwen2", 1_000_000)):
    config = AutoConfig.from_pretrained(f"{sys.argv[1]}/{name}")
    theta = config.rope_theta if version.startswith("4.") else config.rope_parameters["rope_theta"]
    print(f"{version} {name}  saved with {saved}: {theta:.0f}")
try:
    print(f"{version} tokenizer: {type(AutoTokenizer.from_pretrained(sys.argv[1])).__name__}")
except ValueError as error:
    print(f"{version} tokenizer: ValueError, {error}")
if version.startswith("4."):
    path = Path(sys.argv[1], "llama", "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "rope_theta": 500_000.0}))
    print(f"{version} llama  with rope_theta beside it: {AutoConfig.from_pretrained(path.parent).rope_theta:.0f}")
PY
"$folder/5.23.0/bin/python" "$folder/save.py" "$folder/saved" 2> "$folder/torch-is-not-there"
for version in 5.23.0 4.51.3; do "$folder/$version/bin/python" "$folder/read.py" "$folder/saved" 2>> "$folder/torch-is-not-there"; done | tee "$folder/seen"
if ! diff <(sed -n 's/^#   //p' "$0") "$folder/seen"; then
  echo "This has changed." >&2
  exit 1
fi
