"""What annotators are called, for dashboard and report: <project folder>/annotators.json, which each round writes.

Apart from the card, which names numbers alone: a version that is pushed, or handed on, says nobody's name. With ANNOTATOR_NAMES=false
there is no such file.
Covered: a file that is missing, damaged or hostile: who is not named in it is a number.
"""

import json
from collections.abc import Iterable, Mapping

from preference.atomic_files import write_whole, writing
from preference.projects.folder import ProjectFolder

_FILE = "annotators.json"
_MOST_LETTERS = 80


def write_names(folder: ProjectFolder, names: Mapping[int, str]) -> None:
    """Keeps these names, by the annotators' numbers, readable by its owner alone; without any, removes what was kept.

    Raises:
        RegistryError: MODEL_DIR is full or not writable.
    """
    path = folder.path / _FILE
    with writing(folder.path):
        if not names:
            path.unlink(missing_ok=True)
        else:
            write_whole(path, json.dumps({str(who): name for who, name in names.items()}, ensure_ascii=False), is_private=True)


def numbers_of(names: Iterable[str], users: Mapping[int, tuple[str, str]]) -> tuple[dict[str, int], list[str]]:
    """(the numbers of those who are meant, those whom nobody knows): by number, email address, or first and last name.

    `users`: the name and the email address of each, by number.
    """
    numbers = {text.casefold(): who for who, (name, email) in users.items() for text in (str(who), email, name) if text}
    known = {name: numbers[name.casefold()] for name in names if name.casefold() in numbers}
    return known, [name for name in names if name not in known]


def read_names(folder: ProjectFolder) -> dict[str, str]:
    """The names, by the annotators' numbers as text.

    Raises:
        OSError: the file may not be read.
    """
    try:
        values = json.loads((folder.path / _FILE).read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    known = values.items() if isinstance(values, dict) else ()
    return {who: " ".join(name.split())[:_MOST_LETTERS] for who, name in known if isinstance(name, str) and name.strip()}


def name_of(annotator: object, names: Mapping[str, str]) -> str:
    """What somebody is called: the name, else the number; "unknown" if there is none."""
    return "unknown" if annotator is None else names.get(str(annotator), str(annotator))
