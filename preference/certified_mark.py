"""The model version of Label Studio predictions that a certificate covers: whose side they show, and by which look."""

import re

_MARK = re.compile(r"certified-(.+)-c[1-9][0-9]*")


def certified_mark(version: str, look: int | None) -> str:
    """That of a version's look. No version's name is part of it: Label Studio's filters would take the predictions for the version's own."""
    return f"certified-{version.removeprefix('v')}-c{look}"


def version_behind(model_version: str | None) -> str | None:
    """The version whose side such a prediction shows; of any other prediction, its model version."""
    match = _MARK.fullmatch(model_version or "")
    return f"v{match.group(1)}" if match else model_version
