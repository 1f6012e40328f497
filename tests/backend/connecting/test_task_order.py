"""The order of a project's tasks in Label Studio, before, while and after it is connected."""

import pytest

from tests.support.connecting_house import House
from tests.support.studio_double import StudioDouble


def order(house: House) -> str:
    return str(house.studio.projects[house.id]["sampling"])


@pytest.mark.parametrize("before", ["Sequential sampling", "Uniform sampling", "Uncertainty sampling"])
def test_what_was_there_before_is_put_back_whatever_order_is_set_meanwhile(
    studio: StudioDouble, house: House, before: str
) -> None:
    studio.projects[house.id]["sampling"] = before
    house.connect()
    at_random = house.settings.replace(order="random")
    house.connect(at_random)
    assert order(house) == "Uniform sampling"

    done = house.disconnect()  # with the setting as it was at first

    assert order(house) == before
    assert (f"switched back to {before.lower()}" in done) == (before != "Uniform sampling")
    assert not (house.folder.path / "sampling.json").exists()


def test_what_somebody_chose_meanwhile_is_what_the_next_disconnection_puts_back(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.projects[house.id]["sampling"] = "Uniform sampling"
    assert house.connect() == ["switched uncertainty sampling on"]

    house.disconnect()

    assert order(house) == "Uniform sampling"


def test_a_project_of_an_earlier_build_gets_label_studios_default(studio: StudioDouble, house: House) -> None:
    house.connect()
    (house.folder.path / "sampling.json").write_text("{")

    assert "switched back to sequential sampling" in house.disconnect()
    assert order(house) == "Sequential sampling"
