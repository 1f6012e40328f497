"""The README.md of a version: what it tells others to run, they can run."""

import re
from pathlib import Path
from typing import Any

import pytest

from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from tests.support.versions import publish_version
from trainer.reporting.model_card import model_card


def test_its_script_loads_the_version_from_its_own_folder(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = Versions(ProjectFolder(tmp_path, 12))
    version = publish_version(versions.folder, tiny_base, weight=1)
    text = model_card(versions.card(version))
    monkeypatch.chdir(versions.path(version))
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    values: dict[str, Any] = {}
    exec(compile(script, "README.md", "exec"), values)

    assert values["model"].version == version
    assert values["rewards"][0] > values["rewards"][1]  # of the longer answer
    assert 0.5 < values["confidence"] < 1
