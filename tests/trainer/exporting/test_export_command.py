import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from preference.labelling.holdout import Holdout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from tests.support.annotations import JUDGED, PROMPTS, vote
from tests.support.studio_double import KEY, StudioDouble
from tests.support.templates import RECORDED
from tests.support.version_house import CARD, trained_in
from tests.support.versions import publish_version
from trainer.__main__ import main
from trainer.rounds.reading import read_pairs
from trainer.rounds.reading_context import ReadingContext


def invoke(studio: StudioDouble, folder: Path, *arguments: str) -> Result:
    environ = {"MODEL_DIR": str(folder), "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "HOLDOUT_FRACTION": "0.5"}
    return CliRunner().invoke(main, ["export", *arguments], env=environ)


@pytest.fixture
def project_id(studio: StudioDouble) -> int:
    """A project whose four tasks were judged as those that were recorded."""
    project_id = studio.add_project()
    for name in ("left", "tie", "strength_and_written", "skipped"):
        recorded = JUDGED["tasks"][name]
        (task_id,) = studio.add_tasks(project_id, recorded["data"])
        studio.annotate(task_id, recorded["annotations"][0]["result"], is_skip=name == "skipped")
    return project_id


def test_the_command_says_what_it_wrote_and_what_it_excluded(studio: StudioDouble, project_id: int, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    result = invoke(studio, tmp_path, "--project", str(project_id), "--out", str(path))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    num_train = sum(row["split"] == "train" for row in rows)
    assert result.output == (
        f"project {project_id}: {num_train} rows to train on and {3 - num_train} held out are in {path}; excluded: 1 tie, 1 skipped\n"
    )
    assert result.exit_code == 0
    assert [(row["kind"], row["split"]) for row in rows] == [
        (kind, "holdout" if Holdout(0.5).has(row["prompt"]) else "train")
        for kind, row in zip(("vote", "vote", "written"), rows, strict=True)
    ]
    assert rows[1]["margin"] == pytest.approx(1 / 3)


def test_the_command_splits_as_the_projects_next_round_does(studio: StudioDouble, tmp_path: Path) -> None:
    project_id = studio.add_project()
    folder = ProjectFolder(tmp_path, project_id)
    Versions(folder).publish(trained_in(tmp_path), replace(CARD, holdout_fraction=0.5, holdout_rule=1))
    for prompt in PROMPTS[:40]:
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": "Left.", "answer2": "Right."})
        studio.annotate(task_id, vote("left")["result"])

    invoke(studio, tmp_path, "--project", str(project_id), "--out", str(tmp_path / "pairs.jsonl"))

    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    before = Holdout(0.5, rule=1)
    assert [row["split"] for row in rows] == ["holdout" if before.has(prompt) else "train" for prompt in PROMPTS[:40]]


@pytest.mark.parametrize(("served", "held_out"), [(0.7, 0.7), (0.3, 0.5), (1.0, 0.5)], ids=["more", "fewer", "trained on none"])
def test_what_the_served_version_was_judged_by_is_held_out(
    studio: StudioDouble, tmp_path: Path, served: float, held_out: float
) -> None:
    """A first round holds out more than HOLDOUT_FRACTION if people judged few prompts."""
    project_id = studio.add_project()
    versions = Versions(ProjectFolder(tmp_path, project_id))
    versions.publish(trained_in(tmp_path), replace(CARD, holdout_fraction=served, holdout_rule=2), promote=True)
    for prompt in PROMPTS[:60]:
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": "Left.", "answer2": "Right."})
        studio.annotate(task_id, vote("left")["result"])

    for format_name in ("trl", "prompts"):
        path = tmp_path / f"{format_name}.jsonl"
        invoke(studio, tmp_path, "--project", str(project_id), "--format", format_name, "--out", str(path))
        splits = {row["prompt"]: row["split"] for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        assert [splits[prompt] == "train" for prompt in PROMPTS[:60]] == [not Holdout(held_out).has(p) for p in PROMPTS[:60]]
        assert [splits[p] == "holdout" for p in PROMPTS[:60]] == [Holdout(min(held_out, served)).has(p) for p in PROMPTS[:60]]


def test_before_the_first_version_it_splits_as_the_first_round_would(studio: StudioDouble, tmp_path: Path) -> None:
    """HOLDOUT_FRACTION of these prompts has too few comparisons for a verdict, so the first round holds out more."""
    project_id = studio.add_project()
    for prompt in PROMPTS[:40]:
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": "Left.", "answer2": "Right."})
        studio.annotate(task_id, vote("left")["result"])
    environ = {
        "MODEL_DIR": str(tmp_path),
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": KEY,
        "HOLDOUT_FRACTION": "0.05",
    }
    settings = Settings.from_environ(environ)
    project = LabelStudioProject(settings.studio, project_id)
    first_round = read_pairs(ReadingContext(project, ProjectFolder(tmp_path, project_id), settings))
    assert first_round.holds_out.fraction > 0.05

    for format_name in ("trl", "prompts"):
        path = tmp_path / f"{format_name}.jsonl"
        arguments = ["export", "--project", str(project_id), "--format", format_name, "--out", str(path)]
        result = CliRunner().invoke(main, arguments, env=environ)
        assert result.exit_code == 0, result.output
        splits = {row["prompt"]: row["split"] for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        held_out = {prompt for prompt, split in splits.items() if split == "holdout"}
        assert held_out == {pair.prompt for pair in first_round.votes}


def test_the_command_turns_no_judgement_round(studio: StudioDouble, project_id: int, tmp_path: Path) -> None:
    fields = {"prompt": "prompt", "left": "answer2", "right": "answer1"}  # before the label config was changed
    Versions(ProjectFolder(tmp_path, project_id)).publish(trained_in(tmp_path), replace(CARD, fields=fields))
    path = tmp_path / "pairs.jsonl"

    result = invoke(studio, tmp_path, "--project", str(project_id), "--out", str(path))

    assert result.exit_code == 1 and "each earlier judgement would count for the other answer" in result.output
    assert not path.exists()


def test_the_command_writes_messages_and_demonstrations(studio: StudioDouble, project_id: int, tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.jsonl"
    options = ["--format", "sft", "--conversational", "--out", str(path)]
    assert invoke(studio, tmp_path, "--project", str(project_id), *options).exit_code == 0
    (row,) = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert row["completion"] == [{"role": "assistant", "content": "Air scatters blue light most."}]


def test_the_command_asks_label_studio_nothing_for_a_path_that_does_not_fit(
    studio: StudioDouble, project_id: int, tmp_path: Path
) -> None:
    result = invoke(studio, tmp_path, "--project", str(project_id), "--out", str(tmp_path / "pairs.txt"))
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path / 'pairs.txt'} should end with .jsonl or .parquet for --format trl.\n"
    assert studio.requests == []


def test_the_command_names_the_criteria_if_a_condition_is_on_another(
    studio: StudioDouble, project_id: int, tmp_path: Path
) -> None:
    options = ["--project", str(project_id), "--out", str(tmp_path / "pairs.jsonl")]
    other = invoke(studio, tmp_path, *options, "--where", "tone=kind")
    assert (other.exit_code, other.output) == (
        1, "Error: --where tone=kind: the label config has no such control beside the comparison; it has: none.\n"
    )  # fmt: skip
    unread = invoke(studio, tmp_path, *options, "--where", "kind")
    assert unread.exit_code == 2 and "'kind' should be a condition such as clarity=Clear or relevance>=3" in unread.output


def test_the_command_filters_by_what_annotators_say_beside_the_comparison(
    studio: StudioDouble, project_id: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = studio.projects[project_id]["label_config"]
    studio.projects[project_id]["label_config"] = config.replace("<Pairwise", '<Rating name="clarity" toName="prompt"/><Pairwise')
    for stars in (1, 2, 5):
        (task_id,) = studio.add_tasks(project_id, {"prompt": f"Why {stars}?", "answer1": "Left.", "answer2": "Right."})
        region = {"from_name": "clarity", "to_name": "prompt", "type": "rating", "value": {"rating": stars}}
        studio.annotate(task_id, [*vote("left")["result"], region])
    path = tmp_path / "pairs.jsonl"
    options = ["--project", str(project_id), "--out", str(path)]

    assert "5 filtered out" in invoke(studio, tmp_path, *options, "--where", "clarity>1", "--where", "clarity<5").output
    assert [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()] == ["Why 2?"]
    monkeypatch.setenv("JUDGEMENTS_WHERE", "clarity=5; tone=kind")
    assert "filtered out" in invoke(studio, tmp_path, *options).output
    assert [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()] == ["Why 5?"]


def test_the_command_writes_what_people_wrote(studio: StudioDouble, tmp_path: Path) -> None:
    project_id = studio.add_project(RECORDED["generative-ai/supervised-llm"])
    (task_id,) = studio.add_tasks(project_id, {"prompt": "Why?"})
    region = {"from_name": "instruction", "to_name": "prompt", "type": "textarea", "value": {"text": ["Because."]}}
    studio.annotate(task_id, [region])
    options = ["--project", str(project_id), "--out", str(tmp_path / "w.csv")]

    result = invoke(studio, tmp_path, *options, "--format", "csv")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "w.csv").read_text(encoding="utf-8").startswith('"prompt","instruction","task_id",')
    pairs = invoke(studio, tmp_path, "--project", str(project_id), "--out", str(tmp_path / "w.jsonl"))
    assert pairs.exit_code == 1 and "no pairs for --format trl; export --format sft, or csv." in pairs.output


def test_the_command_fails_without_judgements_and_for_an_unknown_project(studio: StudioDouble, tmp_path: Path) -> None:
    empty = invoke(studio, tmp_path, "--project", str(studio.add_project()), "--out", str(tmp_path / "pairs.jsonl"))
    assert (empty.exit_code, empty.output) == (1, "Error: There is nothing to export (no judgements); judge some tasks first.\n")
    unknown = invoke(studio, tmp_path, "--project", "999", "--out", str(tmp_path / "pairs.jsonl"))
    assert unknown.exit_code == 1 and unknown.output.startswith("Error: Label Studio has no such thing in project 999")


def test_an_unknown_format_is_refused_with_those_that_there_are(studio: StudioDouble, tmp_path: Path) -> None:
    result = invoke(studio, tmp_path, "--project", "1", "--format", "xml", "--out", str(tmp_path / "pairs.jsonl"))
    assert (
        result.exit_code == 2
        and "'xml' is not one of 'trl', 'dpo', 'kto', 'sft', 'hindsight', 'prompts', 'csv', 'model'" in result.output
    )


def test_dpo_is_another_name_of_trl(studio: StudioDouble, project_id: int, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("trl", "dpo")}
    for name, path in paths.items():
        assert invoke(studio, tmp_path, "--project", str(project_id), "--format", name, "--out", str(path)).exit_code == 0
    assert paths["trl"].read_bytes() == paths["dpo"].read_bytes()


def test_votes_are_taken_together_and_all_prompts_are_written(studio: StudioDouble, tmp_path: Path) -> None:
    project_id = studio.add_project()
    (task_id, _) = studio.add_tasks(project_id, {"prompt": "Why?", "answer1": "Left.", "answer2": "Right."}, {"prompt": "Who?"})
    for side in ("left", "left", "right"):
        studio.annotate(task_id, vote(side)["result"])

    def rows(*arguments: str) -> list[dict[str, Any]]:
        path = tmp_path / "rows.jsonl"
        result = invoke(studio, tmp_path, "--project", str(project_id), "--out", str(path), *arguments)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    assert len(rows()) == 3 and [row["chosen"] for row in rows("--aggregate", "majority")] == ["Left."]
    assert [row["completion"] for row in rows("--format", "sft", "--chosen")] == ["Left."]
    assert [row["prompt"] for row in rows("--format", "prompts")] == ["Why?", "Who?"]
    result = invoke(
        studio, tmp_path, "--project", str(project_id), "--out", str(tmp_path / "few.jsonl"), "--min-agreement", "0.7"
    )
    assert result.exit_code == 1 and "nothing to export (3 too little agreement)" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--chosen"], "--chosen goes with --format sft."),
        (["--format", "prompts", "--where", "a=b"], "are about judgements; --format prompts writes all prompts."),
        (["--format", "prompts", "--aggregate", "majority"], "are about judgements; --format prompts writes all prompts."),
        (["--min-agreement", "80"], "80.0 is not in the range 0<=x<=1"),
        (["--format", "model", "--where", "a=b"], "--format model writes the reward model; only --version goes with it."),
        (["--version", "v3"], "--version goes with --format model."),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    studio: StudioDouble, project_id: int, tmp_path: Path, arguments: list[str], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    result = invoke(studio, tmp_path, "--project", str(project_id), "--out", str(path), *arguments)
    assert result.exit_code == 2 and message in " ".join(result.output.split()) and not path.exists()


def test_a_project_of_demonstrations_has_no_votes_to_take_together(studio: StudioDouble, tmp_path: Path) -> None:
    project_id = studio.add_project(RECORDED["generative-ai/supervised-llm"])
    arguments = [
        "--project",
        str(project_id),
        "--format",
        "sft",
        "--out",
        str(tmp_path / "rows.jsonl"),
        "--aggregate",
        "majority",
    ]
    result = invoke(studio, tmp_path, *arguments)
    assert result.exit_code == 2 and "are about comparisons; this project has none." in " ".join(result.output.split())


# The reward model itself


def test_the_model_is_written_into_a_new_folder_with_what_it_costs(
    studio: StudioDouble, tiny_chat_base: Path, tmp_path: Path
) -> None:
    project_id = studio.add_project()
    for prompt in PROMPTS[:20]:
        (task_id,) = studio.add_tasks(project_id, {"prompt": prompt, "answer1": "Left.", "answer2": "Right, it is."})
        studio.annotate(task_id, vote("right")["result"])
    folder = ProjectFolder(tmp_path, project_id)
    versions = [publish_version(folder, tiny_chat_base, weight=weight) for weight in (1, -1)]
    Versions(folder).promote(versions[0])
    asked = ["--project", str(project_id), "--format", "model"]

    served = invoke(studio, tmp_path, *asked, "--out", str(tmp_path / "served"))
    other = invoke(studio, tmp_path, *asked, "--out", str(tmp_path / "other"), "--version", "v2")

    assert served.exit_code == 0, served.output
    says = rf"project {project_id}: {versions[0]}, as a classifier that comes near it \(held-out accuracy of the version in Pairloop: 1.000"
    assert re.search(says, served.stdout) and served.stdout.endswith(f"is in {tmp_path / 'served'}\n")
    assert f"{versions[1]}, as a classifier" in other.stdout and "version in Pairloop: 0.000" in other.stdout
    again = invoke(studio, tmp_path, *asked, "--out", str(tmp_path / "served"))
    assert (again.exit_code, again.stderr.splitlines()[-1]) == (
        1, f"Error: {tmp_path / 'served'} exists; name a folder that does not, since nothing is overwritten."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ([], "serves no version yet; `pairloop-trainer once` trains one, or name one with --version."),
        (["--version", "v9"], "has no version 'v9'; it has: none."),
    ],
)
def test_without_a_version_there_is_nothing_to_write(
    studio: StudioDouble, project_id: int, tmp_path: Path, version: list[str], why: str
) -> None:
    result = invoke(
        studio, tmp_path, "--project", str(project_id), "--format", "model", "--out", str(tmp_path / "model"), *version
    )
    assert result.exit_code == 1 and f"Error: Project {project_id} {why}" in result.output
    assert not (tmp_path / "model").exists()
