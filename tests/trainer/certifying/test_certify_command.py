import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from preference.report_card.certificate import read_certificates
from tests.conftest import SettingsFactory
from tests.support.certified_house import CertifiedHouse
from tests.support.studio_double import KEY, StudioDouble
from trainer.__main__ import main


@pytest.fixture
def house(studio: StudioDouble, settings_for: SettingsFactory, tiny_base: Path) -> CertifiedHouse:
    """With blind judgements of some half of its tasks, as much as the setting allows."""
    house = CertifiedHouse(studio, settings_for, tiny_base)
    house.judge(house.add(80), agreeing=80)
    house.add(5)
    return house


def invoke(house: CertifiedHouse, *arguments: object, control_percent: int = 50) -> Result:
    environ = {"MODEL_DIR": str(house.settings.model_dir), "LABEL_STUDIO_URL": house.studio.url, "LABEL_STUDIO_API_KEY": KEY}
    environ |= {"DEVICE": "cpu", "CONTROL_PERCENT": str(control_percent)}
    return CliRunner().invoke(main, ["certify", "--project", str(house.project.id), *map(str, arguments)], env=environ)


def test_the_command_says_what_is_certified_and_keeps_it(house: CertifiedHouse) -> None:
    result = invoke(house, "--agreement", 0.8, "--confidence", 0.9)

    (kept,) = read_certificates(house.folder.path)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"project {house.project.id}: {kept}\n"
    assert f"{house.champion} is certified from confidence 0.96 on: " in result.stdout
    assert "that is 100.0 % of the 5 open tasks" in result.stdout


def test_not_yet_is_a_result(house: CertifiedHouse) -> None:
    house.champion = house.publish()

    result = invoke(house, "--json")

    values = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (values["certified_from"], values["num_votes"], values["target"], values["look"]) == (None, 0, 0.8, 1)
    assert values["reason"] == "there are 0 blind judgements on prompts that are new to it, and 25 are needed at least"


@pytest.mark.parametrize("wrong", [("--agreement", "0.5"), ("--agreement", "1"), ("--confidence", "1"), ("--agreement", "80")])
def test_shares_that_cannot_be_certified_are_refused(house: CertifiedHouse, wrong: tuple[str, str]) -> None:
    result = invoke(house, *wrong)
    assert result.exit_code == 2 and wrong[0] in result.stderr


def test_without_a_control_group_one_sentence_says_what_to_do(house: CertifiedHouse) -> None:
    result = invoke(house, control_percent=0)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "Error: CONTROL_PERCENT=0, so that nobody judges without a suggestion; set it to 10, say, for the backend and here."
    )
