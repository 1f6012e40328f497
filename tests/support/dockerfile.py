"""What a Dockerfile says, and its stages run in a folder: no Docker engine runs here."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Where the images of docker/ keep something; the same place is free in each of their stages but one.
_PLACES = re.compile(r"(?<![\w./}$])/(?=(?:opt/pairloop|build|wheel|models|app)\b)")


def instructions(dockerfile: Path) -> list[tuple[str, list[str]]]:
    """(INSTRUCTION, its words) for each instruction of a Dockerfile."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split()[1:]) for line in text.splitlines() if line.strip()]


@dataclass
class BuiltFolder:
    """The root of an image, without its operating system.

    Runs what RUN, COPY, ENV and WORKDIR say, with paths of the image moved below `root`. Other than in an image: stages share one root, the Python
    is this one, nobody changes the user, and `--torch-backend` gives way to a wheel of torch that pip's find-links hold.
    """

    root: Path
    context: Path  # what COPY copies from
    environ: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # RUN lines that need another user's rights
    _folder: Path = field(init=False)

    def __post_init__(self) -> None:
        image_python = self.root / "usr/local"
        subprocess.run([sys.executable, "-m", "venv", str(image_python)], check=True)
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self.environ = {**ours, "PATH": f"{image_python / 'bin'}:{os.environ['PATH']}"}
        if "PIP_FIND_LINKS" in ours:
            self.environ["UV_FIND_LINKS"] = ours["PIP_FIND_LINKS"].replace(" ", ",")
        self._folder = self.root

    def build(self, dockerfile: Path) -> list[str]:
        """Runs all stages; returns the words of CMD. Raises AssertionError for a RUN that fails, FileNotFoundError for what COPY does not find."""
        command: list[str] = []
        for instruction, words in instructions(dockerfile):
            match instruction:
                case "ARG":
                    self.arguments.update({name: value for name, _, value in (word.partition("=") for word in words)})
                case "ENV":
                    self.environ.update(self._variable(word) for word in words)
                case "WORKDIR":
                    self._folder = Path(self._moved(words[0]))
                    self._folder.mkdir(parents=True, exist_ok=True)
                case "COPY":
                    self._copy([word for word in words if not word.startswith("--")], from_stage=words[0].startswith("--from="))
                case "RUN":
                    self._run(" ".join(words))
                case "CMD":
                    command = [word.strip('[]",') for word in words]
        return command

    def _moved(self, text: str) -> str:
        return _PLACES.sub(f"{self.root}/", text)

    def _variable(self, word: str) -> tuple[str, str]:
        name, value = word.split("=", 1)
        return name, self._moved(value).replace("$PATH", self.environ["PATH"])

    def _copy(self, words: list[str], *, from_stage: bool) -> None:
        *sources, target = words
        if from_stage:
            assert sources == [target], "stages share one root, so a copy may not change its place"
            if not Path(self._moved(target)).exists():
                raise FileNotFoundError(target)
            return
        for source in sources:
            name = Path(source).name if target.endswith("/") else target
            place = self._folder / name
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(self.context / source, place)

    def _run(self, line: str) -> None:
        line = re.sub(r"--mount=\S+\s*", "", line)
        if "groupadd" in line:
            self.left_out.append(line)
            (self.root / "models").mkdir()
            return
        if "PIP_FIND_LINKS" in self.environ:
            line = line.replace('--torch-backend "${TORCH_BACKEND}"', "")
        done = subprocess.run(
            ["/bin/sh", "-ec", self._moved(line)],
            cwd=self._folder, env={**self.arguments, **self.environ}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
