import json
from pathlib import Path

from preference.duels.figures import DuelFigures, write_duels
from preference.projects.folder import ProjectFolder
from preference.projects.generators import BASE, Generators
from preference.projects.pruning import prune
from preference.projects.versions import Versions
from preference.report_card.compared_answers import ComparedAnswers, write_compared
from preference.report_card.shares import Share
from tests.support.commands import Invoke, rows
from tests.support.generator_versions import publish


def test_generators_show_what_each_reached(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = publish(folder, promote=True), publish(folder)

    older, newer = rows(invoke("generators", "--project", "3"))

    assert {**older, "made served": ""} == {
        "project": "3", "version": first, "served": "*", "method": "dpo", "pairs": "45", "wins": "0.750 (0.660 to 0.820)",
        "at equal length": "0.700 (0.600 to 0.800)", "KL": "0.056", "repeats": "8 % (2 % before)",
        "verdict": "promoted: it wins .70 at equal length — “more”", "made served": "",
    }  # fmt: skip
    assert " UTC by judge after base: it wins" in older["made served"]
    assert (newer["version"], newer["served"], newer["made served"]) == (second, "-", "-")


def test_generators_as_json_hold_the_cards(invoke: Invoke, folder: ProjectFolder) -> None:
    version = publish(folder)

    (shown,) = json.loads(invoke("generators", "--json").output)

    assert (shown["version"], shown["is_served"], shown["card"]["metrics"]["kl"]) == (version, False, 0.056)


def test_generators_show_what_people_say(invoke: Invoke, folder: ProjectFolder) -> None:
    version = publish(folder, promote=True)
    known = DuelFigures(version, BASE, Share(0.6, (0.45, 0.73), 40), Share(0.58, (0.47, 0.69), 160), 120)
    write_duels(folder.path, [known, DuelFigures("echo:embedded", "openai:tiny", Share(0.1, (0.02, 0.4), 10))])

    lines, (shown,) = (
        invoke("generators", "--project", "3").output.splitlines(),
        json.loads(invoke("generators", "--json").output),
    )

    assert lines[-2:] == [
        f"project 3: people prefer {version} to base in 60.0 % of 40 duels (95 % interval 45.0 to 73.0 %); "
        "with the reward model's word on 120 open ones 58.0 % (95 % interval 47.0 to 69.0 %); on trial",
        "project 3: people prefer echo:embedded to openai:tiny in 10.0 % of 10 duels (95 % interval 2.0 to 40.0 %)",
    ]
    assert [(duel["other"], duel["wins"]["value"], duel["powered"]["count"]) for duel in shown["duels"]] == [("base", 0.6, 160)]


def test_a_generator_without_weights_says_so(invoke: Invoke, folder: ProjectFolder) -> None:
    old, newest = publish(folder), publish(folder)
    prune(Generators(folder).path(old))

    assert [(each["version"], each["has_weights"]) for each in json.loads(invoke("generators", "--json").output)] == [
        (old, False), (newest, True),
    ]  # fmt: skip
    assert ["KEEP_VERSIONS" in row["verdict"] for row in rows(invoke("generators"))] == [True, False]


def test_without_one_there_is_one_thing_to_do(invoke: Invoke, folder: ProjectFolder) -> None:
    result = invoke("generators")

    assert (result.exit_code, result.output) == (
        0, "no generator has learnt yet; `pairloop-trainer align --project ID` lets one learn from the judgements\n",
    )  # fmt: skip
    assert json.loads(invoke("generators", "--json").output) == []


def test_a_broken_card_is_a_row_that_says_so(invoke: Invoke, folder: ProjectFolder) -> None:
    version = publish(folder)
    (Generators(folder).path(version) / "card.json").write_text("{", encoding="utf-8")

    (broken,) = rows(invoke("generators"))

    assert broken["verdict"].startswith("broken: ") and "is not a generator's card (JSONDecodeError)" in broken["verdict"]


def test_a_generator_is_promoted_by_its_name_and_rolled_back_apart(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    champion, version = Versions(folder).champion(), publish(folder)

    promoted = invoke("promote", "--project", "3", version, "--reason", "people like it")
    assert promoted.output == f"project 3: {version} is the served generator; new answers are its\n"
    assert Generators(folder).champion() == version

    back = invoke("rollback", "--project", "3", "--generator")
    assert back.output == "project 3: base is the served generator again; new answers are its\n"
    invoke("promote", "--project", "3", version)
    assert invoke("promote", "--project", "3", BASE).exit_code == 0
    assert Generators(folder).champion() == BASE
    assert Versions(folder).champion() == champion


def test_a_rollback_beyond_the_base_is_refused(invoke: Invoke, folder: ProjectFolder) -> None:
    result = invoke("rollback", "--project", "3", "--generator")

    assert result.exit_code == 1
    assert result.output.startswith("Error: Project 3 has no served generator before base in its log")


def test_generators_show_what_a_version_and_the_one_beside_it_wrote(invoke: Invoke, folder: ProjectFolder) -> None:
    version = publish(folder)
    kept = [
        ComparedAnswers("Why?", ("Since.", "For\n\treasons\x1b[31m."), ("Because.", "")),
        ComparedAnswers("How?", ("So.",), ("Thus.",)),
    ]
    write_compared(Generators(folder).path(version), kept)

    shown = invoke("generators", "--project", "3", "--answers", "g1")
    values = json.loads(invoke("generators", "--project", "3", "--answers", version, "--json").output)

    assert shown.output.startswith(
        f"--- Why?\n\n{version}:\nSince.\n\n{version}:\nFor\n\treasons[31m.\n\nbase:\nBecause.\n\nbase:\n"
    )
    assert "--- How?" in shown.output and "\x1b" not in shown.output
    assert [ComparedAnswers(row["prompt"], tuple(row["new"]), tuple(row["other"])) for row in values] == kept


def test_answers_that_are_not_there_are_one_sentence(invoke: Invoke, folder: ProjectFolder) -> None:
    version = publish(folder)
    (Generators(folder).path(version) / "answers.jsonl").write_text(
        '{"prompt": 3}\n[[[\n{"prompt": "a", "new": "b"}\n', encoding="utf-8"
    )

    assert invoke("generators", "--project", "3", "--answers", "g1").output == (
        f"Error: {version} kept no answers: it was published by an earlier build, or only its card is kept.\n"
    )
    assert "has no generator version 'g9'" in invoke("generators", "--project", "3", "--answers", "g9").output
    assert "--answers needs --project" in invoke("generators", "--answers", "g1").output
