"""Time and memory of `import`, of new rows and of rows that the project holds already, beside those of another checkout.

    BASELINE=/path/to/a/checkout make bench ONLY=importing

Both bring one file into a project of their own, one after the other, on one real Label Studio; then both bring it again. The echo
engine writes the answers, so what is measured is all the rest. ROWS says how many rows (20,000 if it does not).
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks.row import Row
from demo.stack import PROGRAMS, REPOSITORY, Stack, free_port
from preference.settings import Settings
from preference.studio.account import Account

_SETTINGS = {"GENERATOR_ENGINE": "echo", "TORCH_THREADS": "1"}
_LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")


def run(console: Console) -> list[Row]:
    """Seconds and megabytes of each run."""
    num_rows = int(os.environ.get("ROWS", "20000"))
    programs = {REPOSITORY: PROGRAMS}
    if baseline := os.environ.get("BASELINE"):
        programs[Path(baseline)] = Path(baseline) / ".venv" / "bin"
    with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as folder:
        ports = {"label_studio_port": free_port(), "backend_port": free_port()}
        with Stack(Path(folder), **ports, settings=_SETTINGS) as stack:
            stack.start_label_studio()
            path = Path(folder) / "prompts.txt"
            path.write_text(
                "".join(f"Prompt number {n}: what should one know about it?\n" for n in range(num_rows)), encoding="utf-8"
            )
            account = Account(Settings.from_environ(stack.environ).studio)
            projects = {
                checkout: account.create_project(title=f"Import {place}", label_config=_LABEL_CONFIG).id
                for place, checkout in enumerate(programs)
            }
            rows = []
            for what in ("new", "known"):
                measured = []
                for checkout, folder_of_programs in programs.items():
                    command = [
                        str(folder_of_programs / "pairloop-backend"),
                        "import",
                        "--project",
                        str(projects[checkout]),
                        str(path),
                    ]
                    measured.append(_measured(command, {**stack.environ, "PYTHONPATH": str(checkout)}, checkout))
                    console.print(f"{num_rows} {what} rows, {checkout.name}: {measured[-1][0]:.0f} s, {measured[-1][1]:.0f} MB")
                for unit, values in zip(("s", "MB"), zip(*measured, strict=True), strict=True):
                    beside = values[1] if len(values) > 1 else None
                    rows.append(Row(f"import of {num_rows} {what} rows", values[0], unit, beside, "BASELINE"))
    return rows


def _measured(command: list[str], environ: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """(seconds, megabytes at most) of one run."""
    started, peak = time.monotonic(), 0.0
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(command, env=dict(environ), cwd=folder, stdout=output, stderr=output)
        process = psutil.Process(child.pid)
        while child.poll() is None:  # what the system counts of a child begins with the size of its parent
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss / 2**20)
            time.sleep(0.05)
        if child.returncode:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}: {output.read()[-500:].decode()}")
    return time.monotonic() - started, peak
