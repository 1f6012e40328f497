"""The formats beside pairs: single opinions, answers to imitate, hindsight, prompts, and votes that are taken together."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

from preference.errors import ExportError
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from tests.conftest import REPOSITORY
from tests.support.annotations import BOTH_BAD, DATA, FULL, PLAIN, PROMPTS, TIE, WRITTEN, task, vote, vote_with
from tests.support.ranked_lists import ORDERED, listed, ranking
from trainer.exporting.export import Exported, export_judgements, export_prompts
from trainer.exporting.export_rows import Format
from trainer.judgements.hindsight import GOOD, WORSE

QUICK: dict[str, Any] = {"max_steps": 1, "per_device_train_batch_size": 4, "use_cpu": True, "bf16": False, "report_to": "none",
         "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "gradient_checkpointing": False}  # fmt: skip
ORIGIN = {"task_id", "annotation_id", "annotator_id", "criteria", "suggested_version", "judged_at", "guidelines", "split"}


def exported(
    tasks: list[dict[str, Any]], path: Path, format_name: Format, *, layout: LabelingLayout = FULL, **options: Any
) -> tuple[list[dict[str, Any]], Exported]:  # fmt: skip
    done = export_judgements(tasks, path / "rows.jsonl", format_name=format_name, layout=layout, holdout=Holdout(0.2), **options)
    return read(path / "rows.jsonl"), done


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def votes(*sides: str) -> list[dict[str, Any]]:
    return [vote(side, id=n + 1, completed_by=n + 1) for n, side in enumerate(sides)]


def opinions(rows: list[dict[str, Any]]) -> dict[str, tuple[bool, float, float]]:
    return {row["completion"]: (row["label"], row["votes_for"], row["votes_against"]) for row in rows}


def test_an_answer_is_good_if_it_won_more_votes_than_it_lost(tmp_path: Path) -> None:
    rows, done = exported([task(*votes("left", "left", "right"))], tmp_path, "kto")
    assert opinions(rows) == {"Left.": (True, 2.0, 1.0), "Right.": (False, 1.0, 2.0)}
    assert set(rows[0]) == {"prompt", "completion", "label", "votes_for", "votes_against", "task_id", "split"}
    assert done.excluded == {}


def test_answers_that_are_both_bad_are_and_a_tie_says_nothing(tmp_path: Path) -> None:
    data = {"prompt": PROMPTS[1], "answer1": "One.", "answer2": "Two."}
    rows, done = exported([task(vote_with(BOTH_BAD)), task(vote_with(TIE), data=data)], tmp_path, "kto")
    assert opinions(rows) == {"Left.": (False, 0.0, 1.0), "Right.": (False, 0.0, 1.0)}
    assert done.excluded == {"neither good nor bad": 2}


def test_a_written_answer_is_good_and_says_nothing_of_the_others(tmp_path: Path) -> None:
    rows, _ = exported([task(vote_with(WRITTEN, side="left"))], tmp_path, "kto")
    answers = opinions(rows)
    assert {answer: label for answer, (label, *_) in answers.items()} == {"Left.": True, "Right.": False, "Better.": True}


def test_the_middle_of_a_ranking_is_neither(tmp_path: Path) -> None:
    rows, done = exported([listed(ranking(["c", "a", "b"]))], tmp_path, "kto", layout=ORDERED)
    assert {row["completion"]: row["label"] for row in rows} == {"Three.": True, "Two.": False}
    assert done.excluded == {"neither good nor bad": 1}


@pytest.mark.filterwarnings("ignore")  # trl.experimental says that it may change
@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "conversational"])
def test_the_kto_trainer_takes_it(tmp_path: Path, tiny_chat_base: Path, conversational: bool) -> None:
    from trl.experimental.kto import KTOConfig, KTOTrainer  # which warns as it is imported

    tasks = [task(vote("left"), data={"prompt": p, "answer1": f"Left {p}", "answer2": f"Right {p}"}) for p in PROMPTS[:8]]
    exported(tasks, tmp_path, "kto", conversational=conversational)
    make: Any = KTOTrainer  # which has no types
    trainer = make(
        model=AutoModelForCausalLM.from_pretrained(tiny_chat_base),
        args=KTOConfig(output_dir=str(tmp_path / "out"), **QUICK),
        train_dataset=load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=str(tmp_path / "cache")),
        processing_class=AutoTokenizer.from_pretrained(tiny_chat_base),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    assert any(entry.get("loss", 0) > 0 for entry in trainer.state.log_history)


def test_chosen_answers_are_imitated_unless_something_is_better(tmp_path: Path) -> None:
    tasks = [
        task(*votes("left", "left", "right"), data={"prompt": PROMPTS[0], "answer1": "Won.", "answer2": "Lost."}),
        task(vote_with(WRITTEN, side="left", id=9), data={"prompt": PROMPTS[1], "answer1": "Left.", "answer2": "Right."}),
        task(*votes("left", "right"), data={"prompt": PROMPTS[2], "answer1": "Even.", "answer2": "Too."}, id=8),
    ]
    rows, done = exported(tasks, tmp_path, "sft", chosen=True)
    assert [(row["prompt"], row["completion"]) for row in rows] == [(PROMPTS[1], "Better."), (PROMPTS[0], "Won.")]
    assert set(rows[0]) == {"prompt", "completion", *ORIGIN} and done.excluded == {}

    rows, done = exported(tasks, tmp_path, "sft")
    assert [row["completion"] for row in rows] == ["Better."] and done.excluded == {"without a written answer": 5}


def test_of_a_ranking_only_the_best_is_imitated(tmp_path: Path) -> None:
    rows, _ = exported([listed(ranking(["c", "a", "b"]))], tmp_path, "sft", layout=ORDERED, chosen=True)
    assert [row["completion"] for row in rows] == ["Three."]


def test_hindsight_has_both_answers_in_both_orders(tmp_path: Path) -> None:
    rows, _ = exported([task(vote("right"))], tmp_path, "hindsight", conversational=True)
    good, worse = f"{GOOD}Right.", f"{WORSE}Left."
    assert [row["completion"] for row in rows] == [
        [{"role": "assistant", "content": text}] for text in (f"{good}\n\n{worse}", f"{worse}\n\n{good}")
    ]
    assert {json.dumps(row["prompt"]) for row in rows} == {json.dumps([{"role": "user", "content": "Why?"}])}


def test_votes_on_one_comparison_are_one_row(tmp_path: Path) -> None:
    even = task(*votes("left", "right"), data={"prompt": PROMPTS[3], "answer1": "One.", "answer2": "Two."})
    turned = task(vote("right", id=8), data={"prompt": "why", "answer1": "Right.", "answer2": "Left."}, id=8)
    rows, done = exported([task(*votes("left", "left", "right")), turned, even], tmp_path, "trl", aggregate=True)
    assert [(row["chosen"], row["rejected"], row["weight"]) for row in rows] == [("Left.", "Right.", 1.0)]
    assert done.excluded == {"merged with others, or balanced by them": 5}


def test_comparisons_on_which_people_disagree_are_left_out(tmp_path: Path) -> None:
    sure = task(*votes("right", "right"), data={"prompt": PROMPTS[3], "answer1": "One.", "answer2": "Two."})
    doubtful = task(*votes("left", "left", "right"), vote_with(WRITTEN, id=4, completed_by=4))
    for least, count in ((0.6, 5), (0.7, 2)):
        rows, done = exported([sure, doubtful], tmp_path, "trl", min_agreement=least)
        assert Counter(row["kind"] for row in rows) == {"vote": count, "written": 2}
        assert done.excluded == ({} if count == 5 else {"too little agreement": 3})


def test_each_prompt_is_exported_once_judged_or_not(tmp_path: Path) -> None:
    tasks = [{"id": n, "data": data} for n, data in enumerate([
        {"prompt": "Why?"}, {"prompt": " why "}, {"prompt": ""}, {"prompt": "Who?", "answer1": "I."}, {},
    ], start=1)]  # fmt: skip
    done = export_prompts(tasks, tmp_path / "prompts.jsonl", layout=PLAIN, holdout=Holdout(0.0))
    assert read(tmp_path / "prompts.jsonl") == [
        {"prompt": "Why?", "task_id": 1, "split": "train"},
        {"prompt": "Who?", "task_id": 4, "split": "train"},
    ]
    assert done.excluded == {"missing prompt": 2, "the same as another": 1} and done.num_train == 2


@pytest.mark.parametrize(("before", "now"), [(0.2, 0.5), (0.5, 0.2)])
def test_a_prompt_is_in_the_split_of_its_judgements(tmp_path: Path, before: float, now: float) -> None:
    holdout = Holdout.after([Holdout(before)], now)
    tasks = [{**task(vote("left"), data={**DATA, "prompt": prompt}), "id": n + 1} for n, prompt in enumerate(PROMPTS[:200])]
    export_prompts(tasks, tmp_path / "prompts.jsonl", layout=FULL, holdout=holdout)
    export_judgements(tasks, tmp_path / "pairs.jsonl", format_name="trl", layout=FULL, holdout=holdout)
    splits = [{row["prompt"]: row["split"] for row in read(tmp_path / f"{name}.jsonl")} for name in ("prompts", "pairs")]
    assert splits[0] == splits[1]
    assert set(splits[0].values()) == ({"train", "holdout", "unused"} if now > before else {"train", "holdout"})


def test_a_project_without_prompts_has_none_to_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"There is no prompt to export; import some prompts first\."):
        export_prompts([{"id": 1, "data": {}}], tmp_path / "prompts.jsonl", layout=PLAIN, holdout=Holdout(0.2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")  # TRL's and accelerate's own
def test_the_scripts_of_the_manual_run(tmp_path: Path, tiny_chat_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    tasks = [task(vote("left"), data={"prompt": p, "answer1": f"Left {p}", "answer2": f"Right {p}"}) for p in PROMPTS[:8]]
    for name, options in (("pairs", {"format_name": "trl"}), ("answers", {"format_name": "sft", "chosen": True})):
        export_judgements(tasks, tmp_path / f"{name}.parquet", layout=FULL, holdout=Holdout(0.2), **options)
    scripts = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs/exporting.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        assert "Qwen/Qwen3-0.6B" in script and "max_length=2048" in script
        small = script.replace("Qwen/Qwen3-0.6B", str(tiny_chat_base)).replace("max_length=2048", f"max_length=2048, **{QUICK}")
        values: dict[str, Any] = {}
        exec(compile(small, "docs/exporting.md", "exec"), values)
        assert values["trainer"].state.global_step == 1
