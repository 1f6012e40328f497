import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from datasets import load_dataset

from preference.labelling.holdout import Holdout
from tests.conftest import SettingsFactory
from tests.support.certified_house import UNSURE, CertifiedHouse
from tests.support.studio_double import KEY, StudioDouble
from trainer.__main__ import main


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path) -> CertifiedHouse:
    """With a certificate, seven open tasks that it covers and three that it does not, and sixty judged ones."""
    house = CertifiedHouse(studio, settings_for, tiny_base)
    house.be_sure_of_half()
    house.add(7)
    house.add(3, more_words=UNSURE)
    return house


def export(house: CertifiedHouse, path: Path, *arguments: str) -> Result:
    environ = {"MODEL_DIR": str(house.settings.model_dir), "LABEL_STUDIO_URL": house.studio.url, "LABEL_STUDIO_API_KEY": KEY}
    environ |= {"DEVICE": "cpu", "CONTROL_PERCENT": "50"}
    return CliRunner().invoke(main, ["export", "--project", str(house.project.id), "--out", str(path), *arguments], env=environ)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_every_row_says_that_it_is_the_models_and_nobodys_and_by_which_certificate(
    house: CertifiedHouse, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"certified.{ending}"

    result = export(house, path, "--certified")

    kind = {"jsonl": "json"}.get(ending, ending)
    rows = list(load_dataset(kind, data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")))
    assert result.exit_code == 0, result.output
    name = f"{house.champion}-c1"
    assert result.stdout.startswith(f"project {house.project.id}: by {name}, the model's and nobody's judgements: ")
    assert result.stdout.endswith(f" are in {path}; excluded: 3 not sure enough\n")
    assert len(rows) == 7
    for row in rows:
        assert (row["source"], row["version"], row["certificate"], row["agreement"]) == ("model", house.champion, name, 0.8)
        assert row["confidence"] > 0.96 and len(row["chosen"]) > len(row["rejected"])
        assert not house.studio.tasks[row["task_id"]]["annotations"]
        assert row["split"] == ("holdout" if Holdout(0.2, rule=1).has(row["prompt"]) else "train")


def test_peoples_rows_and_the_models_are_never_in_one_file(house: CertifiedHouse, tmp_path: Path) -> None:
    people, model = tmp_path / "people.jsonl", tmp_path / "model.jsonl"
    assert export(house, people).exit_code == export(house, model, "--certified").exit_code == 0

    by_people, by_model = ([json.loads(line) for line in path.read_text().splitlines()] for path in (people, model))

    assert len(by_people) == 60 and not any("source" in row for row in by_people)
    assert not {row["task_id"] for row in by_people} & {row["task_id"] for row in by_model}


def test_messages_and_csv_are_written_as_well(house: CertifiedHouse, tmp_path: Path) -> None:
    path = tmp_path / "certified.jsonl"
    assert export(house, path, "--certified", "--conversational").exit_code == 0
    row = json.loads(path.read_text().splitlines()[0])
    assert row["prompt"][0]["role"] == "user" and row["chosen"][0]["role"] == "assistant"
    assert export(house, tmp_path / "certified.csv", "--certified", "--format", "csv").exit_code == 0
    assert (tmp_path / "certified.csv").read_text().splitlines()[0].startswith('"prompt","chosen","rejected","source"')


@pytest.mark.parametrize(
    "others", [["--aggregate", "majority"], ["--format", "kto"], ["--version", "v1"], ["--where", "a=b"], ["--chosen"]]
)
def test_what_is_about_peoples_judgements_does_not_go_with_it(house: CertifiedHouse, tmp_path: Path, others: list[str]) -> None:
    result = export(house, tmp_path / "x.jsonl", "--certified", *others)
    assert result.exit_code == 2 and "--certified writes the model's side of tasks that nobody judged" in result.stderr


def test_without_a_certificate_that_covers_something_no_file_is_written(house: CertifiedHouse, tmp_path: Path) -> None:
    house.publish()
    result = export(house, tmp_path / "x.jsonl", "--certified")
    assert result.exit_code == 1 and "Error: No certificate covers open tasks of project 1 now: " in result.stderr
    assert not (tmp_path / "x.jsonl").exists()
