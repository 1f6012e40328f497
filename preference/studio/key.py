"""The key to Label Studio: LABEL_STUDIO_API_KEY, or what stands in the file LABEL_STUDIO_API_KEY_FILE just now."""

import re

from preference.errors import StudioKeyError
from preference.setting_groups import StudioSettings

_KEY = re.compile(rb"[!-~]{1,8192}")  # what a header takes; a personal access token has some 250 characters


def read_key(settings: StudioSettings) -> str:
    """The key. A file is read each time, so that another key in it counts from the next call on.

    Raises:
        StudioKeyError: there is none; the message names the variable or the file, and quotes nothing of it.
    """
    path = settings.api_key_file
    if path is None:
        held = settings.api_key.get_secret_value().encode("utf-8", "replace")
        if not held:
            raise StudioKeyError(f"LABEL_STUDIO_API_KEY is not set; {key_advice(settings)}.")
    else:
        try:
            with path.open("rb") as file:
                held = file.read(10_000).strip()
        except OSError as error:
            raise StudioKeyError(
                f"LABEL_STUDIO_API_KEY_FILE={path} cannot be read ({error.strerror}); {key_advice(settings)}."
            ) from error
    if not _KEY.fullmatch(held):
        raise StudioKeyError(f"What stands in {name_of_key(settings)} is no key; {key_advice(settings)}.")
    return held.decode("ascii")


def name_of_key(settings: StudioSettings) -> str:
    """Where the key stands, as messages name it."""
    return f"LABEL_STUDIO_API_KEY_FILE={settings.api_key_file}" if settings.api_key_file else "LABEL_STUDIO_API_KEY"


def key_advice(settings: StudioSettings) -> str:
    """What to do if there is no key, or Label Studio does not accept it."""
    where = "write it into that file" if settings.api_key_file else "set LABEL_STUDIO_API_KEY to it"
    return (
        "make a personal access token (Account & Settings > Personal Access Token), or a legacy token if the organization "
        f"allows those, and {where}"
    )
