"""Which model answers a request that names a version, and how many are kept."""

from pathlib import Path

import pytest
from werkzeug.exceptions import NotFound

from backend.rewards_api.served_versions import ServedVersions
from backend.serving.process import Backend
from preference.errors import VersionRefused
from preference.projects.folder import ProjectFolder
from preference.projects.version_name import VersionName
from tests.support.app_house import PROJECT, promote
from tests.support.versions import publish_version


def test_what_is_served_is_loaded_once_and_others_are_kept_two_at_a_time(
    backend: Backend, version: str, tiny_chat_base: Path
) -> None:
    folder = ProjectFolder(backend.settings.model_dir, PROJECT)
    others = [publish_version(folder, tiny_chat_base, weight=weight) for weight in (2, 3, 4)]
    versions = ServedVersions(backend.settings.model_dir, backend.champions)

    def find(name: str | None) -> object:
        found = versions.find(VersionName(PROJECT, name))
        assert name in (None, found.version, found.version.split("-")[0])
        return found

    served = backend.champions.of(PROJECT).serving
    assert find(None) is find(version) is find("v1") is served
    first, second = find(others[0]), find("v3")
    assert find("v2") is first and find(others[1]) is second
    find("v4")
    assert find("v3") is second
    assert find("v2") is not first  # it was unused longest


def test_a_version_becomes_the_served_one_without_a_second_copy(backend: Backend, version: str, tiny_chat_base: Path) -> None:
    versions = ServedVersions(backend.settings.model_dir, backend.champions)
    promote(backend, tiny_chat_base, weight=2)

    assert versions.find(VersionName(PROJECT, "v2")) is backend.champions.of(PROJECT).serving
    assert versions.find(VersionName(PROJECT, "v1")).version == version


def test_a_version_that_is_not_what_its_card_says_is_not_used(backend: Backend, version: str, tiny_chat_base: Path) -> None:
    publish_version(ProjectFolder(backend.settings.model_dir, PROJECT), tiny_chat_base, weight=1, probe={"reward": 9.0})
    versions = ServedVersions(backend.settings.model_dir, backend.champions)

    with pytest.raises(VersionRefused, match="its probe scores"):
        versions.find(VersionName(PROJECT, "v2"))
    with pytest.raises(NotFound, match="There is no project 11 here"):
        versions.find(VersionName(11, "v1"))
