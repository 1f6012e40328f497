import dataclasses
import json
from pathlib import Path

import pytest

from preference.errors import ChampionChanged
from preference.generation.jobs import Adapter
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators, of_name
from preference.projects.versions import Versions
from tests.support.dying import CARD as REWARD_CARD
from tests.support.generator_versions import CARD, publish
from tests.support.version_house import refusal


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / "models", 3)


def test_the_base_answers_until_one_is_promoted(folder: ProjectFolder) -> None:
    assert Generators(folder).champion() == BASE
    assert Generators(folder).all() == []

    first = publish(folder)
    second = publish(folder, promote=True)

    assert Generators(folder).all() == [first, second]
    assert (first[:3], second[:3]) == ("g1-", "g2-")
    assert Generators(folder).champion() == second
    assert (folder.path / "generator").read_text(encoding="utf-8") == f"{second}\n"


def test_engines_learn_what_a_versions_answers_go_on_from(folder: ProjectFolder) -> None:
    plain = publish(folder)
    begun = publish(folder, dataclasses.replace(CARD, answer_prefix="A good answer:\n"), promote=True)
    generators = Generators(folder)

    assert generators.served() == Adapter(begun, generators.path(begun), "A good answer:\n")
    assert generators.adapter(plain) == Adapter(plain, generators.path(plain))
    assert generators.adapter(BASE) is None
    (generators.path(begun) / "card.json").write_text("[]", encoding="utf-8")
    assert "is not a generator's card" in refusal(generators.served)


def test_a_card_is_read_as_it_was_written(folder: ProjectFolder) -> None:
    version = publish(folder, promote=True)

    card = Generators(folder).card(version)

    assert dataclasses.replace(card, version="", created_at="", promotions=()) == CARD
    assert card.version == version and card.created_at.startswith("20")
    assert [(promotion.by, promotion.before) for promotion in card.promotions] == [("judge", BASE)]


def test_a_damaged_card_keeps_what_can_be_read(folder: ProjectFolder) -> None:
    version = publish(folder)
    path = Generators(folder).path(version) / "card.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(
        json.dumps({**values, "seed": "x", "metrics": {**values["metrics"], "kl": "high", "wins": 3}}), encoding="utf-8"
    )

    card = Generators(folder).card(version)

    assert (card.seed, card.metrics.kl, card.metrics.wins.value) == (None, None, None)
    assert card.metrics.length_controlled == CARD.metrics.length_controlled
    path.write_text("[]", encoding="utf-8")
    assert "is not a generator's card (AttributeError)" in refusal(lambda: Generators(folder).card(version))


def test_a_rollback_leads_back_to_the_base_and_no_further(folder: ProjectFolder) -> None:
    generators = Generators(folder)
    first, second = publish(folder, promote=True), publish(folder, promote=True)

    assert generators.rollback(reason="worse") == first
    assert generators.rollback() == BASE
    assert generators.champion() == BASE
    assert "has no served generator before base in its log; promote one of: g1-" in refusal(generators.rollback)

    generators.promote(second, by="hand")
    assert generators.champion_before() == BASE


def test_the_base_may_be_promoted_and_rolled_back(folder: ProjectFolder) -> None:
    generators = Generators(folder)
    first = publish(folder, promote=True)

    generators.promote(BASE, by="hand", reason="for now")

    assert generators.champion() == BASE
    assert generators.all() == [first]
    assert generators.rollback() == first


def test_generators_and_reward_models_do_not_disturb_each_other(folder: ProjectFolder, tmp_path: Path) -> None:
    generator = publish(folder, promote=True)
    (tmp_path / "draft").mkdir(exist_ok=True)

    reward_model = Versions(folder).publish(tmp_path / "draft", REWARD_CARD, promote=True)

    assert (Generators(folder).all(), Versions(folder).all()) == ([generator], [reward_model])
    assert (Generators(folder).champion(), Versions(folder).champion()) == (generator, reward_model)
    assert Versions(folder).champion_before() is None
    assert refusal(lambda: Generators(folder).promote(reward_model)).startswith("Project 3 has no generator version 'v1-")
    assert refusal(lambda: Versions(folder).promote(generator)).startswith("Project 3 has no version 'g1-")
    assert refusal(lambda: Versions(folder).promote(BASE)).startswith("Project 3 has no version 'base'")


def test_a_name_says_what_it_is_a_version_of(folder: ProjectFolder) -> None:
    kinds = [type(of_name(folder, name)) for name in (BASE, "g1-20261121-062026", "v1-20261121-062026", "x")]

    assert kinds == [Generators, Generators, Versions, Versions]


def test_nothing_is_published_that_was_judged_against_another_generator(folder: ProjectFolder) -> None:
    first = publish(folder, promote=True)
    draft = folder.path.parent / "draft"

    with pytest.raises(ChampionChanged, match=f"The served generator of project 3 is {first} now, and was base"):
        Generators(folder).publish(draft, CARD, judged_against=BASE)

    assert Generators(folder).all() == [first]
