"""What is one prompt: twins that differ only in case, white space, Unicode form or closing punctuation are the same one."""

import unicodedata

_CLOSING = ".,:;!?…。、؟؛،।॥"  # closes a sentence or an instruction; not + or #, which tell C from C++ and C#


def normalised(prompt: str) -> str:
    """What a prompt's twins have in common. Folds, holdout, learning curve, comparisons and duplicates at import go by it.

    Unicode's form is NFKC: full-width letters and ligatures are their usual ones. A prompt of punctuation alone keeps it.
    """
    text = unicodedata.normalize("NFKC", prompt).casefold()
    words = " ".join(unicodedata.normalize("NFKC", text).split())
    return words.rstrip(f"{_CLOSING} ") or words
