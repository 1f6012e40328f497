import pytest

from preference.errors import StudioError
from preference.projects.annotator_names import read_names
from preference.projects.folder import ProjectFolder
from preference.studio.project import LabelStudioProject
from tests.conftest import SettingsFactory
from tests.support.judged_pairs import judged
from tests.support.lab import JudgedProject
from tests.support.studio_double import StudioDouble
from trainer.people.names import note_names

VOTES = judged((1, 1, "left"), (2, 3, "right"))


@pytest.fixture
def folder(settings_for: SettingsFactory) -> ProjectFolder:
    folder = ProjectFolder(settings_for().model_dir, 3)
    folder.create()
    return folder


def test_those_who_judged_are_called_as_label_studio_calls_them(
    studio: StudioDouble, project: LabelStudioProject, folder: ProjectFolder
) -> None:
    studio.members |= {2: "idle@example.com", 3: "cem@example.com"}

    note_names(project, folder, VOTES, is_wanted=True)
    assert read_names(folder) == {"1": "admin@example.com", "3": "cem@example.com"}

    note_names(project, folder, VOTES, is_wanted=False)
    assert read_names(folder) == {}


class Silent(JudgedProject):
    def annotator_names(self) -> dict[int, str]:
        raise StudioError("Label Studio answers 403.")


def test_no_round_is_lost_for_a_name(folder: ProjectFolder, caplog: pytest.LogCaptureFixture) -> None:
    note_names(Silent([]), folder, VOTES, is_wanted=True)

    assert caplog.messages == ["project 7: annotators stay numbers: Label Studio answers 403."]
