"""Tasks that hold one answer of each of two generators."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.scoring.champion import ServedVersion
from backend.scoring.predictions import predict_tasks
from preference.duels.duel import is_drawn
from preference.duels.figures import DuelFigures, write_duels
from preference.errors import SettingsError
from preference.generation.huggingface import HuggingFaceGenerator
from preference.generation.jobs import Answer, Job, WrittenAnswers, write_all
from preference.projects.generators import BASE, Generators
from preference.settings import Settings
from tests.conftest import SettingsFactory
from tests.support.adapters import publish_generator
from tests.support.filling_house import LAYOUT, House, RecordingGenerator
from tests.support.generator_versions import CARD, publish
from tests.support.judged_duels import by_version, without_names
from tests.support.known_rewards import KnowsRewards
from tests.support.openai_double import OpenAIDouble
from tests.support.openai_engine import MakeGenerator, scheduling
from tests.support.studio_double import KEY, StudioDouble


@pytest.fixture
def house(settings_for: SettingsFactory) -> Iterator[House]:
    with StudioDouble() as studio, House(studio, settings_for(label_studio_url=studio.url, label_studio_api_key=KEY)) as house:
        yield house


def on_trial(house: House, *, percent: float = 50, write: Any = by_version) -> str:
    """A version that was just promoted, in place of the base."""
    house.settings = house.settings.replace(duel_percent=percent)
    house.generator = RecordingGenerator(write=write)
    return publish(house.folder, promote=True)


def duels_among(house: House, ids: list[int]) -> list[int]:
    return [task_id for task_id in ids if "duel" in house.record(task_id)]


def test_a_duel_holds_one_answer_of_each_on_sides_that_a_coin_decides(house: House) -> None:
    version = on_trial(house)
    ids = house.add_prompts(60)

    house.answer()

    duels = duels_among(house, ids)
    assert duels == [task_id for task_id in ids if is_drawn(house.project_id, task_id, 50)] and 20 < len(duels) < 40
    sides = []
    for task_id in duels:
        record, data = house.record(task_id), house.data(task_id)
        new_in = record["duel"]["new_in"]
        assert record["duel"] == {"new": version, "other": BASE, "new_in": new_in}
        assert record["generator_versions"] == {field: version if field == new_in else BASE for field in ("answer1", "answer2")}
        assert {field: data[field].split(" of ")[0] for field in ("answer1", "answer2")} == record["generator_versions"]
        sides.append(new_in)
    assert 0.2 < sides.count("answer1") / len(sides) < 0.8
    others = [task_id for task_id in ids if task_id not in duels]
    assert {house.record(task_id)["generator_version"] for task_id in others} == {version}
    assert house.stream().duels.problem == ""


def test_filled_again_a_task_is_the_same_duel(house: House) -> None:
    on_trial(house)
    ids = house.add_prompts(12)
    house.answer()
    before = {task_id: (house.answers(task_id), house.record(task_id)) for task_id in ids}

    for task_id in ids:
        house.edit(task_id, answer1="", answer2="")
    house.answer()

    assert {task_id: (house.answers(task_id), house.record(task_id)) for task_id in ids} == before


def test_nothing_that_a_page_shows_says_which_is_which(house: House) -> None:
    """A page shows a task's data and the results of its predictions."""
    on_trial(house, write=without_names)
    ids = house.add_prompts(40)
    house.answer()
    duels = duels_among(house, ids)
    serving = ServedVersion(KnowsRewards({text: len(text) for task_id in ids for text in house.answers(task_id)}), "v1")

    predictions = predict_tasks(list(house.studio.tasks.values()), LAYOUT, serving, suggesting=house.settings.suggesting)

    assert duels and len({tuple(house.data(task_id)) for task_id in ids}) == 1, "the same fields as in every task"
    by_task = dict(zip(house.studio.tasks, predictions, strict=True))
    assert [by_task[task_id]["result"] for task_id in duels] == [[]] * len(duels)  # type: ignore[call-overload]
    assert all(by_task[task_id]["result"] for task_id in ids if task_id not in duels)  # type: ignore[call-overload]
    shown = json.dumps([house.data(task_id) for task_id in duels] + [by_task[task_id] for task_id in duels])
    assert "duel" not in shown and BASE not in shown and "g1-" not in shown


def test_tasks_that_are_no_duels_are_asked_for_as_before(house: House) -> None:
    version = on_trial(house, percent=10)
    ids = [task_id for task_id in house.add_prompts(20) if not is_drawn(house.project_id, task_id, 10)]
    (house.folder.path / "duels.json").mkdir()  # which whoever looks for a trial cannot read

    house.answer()

    jobs = [job for job in house.generator.jobs if job.num_answers == 2]
    assert [job.adapter.version if job.adapter else "" for job in jobs] == [version] * 20
    assert duels_among(house, ids) == []


@pytest.mark.parametrize("end", ["base", "decided", "percent", "rolled back and promoted again", "engine"])
def test_there_are_no_duels_without_a_trial(house: House, end: str) -> None:
    version = on_trial(house)
    generators = Generators(house.folder)
    match end:
        case "base":
            generators.promote(BASE, by="hand")
        case "decided":
            write_duels(house.folder.path, [DuelFigures(BASE, version, preferred=version)])
        case "percent":
            house.settings = house.settings.replace(duel_percent=0)
        case "rolled back and promoted again":
            generators.rollback()
            generators.promote(version, by="hand")
        case "engine":
            house.settings = house.settings.replace(generator_engine="echo")
            house.generator = RecordingGenerator()
    ids = house.add_prompts(12)

    house.answer()

    assert duels_among(house, ids) == [] and {job.num_answers for job in house.generator.jobs} == {2}


def test_a_version_that_replaced_another_is_beside_that_one(house: House) -> None:
    first = on_trial(house)
    second = publish(house.folder, promote=True)
    ids = house.add_prompts(12)

    house.answer()

    met = {(house.record(task_id)["duel"]["new"], house.record(task_id)["duel"]["other"]) for task_id in duels_among(house, ids)}
    assert met == {(second, first)}


def refuses(job: Job) -> WrittenAnswers:
    return by_version(job) if job.adapter else WrittenAnswers([], refused="not this one")


def answers_alike(job: Job) -> WrittenAnswers:
    if job.num_answers == 2:
        return by_version(job)
    return WrittenAnswers.of([Answer("the same")], version=job.adapter.version if job.adapter else "")


def writes_as_the_base(job: Job) -> WrittenAnswers:
    return replace(by_version(job), version="")


@pytest.mark.parametrize("write", [refuses, answers_alike, writes_as_the_base])
def test_what_makes_no_duel_is_filled_as_an_ordinary_task(house: House, write: Any) -> None:
    on_trial(house, write=write)
    ids = house.add_prompts(12)

    assert sorted(house.answer()) == ids

    assert duels_among(house, ids) == []
    assert all(len(set(house.answers(task_id))) == 2 for task_id in ids)


def test_a_weightless_other_is_a_problem_and_no_task_waits_for_it(house: House) -> None:
    first = on_trial(house)
    publish(house.folder, promote=True)
    shutil.rmtree(Generators(house.folder).path(first))
    ids = house.add_prompts(12)

    house.fill()

    assert all(all(house.answers(task_id)) for task_id in ids) and duels_among(house, ids) == []
    (problem,) = house.noted()
    assert "tasks that were to be duels are filled as ordinary ones: Project" in problem and first in problem


def test_a_task_that_is_open_before_somebody_is_no_duel(house: House) -> None:
    on_trial(house)
    ids = [task_id for task_id in house.add_prompts(8) if is_drawn(house.project_id, task_id, 50)]

    house.answer(house.stream(is_urgent=True))

    assert ids and duels_among(house, ids) == []


def test_a_task_that_a_person_half_filled_meanwhile_is_no_duel(house: House) -> None:
    on_trial(house)
    duel = next(task_id for task_id in house.add_prompts(8) if is_drawn(house.project_id, task_id, 50))
    house.before_request("GET /api/tasks/", lambda: house.edit(duel, answer1="a person's"), time=2)

    house.answer()

    assert house.data(duel)["answer1"] == "a person's" and house.data(duel)["answer2"]
    assert "duel" not in house.record(duel) and list(house.record(duel)["generator_versions"]) == ["answer2"]


def test_another_engine_writes_the_other_answers(house: House, server: OpenAIDouble, make: MakeGenerator) -> None:
    house.settings = house.settings.replace(duel_percent=50, duel_with="openai:tiny", generator_engine="echo")
    ids = house.add_prompts(12)
    with scheduling(make()) as house.rival:
        house.answer()

    duels = duels_among(house, ids)
    assert duels == [task_id for task_id in ids if is_drawn(house.project_id, task_id, 50)]
    assert sorted(server.prompts) == sorted(house.data(task_id)["prompt"] for task_id in duels)
    for task_id in duels:
        duel, data = house.record(task_id)["duel"], house.data(task_id)
        assert (duel["new"], duel["other"]) == ("echo:embedded", "openai:tiny")
        other_in = "answer2" if duel["new_in"] == "answer1" else "answer1"
        assert data[duel["new_in"]].startswith("Echo ") and data[other_in].startswith(f"{data['prompt']}/")


def test_a_generator_does_not_duel_with_itself(house: House, server: OpenAIDouble, make: MakeGenerator) -> None:
    own = f"echo:{house.settings.generator.model}"
    house.settings = house.settings.replace(duel_percent=50, duel_with=own, generator_engine="echo")
    ids = house.add_prompts(12)
    with scheduling(make()) as house.rival:
        house.fill()

    assert house.is_answered(*ids) and duels_among(house, ids) == [] and server.prompts == []
    (problem,) = house.noted()
    assert problem.endswith(f"DUEL_WITH={own} is the generator itself; name another.")


def test_another_engine_that_fails_is_left_alone(house: House, server: OpenAIDouble, make: MakeGenerator) -> None:
    house.settings = house.settings.replace(duel_percent=50, duel_with="openai:tiny", generator_engine="echo")
    ids = house.add_prompts(12)
    with scheduling(make(max_retries=0)) as house.rival:
        server.failures = [500] * 100
        house.fill()

    assert house.is_answered(*ids) and duels_among(house, ids) == []
    (problem,) = house.noted()
    assert "tasks that were to be duels are filled as ordinary ones: " in problem and "failed (500" in problem


@pytest.mark.parametrize("value", ["gpt-4o-mini", "openai:", "vllm:x"])
def test_a_wrong_rival_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^DUEL_WITH='.*' is wrong: should be ENGINE:MODEL, such as openai:gpt-4o-mini"):
        Settings.from_environ({"DUEL_WITH": value})


def test_the_real_engine_writes_as_both(house: House, tiny_chat_base: Path) -> None:
    house.settings = house.settings.replace(
        generator_model=str(tiny_chat_base), duel_percent=50, max_new_tokens=8, batch_prompts=4, dtype="float32"
    )
    version = publish_generator(house.folder, house.settings, tiny_chat_base)
    engine: Any = HuggingFaceGenerator(house.settings)
    house.generator = engine
    ids = house.add_prompts(12)

    assert sorted(house.answer()) == ids

    duels, (adapter,) = duels_among(house, ids), [Generators(house.folder).served()]
    assert duels == [task_id for task_id in ids if is_drawn(house.project_id, task_id, 50)]
    for task_id in duels:
        record, data = house.record(task_id), house.data(task_id)
        prompt, seed = [data["prompt"]], [record["seed"]]
        of_each = [write_all(engine, prompt, seeds=seed, num_answers=1, adapter=each)[0].answers[0] for each in (adapter, None)]
        new_in = record["duel"]["new_in"]
        assert [data[new_in], data["answer2" if new_in == "answer1" else "answer1"]] == of_each
        assert record["duel"]["new"] == version


def test_a_server_with_adapters_writes_as_both(house: House, server: OpenAIDouble, make: MakeGenerator) -> None:
    house.settings = house.settings.replace(generator_engine="openai", duel_percent=50)
    version = publish(house.folder, replace(CARD, base="tiny"), promote=True)
    served = f"pairloop-{house.project_id}-{version}"
    server.models = ["tiny", served]
    texts = (hashlib.sha256(bytes([number])).hexdigest() for number in range(255))
    server.write = lambda prompt, seed: next(texts)  # the same to nobody
    engine: Any = make()
    house.generator = engine
    ids = house.add_prompts(12)

    house.answer()

    duels = duels_among(house, ids)
    assert duels == [task_id for task_id in ids if is_drawn(house.project_id, task_id, 50)]
    assert {(house.record(task_id)["duel"]["new"], house.record(task_id)["duel"]["other"]) for task_id in duels} == {
        (version, BASE)
    }
    asked = Counter(request["model"] for request in server.requests)
    assert asked == {"tiny": len(duels), served: len(ids)}, "the base once for each duel"
