"""The versions of a project's guidelines, which annotators see as Label Studio's instruction, and since when each one stands.

    <project folder>/guidelines.json   {"versions": [{"version": "3f2a9c1b", "since": ..., "by": "connect", "instruction": "<p>..."}]}

Label Studio keeps the latest text alone. So both processes note what they see there: `connect` before and after it sets the
guidelines, the trainer whenever it looks.
Covered: an edit by hand, which is a version as well; two writers at once; a damaged file, which is left as it is.
Not covered: an edit that is undone between two looks. What stood at the first look counts as if it had always stood.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from preference.atomic_files import write_whole, writing
from preference.errors import RegistryError
from preference.projects.folder import ProjectFolder

if TYPE_CHECKING:
    from preference.labelling.pairs import PreferencePair

_FILE = "guidelines.json"
_SEEN_ATTRIBUTES = ("href", "src", "value")
By = Literal["connect", "hand"]


class GuidelinesVersion(BaseModel):
    """One text of the guidelines."""

    model_config = ConfigDict(frozen=True)

    version: str = ""  # what `version_of` makes of the instruction: empty if there was none
    since: AwareDatetime | None = None  # None: it stood when somebody first looked
    by: By = "hand"
    instruction: str = ""  # the HTML that Label Studio had


class Guidelines(BaseModel):
    """All versions, oldest first."""

    model_config = ConfigDict(frozen=True)

    versions: tuple[GuidelinesVersion, ...] = ()

    @classmethod
    def read(cls, folder: ProjectFolder) -> Self:
        """Those that were noted; none if nobody looked yet.

        Raises:
            RegistryError: the file may not be read, or is damaged.
        """
        path = folder.path / _FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise RegistryError(
                f"{path} cannot be read ({type(error).__name__}), so no judgement's guidelines are known; restore it, or remove it"
            ) from error

    @property
    def latest(self) -> GuidelinesVersion:
        """The one that stood when somebody last looked."""
        return self.versions[-1] if self.versions else GuidelinesVersion()

    def at(self, judged_at: str | None) -> str | None:
        """The version that stood at a moment in ISO 8601; None if none did, or the moment is not known."""
        try:
            moment = datetime.fromisoformat(judged_at or "")
        except ValueError:
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        stood = [each.version for each in self.versions if each.since is None or each.since <= moment]
        return (stood[-1] or None) if stood else None

    def of(self, pairs: "Iterable[PreferencePair]") -> "list[PreferencePair]":
        """The pairs, each with the version that stood when its judgement was made."""
        stood = ((pair, self.at(pair.judged_at)) for pair in pairs)
        return [pair if pair.guidelines == version else replace(pair, guidelines=version) for pair, version in stood]

    def in_words(self, version: str) -> str:
        """What to say of the version that stands now: its name, and whether it was edited by hand; empty if there never was one."""
        chosen = next((each.version for each in reversed(self.versions) if each.by == "connect"), version)
        if version == chosen:
            return f"version {version}" if version else ""
        now = f"version {version}, edited" if version else "none, emptied"
        return f"{now} in Label Studio after connect --guidelines set version {chosen}"


def note_instruction(folder: ProjectFolder, instruction: str | None, *, now: float, by: By = "hand") -> Guidelines:
    """All versions, with that of Label Studio's present instruction. `now`: seconds since 1970.

    Raises:
        RegistryError: MODEL_DIR is full or not writable, or what was noted before is damaged.
    """
    seen = GuidelinesVersion(version=version_of(instruction), since=_moment(now), by=by, instruction=instruction or "")
    if _is_noted(known := Guidelines.read(folder), seen):
        return known
    folder.create()
    with folder.locked(), writing(folder.path):
        known = Guidelines.read(folder)
        if _is_noted(known, seen):
            return known
        before, latest = known.versions, known.latest
        if not before:
            seen = seen.model_copy(update={"since": None})
        elif latest.version == seen.version:  # the trainer saw it first
            before, seen = before[:-1], seen.model_copy(update={"since": latest.since})
        noted = Guidelines(versions=(*before, seen))
        write_whole(folder.path / _FILE, noted.model_dump_json(indent=1))
    return noted


def version_of(instruction: str | None) -> str:
    """The name of what a reader of this HTML sees: a short hash of its words, its layout, and where its links lead.

    How the HTML is written does not count: Label Studio stores it with other entities and fewer attributes. Empty if there is
    nothing to see.
    """
    parser = _Seen()
    parser.feed(instruction or "")
    parser.close()
    return hashlib.sha256(" ".join(parser.seen).encode("utf-8", "replace")).hexdigest()[:8] if parser.has_content else ""


class _Seen(HTMLParser):
    """What there is to see of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.has_content = False  # of words or pictures
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_style = tag == "style"
        self.seen += [f"<{tag}", *(f"{name}={value}" for name, value in attrs if name in _SEEN_ATTRIBUTES), ">"]
        self.has_content = self.has_content or any(name == "src" for name, _ in attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # <br /> is <br>

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False
        self.seen.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        words = [] if self._is_style else data.split()
        self.seen += words
        self.has_content = self.has_content or bool(words)


def _is_noted(known: Guidelines, seen: GuidelinesVersion) -> bool:
    is_same = bool(known.versions) and known.latest.version == seen.version
    return is_same and (seen.by == "hand" or known.latest.by == "connect")


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
