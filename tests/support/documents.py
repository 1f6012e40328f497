"""The documents, as tests read them: headings, links, blocks of code, and the command lines in them."""

import ast
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import click
from markdown_it import MarkdownIt

import backend.__main__
import trainer.__main__
from preference.settings import variables
from tests.conftest import REPOSITORY

PROGRAMS = ("pairloop-backend", "pairloop-trainer")
_OTHER_SIGNS = ("&", "|", ">", "<", ";")  # of the shell; what follows is not the command's


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str  # as after the fence: sh, console, text, xml, ...; "" if it names none
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file. `name` is its path in the repository."""

    name: str
    text: str
    headings: tuple[tuple[int, str], ...]  # (level, text), in order
    links: tuple[str, ...]  # as they are written; pictures as well
    pictures: tuple[tuple[str, str], ...]  # (path as it is written, the text for those who cannot see it)
    blocks: tuple[Block, ...]
    spans: tuple[str, ...]  # inline code

    @property
    def anchors(self) -> set[str]:
        """The anchors that GitHub makes of the headings. If two headings are equal, the second anchor ends with a number."""
        counts: Counter[str] = Counter()
        for _, heading in self.headings:
            counts[re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")] += 1
        return {anchor if not number else f"{anchor}-{number}" for anchor, count in counts.items() for number in range(count)}

    @property
    def folder(self) -> Path:
        """The folder from which relative links start."""
        return (REPOSITORY / self.name).parent

    def named(self, language: str) -> list[str]:
        """The texts of the blocks of that language, in order."""
        return [block.text for block in self.blocks if block.language == language]

    def command_lines(self) -> Iterator[list[str]]:
        """The arguments of every call of ours in a block, the program first."""
        for block in self.blocks:
            if block.language in ("", "sh", "console"):
                for line in block.text.replace("\\\n", " ").splitlines():
                    yield from _commands(line)

    def mentioned_commands(self) -> Iterator[list[str]]:
        """The same in running text, in which a command may lack arguments that it needs."""
        for span in self.spans:
            yield from _commands(span)


@lru_cache(maxsize=1)
def pages() -> tuple[Page, ...]:
    """The pages at the root, and every page of docs/, by name."""
    names = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md"))),
    ]
    return tuple(page(name) for name in names)


@lru_cache
def page(name: str) -> Page:
    """One of them, or any other Markdown file."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or []]
    pictures = tuple((str(token.attrs["src"]), token.content) for token in inline if token.type == "image")
    return Page(
        name,
        text,
        tuple(
            (int(opening.tag[1:]), "".join(child.content for child in heading.children or []))
            for opening, heading in pairwise(tokens)
            if opening.type == "heading_open"
        ),
        (*(str(token.attrs["href"]) for token in inline if token.type == "link_open"), *(path for path, _ in pictures)),
        pictures,
        tuple(Block(token.info.strip(), token.content) for token in tokens if token.type == "fence"),
        tuple(token.content for token in inline if token.type == "code_inline"),
    )


@lru_cache(maxsize=1)
def sentences() -> str:
    """Every text in our code, one a line."""
    paths = (path for package in ("backend", "trainer", "preference") for path in sorted((REPOSITORY / package).rglob("*.py")))
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return "\n".join(text for node in nodes if (text := text_of(node)) is not None)


def text_of(node: ast.AST) -> str | None:
    """The text that a piece of code holds, with "\0" for each part that is filled in later; None if it holds no text."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sdgr]", "\0", node.value)
    return None


def _commands(line: str) -> Iterator[list[str]]:
    try:
        words = shlex.split(line.removeprefix("$ "), comments=True)
    except ValueError:  # an apostrophe in a drawing
        return
    for place, word in enumerate(words):
        if word in PROGRAMS:
            rest = words[place + 1 :]
            end = next((i for i, other in enumerate(rest) if other.startswith(_OTHER_SIGNS)), len(rest))
            yield [word, *rest[:end]]


VARIABLES = {variable.name: variable for variable in variables()}


GROUPS: dict[str, click.Group] = {"pairloop-backend": backend.__main__.main, "pairloop-trainer": trainer.__main__.main}


def read(name: str) -> str:
    path = REPOSITORY / name
    assert path.is_file(), f"{name} is not written yet"
    return path.read_text(encoding="utf-8")
