"""A folder on the Hub, whole or not at all."""

from pathlib import Path

import pytest

from preference.errors import ExportError
from tests.support.hub_double import HubDouble, Repository
from trainer.exporting.hub import open_repository, upload

# huggingface_hub 2.4 hands a file to httpx2 in a way that this calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "version").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "version" / "card.json").write_text("{}")
    return tmp_path


def send(folder: Path, repository: str = "org/model", *, is_private: bool = False) -> str:
    address = open_repository(repository, kind="model", is_private=is_private)
    upload(folder, repository, kind="model", message="v1")
    return address


def test_a_folder_is_one_commit_and_a_second_one_is_another(hub: HubDouble, folder: Path) -> None:
    assert [send(folder), send(folder)] == [f"{hub.url}/org/model"] * 2

    sent = hub.repositories["models/org/model"]
    assert sent.files == {"model.safetensors": b"weights", "version/card.json": b"{}"}
    assert sent.messages == ["v1", "v1"]


def test_what_an_earlier_folder_left_goes_in_the_same_commit(hub: HubDouble, folder: Path) -> None:
    send(folder)
    hub.repositories["models/org/model"].files[".gitattributes"] = b"*.safetensors filter=lfs"
    (folder / "version" / "card.json").unlink()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    send(folder)

    sent = hub.repositories["models/org/model"]
    assert sent.files.keys() == {".gitattributes", "model-00001-of-00001.safetensors"}
    assert sent.messages == ["v1", "v1"]


def test_a_commit_of_somebody_else_meanwhile_is_not_built_upon(hub: HubDouble, folder: Path) -> None:
    hub.is_changed_meanwhile = True
    with pytest.raises(ExportError) as refused:
        send(folder)
    assert str(refused.value) == "Somebody else changed org/model meanwhile, so nothing is there that you sent; try again."
    assert hub.repositories["models/org/model"].files == {}


def test_a_token_that_may_not_write_is_refused(hub: HubDouble, folder: Path) -> None:
    with pytest.raises(ExportError) as refused:
        send(folder, "others/model")
    assert str(refused.value) == (
        "Your token may not write to others/model; take one with write access, or name a repository of your own."
    )
    assert hub.repositories == {}


def test_a_file_that_cannot_be_sent_leaves_no_commit(hub: HubDouble, folder: Path) -> None:
    hub.upload_status = 403
    with pytest.raises(
        ExportError, match="A file could not be sent to org/model, so nothing is there that was not before; try again"
    ):
        send(folder)
    assert hub.repositories["models/org/model"].files == {}


def test_a_public_repository_is_not_taken_for_a_private_one(hub: HubDouble, folder: Path) -> None:
    hub.repositories["models/org/model"] = Repository()
    with pytest.raises(ExportError) as refused:
        send(folder, is_private=True)
    assert str(refused.value) == (
        "org/model is there and public, so nothing is sent; make it private on the Hub, or omit --private."
    )
    assert hub.repositories["models/org/model"].files == {}
