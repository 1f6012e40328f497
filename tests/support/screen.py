"""What a command prints, for tests."""

import io

from rich.console import Console


class Screen:
    """A console that is no terminal, and what stands on it."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=160)

    @property
    def lines(self) -> list[str]:
        return [" ".join(line.split()) for line in self._file.getvalue().splitlines() if line.strip()]
