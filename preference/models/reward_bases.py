"""Bases that are reward models already: sequence classifiers with one label, which keep their head, their template and their padding.

The reward models of the field are read as `tokenizer.apply_chat_template(conversation)`, at the last token that is not the padding of
their config. What they are trained into here, and what they are served as, reads the same tokens. One that was trained here says in
its reward_model.json what closes an answer.
"""

import json
from contextlib import suppress
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from preference.errors import ModelError
from preference.models.encoding import Closing, encode_exchange
from preference.models.files import check_score_head, read_config

DESCRIPTION = "reward_model.json"  # of a version, what its weights are
_NO_LIMIT = 1_000_000  # from here on, what a tokenizer says of its longest text is transformers' "very large"


def closing_of(path: str, tokenizer: PreTrainedTokenizerBase, *, revision: str = "") -> Closing:
    """What closes an answer that a model on this base reads."""
    with suppress(OSError, ValueError, AttributeError):  # none that was trained here
        trained = json.loads((Path(path) / DESCRIPTION).read_text(encoding="utf-8"))
        if trained.get("kind") == "sequence":
            return "template" if trained.get("closing") == "template" else "eos"
    with suppress(ModelError):
        check_score_head(path, read_config(path, revision=revision))
        return "template" if tokenizer.chat_template else "eos"
    return "eos"


def pad_as_trained(path: str, tokenizer: PreTrainedTokenizerBase, *, revision: str = "") -> None:
    """Has the tokenizer of a reward model pad as its config says; without that, by a token that does not close its answers.

    transformers reads a classifier at its last token that is not padding: one that closes answers would be passed over.
    """
    if not tokenizer.chat_template or closing_of(path, tokenizer, revision=revision) == "eos":
        return
    own = read_config(path, revision=revision).get("pad_token_id")
    if own is None:
        last = encode_exchange(tokenizer, "x", "x", max_tokens=_NO_LIMIT)[0][-1]
        spare = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special and number != last]
        own = next(iter(spare), None) if tokenizer.pad_token_id == last else None
    if own in tokenizer.added_tokens_decoder:  # an ordinary token would become a special one
        tokenizer.pad_token = str(tokenizer.added_tokens_decoder[own])


def most_tokens(tokenizer: PreTrainedTokenizerBase, positions: int | None) -> int:
    """The longest text that a model reads whole, in tokens. `positions`: what its config says."""
    return min(positions or _NO_LIMIT, int(tokenizer.model_max_length))
