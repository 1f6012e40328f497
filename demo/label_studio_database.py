"""The database that the first start of Label Studio 1.23.2 makes, recorded: its 396 migrations take more than a minute of a core.

`python -m demo.label_studio_database` records it anew. Label Studio looks at each start for migrations that its database lacks, and
applies those, so a newer Label Studio starts on an older record, too.
"""

import os
import re
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import click

LABEL_STUDIO = Path(__file__).parent.parent / ".venv-label-studio" / "bin" / "label-studio"
RECORD = Path(__file__).parent / "label-studio-1.23.2.sql"
_FILE = "label_studio.sqlite3"
_MOMENT = re.compile(r"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?'")


def write_database(data: Path) -> None:
    """Makes a data folder of Label Studio, in which every migration is applied and nobody has an account."""
    data.mkdir(parents=True)
    with closing(sqlite3.connect(data / _FILE)) as database:
        database.executescript(RECORD.read_text(encoding="utf-8"))


def dumped(data: Path) -> str:
    """The database of a data folder as SQL, with one moment for all moments: the same for each first start."""
    with closing(sqlite3.connect(data / _FILE)) as database:
        return _MOMENT.sub("'2026-01-01 00:00:00'", "\n".join(database.iterdump()) + "\n")


def first_start(data: Path) -> None:
    """Lets Label Studio make its database in an empty folder."""
    environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    # It asks for its latest version and sends statistics unless both are off; the migrations come before every command.
    environ |= {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false"}
    subprocess.run([str(LABEL_STUDIO), "version", "--data-dir", str(data)], env=environ, check=True, capture_output=True)


def main() -> None:
    """Records what the installed Label Studio makes."""
    with tempfile.TemporaryDirectory() as folder:
        first_start(Path(folder))
        RECORD.write_text(dumped(Path(folder)), encoding="utf-8")
    click.echo(f"recorded {RECORD}")


if __name__ == "__main__":
    main()
