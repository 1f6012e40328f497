"""`score`: the answers in JSON lines with their rewards, as JSON lines; of a file, or in a pipe.

    {"prompt": "Why?", "answers": ["Because.", "No idea."]}       gets "rewards" and "version"
    {"prompt": [{"role": "user", ...}, ...], "answer": "Because."}  gets "reward" and "version"; `messages` is another name for `prompt`

Whatever else a row holds stays as it is.
Covered: a line that is none of that, which is named; a file is written whole or not at all, also if it is the one that is read.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from preference.atomic_files import replacing
from preference.errors import ExportError, PromptFileError
from preference.heavy_imports import lean_imports

if TYPE_CHECKING:
    from preference.labelling.prompts import Prompt

STDIO = Path("-")
Row = dict[str, Any]
_TOGETHER = 16  # rows that are read, scored and written together


@dataclass(frozen=True)
class _Answers:
    """A row: answers to one prompt."""

    row: Row
    exchanges: "list[tuple[Prompt, str]]"

    def scored(self, rewards: list[float], version: str) -> Row:
        """The row with a reward for each of its answers."""
        return {**self.row, **({"rewards": rewards} if "answers" in self.row else {"reward": rewards[0]}), "version": version}

    def best(self, rewards: list[float], version: str) -> Row:
        """The row of its best answer alone; of several equal ones, the first."""
        answers = self.row.get("answers", [self.row.get("answer")])
        place = max(range(len(rewards)), key=rewards.__getitem__)
        others = {name: value for name, value in self.row.items() if name != "answers"}
        return {**others, "answer": answers[place], "reward": rewards[place], "version": version}


def score_rows(rows: Iterable[tuple[str, Row]], version: str, *, device: str, model_dir: Path, best: bool, out: Path) -> str:
    """The version that gave each row its rewards, after the rows are written. `rows`: each with what an error calls it.

    `version`: a name such as "12@v3". `best`: a row keeps its best answer alone.

    Raises:
        PairloopError: there is no such version, a row is none, or `out` cannot be written.
    """
    with lean_imports():
        from preference.models.pretrained import quiet_transformers
        from preference.reward_model.reward_function import load

    quiet_transformers()
    model = load(version, device=device, model_dir=model_dir)
    read = (_read(row, where) for where, row in rows)
    with ExitStack() as stack:
        file = sys.stdout if out == STDIO else stack.enter_context(_replaced(out))
        while some := list(islice(read, _TOGETHER)):
            rewards = iter(model.score_all([exchange for each in some for exchange in each.exchanges]))
            for each in some:
                write = each.best if best else each.scored
                row = write([next(rewards) for _ in each.exchanges], model.version)
                text = json.dumps(row, ensure_ascii=False)
                file.write(text.encode("utf-8", "replace").decode() + "\n")  # half an emoji is no UTF-8
            file.flush()
    return model.version


def rows_of(path: Path) -> Iterator[tuple[str, Row]]:
    """(where it stands, the object) for each line of a file, "-" for standard input; blank lines are none.

    Raises:
        PromptFileError: it cannot be read, or a line is no object.
    """
    number = 0
    try:
        with ExitStack() as stack:
            file: TextIO = sys.stdin if path == STDIO else stack.enter_context(path.open(encoding="utf-8-sig"))
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise PromptFileError(f"{path}, line {number}: not an object; write each row as one line of JSON.")
                    yield f"{path}, line {number}", row
    except OSError as error:
        raise PromptFileError(f"{path} cannot be read ({error.strerror}); name a file of JSON lines.") from error
    except UnicodeDecodeError:
        raise PromptFileError(f"{path}: not UTF-8 text behind line {number}; save the file as UTF-8.") from None
    except (ValueError, RecursionError):
        raise PromptFileError(f"{path}, line {number}: not JSON; write each row as one line of JSON.") from None


def _read(row: Row, where: str) -> _Answers:
    from preference.labelling.conversations import NoPrompt
    from preference.reward_model.exchanges import answer_of, prompt_of

    given: Any = row.get("prompt", row.get("messages"))
    answers = row.get("answers", [row.get("answer")])
    is_prompt = isinstance(given, str) or (isinstance(given, list) and all(isinstance(each, dict) for each in given))
    if not is_prompt or not isinstance(answers, list) or not answers or not all(isinstance(each, str) for each in answers):
        raise PromptFileError(
            f'{where}: no prompt with its answers; write {{"prompt": "...", "answers": ["...", "..."]}}, or "answer" with one text.'
        )
    try:
        prompt = prompt_of(given)
    except NoPrompt as error:
        raise PromptFileError(f"{where}: {error}.") from None
    return _Answers(row, [(prompt, answer_of(answer)) for answer in answers])


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` once it is whole."""
    try:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written ({error.strerror or error}); free some space, or name another file."
        ) from error
