import logging
from pathlib import Path
from typing import Any

import pytest

from preference.duels.figures import DuelFigures, read_duels, write_duels
from preference.projects.generators import BASE, Generators
from preference.projects.versions import Versions
from preference.report_card.shares import Share
from tests.support.generator_versions import publish
from tests.support.judged_duels import DuelProject, duels
from tests.support.lab import Lab, judged_tasks
from trainer.rounds.context import RoundContext
from trainer.rounds.duel_reading import judge_duels
from trainer.rounds.reading import read_pairs
from trainer.rounds.round import run_round


def read(lab: Lab, tasks: list[dict[str, Any]]) -> list[DuelFigures]:
    """What one reading makes of these tasks."""
    context = RoundContext(DuelProject(tasks), lab.folder, lab.settings, lab.extractors)
    judge_duels(context, read_pairs(context))
    return list(read_duels(lab.folder.path))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "pairloop.rounds"]


def test_a_version_that_people_like_less_is_rolled_back_by_itself(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    version = publish(lab.folder, promote=True)
    caplog.set_level(logging.INFO)

    (known,) = read(lab, duels(8, 32, ties=4, new=version))

    assert known == DuelFigures(version, BASE, Share(0.2273, (0.1284, 0.3699), 44), Share(), 0, BASE, known.read_at)
    generators = Generators(lab.folder)
    assert generators.champion() == BASE and generators.champion_before() is None
    said = f"people prefer {version} to base in 22.7 % of 44 duels (95 % interval 12.8 to 37.0 %); base is preferred beyond noise"
    assert lines(caplog) == [f"project 7: {version} is rolled back to base: {said}"]
    (entry,) = generators.promotions()[BASE]
    assert (entry["by"], entry["before"], entry["reason"]) == ("rollback", version, said)


def test_one_that_they_may_like_as_much_stays(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)

    (known,) = read(lab, duels(15, 29, new=version))

    assert known.preferred == "" and Generators(lab.folder).champion() == version


def test_one_that_they_like_more_is_on_trial_no_longer_and_stays_so(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    version = publish(lab.folder, promote=True)
    caplog.set_level(logging.INFO)
    tasks = duels(32, 8, new=version)
    assert [known.preferred for known in read(lab, tasks)] == [version]

    later = read(lab, [*tasks, *duels(0, 30, new=version, first_id=3000)])

    assert [known.preferred for known in later] == [version] and Generators(lab.folder).champion() == version
    assert [line.partition(": people")[0] for line in lines(caplog)] == [f"project 7: the trial of {version} is over"]


def test_who_promotes_it_again_is_obeyed(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)
    tasks = duels(8, 32, new=version)
    read(lab, tasks)
    Generators(lab.folder).promote(version, by="hand")

    read(lab, [*tasks, *duels(0, 30, new=version, first_id=3000)])

    assert Generators(lab.folder).champion() == version


def test_a_reading_that_was_killed_before_the_rollback_is_made_up_for(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)
    write_duels(lab.folder.path, [DuelFigures(version, BASE, preferred=BASE)])

    read(lab, duels(12, 14, new=version))

    assert Generators(lab.folder).champion() == BASE


def test_a_trial_in_which_the_two_changed_places_is_decided_by_the_same_duels(lab: Lab) -> None:
    first, second = publish(lab.folder, promote=True), publish(lab.folder, promote=True)
    Generators(lab.folder).promote(first, by="hand")

    read(lab, duels(32, 8, new=second, other=first))

    assert Generators(lab.folder).champion() == second


def test_another_engine_is_shown_and_nothing_is_rolled_back(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)

    known = read(lab, [*duels(3, 40, new=version, other="openai:tiny"), *duels(2, 1, new=version, first_id=3000)])

    assert [(figures.other, figures.wins.count, figures.preferred) for figures in known] == [
        (BASE, 3, ""), ("openai:tiny", 43, "openai:tiny")
    ]  # fmt: skip
    assert Generators(lab.folder).champion() == version


def test_the_reward_model_has_a_word_on_open_duels(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)
    taught = duels(60, 0, other="openai:tiny", first_id=5000)  # which are judgements of the same kind of answers
    for task in taught:
        task["meta"] = {}

    (known,) = read(lab, [*taught, *duels(24, 16, num_open=120, new=version)])

    assert known.num_open == 120 and known.powered.count == 160
    assert known.wins.interval and known.powered.interval and known.powered.value
    assert known.powered.interval[1] - known.powered.interval[0] < known.wins.interval[1] - known.wins.interval[0]
    assert 0.45 < known.powered.value < 0.75


def test_a_reward_model_that_fails_keeps_no_version_that_people_like_less(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("trainer.rounds.duel_reading.train_head", run_out)
    version = publish(lab.folder, promote=True)
    taught = duels(60, 0, other="openai:tiny", first_id=5000)
    for task in taught:
        task["meta"] = {}

    (known,) = read(lab, [*taught, *duels(8, 32, num_open=120, new=version)])

    assert known.powered == Share() and known.preferred == BASE
    assert Generators(lab.folder).champion() == BASE


def test_it_has_none_if_all_that_it_knows_are_the_duels_themselves(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)

    (known,) = read(lab, duels(60, 40, num_open=120, new=version))

    assert known.powered == Share() and known.num_open == 120


def test_a_round_reads_them_and_learns_from_them(lab: Lab) -> None:
    version = publish(lab.folder, promote=True)
    tasks = [*judged_tasks(30), *duels(8, 32, new=version)]

    ended = run_round(DuelProject(tasks), lab.folder, lab.settings, extractors=lab.extractors)

    assert ended.version is not None
    card = Versions(lab.folder).card(ended.version)
    assert card.num_train_pairs and card.num_holdout_pairs and card.num_train_pairs + card.num_holdout_pairs == 70
    assert Generators(lab.folder).champion() == BASE


def test_a_round_is_not_lost_if_they_cannot_be_kept(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    version = publish(lab.folder, promote=True)
    Path(lab.folder.path / "duels.json").mkdir(parents=True)

    ended = run_round(DuelProject(duels(8, 32, new=version)), lab.folder, lab.settings, extractors=lab.extractors)

    assert ended.version is not None and Generators(lab.folder).champion() == version
    assert any(line.startswith("project 7: what people say in duels cannot be read: ") for line in lines(caplog))
