"""What the house's rules ask of a tree of sources: sizes, rooms, imports and circles. Sources are texts by their paths."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import PurePosixPath

PACKAGES = ("preference", "backend", "trainer")
Sources = Mapping[str, str]
Imports = Mapping[str, set[str]]  # what each file imports, as paths of files


@lru_cache(maxsize=2000)
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Every module that a file imports, at its head or inside a function; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would hide who imports whom"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_packages(sources: Sources) -> dict[str, str]:
    """The files of the product."""
    return {path: text for path, text in sources.items() if path.startswith(PACKAGES)}


def imports_between(sources: Sources) -> dict[str, set[str]]:
    """Which files each file imports; `from a.b import c` is an import of a/b/c.py if there is one, and else of a/b.py."""
    files = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    imports: dict[str, set[str]] = {path: set() for path in sources}
    for path, text in sources.items():
        for node in ast.walk(parsed(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [
                    f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in files else str(node.module)
                    for alias in node.names
                ]
            imports[path] |= {files[name] for name in names if name in files} - {path}
    return imports


def between_folders(imports: Imports) -> dict[str, set[str]]:
    """Which folders each folder imports from. A file beside the folders, as preference/settings.py, counts as one of its own."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path, others in imports.items():
        folders[_folder(path)] |= {_folder(other) for other in others} - {_folder(path)}
    return folders


def circle_in(imports: Imports) -> list[str]:
    """Files or folders that import each other in a circle, the first one again as the last; empty if there is no circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def full_folders(paths: Iterable[str], *, most: int) -> list[str]:
    """The folders with more modules than so many; an empty __init__ counts, too."""
    modules = Counter(str(PurePosixPath(path).parent) for path in paths)
    return sorted(folder for folder, number in modules.items() if number > most)


def long_files(sources: Sources, *, most: int) -> list[str]:
    """The files with more lines than so many."""
    return sorted(path for path, text in sources.items() if text.count("\n") > most)


def importers_of_tests(sources: Sources) -> list[str]:
    """The files that import from a test file."""
    return sorted(
        path
        for path, text in sources.items()
        if any(module.rpartition(".")[2].startswith("test_") for module in imported_modules(parsed(text)))
    )


def rooms_without_tests(sources: Sources) -> list[str]:
    """The folders of the product with modules whose folder in tests/ has no test file."""
    tested = {str(PurePosixPath(path).parent) for path in sources if PurePosixPath(path).name.startswith("test_")}
    rooms = {str(PurePosixPath(path).parent) for path in of_packages(sources) if not path.endswith("__init__.py")}
    return sorted(room for room in rooms if f"tests/{room}" not in tested)


def strays(sources: Sources, subjects: Mapping[str, set[str]]) -> list[str]:
    """The test files whose name is neither that of a module in the same room, nor begins with it, nor is a subject of the room."""
    strays_ = []
    for path in map(PurePosixPath, sources):
        if path.name.startswith("test_") and len(path.parts) > 2 and path.parts[1] in PACKAGES:
            room = PurePosixPath(*path.parts[1:-1])
            names = {PurePosixPath(other).stem.strip("_") for other in sources if PurePosixPath(other).parent == room}
            subject = path.stem.removeprefix("test_")
            is_of_module = any(subject == name or subject.startswith(f"{name}_") for name in names - {"init"})
            if not is_of_module and subject not in subjects.get(str(room), set()):
                strays_.append(str(path))
    return sorted(strays_)


def logger_names(sources: Sources) -> dict[str, set[str]]:
    """The names of the loggers that each file asks for; "" for a name that is computed."""
    names: dict[str, set[str]] = defaultdict(set)
    for path, text in sources.items():
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger"):
                name = node.args[0] if node.args else None
                names[path].add(str(name.value) if isinstance(name, ast.Constant) else "")
    return names


def _folder(path: str) -> str:
    parts = PurePosixPath(path).parts
    return "/".join(parts[:2]) if len(parts) > 2 else path
