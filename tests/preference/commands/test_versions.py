import json
from pathlib import Path

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.pruning import prune
from preference.projects.versions import Versions
from tests.support.cards import EMPTY_CARD
from tests.support.commands import Invoke, made_at, rows

# versions


def test_versions_show_figures_verdicts_and_who_promoted_and_why(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    first, second = Versions(folder).all()
    invoke("promote", "--project", "3", second, "--reason", "people like it")
    invoke("rollback", "--project", "3")

    older, newer = rows(invoke("versions"))

    by_judge = (Versions(folder).card(first).promotions[0].at or "")[:16].replace("T", " ")
    assert older == {
        "project": "3", "version": first, "champion": "*", "recipe": "frozen", "pairs": "40",
        "accuracy": "0.700 (0.581 to 0.795)", "verdict": "promoted: accuracy 0.700, and there was no champion",
        "made champion": f"{by_judge} UTC by judge; {made_at(folder, first)} UTC by rollback after {second}",
    }  # fmt: skip
    assert newer == {
        "project": "3", "version": second, "champion": "-", "recipe": "frozen", "pairs": "50",
        "accuracy": "-", "verdict": "kept back: accuracy 0.600 is below",
        "made champion": f"{made_at(folder, second)} UTC by hand after {first}: people like it",
    }  # fmt: skip


def test_versions_of_all_projects_are_one_table(invoke: Invoke, folder: ProjectFolder, tmp_path: Path) -> None:
    other = Versions(ProjectFolder(tmp_path, 12)).publish(tmp_path / "trained", EMPTY_CARD)

    assert [row["version"] for row in rows(invoke("versions"))] == [*Versions(folder).all(), other]
    assert [row["version"] for row in rows(invoke("versions", "--project", "12"))] == [other]


def test_a_broken_card_is_a_row_that_says_so(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()
    (Versions(folder).path(first) / "card.json").write_text("{", encoding="utf-8")

    broken, whole = rows(invoke("versions"))

    assert (broken["version"], broken["champion"], broken["pairs"]) == (first, "*", "-")
    assert broken["verdict"].startswith(
        f"broken: {Versions(folder).path(first) / 'card.json'} is not a model card (JSONDecodeError)"
    )
    assert (whole["version"], whole["pairs"]) == (second, "50")
    assert [version["verdict"] for version in json.loads(invoke("versions", "--json").output)] == ["broken", "kept back"]


def test_versions_as_json_hold_the_same_for_programs(invoke: Invoke, folder: ProjectFolder) -> None:
    first, _ = Versions(folder).all()
    card = Versions(folder).card(first)

    version = json.loads(invoke("versions", "--project", "3", "--json").output)[0]

    assert version == {
        "project": 3, "version": first, "is_champion": True, "made_at": card.created_at, "recipe": "frozen", "num_pairs": 40,
        "accuracy": 0.7, "interval": [0.5812, 0.7954], "verdict": "promoted", "reason": card.reason,
        "promotions": [{"at": card.promotions[0].at, "by": "judge", "before": None, "reason": None}], "has_weights": True,
    }  # fmt: skip


def test_a_version_without_weights_says_so(invoke: Invoke, folder: ProjectFolder) -> None:
    _, second = Versions(folder).all()
    prune(Versions(folder).path(second))

    assert [version["has_weights"] for version in json.loads(invoke("versions", "--json").output)] == [True, False]
    whole, pruned = rows(invoke("versions"))
    assert pruned["verdict"] == "kept back: accuracy 0.600 is below (its weights were removed under KEEP_VERSIONS)"
    assert "KEEP_VERSIONS" not in whole["verdict"]


# promote and rollback


def test_promote_moves_the_pointer_to_an_older_or_a_newer_version(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    for version in (second, first):
        result = invoke("promote", "--project", "3", version)
        assert result.exit_code == 0
        assert result.output == f"project 3: {version} is the champion; backends load it within a second\n"
        assert Versions(folder).champion() == version
        assert [row["version"] for row in rows(invoke("versions")) if row["champion"] == "*"] == [version]


def test_an_unknown_version_is_refused_and_the_known_ones_are_named(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    result = invoke("promote", "--project", "3", "v9-20250101-000000")

    assert result.exit_code == 1
    assert result.output == f"Error: Project 3 has no version 'v9-20250101-000000'; it has: {first}, {second}.\n"
    assert Versions(folder).champion() == first


@pytest.mark.parametrize("version", ["../../3/versions", "latest", ""])
def test_what_is_no_version_name_is_refused(invoke: Invoke, folder: ProjectFolder, version: str) -> None:
    result = invoke("promote", "--project", "3", version)

    assert result.exit_code == 1
    assert f"Project 3 has no version {version!r}" in result.output


def test_a_reason_in_another_encoding_than_the_terminals_is_kept_as_far_as_it_goes(invoke: Invoke, folder: ProjectFolder) -> None:
    second = Versions(folder).all()[1]

    assert invoke("promote", "--project", "3", second, "--reason", "caf\udce9").exit_code == 0

    assert (Versions(folder).champion(), Versions(folder).card(second).promotions[-1].reason) == (second, "caf?")


@pytest.mark.parametrize(
    "line", ['{"at": "2099", "by": "hand", "before": 5}', '{"at": "2099", "by": "hand", "before": [1]}', "[" * 9999]
)
def test_a_damaged_log_of_promotions_is_no_trace(invoke: Invoke, folder: ProjectFolder, line: str) -> None:
    first, second = Versions(folder).all()
    Versions(folder).promote(second)
    with (Versions(folder).path(second) / "promotions.jsonl").open("a") as log:
        log.write(line + "\n")

    result = invoke("rollback", "--project", "3")

    assert (result.exit_code, Versions(folder).champion()) == (0, first), result.output


def test_promote_needs_a_project(invoke: Invoke) -> None:
    result = invoke("promote", "v1-20250101-000000")

    assert result.exit_code == 2
    assert "Missing option '--project'" in result.output


def test_rollback_serves_the_champion_before(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()
    invoke("promote", "--project", "3", second)

    result = invoke("rollback", "--project", "3", "--reason", "too short")

    assert result.exit_code == 0
    assert result.output == f"project 3: {first} is the champion again; backends load it within a second\n"
    assert Versions(folder).champion() == first
    assert Versions(folder).card(first).promotions[-1].reason == "too short"


def test_rollback_without_a_champion_before_says_what_to_do(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    result = invoke("rollback", "--project", "3")

    assert result.exit_code == 1
    assert result.output == f"Error: Project 3 has no champion before {first} in its log; promote one of: {first}, {second}.\n"
