"""The wheel that a user installs without make."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.conftest import REPOSITORY


def test_a_wheel_holds_every_file_of_the_three_packages_and_the_label_config(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("pairloop-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [
        path.relative_to(REPOSITORY) for name in ("backend", "preference", "trainer") for path in (REPOSITORY / name).rglob("*")
    ]
    ours = {path.as_posix() for path in files if (REPOSITORY / path).is_file() and "__pycache__" not in path.parts}

    assert names == ours | {"backend/label_config.xml"}
    assert {"trainer/training/concepts.toml", "backend/dashboard/templates/dashboard.html.jinja"} <= names
