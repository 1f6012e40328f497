import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.connecting.guidelines import instruction_of
from preference.projects.folder import ProjectFolder, known_projects
from preference.projects.guidelines import note_instruction, version_of
from preference.projects.versions import UNTRAINED, Versions
from preference.reward_model.earlier_project import read_earlier_project
from tests.support.clinic import Clinic
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import LABEL_CONFIG
from tests.support.version_house import CARD, trained_in

# connect and disconnect


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with StudioDouble() as studio, Clinic(studio, tmp_path) as clinic:
        yield clinic


def test_connect_names_the_project_s_page_as_browsers_reach_it(clinic: Clinic) -> None:
    result = clinic.run("connect", "--project", clinic.id, LABEL_STUDIO_PUBLIC_URL="https://studio.example")

    assert f"project {clinic.id} is connected: https://studio.example/projects/{clinic.id}" in result.output
    assert clinic.studio.url not in result.output


def test_one_command_makes_a_project_and_fills_it(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("Why?\nWho?\n")

    result = clinic.run("connect", "--new", "My preferences", "--prompts", tmp_path / "prompts.txt")

    assert result.exit_code == 0, result.output
    made = max(clinic.studio.projects)
    assert result.output.splitlines()[:4] == [
        f'made project {made}, "My preferences"',
        f"connected {clinic.address} as {UNTRAINED}",
        "put WEBHOOK_SECRET into the webhook",
        "switched uncertainty sampling on",
    ]
    assert f"project {made} is connected: {clinic.studio.url}/projects/{made}" in result.output
    assert "no suggestions yet: the first reward model is trained after 30 judgements, on 16 prompts or more" in result.output
    assert result.output.splitlines()[-1] == "2 imported, 2 of them answered"
    assert clinic.studio.projects[made]["label_config"] == LABEL_CONFIG
    datas = [task["data"] for task in clinic.studio.tasks.values()]
    assert {data["prompt"] for data in datas} == {"Why?", "Who?"} and all(data["answer1"] and data["answer2"] for data in datas)
    assert clinic.run("doctor", "--project", made).exit_code == 0

    again = clinic.run("connect", "--project", made, "--prompts", tmp_path / "prompts.txt")
    assert again.output.splitlines()[0] == "there was nothing to do"
    assert "2 skipped, the project holds the prompt" in again.output
    assert len(clinic.studio.tasks) == 2


def test_a_project_may_learn_from_an_earlier_one(clinic: Clinic, tmp_path: Path) -> None:
    earlier, folder = (ProjectFolder(clinic.model_dir, number) for number in (70, clinic.id))
    draft = trained_in(tmp_path)
    (draft / "reward_model.json").write_text("{}")
    champion = Versions(earlier).publish(draft, replace(CARD, project_id=70), promote=True)

    result = clinic.run("connect", "--project", clinic.id, "--learn-from", 70)

    assert result.exit_code == 0, result.output
    assert f"learns from {champion} of project 70, whose head was copied" in result.output
    known = read_earlier_project(folder)
    assert known is not None and known.version == champion
    assert "learns from" not in clinic.run("connect", "--project", clinic.id, "--learn-from", 70).output
    refused = clinic.run("connect", "--project", clinic.id, "--learn-from", 71)
    assert (
        refused.exit_code == 1
        and "Error: Project 71 has no champion to learn from; name a project that has one." in refused.output
    )


def test_a_new_project_may_hold_conversations(clinic: Clinic, tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": "Name a tree."},
        {"role": "assistant", "content": "Oak."},
        {"role": "user", "content": "And?"},
    ]
    (tmp_path / "prompts.jsonl").write_text(f'"Why?"\n{json.dumps(said)}\n')

    result = clinic.run("connect", "--new", "Chats", "--conversations", "--prompts", tmp_path / "prompts.jsonl")

    assert result.exit_code == 0, result.output
    project = clinic.studio.projects[max(clinic.studio.projects)]
    assert (
        '<Paragraphs name="prompt" value="$prompt" layout="dialogue" nameKey="role" textKey="content"/>'
        in project["label_config"]
    )
    datas = [task["data"] for task in clinic.studio.tasks.values()]
    assert [data["prompt"] for data in datas] == [[{"role": "user", "content": "Why?"}], said]
    assert all(data["answer1"] and data["answer2"] for data in datas)
    assert clinic.run("doctor", "--project", max(clinic.studio.projects)).exit_code == 0


@pytest.mark.parametrize("others", [["--project", "1"], ["--new", "Chats", "--label-config", "config.xml"]])
def test_conversations_are_a_form_of_a_new_project_alone(clinic: Clinic, tmp_path: Path, others: list[str]) -> None:
    (tmp_path / "config.xml").write_text(LABEL_CONFIG)

    result = clinic.run("connect", "--conversations", *(str(tmp_path / o) if o.endswith(".xml") else o for o in others))

    assert result.exit_code == 2
    assert "--conversations chooses the label config of a project that --new makes" in result.output


def test_connect_takes_judgements_along_as_import_does(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}\n')

    result = clinic.run("connect", "--new", "Pairs", "--prompts", tmp_path / "pairs.jsonl", "--judged")

    assert result.exit_code == 0, result.output
    assert "1 judgement comes along, as " in result.output
    (task,) = clinic.studio.tasks.values()
    assert len(task["annotations"]) == 1


def test_several_people_judge_a_part_of_the_tasks_with_overlap(clinic: Clinic) -> None:
    result = clinic.run("connect", "--project", clinic.id, "--overlap", "0.2", "--annotators", "3")

    assert result.output.splitlines()[:2] == [
        "set the overlap: 3 people judge each of 20 % of the tasks", 'made the tab "Pairloop: people disagree"',
    ]  # fmt: skip
    result = clinic.run("connect", "--project", clinic.id, "--annotators", "3")
    assert result.exit_code == 2
    assert "Error: --annotators is of --overlap SHARE; give that as well, such as --overlap 0.2." in result.output


def test_judged_without_a_file_is_refused(clinic: Clinic) -> None:
    result = clinic.run("connect", "--project", clinic.id, "--judged")

    assert result.exit_code == 2
    assert "Error: --judged is of --prompts FILE; give that as well." in result.output


def test_the_old_name_of_new_still_works_and_is_not_in_the_help(clinic: Clinic, tmp_path: Path) -> None:
    config = LABEL_CONFIG.replace('value="$prompt"', 'value="$question"')
    (tmp_path / "config.xml").write_text(config)

    result = clinic.run("connect", "--create", "Questions", "--label-config", tmp_path / "config.xml")

    assert result.exit_code == 0, result.output
    assert clinic.studio.projects[max(clinic.studio.projects)]["label_config"] == config
    assert "--create" not in clinic.run("connect", "--help").output


def test_a_title_that_is_taken_names_its_project_and_makes_no_second(clinic: Clinic) -> None:
    result = clinic.run("connect", "--new", "Preferences")

    assert result.exit_code == 1
    assert result.output == (
        f'Error: Project {clinic.id} is called "Preferences" already; connect it with --project {clinic.id}, or choose another title.\n'
    )
    assert clinic.run("connect", "--new", "Prefer").exit_code == 0, "a title that is part of another is free"


def test_a_title_that_is_no_text_is_refused(clinic: Clinic) -> None:
    """As a terminal that does not write UTF-8 gives it."""
    result = clinic.run("connect", "--new", "Caf\udce9")

    assert (result.exit_code, result.output) == (
        1, "Error: The title 'Caf\\udce9' is not UTF-8 text; choose another, or set the terminal to UTF-8.\n"
    )  # fmt: skip
    assert list(clinic.studio.projects) == [clinic.id]


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [("--prompts", '{"no": "prompt"}', "no prompt"), ("--label-config", "<View><Header/></View>", "has no <Pairwise> tags")],
)
def test_files_are_looked_at_before_a_project_is_made(
    clinic: Clinic, tmp_path: Path, option: str, text: str, problem: str
) -> None:
    (tmp_path / "file.jsonl").write_text(text)

    result = clinic.run("connect", "--new", "Another", option, tmp_path / "file.jsonl")

    assert result.exit_code == 1 and problem in result.output
    assert list(clinic.studio.projects) == [clinic.id]


@pytest.mark.parametrize("start", ['<?xml version="1.0" encoding="UTF-8"?>\n', '\ufeff<?xml version="1.0"?>'])
def test_a_label_config_may_begin_as_xml_files_do(clinic: Clinic, tmp_path: Path, start: str) -> None:
    (tmp_path / "config.xml").write_text(start + LABEL_CONFIG, encoding="utf-8")

    result = clinic.run("connect", "--new", "Another", "--label-config", tmp_path / "config.xml")

    assert result.exit_code == 0, result.output
    assert clinic.studio.projects[max(clinic.studio.projects)]["label_config"] == LABEL_CONFIG


def test_a_new_project_that_cannot_be_connected_is_taken_back(clinic: Clinic) -> None:
    clinic.studio.refuses_private = True

    result = clinic.run("connect", "--new", "Another")

    assert result.exit_code == 1
    made, removed, refused = result.output.splitlines()
    number = made.split()[2].rstrip(",")
    assert (made, removed) == (f'made project {number}, "Another"', f"removed project {number} again")
    assert refused.startswith(f"Error: Label Studio could not connect {clinic.address}: ")
    assert list(clinic.studio.projects) == [clinic.id]
    assert [folder.project_id for folder in known_projects(clinic.model_dir)] == [clinic.id]


def test_a_new_project_into_which_somebody_put_tasks_stays_though_it_cannot_be_connected(clinic: Clinic) -> None:
    clinic.studio.refuses_private = True

    def add_a_task(request: str) -> None:
        if request == "POST /api/ml/":
            clinic.studio.add_tasks(max(clinic.studio.projects), {"prompt": "Why?"})

    clinic.studio.on_request = add_a_task

    result = clinic.run("connect", "--new", "Another")

    made = max(clinic.studio.projects)
    assert result.exit_code == 1 and made != clinic.id
    assert f"project {made} stays: somebody put tasks into it" in result.output


def test_a_connection_by_which_label_studio_does_not_reach_the_backend_is_an_error(clinic: Clinic) -> None:
    clinic.studio.blocks_private = True

    result = clinic.run("connect", "--project", clinic.id)

    assert result.exit_code == 1
    assert result.output.startswith(f"Error: Label Studio does not reach {clinic.address}. ") and "BACKEND_URL" in result.output
    assert clinic.cross()["check"] == "connection", "doctor says the same"


def test_a_wrong_number_is_refused_with_the_projects_that_there_are(clinic: Clinic) -> None:
    other = clinic.studio.add_project(title="Another")

    result = clinic.run("connect", "--project", 999)

    assert (result.exit_code, result.output) == (
        1,
        f"Error: Label Studio shows no project 999 to this key; it shows: {clinic.id} (Preferences), {other} (Another).\n",
    )


@pytest.mark.parametrize("arguments", [[], ["--project", "1", "--new", "Both"], ["--project", "1", "--label-config", "-"]])
def test_connect_wants_one_project(clinic: Clinic, arguments: list[str]) -> None:
    result = clinic.run("connect", *arguments)

    assert result.exit_code == 2 and "Give --project ID, or --new TITLE" in result.output


def test_disconnect_says_what_it_removed_and_that_the_rest_stays(clinic: Clinic) -> None:
    done = clinic.run("disconnect", "--project", clinic.id)
    again = clinic.run("disconnect", "--project", clinic.id)

    stays = f"project {clinic.id} is not connected; no task, prediction or annotation was touched"
    assert done.output.splitlines() == [
        f"removed the connection to {clinic.address}",
        f"removed the webhook to {clinic.address}/webhook",
        "switched back to sequential sampling",
        stays,
    ]
    assert again.output.splitlines() == ["there was nothing to remove", stays]
    assert clinic.studio.rows == {} and clinic.studio.hooks == {}


def test_disconnect_forgets_a_project_that_was_deleted_in_label_studio(clinic: Clinic) -> None:
    del clinic.studio.projects[clinic.id]

    done = clinic.run("disconnect", "--project", clinic.id)

    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            f"Label Studio has no project {clinic.id} any more, or does not show it to this key; nothing looks after it now",
            f"project {clinic.id} is not connected; no task, prediction or annotation was touched",
        ],
    )
    assert list(known_projects(clinic.model_dir)) == []


def test_a_refusal_is_one_sentence(clinic: Clinic) -> None:
    result = clinic.run("disconnect", "--project", 999)

    assert result.exit_code == 1
    assert result.output.startswith("Error: Label Studio has no such thing in project 999")


def test_guidelines_are_set_once_and_doctor_and_status_say_if_they_were_edited(clinic: Clinic, tmp_path: Path) -> None:
    file, project = tmp_path / "guidelines.md", clinic.studio.projects[clinic.id]
    file.write_text("\ufeff# Be **kind**\n", encoding="utf-8")
    assert clinic.doctor()["guidelines"]["found"] == "there are none"

    first = clinic.run("connect", "--project", clinic.id, "--guidelines", file)
    again = clinic.run("connect", "--project", clinic.id, "--guidelines", file)

    version = version_of(instruction_of("# Be **kind**"))
    assert first.output.splitlines()[0] == f"set the guidelines, version {version}"
    assert again.output.splitlines()[0] == "there was nothing to do"
    assert (project["expert_instruction"], project["show_instruction"]) == (instruction_of("# Be **kind**"), True)
    assert clinic.doctor()["guidelines"]["found"] == f"version {version}"

    project.update(expert_instruction="Be honest", show_instruction=False)
    edited = f"version {version_of('Be honest')}, edited in Label Studio after connect --guidelines set version {version}"
    assert clinic.doctor()["guidelines"]["found"] == f"{edited}; Label Studio does not show them before labeling"
    assert clinic.is_well(), "people may do that"
    note_instruction(clinic.folder, "Be honest", now=2e9)  # as the trainer does when it looks
    assert f"\t{edited}\t" in clinic.run("status").output
    assert json.loads(clinic.run("status", "--json").output)["projects"][0]["guidelines"] == edited


def test_a_new_project_has_its_guidelines_at_once(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "guidelines.md").write_text("Be kind")

    result = clinic.run("connect", "--new", "Kind", "--guidelines", tmp_path / "guidelines.md")

    assert result.exit_code == 0 and f"set the guidelines, version {version_of(instruction_of('Be kind'))}\n" in result.output
    assert clinic.studio.projects[max(clinic.studio.projects)]["expert_instruction"] == instruction_of("Be kind")


@pytest.mark.parametrize("option", ["--guidelines", "--label-config"])
def test_a_text_that_is_no_utf_8_is_refused_before_anything_is_made(clinic: Clinic, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_bytes("Größe".encode("latin-1"))

    result = clinic.run("connect", "--new", "Another", option, tmp_path / "file")

    assert (result.exit_code, result.output) == (1, f"Error: {tmp_path / 'file'} is not UTF-8 (byte 2); save it as UTF-8.\n")
    assert list(clinic.studio.projects) == [clinic.id]


def test_empty_guidelines_are_refused(clinic: Clinic, tmp_path: Path) -> None:
    (tmp_path / "guidelines.md").write_text(" \n")

    result = clinic.run("connect", "--project", clinic.id, "--guidelines", tmp_path / "guidelines.md")

    assert (
        result.exit_code == 1
        and f"{tmp_path / 'guidelines.md'} is empty; write down what makes an answer better" in result.output
    )


def test_controls_are_added_after_their_lines_were_shown(clinic: Clinic) -> None:
    config = '<View>\n<Text name="p" value="$p"/>\n<Pairwise name="w" toName="a,b"/>\n<Text name="a" value="$a"/>\n<Text name="b" value="$b"/>\n</View>'
    clinic.studio.projects[clinic.id]["label_config"] = config

    no = clinic.run("connect", "--project", clinic.id, "--add-controls", typed="n\n")

    assert '+<Choices name="verdict" toName="a" choice="single">' in no.output.splitlines()
    assert "Add these lines to the label config? [y/N]: n" in no.output and "the label config stays as it is" in no.output
    assert no.exit_code == 0 and clinic.studio.projects[clinic.id]["label_config"] == config

    yes = clinic.run("connect", "--project", clinic.id, "--add-controls", "--yes")

    assert yes.exit_code == 0 and "added Pairloop's controls to the label config" in yes.output.splitlines()
    held = clinic.studio.projects[clinic.id]["label_config"]
    assert all(line in held.splitlines() for line in config.splitlines()) and 'hotkey="1"' in held

    again = clinic.run("connect", "--project", clinic.id, "--add-controls")

    assert again.output.splitlines()[:2] == ["the label config has Pairloop's controls already", "there was nothing to do"]
