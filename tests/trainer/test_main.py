import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result

from preference.errors import TrainingError
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.certificate import Audit, write_audit, write_certificate
from preference.report_card.figures import ReportFigures, SuspectLabel
from preference.report_card.raters import RaterFigures, write_rater
from preference.report_card.shares import Share
from tests.conftest import REPOSITORY
from tests.support.cards import EMPTY_CARD
from tests.support.certificates import CERTIFICATE
from tests.support.generator_versions import CARD, publish
from tests.support.studio_double import KEY, StudioDouble
from trainer.rounds.lock import only_one
from trainer.rounds.outcome import read_outcome

Invoke = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    """Project 3 with two versions: the first is the champion, the second was kept back."""
    made = ProjectFolder(tmp_path, 3)
    (tmp_path / "trained").mkdir()
    first = dataclasses.replace(EMPTY_CARD, num_train_pairs=40, promoted=True, reason="accuracy 0.700, and there was no champion")
    Versions(made).promote(Versions(made).publish(tmp_path / "trained", first))
    Versions(made).publish(
        tmp_path / "trained", dataclasses.replace(EMPTY_CARD, num_train_pairs=50, reason="accuracy 0.600 is below")
    )
    return made


def test_the_report_is_the_champions_or_that_of_a_named_version(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()

    champions, named = invoke("report", "--project", "3"), invoke("report", "--project", "3", second)

    assert champions.exit_code == named.exit_code == 0
    assert champions.output.startswith(f"{first} of project 3, promoted: accuracy 0.700")
    assert named.output.startswith(f"{second} of project 3, kept back: accuracy 0.600 is below")
    assert "this version" in named.output


def test_the_report_of_a_generator_version_is_of_its_answers(invoke: Invoke, folder: ProjectFolder) -> None:
    version = publish(folder)

    shown = " ".join(invoke("report", "--project", "3", version).output.split())

    assert shown.startswith(f"{version} of project 3, promoted: it wins .70 at equal length")
    assert "at equal length 70.0 % (95 % interval 60.0 to 80.0 %)" in shown and "as written 75.0 %" in shown
    assert "answers this version base" in shown and "repeat themselves 8.0 % 2.0 %" in shown and "(KL) 0.056" in shown
    assert json.loads(invoke("report", "--project", "3", "--json", version).stdout)["metrics"]["kl"] == 0.056
    result = invoke("report", "--project", "3", "g9-20261121-062026")
    assert result.exit_code == 1 and "Project 3 has no generator version 'g9-20261121-062026'" in result.output
    assert "base" in invoke("report", "--project", "3", "base").output


def test_the_report_of_a_generator_says_what_its_answers_go_on_from(invoke: Invoke, folder: ProjectFolder) -> None:
    plain, begun = publish(folder), publish(folder, dataclasses.replace(CARD, answer_prefix="A good answer:\n"))

    shown = [invoke("report", "--project", "3", version).output for version in (plain, begun)]

    assert "go on from" not in shown[0]
    assert "Its answers go on from 'A good answer:', which is no part of them." in shown[1]


def test_the_report_is_to_be_had_as_json(invoke: Invoke, folder: ProjectFolder) -> None:
    first = Versions(folder).all()[0]

    card = json.loads(invoke("report", "--project", "3", "--json").output)

    assert (card["version"], card["num_train_pairs"], card["promotions"][0]["by"]) == (first, 40, "judge")


def test_a_report_has_the_raters_that_are_no_people(invoke: Invoke, folder: ProjectFolder) -> None:
    assert "Raters that are no people" not in invoke("report", "--project", "3").output
    agreement = Share(0.75, (0.6, 0.9), 40)
    write_rater(
        folder.path, RaterFigures(rater="org/judge-7b", judged_at="2026-11-30T10:00:00+00:00", agreement=agreement, num_ties=3)
    )

    shown = invoke("report", "--project", "3").output
    assert "Raters that are no people" in shown
    assert "org/judge-7b\t0.750 (95 % interval 0.600 to 0.900, of 40)\t3\t" in shown.replace("  ", "\t")
    (rater,) = json.loads(invoke("report", "--project", "3", "--json").output)["raters"]
    assert (rater["rater"], rater["agreement"]["value"]) == ("org/judge-7b", 0.75)


def test_a_report_has_what_blind_judgements_certify_of_the_version(invoke: Invoke, folder: ProjectFolder) -> None:
    first, second = Versions(folder).all()
    now = datetime.now(UTC).isoformat()
    write_certificate(folder.path, replace(CERTIFICATE, version=first, last_vote_at=now))
    write_audit(folder.path, replace(CERTIFICATE, version=first), Audit(num_votes=12, num_agreeing=11, last_vote_at=now))

    shown, other = invoke("report", "--project", "3").output, invoke("report", "--project", "3", second).output
    assert f"{first} is certified from confidence 0.74 on: people choose its side in at least 80.0 % of such tasks" in shown
    assert "audited by 12 blind judgements since, of which 11 chose its side" in shown
    assert "0.74\t46.0 %\t88.9 %\t81.7 %\t81" in shown
    assert "certified" not in other
    known = json.loads(invoke("report", "--project", "3", "--json").output)["certificate"]
    assert (known["certified_from"], known["audit"]["num_agreeing"], known["problem"]) == (0.74, 11, "")


def test_a_report_marks_its_suspect_labels_and_removes_the_marks_of_earlier_versions(invoke: Invoke, tmp_path: Path) -> None:
    with StudioDouble() as studio:
        project_id = studio.add_project()
        before, now = studio.add_tasks(project_id, {"prompt": "Why?"}, {"prompt": "How?"}, meta={"mine": 1})
        folder = ProjectFolder(tmp_path, project_id)
        (tmp_path / "trained").mkdir()
        for task in (before, now):
            label = SuspectLabel(task=task, annotation=5, annotator=1, gap=-2.0, probability=0.1)
            Versions(folder).publish(
                tmp_path / "trained", dataclasses.replace(EMPTY_CARD, report=ReportFigures(suspects=(label,)))
            )
        first, second = Versions(folder).all()
        environ = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY}

        one = invoke("report", "--project", str(project_id), first, "--mark-suspects", **environ)
        other = invoke("report", "--project", str(project_id), second, "--mark-suspects", **environ)

        assert one.exit_code == other.exit_code == 0, one.output + other.output
        assert "1 marked" in one.stderr
        assert "1 marked" in other.stderr
        assert "1 mark removed" in other.stderr
        assert studio.tasks[before]["meta"] == {"mine": 1}
        assert studio.tasks[now]["meta"]["pairloop_suspect"]["version"] == second


def test_a_report_without_a_version_says_what_to_do(invoke: Invoke, tmp_path: Path) -> None:
    ProjectFolder(tmp_path, 3).create()

    result = invoke("report", "--project", "3")

    assert (result.exit_code, result.output) == (1, "Error: Project 3 has no version yet; `pairloop-trainer once` trains one.\n")


def test_once_without_a_known_project_says_what_to_do(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("once")

    assert result.exit_code == 1
    assert result.output == f"Error: No project is known in MODEL_DIR={tmp_path}; connect one, or name it with --project.\n"


def test_once_without_a_key_fails_and_names_the_variable(invoke: Invoke) -> None:
    result = invoke("once", "--project", "3")

    assert result.exit_code == 1
    assert result.output.startswith("project 3: failed: LABEL_STUDIO_API_KEY is not set; ")


def test_once_makes_no_project_known_that_label_studio_does_not_have(invoke: Invoke, tmp_path: Path) -> None:
    with StudioDouble() as studio:
        result = invoke("once", "--project", "99", LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=KEY)

    assert result.exit_code == 1 and "has no such thing in project 99" in result.output
    assert not (tmp_path / "projects").exists()


def test_once_says_it_as_json_to_programs(invoke: Invoke) -> None:
    result = invoke("once", "--json", "--project", "3")

    assert result.exit_code == 1
    ended = read_outcome(result.stdout)
    assert ended is not None
    assert (ended.outcome, ended.version) == ("failed", None)
    assert ended.reason.startswith("LABEL_STUDIO_API_KEY is not set; ")


def test_once_leaves_a_project_to_the_process_that_is_at_it_before_it_loads_anything(
    folder: ProjectFolder, tmp_path: Path
) -> None:
    program = """
import sys
from trainer.__main__ import main
try:
    main(["once", "--project", "3"])
except SystemExit as end:
    print(end.code, [name for name in ("torch", "transformers", "scipy") if name in sys.modules])
"""
    environ = {**os.environ, "MODEL_DIR": str(tmp_path), "LABEL_STUDIO_API_KEY": "key"}
    with only_one(folder):
        finished = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, env=environ, capture_output=True, text=True)

    sentence = "Another process is in the middle of a round of project 3; this one leaves it to that."
    assert finished.stdout.splitlines() == [f"project 3: {sentence}", "0 []"]


def test_the_daemon_learns_that_another_process_runs_the_projects_round(invoke: Invoke, folder: ProjectFolder) -> None:
    with only_one(folder):
        result = invoke("once", "--json", "--project", "3")

    assert result.exit_code == 0
    with pytest.raises(TrainingError, match="in the middle of a round of project 3"):
        read_outcome(result.stdout)


def test_a_round_by_hand_is_the_one_that_was_asked_for_unless_it_could_not_run(invoke: Invoke, folder: ProjectFolder) -> None:
    folder.request("train")
    with only_one(folder):
        invoke("once", "--project", "3")
    assert folder.is_requested("train")

    invoke("once", "--project", "3")

    assert not folder.is_requested("train")


def test_once_gives_the_other_projects_their_rounds_if_one_cannot_have_its_own(
    invoke: Invoke, folder: ProjectFolder, tmp_path: Path
) -> None:
    ProjectFolder(tmp_path, 4).create()
    (folder.path / "round.lock").mkdir()

    result = invoke("once")

    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1 and errors[0].startswith("Error: project 3: ")
    assert "project 4: failed: LABEL_STUDIO_API_KEY is not set" in result.output


def test_a_device_that_is_not_there_is_refused(invoke: Invoke) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    result = invoke("once", "--project", "3", DEVICE="cuda")

    assert result.exit_code == 1
    assert result.output.startswith("Error: DEVICE=cuda, but torch ")


def test_wrong_settings_end_every_command_with_all_of_them(invoke: Invoke) -> None:
    result = invoke("run", MIN_PAIRS="2", TRAIN_SCHEDULE="whenever")

    assert result.exit_code == 2
    assert "TRAIN_SCHEDULE='whenever' is wrong: " in result.output
    assert "MIN_PAIRS='2' is wrong: " in result.output


def test_a_wrong_cron_field_ends_run_with_its_reason(invoke: Invoke) -> None:
    result = invoke("run", TRAIN_SCHEDULE="61 3 * * *")

    assert result.exit_code == 1
    assert result.output.startswith("Error: TRAIN_SCHEDULE='61 3 * * *' is wrong: ")
