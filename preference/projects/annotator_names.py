"""What annotators are called, for dashboard and report: <project folder>/annotators.json, which each round writes.

Apart from the card, which names numbers alone: a version that is pushed, or handed on, says nobody's name. With ANNOTATOR_NAMES=false
there is no such file.
Covered: a file that is missing, damaged or hostile: who is not named in it is a number.
"""

import json
from collections import defaultdict
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


def numbers_of(names: Iterable[str], users: Mapping[int, tuple[str, str]]) -> tuple[dict[str, int], str]:
    """(the numbers of those who are meant, what keeps the others from being meant, in words; empty if nothing does).

    `names`: numbers, email addresses, or first and last names; `users`: the name and the email address of each, by number.
    """
    called = defaultdict[str, set[int]](set)
    for who, (name, email) in users.items():
        for text in filter(None, (name, email)):
            called[text.casefold()].add(who)
    called.update({str(who): {who} for who in users})  # last: whoever is called "7" is not meant by 7
    known, wrong = dict[str, int](), defaultdict[str, list[str]](list)
    for name in names:
        meant = called.get(name.casefold(), set())
        if not meant:
            wrong["whom Label Studio does not know"].append(name)
        elif len(meant) > 1:
            wrong["which is the name of several people"].append(name)
        elif meant <= set(known.values()):
            wrong["which is somebody who is named before"].append(name)
        else:
            known[name] = next(iter(meant))
    return known, "; ".join(f"{', '.join(those)}, {why}" for why, those in wrong.items())


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
