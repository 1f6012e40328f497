#!/usr/bin/env bash
# datasets 5.2.0: one number among the texts of a JSON Lines column, and the texts beside it are read as JSON, too.
#
# Guess, written down before the run: a file of {"answer": "..."} rows of which one holds a number either fails ("mixed types"), or every
# row comes back as it was written.
# What happens: nothing fails or warns. The column becomes the feature `Json`, and each *text* in it is parsed once more: "null" comes
# back as None, "true" as True, "[1]" as a list, "7" and even "007" as the number 7. "hello" stays. Without the one number, all stay texts.
# Who is hurt: anybody whose answers or labels are short texts ("7", "true", "null" are common answers of language models): one row
# with a bare number changes other people's rows. Write numbers as texts, or pass `features=Features({"answer": Value("string")})`.
#
# Seen on 2026-11-29, Python 3.11:
#   texts alone    Value('string')     ['null', 'true', '[1]', '7', '007', 'hello']
#   and one number Json(decode=True)   [None, True, [1], 7, 7, 'hello', 7]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0
cat > "$folder/look.py" <<'PY'
import json
import sys
from pathlib import Path

from datasets import load_dataset

folder = Path(sys.argv[1])
texts = ["null", "true", "[1]", "7", "007", "hello"]


def read(name, answers):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in answers))
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    print(f"{name:14} {rows.features['answer']!s:19} {list(rows['answer'])}")
    return list(rows["answer"])


assert read("texts alone", texts) == texts
mixed = read("and one number", [*texts, 7])
assert mixed == [None, True, [1], 7, 7, "hello", 7], "it changed: read the head of this file again"
assert mixed[1] is True
PY
HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" "$folder/look.py" "$folder"
