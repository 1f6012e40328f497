"""What a model thinks before it answers, between <think> and </think>: told apart from the answer.

The answer alone is shown, compared with others, judged and trained on.

Covered: a thought at the head of what the model writes, with or without its opening, which some chat templates write into the
prompt; a thought that never ends.
Not covered: other marks than these; a thought amid an answer, which may be a text about thoughts.
"""

import re

OPENING, CLOSING = "<think>", "</think>"
_CLOSING_LINE = re.compile(rf"(?:^|\n)\s*{CLOSING}")  # as models write it: an answer that speaks of it has it within a line


def split_thought(text: str, *, is_begun: bool | None = False) -> tuple[str, str]:
    """(the thought, the answer behind it), either of which may be empty. `is_begun`: whether the prompt opened the thought.

    If that is not known (None), a closing that stands on a line of its own, with no opening before it, is believed.
    """
    thoughts, rest = list[str](), text
    if is_begun is None:
        closing = _CLOSING_LINE.search(text)
        is_begun = closing is not None and OPENING not in text[: closing.start()]
    while is_begun or rest.lstrip().startswith(OPENING):
        thought, _, rest = rest.partition(CLOSING)
        thoughts.append(thought.strip().removeprefix(OPENING).strip())
        rest, is_begun = rest.lstrip(), False
    return "\n\n".join(filter(None, thoughts)), rest
