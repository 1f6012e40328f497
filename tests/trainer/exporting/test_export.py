"""What `pairloop-trainer export` writes is loaded by `datasets` and trained on by TRL as it is."""

import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset
from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from preference.errors import ExportError
from preference.labelling.controls.criteria import conditions
from preference.labelling.conversations import MessageKeys
from preference.labelling.holdout import Holdout
from preference.labelling.label_config import LabelingLayout
from preference.projects.guidelines import Guidelines, GuidelinesVersion
from tests.support.annotations import (
    BOTH_BAD,
    DATA,
    FULL,
    PROMPTS,
    THREE_STARS,
    TIE,
    WRITTEN,
    tag_result,
    task,
    vote,
    vote_with,
)
from trainer.exporting.export import Exported, export_judgements
from trainer.exporting.export_rows import Format

ODD = 'line one\nline two,\rline three "quoted"; \u2028 שלום 👩‍👩‍👧 a/b \\n \ud83d'
ORIGIN = {"task_id", "annotation_id", "annotator_id", "criteria", "suggested_version", "judged_at", "guidelines", "split"}
PREFERENCE = {"prompt", "chosen", "rejected", "margin", "weight", "kind", *ORIGIN}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    was_enabled = is_progress_bar_enabled()
    disable_progress_bar()
    yield
    if was_enabled:
        enable_progress_bar()


def judged_tasks() -> list[dict[str, Any]]:
    """Thirty tasks: votes with and without strength, suggestion and time, a tie, both bad, written answers, a skip."""
    suggestion = {"id": 31, "model_version": "v1-20260101-000000", "result": vote("left")["result"]}
    made_from = {"parent_prediction": 31, "lead_time": 2.5, "created_at": "2026-11-21T12:02:04.939797Z"}
    kinds = [
        vote("left"),
        vote_with(THREE_STARS, side="right", **made_from),
        vote_with(TIE, side="left"),
        vote_with(BOTH_BAD, WRITTEN),
        vote_with(WRITTEN, side="left"),
        vote(None, was_cancelled=True),
    ]
    return [
        task({**kinds[n % 6], "id": n + 1}, data={**DATA, "prompt": prompt}, id=n + 100, predictions=[suggestion])
        for n, prompt in enumerate(PROMPTS[:30])
    ]


def export(tasks: list[dict[str, Any]], path: Path, format_name: Format = "trl", **options: Any) -> Exported:
    return export_judgements(tasks, path, format_name=format_name, **{"layout": FULL, "holdout": Holdout(0.2), **options})


def load(path: Path, cache: Path) -> Dataset:
    kind = {".jsonl": "json", ".parquet": "parquet", ".csv": "csv"}[path.suffix]
    return load_dataset(kind, data_files=str(path), split="train", cache_dir=str(cache))


# What is written


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_votes_and_written_answers_are_rows_and_ties_are_counted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    done = export(judged_tasks(), path)
    rows = load(path, tmp_path / "cache")
    assert set(rows.column_names) == PREFERENCE
    assert Counter(rows["kind"]) == {"vote": 15, "written": 15}
    assert done.excluded == {"tie": 5, "both bad": 5, "skipped": 5}
    first, second = rows[0], rows[1]
    assert (first["prompt"], first["chosen"], first["rejected"]) == (PROMPTS[0], "Left.", "Right.")
    assert (second["chosen"], second["margin"], second["weight"]) == ("Right.", pytest.approx(2 / 3), 1.0)
    assert (second["task_id"], second["annotation_id"], second["annotator_id"]) == (101, 2, 5)
    assert (second["suggested_version"], second["judged_at"]) == ("v1-20260101-000000", "2026-11-21T12:02:04.939797Z")
    assert [first["suggested_version"], first["judged_at"], first["margin"]] == ["", "", 0.0]


def test_each_row_names_the_guidelines_that_stood_when_its_judgement_was_made(tmp_path: Path) -> None:
    known = Guidelines(
        versions=(GuidelinesVersion(), GuidelinesVersion(version="3f2a9c1b", since=datetime(2026, 11, 21, tzinfo=UTC)))
    )
    export(judged_tasks(), tmp_path / "pairs.jsonl", guidelines=known)
    rows = load(tmp_path / "pairs.jsonl", tmp_path / "cache")
    assert [row["guidelines"] for row in rows] == ["3f2a9c1b" if row["judged_at"] else "" for row in rows]
    assert len(set(rows["guidelines"])) == 2


def test_each_row_says_whether_its_prompt_is_held_out(tmp_path: Path) -> None:
    done = export(judged_tasks(), tmp_path / "pairs.jsonl", holdout=Holdout(0.3))
    rows = load(tmp_path / "pairs.jsonl", tmp_path / "cache")
    assert [row["split"] for row in rows] == ["holdout" if Holdout(0.3).has(row["prompt"]) else "train" for row in rows]
    assert Counter(rows["split"]) == {"train": done.num_train, "holdout": done.num_holdout}
    assert done.num_train and done.num_holdout


def test_a_row_that_the_next_round_neither_trains_on_nor_judges_by_is_for_neither(tmp_path: Path) -> None:
    under_way = Holdout.after([Holdout(0.1)], 0.3)  # HOLDOUT_FRACTION was raised
    done = export(judged_tasks(), tmp_path / "pairs.jsonl", holdout=under_way)
    rows = load(tmp_path / "pairs.jsonl", tmp_path / "cache")
    unused = {row["prompt"] for row in rows if row["split"] == "unused"}
    assert unused == {row["prompt"] for row in rows if Holdout(0.3).has(row["prompt"]) and not Holdout(0.1).has(row["prompt"])}
    assert Counter(rows["split"]) == {"train": done.num_train, "holdout": done.num_holdout, "unused": done.num_unused}
    assert done.num_unused


def test_conversational_texts_are_lists_of_messages(tmp_path: Path) -> None:
    export(judged_tasks(), tmp_path / "pairs.parquet", conversational=True)
    row = load(tmp_path / "pairs.parquet", tmp_path / "cache")[0]
    assert row["prompt"] == [{"role": "user", "content": PROMPTS[0]}]
    assert row["chosen"] == [{"role": "assistant", "content": "Left."}]
    assert row["rejected"] == [{"role": "assistant", "content": "Right."}]


def test_a_conversation_keeps_every_turn(tmp_path: Path) -> None:
    said = [
        {"role": role, "content": text}
        for role, text in (("system", "Be brief."), ("user", "Why?"), ("assistant", "So."), ("user", "How?"))
    ]
    chat = LabelingLayout(
        "comparison", ("answer1", "answer2"), ("answer1", "answer2"), "prompt", (None, None), message_keys=MessageKeys()
    )
    tasks = [task(vote("left"), id=k, data={**DATA, "prompt": prompt}) for k, prompt in enumerate((said, said[1:2]))]
    for path in (tmp_path / "pairs.jsonl", tmp_path / "pairs.parquet"):
        export(tasks, path, conversational=True, layout=chat)
        assert load(path, tmp_path / "cache")["prompt"][:] == [said, said[1:2]]

    export(tasks, tmp_path / "texts.jsonl", layout=chat)

    assert load(tmp_path / "texts.jsonl", tmp_path / "cache")["prompt"][:] == [
        "System: Be brief.\n\nUser: Why?\n\nAssistant: So.\n\nUser: How?",
        "Why?",
    ]


def test_demonstrations_are_the_written_answers_once_each(tmp_path: Path) -> None:
    done = export(judged_tasks(), tmp_path / "demonstrations.jsonl", "sft")
    rows = load(tmp_path / "demonstrations.jsonl", tmp_path / "cache")
    assert set(rows.column_names) == {"prompt", "completion", *ORIGIN}
    assert len(rows) == len(set(rows["prompt"])) == 10
    assert set(rows["completion"]) == {"Better."}
    assert done.excluded == {"skipped": 5, "without a written answer": 15}


def test_csv_has_everything_ties_as_two_half_votes(tmp_path: Path) -> None:
    done = export(judged_tasks(), tmp_path / "pairs.csv", "csv")
    rows = load(tmp_path / "pairs.csv", tmp_path / "cache")
    assert set(rows.column_names) == PREFERENCE
    assert Counter(zip(rows["kind"], rows["weight"], strict=True)) == {
        ("vote", 1.0): 15, ("tie", 0.5): 10, ("both_bad", 0.5): 10, ("written", 1.0): 5, ("written", 0.5): 10,
    }  # fmt: skip
    assert done.excluded == {"skipped": 5}


@pytest.mark.parametrize(("suffix", "format_name"), [(".jsonl", "trl"), (".parquet", "trl"), (".csv", "csv")])
def test_any_text_is_read_back_as_it_was(tmp_path: Path, suffix: str, format_name: Format) -> None:
    odd = {"prompt": f"{ODD}?", "answer1": ODD, "answer2": "Plain."}
    export([task(vote("left"), data=odd)], tmp_path / f"odd{suffix}", format_name)
    row = load(tmp_path / f"odd{suffix}", tmp_path / "cache")[0]
    readable = ODD.replace("\ud83d", "\N{REPLACEMENT CHARACTER}")
    assert (row["prompt"], row["chosen"], row["rejected"]) == (f"{readable}?", readable, "Plain.")


def test_a_value_that_first_appears_after_ten_megabytes_can_still_be_loaded(tmp_path: Path) -> None:
    """`datasets` takes a column's type from the first 10 MB, in which no annotator may have had a suggestion yet."""
    long = {**DATA, "answer1": "long " * 20_000}
    nobody = [task(vote("left", completed_by=None), data={**long, "prompt": p}) for p in PROMPTS[:110]]
    export([*nobody, judged_tasks()[1]], tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").stat().st_size > 10 << 20
    rows = load(tmp_path / "pairs.jsonl", tmp_path / "cache")
    assert [rows[n]["suggested_version"] for n in (0, -1)] == ["", "v1-20260101-000000"]
    assert [rows[n]["annotator_id"] for n in (0, -1)] == [0, 5]


def test_ground_truth_is_preferred_if_asked_for(tmp_path: Path) -> None:
    judged = task(vote("left"), vote("right", id=2, ground_truth=True))
    done = export([judged], tmp_path / "pairs.jsonl", prefer_ground_truth=True)
    assert load(tmp_path / "pairs.jsonl", tmp_path / "cache")["annotation_id"][:] == [2]
    assert done.excluded == {"not ground truth": 1}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_criteria_are_a_column_and_filter_rows(tmp_path: Path, suffix: str) -> None:
    layout = replace(FULL, control_names=FULL.control_names | {"clarity"})
    clear, unclear = (vote_with(tag_result("clarity", "rating", {"rating": n}), side="left", id=n) for n in (4, 1))
    path = tmp_path / f"pairs{suffix}"
    format_name: Format = "csv" if suffix == ".csv" else "trl"

    export([task(vote("left"), clear, unclear)], path, format_name, layout=layout)
    assert load(path, tmp_path / "all")["criteria"][:] == ["{}", '{"clarity": 1}', '{"clarity": 4}']

    done = export([task(vote("left"), clear, unclear)], path, format_name, layout=layout, where=conditions("clarity>2"))
    assert load(path, tmp_path / "clear")["criteria"][:] == ['{"clarity": 4}']
    assert done.excluded == {"filtered out": 2}


# TRL takes it


def _tokenizer(base: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.padding_side = "right"
    return tokenizer


FILES_FOR_TRL = [
    (".jsonl", "trl", False),
    (".jsonl", "trl", True),
    (".parquet", "trl", False),
    (".parquet", "trl", True),
    (".csv", "csv", False),
]


TINY_STEPS: dict[str, Any] = {
    "max_steps": 2,
    "activation_checkpointing": False,
    "per_device_train_batch_size": 4,
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "logging_steps": 1,
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
}


def train(trainer: Any) -> list[float]:
    """The loss of each step, which must have moved the weights."""
    trainer.remove_callback(PrinterCallback)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    assert any(not torch.equal(weight, before[name]) for name, weight in trainer.model.named_parameters())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    return losses


@pytest.mark.parametrize(("suffix", "format_name", "conversational"), FILES_FOR_TRL)
def test_the_reward_trainer_takes_it(
    tmp_path: Path, tiny_chat_base: Path, suffix: str, format_name: Format, conversational: bool
) -> None:
    export(judged_tasks(), tmp_path / f"pairs{suffix}", format_name, conversational=conversational)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_chat_base, num_labels=1)
    trainer: Any = RewardTrainer(
        model=model,
        args=RewardConfig(output_dir=str(tmp_path / "out"), **TINY_STEPS),
        train_dataset=load(tmp_path / f"pairs{suffix}", tmp_path / "cache"),
        processing_class=_tokenizer(tiny_chat_base),
    )
    assert "margin" in trainer.train_dataset.column_names
    train(trainer)


# trl 1.16 asks transformers 5.23 under a name of old.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize(("suffix", "format_name", "conversational"), FILES_FOR_TRL)
def test_the_dpo_trainer_takes_it(
    tmp_path: Path, tiny_chat_base: Path, suffix: str, format_name: Format, conversational: bool
) -> None:
    export(judged_tasks(), tmp_path / f"pairs{suffix}", format_name, conversational=conversational)
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_chat_base),
        args=DPOConfig(output_dir=str(tmp_path / "out"), **TINY_STEPS),
        train_dataset=load(tmp_path / f"pairs{suffix}", tmp_path / "cache"),
        processing_class=_tokenizer(tiny_chat_base),
    )
    train(trainer)


@pytest.mark.parametrize("conversational", [False, True], ids=["plain", "conversational"])
@pytest.mark.parametrize("format_name", ["sft", "hindsight"])
def test_the_sft_trainer_takes_demonstrations_and_hindsight(
    tmp_path: Path, tiny_chat_base: Path, format_name: Format, conversational: bool
) -> None:
    export(judged_tasks(), tmp_path / "texts.jsonl", format_name, conversational=conversational)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_chat_base),
        args=SFTConfig(output_dir=str(tmp_path / "out"), **TINY_STEPS),
        train_dataset=load(tmp_path / "texts.jsonl", tmp_path / "cache"),
        processing_class=_tokenizer(tiny_chat_base),
    )
    train(trainer)


def test_the_reward_trainer_asks_for_a_larger_gap_if_the_vote_was_strong(tmp_path: Path, tiny_base: Path) -> None:
    losses = {}
    for stars in (1, 4):
        strength = tag_result("strength", "rating", {"rating": stars})
        strong = [task(vote_with(strength, side="left"), data={**DATA, "prompt": p}) for p in PROMPTS[:8]]
        export(strong, tmp_path / f"{stars}.jsonl")
        trainer = RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(tiny_base, num_labels=1),
            args=RewardConfig(output_dir=str(tmp_path / "out"), seed=0, **TINY_STEPS),
            train_dataset=load(tmp_path / f"{stars}.jsonl", tmp_path / "cache"),
            processing_class=_tokenizer(tiny_base),
        )
        losses[stars] = train(trainer)[0]
    assert losses[4] > losses[1]


# What is refused


@pytest.mark.parametrize(
    ("name", "format_name", "message"),
    [
        ("pairs.json", "trl", "{path} should end with .jsonl or .parquet for --format trl."),
        ("pairs", "sft", "{path} should end with .jsonl or .parquet for --format sft."),
        ("pairs.csv", "kto", "{path} should end with .jsonl or .parquet for --format kto."),
        ("pairs.jsonl", "csv", "{path} should end with .csv for --format csv."),
        (
            "nowhere/pairs.jsonl",
            "trl",
            "{path} cannot be written; name a file in a folder that exists and that you may write to.",
        ),
        ("folder.jsonl", "trl", "{path} cannot be written; name a file in a folder that exists and that you may write to."),
    ],
)
def test_a_path_that_does_not_fit_is_refused_before_anything_is_read(
    tmp_path: Path, name: str, format_name: Format, message: str
) -> None:
    (tmp_path / "folder.jsonl").mkdir()

    def tasks() -> Iterator[dict[str, Any]]:
        raise AssertionError("Label Studio was asked")
        yield

    path = tmp_path / name
    with pytest.raises(ExportError) as caught:
        export_judgements(tasks(), path, format_name=format_name, layout=FULL, holdout=Holdout(0.2))
    assert str(caught.value) == message.format(path=path)


def test_messages_in_csv_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^CSV holds no lists of messages; omit --conversational"):
        export(judged_tasks(), tmp_path / "pairs.csv", "csv", conversational=True)


def test_nothing_to_export_is_an_error_with_the_counts_and_no_file_is_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export([task(vote_with(TIE), vote(None))], tmp_path / "pairs.jsonl")
    assert str(caught.value) == "There is nothing to export (1 empty, 1 tie); judge some tasks first."
    with pytest.raises(ExportError, match=r"^There is nothing to export \(no judgements\); judge some tasks first\.$"):
        export([], tmp_path / "pairs.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_without_demonstrations_the_error_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        export([task(vote("left"))], tmp_path / "demonstrations.jsonl", "sft")
    assert str(caught.value) == (
        "There are no demonstrations to export (1 without a written answer): they are the better answers that annotators write; "
        'give the label config a <TextArea name="better_answer"> as in label_config.xml, or export --format trl.'
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_full_disk_leaves_the_earlier_file_as_it_was(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pairs{suffix}"
    path.write_text("earlier", encoding="utf-8")
    long = [task(vote("left"), data={**DATA, "prompt": f"{p} {p * n}"}) for n, p in enumerate(PROMPTS[:300])]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # this process cannot write a longer file
    try:
        with pytest.raises(ExportError) as caught:
            export(long, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == f"{path} cannot be written (File too large); free some space, or name another file."
    assert path.read_text(encoding="utf-8") == "earlier"
    assert list(tmp_path.iterdir()) == [path]
