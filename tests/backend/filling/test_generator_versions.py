import shutil

from backend.filling.answer_rules import AnswerRules, Attempt
from backend.generators.echo import EchoGenerator
from backend.generators.served_generator import served_generator
from preference.generation.jobs import Answer, WrittenAnswers
from preference.projects.generators import BASE, Generators
from tests.conftest import SettingsFactory
from tests.support.answer_drafts import LAYOUT, task
from tests.support.filling_house import House
from tests.support.generator_versions import publish


def test_the_base_writes_until_a_version_is_promoted(house: House) -> None:
    publish(house.folder)
    assert served_generator(house.settings, house.project_id).adapter is None

    version = publish(house.folder, promote=True)

    found = served_generator(house.settings, house.project_id)
    assert found.adapter is not None and found.problem == ""
    assert (found.adapter.version, found.adapter.folder) == (version, Generators(house.folder).path(version))
    Generators(house.folder).promote(BASE, by="hand")
    assert served_generator(house.settings, house.project_id).adapter is None


def test_a_promoted_version_is_asked_for_from_the_next_task_on(house: House) -> None:
    version = publish(house.folder)
    first, second = house.add_prompts(2)
    promoted: list[str] = []

    def promote(prompts: list[str]) -> None:
        if not promoted:
            Generators(house.folder).promote(version, by="hand")
            promoted.append(version)

    house.generator.meanwhile = promote
    assert house.answer() == [first, second]
    house.add_prompts(2)
    house.answer()

    asked = [job.adapter.version if job.adapter else "" for job in house.generator.jobs]
    assert asked[0] == "" and asked[-2:] == [version, version]


def test_a_version_that_is_away_is_a_problem_of_the_project(house: House) -> None:
    version = publish(house.folder, promote=True)
    shutil.rmtree(Generators(house.folder).path(version))
    (task_id,) = house.add_prompts(1)

    house.fill()

    assert house.is_answered(task_id)
    assert [job.adapter for job in house.generator.jobs] == [None]
    (problem,) = house.noted()
    assert f"the base writes its answers: Project {house.project_id} has no generator version '{version}'" in problem
    Generators(house.folder).promote(BASE, by="hand")
    house.fill()
    assert house.noted() == ()


def test_an_engine_without_adapters_says_so(house: House, settings_for: SettingsFactory) -> None:
    version = publish(house.folder, promote=True)

    found = served_generator(house.settings.replace(generator_engine="echo"), house.project_id)

    assert found.adapter is None
    assert found.problem == f"{version} is promoted, but GENERATOR_ENGINE=echo takes no adapters; its answers are as before"


def test_the_record_says_which_version_wrote_the_answers(settings_for: SettingsFactory) -> None:
    rules = AnswerRules(LAYOUT, settings_for(), EchoGenerator)
    learnt = WrittenAnswers.of([Answer("one"), Answer("quite another")], version="g2-20261121-062026")
    base = WrittenAnswers.of([Answer("one"), Answer("quite another")])

    by_version, by_base = (rules.next_step(Attempt(task()), written, score=None) for written in (learnt, base))

    assert not isinstance(by_version, Attempt) and not isinstance(by_base, Attempt)
    assert by_version.record["generator_version"] == "g2-20261121-062026"
    assert "generator_versions" not in by_version.record and "generator_version" not in by_base.record


def test_the_record_names_both_if_a_version_was_promoted_in_between(settings_for: SettingsFactory) -> None:
    rules = AnswerRules(LAYOUT, settings_for(), EchoGenerator)
    cut, whole = Answer("one that was cut", "length"), Answer("another", "stop")
    (attempt,) = [rules.next_step(Attempt(task()), WrittenAnswers.of([cut, whole]), score=None)]
    assert isinstance(attempt, Attempt)

    made = rules.next_step(attempt, WrittenAnswers.of([Answer("a third", "stop")], version="g2-20261121-062026"), score=None)

    assert not isinstance(made, Attempt)
    assert sorted(made.record["generator_versions"].values()) == [BASE, "g2-20261121-062026"]
    assert made.record["generator_versions"].keys() == {"answer1", "answer2"}
