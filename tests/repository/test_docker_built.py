"""The stages of docker/'s two Dockerfiles, run in a folder, and what they start."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.process import wait_until
from demo.stack import free_port
from tests.conftest import REPOSITORY
from tests.support.dockerfile import BuiltFolder
from tests.support.nightly import IS_NIGHTLY

pytestmark = [
    pytest.mark.skipif(not IS_NIGHTLY, reason="installs everything anew, as an image does"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[BuiltFolder, list[str]]]]:
    """Backend and trainer as their images hold them: (folder, command) each."""
    built = {}
    for name in ("backend", "trainer"):
        folder = BuiltFolder(tmp_path_factory.mktemp(name), REPOSITORY)
        built[name] = folder, folder.build(REPOSITORY / "docker" / f"{name}.Dockerfile")
    yield built


def test_nothing_but_the_line_of_the_user_was_left_out(images: dict[str, tuple[BuiltFolder, list[str]]]) -> None:
    for folder, _ in images.values():
        (line,) = folder.left_out
        assert line.startswith("groupadd")


def test_the_backend_of_an_image_serves(images: dict[str, tuple[BuiltFolder, list[str]]]) -> None:
    folder, command = images["backend"]
    port = free_port()
    assert command == ["pairloop-backend", "serve"]

    with subprocess.Popen(
        command, cwd=folder.root / "app", env={**folder.environ, "HOST": "127.0.0.1", "PORT": str(port), "TORCH_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            wait_until(lambda: bool(_health(port)) or server.poll() is not None, timeout_seconds=120, what="the backend")
            assert server.poll() is None, server.stderr and server.stderr.read()
            assert _health(port)["status"] == "UP"
        finally:
            server.terminate()


def test_the_trainer_of_an_image_says_what_its_health_check_asks(images: dict[str, tuple[BuiltFolder, list[str]]]) -> None:
    folder, command = images["trainer"]
    status = ["pairloop-trainer", "status", "--check"]  # as the compose file asks

    done = subprocess.run(
        status, cwd=folder.root / "app", env=folder.environ, capture_output=True, text=True, timeout=120, check=False
    )

    assert command == ["pairloop-trainer", "run"]
    assert done.returncode == 1, "no trainer runs"
    assert "Traceback" not in done.stderr


def test_programs_come_from_the_image_and_not_from_here(images: dict[str, tuple[BuiltFolder, list[str]]]) -> None:
    for folder, command in images.values():
        asked = "import backend, preference, trainer; print(*(m.__file__ for m in (backend, preference, trainer)), sep='\\n')"
        python = folder.root / "opt/pairloop/bin/python"
        files = subprocess.run(
            [python, "-c", asked], cwd=folder.root / "app", env=folder.environ, capture_output=True, text=True, check=True
        )
        assert (folder.root / "opt/pairloop/bin" / command[0]).exists()
        assert all(Path(file).is_relative_to(folder.root / "opt/pairloop") for file in files.stdout.split())


def _health(port: int) -> dict[str, str]:
    """Empty until it answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            health: dict[str, str] = json.load(response)
            return health
    except OSError:
        return {}
