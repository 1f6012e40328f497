"""A PostgreSQL of a test's own: Debian's programs, without the cluster and the service of its package.

`python -m tests.support.postgresql` records the database that the first start of Label Studio makes on it: its migrations take longer
than all else that the tests do there.
"""

import lzma
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from demo.label_studio_database import LABEL_STUDIO
from demo.process import wait_until
from demo.stack import free_port

RECORD = Path(__file__).parent.parent / "data" / "label_studio_1.23.2_postgresql.sql.xz"
_QUICK = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "autovacuum=off", "jit=off")  # it is thrown away


def programs() -> Path | None:
    """The folder of the newest PostgreSQL of this machine; None if there is none."""
    debians = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    found = debians[-1] if debians else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgreSQL:
    """A server with one empty database, for the time of the `with`."""

    def __init__(self) -> None:
        self.port = free_port()
        self._programs = programs() or Path()
        self._user = _unprivileged() if os.geteuid() == 0 else ""  # it refuses to run as root

    @property
    def environ(self) -> Mapping[str, str]:
        """What makes Label Studio keep all it has here."""
        return {
            "DJANGO_DB": "default", "POSTGRE_HOST": "127.0.0.1", "POSTGRE_PORT": str(self.port), "POSTGRE_NAME": "postgres",
            "POSTGRE_USER": "postgres", "POSTGRE_PASSWORD": "",
        }  # fmt: skip

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="pairloop-postgresql-"))
        if self._user:
            shutil.chown(self._folder, self._user)
        data = str(self._folder / "data")
        self._run(
            "initdb",
            "--pgdata",
            data,
            "--username",
            "postgres",
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            "C.UTF-8",
            "--no-sync",
        )
        options = [part for option in _QUICK for part in ("-c", option)]
        command = self._command(
            "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._folder), *options
        )
        self._log = (self._folder / "log").open("wb")
        self._server = subprocess.Popen(command, cwd=self._folder, stdout=self._log, stderr=self._log, start_new_session=True)
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(
            lambda: subprocess.run(ready, check=False).returncode == 0, timeout_seconds=60, what="PostgreSQL", every_seconds=0.05
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.send_signal(signal.SIGINT)  # whoever is connected
        self._server.wait(60)
        self._log.close()
        shutil.rmtree(self._folder)

    def load(self, record: Path) -> None:
        """Makes the tables and rows that were recorded."""
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        psql = [str(self._programs / "psql"), *address, "-q", "-o", os.devnull, "-v", "ON_ERROR_STOP=1", "--single-transaction"]
        subprocess.run(psql, input=lzma.decompress(record.read_bytes()), check=True)

    def dump(self) -> bytes:
        """What `load` takes, with no word of the version that dumped it."""
        dumped = self._run("pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "--no-owner", "--inserts").stdout
        return re.sub(rb"(?m)^(--|\\|SET transaction_timeout).*\n|^\n", b"", dumped)

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(self._command(program, *arguments), cwd=self._folder, check=True, capture_output=True)

    def _command(self, program: str, *arguments: str) -> list[str]:
        other = ["setpriv", "--reuid", self._user, "--regid", _group(self._user), "--clear-groups"] if self._user else []
        return [*other, str(self._programs / program), *arguments]


def _unprivileged() -> str:
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _group(user: str) -> str:
    return str(pwd.getpwnam(user).pw_gid)


def main() -> None:
    """Records what the installed Label Studio makes."""
    with PostgreSQL() as database, tempfile.TemporaryDirectory() as folder:
        environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        environ |= {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", **database.environ}
        subprocess.run([str(LABEL_STUDIO), "version", "--data-dir", folder], env=environ, check=True, capture_output=True)
        RECORD.write_bytes(lzma.compress(database.dump(), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
