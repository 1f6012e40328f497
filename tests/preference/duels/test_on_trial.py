from pathlib import Path

import pytest

from preference.duels.figures import DuelFigures, figures_of, read_duels, write_duels
from preference.duels.on_trial import OnTrial, on_trial, what_people_say
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators
from preference.report_card.shares import Share
from tests.support.generator_versions import publish


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path, 3)


def test_a_promoted_version_is_on_trial_beside_what_it_replaced(folder: ProjectFolder) -> None:
    assert on_trial(folder, ()) is None

    first = publish(folder, promote=True)
    assert on_trial(folder, ()) == OnTrial(first, BASE)

    second = publish(folder, promote=True)
    assert on_trial(folder, ()) == OnTrial(second, first)


def test_a_rollback_resumes_the_trial_of_the_version_before(folder: ProjectFolder) -> None:
    first, second = publish(folder, promote=True), publish(folder, promote=True)

    Generators(folder).rollback()
    assert on_trial(folder, ()) == OnTrial(first, BASE)

    Generators(folder).promote(second, by="hand")
    assert on_trial(folder, ()) is None, "a person wanted it after it was rolled back"


def test_a_version_that_a_person_took_again_is_beside_what_was_served_last(folder: ProjectFolder) -> None:
    first, second = publish(folder, promote=True), publish(folder, promote=True)

    Generators(folder).promote(first, by="hand")

    assert on_trial(folder, ()) == OnTrial(first, second)


@pytest.mark.parametrize("order", [1, -1])
def test_people_end_a_trial(folder: ProjectFolder, order: int) -> None:
    version = publish(folder, promote=True)
    new, other = (version, BASE)[::order]

    assert on_trial(folder, [DuelFigures(new, other, preferred=version)]) is None
    assert (
        on_trial(folder, [DuelFigures(new, other)])
        == on_trial(folder, [DuelFigures("g9-20261121-062026", BASE, preferred=BASE)])
        == OnTrial(version, BASE)
    )


def test_figures_are_read_as_they_were_written_and_a_damaged_file_says_nothing(folder: ProjectFolder) -> None:
    folder.create()
    known = DuelFigures(
        "g1-20261121-062026", BASE, Share(0.6, (0.45, 0.73), 40), Share(0.58, (0.47, 0.69), 40), 120, "", "2026-11-21"
    )
    assert read_duels(folder.path) == ()

    write_duels(folder.path, [known])

    assert read_duels(folder.path) == (known,) and figures_of([known], BASE, known.new) == known
    assert str(known) == (
        "people prefer g1-20261121-062026 to base in 60.0 % of 40 duels (95 % interval 45.0 to 73.0 %); "
        "with the reward model's word on 120 open ones 58.0 % (95 % interval 47.0 to 69.0 %)"
    )
    for text in ("", "[]", "{", '{"duels": 3}', '{"duels": [3, {"new": 4}, {"new": "g1"}]}'):
        (folder.path / "duels.json").write_text(text)
        assert read_duels(folder.path) == ()


def test_what_people_say_in_words(folder: ProjectFolder) -> None:
    assert what_people_say(on_trial(folder, ()), ()) == []
    version = publish(folder, promote=True)
    assert what_people_say(on_trial(folder, ()), ()) == [f"{version} is on trial beside base; no duel was judged yet"]

    known = DuelFigures(version, BASE, Share(0.6, (0.45, 0.73), 40))
    other = DuelFigures(BASE, "openai:tiny", Share(count=0), preferred="openai:tiny")

    assert what_people_say(on_trial(folder, [known, other]), [known, other]) == [
        f"{known}; on trial",
        "base beside openai:tiny: 0 duels judged",
    ]
