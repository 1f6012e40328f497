"""The huggingface engine with generator versions: several on one base, each for the jobs that ask for it."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preference.errors import ModelError
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Adapter, GivenJobs, Job, WrittenAnswers, write_all
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.adapters import publish_generator
from tests.support.alike_answers import are_alike
from tests.support.tiny_bases import CHAT_TEMPLATE, retrain, save_tiny_base
from tests.support.tolerance import FEATURES, assert_close
from tests.support.watched import PROMPTS, SEEDS


@pytest.fixture
def settings(settings_for: SettingsFactory, tiny_chat_base: Path) -> Settings:
    return settings_for(generator_model=str(tiny_chat_base), max_new_tokens=8, batch_prompts=2, dtype="float32")


def served(folder: ProjectFolder) -> Adapter:
    adapter = Generators(folder).served()
    assert adapter is not None
    return adapter


def test_two_projects_write_with_an_adapter_each_on_one_base(settings: Settings, tiny_chat_base: Path) -> None:
    one, two = ProjectFolder(settings.model_dir, 1), ProjectFolder(settings.model_dir, 2)
    publish_generator(one, settings, tiny_chat_base, seed=1)
    publish_generator(two, settings, tiny_chat_base, seed=2)
    kinds = [None, served(one), served(two)]
    alone = [write_all(HuggingFaceGenerator(settings), PROMPTS, seeds=SEEDS, adapter=kind) for kind in kinds]

    engine = HuggingFaceGenerator(settings)
    jobs = [
        [Job(prompt, seed, is_urgent=place == 1, adapter=kind) for kind in kinds]
        for place, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True))
    ]
    engine.run(GivenJobs([job for of_prompt in jobs for job in of_prompt]))

    together: list[list[WrittenAnswers]] = [[of_prompt[k].written.result(0) for of_prompt in jobs] for k in range(3)]
    for separately, mixed in zip(alone, together, strict=True):
        assert are_alike(mixed, separately)
    assert not are_alike(alone[0], alone[1]) and not are_alike(alone[1], alone[2])
    names = [{answers.version for answers in mixed} for mixed in together]
    assert names == [{""}, {Generators(one).champion()}, {Generators(two).champion()}]
    assert {answer.version for answers in together[1] for answer in answers.each} == {Generators(one).champion()}


def test_a_version_that_is_not_what_its_card_says_does_not_write(
    settings: Settings, tiny_chat_base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ProjectFolder(settings.model_dir, 1)
    version = publish_generator(folder, settings, tiny_chat_base, probe=-1.0)
    now = [0.0]
    engine = HuggingFaceGenerator(settings, clock=lambda: now[0])
    base = write_all(engine, PROMPTS, seeds=SEEDS)

    for _ in range(2):
        written = write_all(engine, PROMPTS, seeds=SEEDS, adapter=served(folder))
        assert are_alike(written, base) and {answers.version for answers in written} == {""}
        now[0] += 61  # after which it is tried again

    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 1
    assert lines[0].startswith(f"The generator version {version} gives its probe -") and lines[0].endswith(
        "The base answers meanwhile."
    )
    assert "its card says -1.000" in lines[0]


def test_a_version_whose_storage_was_away_writes_when_it_is_back(
    settings: Settings, tiny_chat_base: Path, tmp_path: Path
) -> None:
    folder = ProjectFolder(settings.model_dir, 1)
    version = publish_generator(folder, settings, tiny_chat_base)
    adapter, now = served(folder), [0.0]
    engine = HuggingFaceGenerator(settings, clock=lambda: now[0])
    weights = adapter.folder / "adapter_model.safetensors"
    shutil.move(weights, tmp_path / "away")

    def writer() -> set[str]:
        return {answers.version for answers in write_all(engine, PROMPTS[:1], seeds=[1], adapter=adapter)}

    assert writer() == {""}
    shutil.move(tmp_path / "away", weights)
    assert writer() == {""}
    now[0] += 61
    assert writer() == {version}


def test_a_version_of_a_base_that_was_replaced_is_refused(settings: Settings, tiny_chat_base: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_chat_base, base)
    folder = ProjectFolder(settings.model_dir, 1)
    version = publish_generator(folder, settings, base)
    retrain(base)
    engine = HuggingFaceGenerator(settings.replace(generator_model=str(base)))

    with pytest.raises(
        ModelError, match=f"The generator version {version} learnt on '{base}', and GENERATOR_MODEL={base} is another base"
    ):
        engine.check(served(folder))


def test_a_version_writes_as_if_the_template_ended_with_what_its_answers_go_on_from(
    settings: Settings, tiny_chat_base: Path, tmp_path: Path
) -> None:
    one, two = ProjectFolder(settings.model_dir, 1), ProjectFolder(settings.model_dir, 2)
    template = CHAT_TEMPLATE.replace("assistant\n{% endif", "assistant\nA good answer:\n{% endif")
    other_base = save_tiny_base(tmp_path / "base", chat_template=template)
    publish_generator(one, settings, tiny_chat_base, answer_prefix="A good answer:\n")
    publish_generator(two, settings, other_base)
    engine, other = HuggingFaceGenerator(settings), HuggingFaceGenerator(settings.replace(generator_model=str(other_base)))

    written = write_all(engine, PROMPTS, seeds=SEEDS, adapter=served(one))

    assert are_alike(written, write_all(other, PROMPTS, seeds=SEEDS, adapter=served(two)))
    assert {answers.version for answers in written} == {served(one).version}
    assert not any("A good answer" in text for answers in written for text in answers.answers)
    bare = replace(served(one), answer_prefix="")
    likely = [engine.log_probs("Why?", "Because it is.", adapter=version) for version in (served(one), bare)]
    assert_close(likely[0], other.log_probs("Why?", "Because it is.", adapter=served(two)), within=FEATURES)
    assert float((likely[0] - likely[1]).abs().max()) > 100 * FEATURES


def test_how_likely_an_answer_is_depends_on_who_is_asked(settings: Settings, tiny_chat_base: Path) -> None:
    folder = ProjectFolder(settings.model_dir, 1)
    publish_generator(folder, settings, tiny_chat_base)
    engine = HuggingFaceGenerator(settings)

    base, learnt = (engine.log_probs("Why?", "Because it is.", adapter=adapter) for adapter in (None, served(folder)))

    assert base.shape == learnt.shape and (base < 0).all()
    assert float((base - learnt).abs().max()) > 0.1
    assert len(engine.log_probs("Why?", "")) == 0
    probe: dict[str, Any] = engine.take_probe(None)
    assert probe["log_prob"] == pytest.approx(float(engine.log_probs(probe["prompt"], probe["answer"]).mean()), abs=1e-4)
