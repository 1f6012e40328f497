import logging
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from preference.errors import CannotLearn, StudioError, TrainingError
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import WrittenAnswers
from preference.projects.generators import BASE, Generators
from preference.report_card.compared_answers import read_compared
from preference.report_card.generator_card import AnswerFigures
from tests.support.adapters import publish_generator
from tests.support.aligned_house import SHORT, AlignedHouse
from tests.support.alike_answers import are_alike
from tests.support.annotations import tag_result
from tests.support.generator_versions import publish
from tests.support.killed_alignments import killed
from trainer.aligning import trial
from trainer.aligning.writing import write
from trainer.generator_training.recipe import HINDSIGHT, KTO, SFT, AlignRecipe


def test_a_generator_that_learnt_what_people_like_is_published_and_promoted(house: AlignedHouse) -> None:
    house.judge(120)

    ended = house.align()

    card = house.card(ended)
    assert ended.promoted, ended.reason
    assert Generators(house.folder).champion() == ended.version == card.version
    assert [promotion.before for promotion in card.promotions] == [BASE]
    assert (card.method, card.base, card.compared_with) == ("dpo", house.settings.generator.model, BASE)
    kept = read_compared(Generators(house.folder).path(ended.version))
    assert len(kept) == card.metrics.num_prompts and {len(row.new) for row in kept} == {len(row.other) for row in kept} == {2}
    assert card.num_pairs is not None and card.num_held_back is not None and card.num_pairs + card.num_held_back == 120
    assert card.num_steps == card.num_wanted_steps == -(-4 * card.num_pairs // 4)
    assert card.metrics.wins.value is not None and card.metrics.wins.value > 0.6
    assert card.metrics.kl is not None and card.metrics.kl > 0
    assert card.metrics.judge_accuracy.value is not None and card.metrics.judge_accuracy.value > 0.8
    assert set(card.seconds) == {"read", "train", "judge"}
    served = Generators(house.folder).served()
    assert served is not None
    HuggingFaceGenerator(house.settings).check(served)
    names = {path.name for path in served.folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "answers.jsonl", "card.json", "promotions.jsonl"}
    assert not (house.folder.path / "aligning").exists()
    budget, judging = house.said
    assert budget.startswith("learning from ") and " pairs each, " in budget and " s a step (measured): about " in budget
    assert judging.startswith(f"judging it beside {BASE}: answers to ") and judging.endswith(
        " held-out prompts, or half if that is enough"
    )


def test_one_that_did_not_learn_is_kept_back_and_published_all_the_same(house: AlignedHouse) -> None:
    house.settings = house.settings.replace(generator_engine="openai")  # what a server writes with learns here, too
    house.judge(64)

    ended = house.align(replace(SHORT, learning_rate=1e-9))

    assert not ended.promoted
    assert "may be no more than one half" in ended.reason
    assert Generators(house.folder).champion() == BASE
    assert Generators(house.folder).all() == [ended.version]
    assert house.card(ended).reason == ended.reason
    assert (Generators(house.folder).path(ended.version) / "adapter_config.json").is_file()  # which a server reads


def test_one_that_went_too_far_is_held_nearer_to_its_base(
    house: AlignedHouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.judge(64)
    free = house.card(house.align(SHORT))
    went = free.metrics.kl
    assert went and free.scaled_by is None
    monkeypatch.setattr(trial, "MOST_KL", went / 2)  # a generator of a few words never goes far
    monkeypatch.setattr(trial, "_AIMED_KL", went / 4)

    killed(house, SHORT, beginning="judging it beside")
    card = house.card(house.align(SHORT))

    assert any(
        message.startswith("it is ") and ", so its adapters are multiplied by 0." in message for message in caplog.messages
    )
    assert card.scaled_by is not None and card.scaled_by < 1, "though it was killed once they were scaled"
    assert card.metrics.kl is not None and card.metrics.kl < went, "the figures are those of what is published"
    published = Generators(house.folder).adapter(card.version)
    assert published is not None
    HuggingFaceGenerator(house.settings).check(published)  # so is the probe


def test_one_that_begins_to_repeat_itself_is_held_nearer_to_its_base(
    house: AlignedHouse, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator of random letters does not: what its answers are like is given here, half of them repeating, then none."""
    caplog.set_level(logging.INFO, logger="pairloop.aligning")
    house.judge(64)
    figures = [AnswerFigures(repeats=0.5), AnswerFigures(repeats=0.0), AnswerFigures(repeats=0.0), AnswerFigures(repeats=0.0)]
    monkeypatch.setattr(trial, "figures_of", lambda written: figures.pop(0))

    card = house.card(house.align(SHORT))

    assert [
        message for message in caplog.messages if "a token away from the base, and repeats itself, so its adapters" in message
    ]
    assert card.scaled_by is not None and 0.8 < card.scaled_by < 1
    assert not figures


def test_if_a_person_promotes_another_meanwhile_it_is_judged_anew_beside_that_one(
    house: AlignedHouse, tiny_chat_base: Path
) -> None:
    house.judge(64)
    house.folder.create()
    other = publish_generator(house.folder, house.settings, tiny_chat_base, promote=False)

    def promote(line: str) -> None:
        if line.startswith(f"judging it beside {BASE}"):
            Generators(house.folder).promote(other, by="hand")

    house.when_said = promote
    ended = house.align(SHORT)

    assert [line.partition(":")[0] for line in house.said[1:]] == [f"judging it beside {BASE}", f"judging it beside {other}"]
    assert house.card(ended).compared_with == other
    assert Generators(house.folder).champion() == (ended.version if ended.promoted else other)


def test_a_served_version_that_does_not_fit_the_base_is_judged_as_the_base(house: AlignedHouse) -> None:
    house.judge(64)
    odd = publish(house.folder, promote=True)

    ended = house.align(SHORT)

    assert house.card(ended).compared_with == BASE
    assert Generators(house.folder).champion() == (ended.version if ended.promoted else odd)


@pytest.mark.parametrize("recipe", [KTO, replace(SFT, is_of_written=False)], ids=lambda recipe: recipe.method)
def test_other_methods_learn_from_the_same_judgements(house: AlignedHouse, recipe: AlignRecipe) -> None:
    house.judge(60)

    card = house.card(house.align(replace(recipe, epochs=0.5)))

    assert (card.method, card.margin is None) == (recipe.method, recipe.method == "sft")
    assert card.metrics.kl is not None and card.metrics.kl != 0
    assert house.said[0].startswith(f"learning from {card.num_pairs} {'answers' if recipe.method == 'sft' else 'comparisons'}: ")


def test_by_how_much_an_answer_is_better_is_learnt_where_people_said_it(house: AlignedHouse) -> None:
    tasks = house.judge(60)
    for task in tasks[:30]:
        annotation = house.studio.tasks[task]["annotations"][0]
        annotation["result"] = [*annotation["result"], tag_result("strength", "rating", {"rating": 4})]

    house.align(SHORT)
    graded = int(house.said[0].split(", ")[1].split(" of them with how much better one is: ")[0])
    house.align(replace(KTO, epochs=0.5))

    assert 15 < graded < 30, "those that are not held out"
    assert "how much better" not in house.said[0]


def test_one_that_learnt_in_hindsight_is_judged_and_served_going_on_from_a_good_answer(house: AlignedHouse) -> None:
    house.judge(60)

    ended = house.align(replace(HINDSIGHT, epochs=0.5))

    card = house.card(ended)
    assert (card.method, card.answer_prefix, card.margin) == ("hindsight", "A good answer:\n", None)
    assert card.num_pairs is not None and card.num_wanted_steps == -(-card.num_pairs // 4)  # two texts of each, half a pass
    assert house.said[0].startswith(f"learning from {card.num_pairs} comparisons: {card.num_steps} steps, 4 texts each, ")
    engine, generators = HuggingFaceGenerator(house.settings), Generators(house.folder)
    version = generators.adapter(ended.version)
    assert version is not None and version.answer_prefix == card.answer_prefix
    engine.check(version)
    (kept, *_) = read_compared(generators.path(ended.version))
    (written,) = write(engine, [kept.prompt], version)
    assert are_alike([WrittenAnswers(list(kept.new))], [written])


# What cannot be


def refused(house: AlignedHouse, *, minutes: float | None = None) -> str:
    with pytest.raises(TrainingError) as caught:
        house.align(minutes=minutes)
    assert Generators(house.folder).all() == []
    assert not (house.folder.path / "aligning").exists()
    return str(caught.value)


def test_an_engine_that_cannot_be_trained_is_named(house: AlignedHouse) -> None:
    house.settings = house.settings.replace(generator_engine="echo")
    assert refused(house) == (
        "GENERATOR_ENGINE=echo writes with no model that could learn; set GENERATOR_ENGINE=huggingface or openai."
    )

    house.settings = house.settings.replace(generator_engine="openai", generator_model="embedded")
    assert refused(house).startswith(
        "GENERATOR_ENGINE=openai, and GENERATOR_MODEL does not say which model the server has; set it"
    )


def test_a_base_without_a_chat_template_is_named(house: AlignedHouse, tiny_base: Path) -> None:
    house.settings = house.settings.replace(generator_model=str(tiny_base))

    assert refused(house).startswith(f"GENERATOR_MODEL={tiny_base} has no chat template")


def test_too_few_judgements_are_counted(house: AlignedHouse) -> None:
    house.judge(10)

    assert "16 of each are needed" in refused(house)


def test_without_written_answers_there_is_nothing_to_imitate(house: AlignedHouse) -> None:
    house.judge(60)
    with pytest.raises(
        CannotLearn, match=r"^0 written answers to learn from and .* or learn from those that they chose: --chosen"
    ):
        house.align(SFT)


def test_too_few_held_out_judgements_are_counted_before_the_training(house: AlignedHouse) -> None:
    house.settings = house.settings.replace(holdout_fraction=0.05)
    house.judge(64)

    assert "held-out prompts with judgements to judge by, 16 of each are needed" in refused(house)
    assert not house.said


def test_too_little_time_is_said_before_the_first_step(house: AlignedHouse) -> None:
    house.judge(64)

    assert "raise ALIGN_MINUTES, or name a smaller GENERATOR_MODEL" in refused(house, minutes=1e-6)


def test_one_process_at_a_time(house: AlignedHouse) -> None:
    house.folder.create()
    with FileLock(house.folder.path / "align.lock"):
        assert "Another process is in the middle of an alignment of project 1; this one leaves it to that." in refused(house)


def test_a_label_studio_that_is_away_costs_nothing(house: AlignedHouse) -> None:
    house.studio.go_down()

    with pytest.raises(StudioError):
        house.align()

    assert Generators(house.folder).all() == []
