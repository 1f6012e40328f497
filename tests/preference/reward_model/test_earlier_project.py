import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from preference.errors import RegistryError
from preference.labelling.holdout import Holdout
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.earlier_project import learn_from, read_earlier_project
from tests.support.version_house import CARD, trained_in

HEAD = "reward_model.json"


@pytest.fixture
def earlier(tmp_path: Path) -> ProjectFolder:
    """Project 7, with a champion over the embedded base that held out a fifth of the prompts."""
    folder = ProjectFolder(tmp_path / "models", 7)
    draft = trained_in(tmp_path)
    (draft / HEAD).write_text("{}")
    Versions(folder).publish(draft, replace(CARD, project_id=7, holdout_fraction=0.2, holdout_rule=2), promote=True)
    return folder


@pytest.fixture
def new(tmp_path: Path) -> ProjectFolder:
    return ProjectFolder(tmp_path / "models", 12)


def test_the_champions_head_is_copied_so_that_the_earlier_project_may_be_deleted(
    earlier: ProjectFolder, new: ProjectFolder
) -> None:
    champion = Versions(earlier).champion()

    assert read_earlier_project(new) is None
    assert learn_from(new, earlier, base="embedded") == f"learns from {champion} of project 7, whose head was copied"
    shutil.rmtree(earlier.path)

    known = read_earlier_project(new)
    assert known is not None and (known.project_id, known.version) == (7, champion)
    assert known.holdout == Holdout(0.2, 2) and known.name == f"{champion} of project 7"
    assert sorted(path.name for path in known.path.iterdir()) == ["card.json", "model.safetensors", HEAD]
    assert (known.path / "model.safetensors").read_bytes() == b"weights"


def test_said_again_it_does_nothing_and_another_champion_takes_its_place(
    earlier: ProjectFolder, new: ProjectFolder, tmp_path: Path
) -> None:
    learn_from(new, earlier, base="embedded")
    assert learn_from(new, earlier, base="embedded") == ""

    later = Versions(earlier).publish(tmp_path / "trained", replace(CARD, project_id=7), promote=True)
    assert learn_from(new, earlier, base="embedded").startswith(f"learns from {later} ")
    known = read_earlier_project(new)
    assert known is not None and known.version == later


def test_what_cannot_be_learnt_from_is_refused_in_one_sentence(
    earlier: ProjectFolder, new: ProjectFolder, tmp_path: Path
) -> None:
    def refusal(other: ProjectFolder, *, base: str = "embedded", folder: ProjectFolder = new) -> str:
        with pytest.raises(RegistryError) as caught:
            learn_from(folder, other, base=base)
        return str(caught.value)

    champion = Versions(earlier).champion()
    assert refusal(earlier, folder=earlier) == "Project 7 cannot learn from itself; name an earlier project."
    assert refusal(ProjectFolder(tmp_path / "models", 8)) == (
        "Project 8 has no champion to learn from; name a project that has one."
    )
    assert refusal(earlier, base="/models/large") == (
        f"The champion {champion} of project 7 reads with embedded, and REWARD_BASE is /models/large; use the same."
    )
    lora = Versions(earlier).publish(tmp_path / "trained", replace(CARD, project_id=7, recipe="lora"), promote=True)
    assert refusal(earlier) == (f"The champion {lora} of project 7 is of the recipe lora; only one of frozen can be learnt from.")
    assert not new.path.exists()


def test_a_damaged_copy_is_named_and_replaced(earlier: ProjectFolder, new: ProjectFolder) -> None:
    learn_from(new, earlier, base="embedded")
    (new.path / "learnt_from" / "card.json").write_text("{")
    with pytest.raises(RegistryError, match="is not a model card"):
        read_earlier_project(new)

    assert learn_from(new, earlier, base="embedded").startswith("learns from ")
    assert read_earlier_project(new) is not None
