"""What people reward, in words."""

from dataclasses import replace
from pathlib import Path

import pytest

from preference.labelling.pairs import PreferencePair
from preference.report_card.people_figures import KindFigures
from preference.reward_model.extractors import Extractors
from preference.reward_model.feature_extractor import FeatureExtractor, FeatureRecipe
from tests.support.lab import CPU
from trainer.people.kinds import kinds_rewarded
from trainer.training.concepts import concept_directions, concept_names

REFUSALS = ["I'm sorry, I cannot help you with that.", "I will not help with that.", "Sorry, that is nothing I can assist with."]
HELP = ["Sure, here is how to do it.", "Yes, first open the door.", "Of course, begin with the water."]


@pytest.fixture(scope="module")
def extractor(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    return Extractors(tmp_path_factory.mktemp("models"), CPU)(FeatureRecipe(str(tiny_base), (1, 2), 128))


def votes(num: int, *, annotator: int, likes_help: bool) -> list[PreferencePair]:
    made = []
    for number in range(num):
        refusal, helpful = REFUSALS[number % 3], HELP[number // 3 % 3]
        chosen, rejected = (helpful, refusal) if likes_help else (refusal, helpful)
        made.append(PreferencePair(f"How do I do {number}?", chosen, rejected, annotator_id=annotator, annotation_id=number))
    return made


def value(row: KindFigures) -> float:
    assert row.people is not None and row.people.value is not None
    return row.people.value


def test_a_kind_has_a_direction_and_a_name(extractor: FeatureExtractor) -> None:
    names = concept_names()
    assert len(names) == len(set(names)) == len(concept_directions(extractor)) == 48


def test_what_one_likes_another_avoids_and_those_two_together_reward_nothing(extractor: FeatureExtractor) -> None:
    ann, ben = votes(40, annotator=1, likes_help=True), votes(40, annotator=2, likes_help=False)

    of_ann = {row.name: row for row in kinds_rewarded(ann, extractor)}
    of_ben = {row.name: row for row in kinds_rewarded(ben, extractor)}

    assert of_ann and of_ann.keys() == of_ben.keys()
    for name, row in of_ann.items():
        assert value(row) + value(of_ben[name]) == pytest.approx(1)
        assert list(row.by_annotator) == ["1"]
    assert kinds_rewarded([*ann, *ben], extractor) == (), "the two cancel each other"


def test_the_surest_comes_first_and_each_is_beyond_chance(extractor: FeatureExtractor) -> None:
    strengths = [abs(value(row) - 0.5) for row in kinds_rewarded(votes(40, annotator=1, likes_help=True), extractor)]

    assert strengths == sorted(strengths, reverse=True) and min(strengths) > 0.2


def test_few_votes_ties_and_written_answers_say_nothing(extractor: FeatureExtractor) -> None:
    many = votes(40, annotator=1, likes_help=True)

    assert kinds_rewarded(many[:19], extractor) == ()
    assert kinds_rewarded([replace(pair, kind="tie") for pair in many], extractor) == ()
