#!/usr/bin/env bash
# datasets 5.2.0: a JSON Lines column of texts that all look like dates comes back as timestamps.
#
# Guess, written down before the run: JSON has no dates, so quoted texts come back as the texts that they are (as `json.loads` and
# pandas with `convert_dates=False` give them).
# What happens: if every text of the column (in the first block that is read) looks like an ISO date or date and time, the column is
# `timestamp[s]` and the rows are `datetime` objects; how the date was written is gone: "2024-01-01" and "2024-01-01 00:00:00" are alike.
# One text that is no date, and all stay texts: what a row comes back as depends on its neighbours.
# Who is hurt: small preference or evaluation sets with answers such as "2024-01-01" (questions for dates): the tokenizer gets a
# datetime, or two answers that differed only in form are equal. Pass `features=Features({"answer": Value("string")})`.
#
# Seen on 2026-11-29, Python 3.11:
#   dates alone    timestamp[s]   [datetime.datetime(2024, 1, 1, 0, 0), datetime.datetime(2024, 1, 1, 0, 0)]
#   and one word   string         ['2024-01-01', '2024-01-01 00:00:00', 'unknown']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datasets==5.2.0
cat > "$folder/look.py" <<'PY'
import json
import sys
from datetime import datetime
from pathlib import Path

from datasets import load_dataset

folder = Path(sys.argv[1])
dates = ["2024-01-01", "2024-01-01 00:00:00"]


def read(name, answers):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"answer": answer}) + "\n" for answer in answers))
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    print(f"{name:14} {rows.features['answer'].dtype:14} {list(rows['answer'])}")
    return list(rows["answer"])


assert read("and one word", [*dates, "unknown"]) == [*dates, "unknown"]
assert read("dates alone", dates) == [datetime(2024, 1, 1), datetime(2024, 1, 1)], "it changed: read the head of this file again"
PY
HF_HUB_OFFLINE=1 HF_DATASETS_DISABLE_PROGRESS_BARS=1 "$folder/venv/bin/python" "$folder/look.py" "$folder"
