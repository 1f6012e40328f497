import copy
import json
from pathlib import Path

import pytest

from backend.new_tasks.repeats import ask_for_repeats
from backend.serving.process import Backend
from preference.errors import StudioNotFound
from preference.labelling.controls.repeats import Repeat, Shown
from preference.labelling.label_config import LabelingLayout
from preference.projects.folder import known_projects
from preference.projects.status_files import OpenRepeats
from preference.projects.versions import UNTRAINED, Versions
from preference.settings import Settings
from tests.support.connecting_house import ADDRESS, HOST, House
from tests.support.filling_house import CHOICE
from tests.support.studio_double import StudioDouble
from tests.support.studio_records import LABEL_CONFIG
from tests.support.versions import publish_version

# And back


def test_disconnect_removes_what_connect_made_and_nothing_else(
    studio: StudioDouble, house: House, settings: Settings, tiny_base: Path
) -> None:
    version = publish_version(house.folder, tiny_base, weight=1)
    Versions(house.folder).promote(version)
    other = studio.add_row(house.id, "http://another:9090", "another model")
    theirs = studio.add_hook(house.id, url="http://another:9090/webhook")
    house.connect()
    (task,) = studio.add_tasks(house.id, {"prompt": "Why?", "answer1": "a", "answer2": "b"})
    studio.annotate(task, [])
    held = copy.deepcopy(studio.tasks)

    assert house.disconnect() == [
        f"removed the connection to {ADDRESS}",
        f"removed the webhook to {ADDRESS}/webhook",
        "switched back to sequential sampling",
    ]
    assert (list(studio.rows), list(studio.hooks), studio.tasks) == ([other], [theirs], held)
    assert studio.projects[house.id]["sampling"] == "Sequential sampling"
    assert list(known_projects(settings.model_dir)) == [], "nothing looks after it any more"
    assert Versions(house.folder).all() == [version]
    assert house.disconnect() == []

    assert house.connect()[0] == f"connected {ADDRESS} as {version}"
    assert [folder.project_id for folder in known_projects(settings.model_dir)] == [house.id]


def test_disconnect_removes_comparisons_that_came_back_and_that_nobody_judged(studio: StudioDouble, house: House) -> None:
    layout = LabelingLayout.from_label_config(LABEL_CONFIG)
    house.connect()
    data = {"prompt": "p", "answer1": "a", "answer2": "b"}
    (task,) = studio.add_tasks(house.id, data)
    studio.annotate(task, CHOICE, completed_by=7)
    ask_for_repeats(house.project, house.folder, layout, state=house.project.read(), share=0.5)
    (again,) = house.project.import_tasks([{"data": layout.exchanged(data), "meta": Repeat(task, 1, Shown()).to_meta()}])
    path = house.folder.path / OpenRepeats.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"open": [again]}))

    assert "removed 1 comparison that came back, which nobody judged" in house.disconnect()

    assert list(studio.tasks) == [task] and not path.exists()


def test_a_project_that_was_deleted_in_label_studio_is_forgotten(studio: StudioDouble, house: House, settings: Settings) -> None:
    house.connect()
    del studio.projects[house.id]
    sentence = f"Label Studio has no project {house.id} any more, or does not show it to this key; nothing looks after it now"

    assert (house.disconnect(), list(known_projects(settings.model_dir))) == ([sentence], [])
    assert house.disconnect() == [sentence]


def test_a_wrong_number_is_no_project_to_forget(studio: StudioDouble, house: House) -> None:
    del studio.projects[house.id]

    with pytest.raises(StudioNotFound):
        house.disconnect()

    assert not house.folder.path.exists()


def test_work_that_ends_after_a_disconnection_does_not_undo_it(house: House, settings: Settings, tiny_base: Path) -> None:
    house.connect()
    house.disconnect()

    publish_version(house.folder, tiny_base, weight=1)  # a round ends
    house.folder.request("train")  # a round was stopped, or Label Studio was away
    house.folder.request("fill")  # the last events

    assert list(known_projects(settings.model_dir)) == []
    backend = Backend(settings)
    backend.predict(house.id, LABEL_CONFIG, [{"id": 1, "data": {"prompt": "Why?"}}])  # of a page that was open
    assert list(known_projects(settings.model_dir)) == []
    backend.setup(house.id, LABEL_CONFIG, host=HOST)  # somebody pasted the address
    assert [folder.project_id for folder in known_projects(settings.model_dir)] == [house.id]


def test_disconnecting_a_project_that_never_was_connected_removes_nothing(studio: StudioDouble, house: House) -> None:
    studio.add_row(house.id, "http://another:9090", UNTRAINED)

    assert house.disconnect() == []
    assert len(studio.rows) == 1
    assert not house.folder.path.exists()


def test_a_sampling_that_somebody_chose_stays_when_disconnecting(studio: StudioDouble, house: House) -> None:
    house.connect()
    studio.projects[house.id]["sampling"] = "Uniform sampling"

    house.disconnect()

    assert studio.projects[house.id]["sampling"] == "Uniform sampling"
