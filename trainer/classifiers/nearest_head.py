"""The score head whose rewards come nearest to a version's, over what a classifier reads: the state behind an answer's last token.

A `frozen` version reads means over all of an answer's tokens in three layers, times the logarithm of its length, and style. A classifier
of transformers' has one linear head on one state of one layer, so it cannot be equal.

How it is fitted was chosen on human pairs with SmolLM2-135M (PandaLM, 250 pairs to train on, and hh-rlhf harmless, 300), held-out accuracy
over ten splits by prompt that chose nothing else: the version .680 and .646, ridge regression on its rewards .680 and .639 (correlation
.85 and .81), on its gaps within pairs .658 and .634, Bradley-Terry on the votes .673 and .592, the mean of the first and the last .681 and .629. On
other splits, cut at the first or the second of the three layers that it reads .635 and .618, .690 and .618, at the last .685 and .631.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold

from preference.labelling.prompts import Prompt, normalised, opening
from trainer.classifiers.elsewhere import ReadElsewhere
from trainer.evaluation.intervals import Array

_FOLDS = 5
_PENALTIES = np.logspace(1, 5, 9)  # of states with spread 1; the best one by cross-validation over prompts


def nearest_head(states: Array, rewards: Array, prompts: Sequence[Prompt]) -> torch.Tensor:
    """(hidden_size,) the weights whose rewards of these states are nearest to `rewards`, but for a constant.

    `states`: (num_answers, hidden_size); `rewards`: (num_answers,) the version's; `prompts`: each answer's.
    """
    groups = [normalised(opening(prompt)) for prompt in prompts]
    spread = np.maximum(states.std(axis=0), 1e-6)
    folds = min(_FOLDS, len(set(groups)))
    split = list(GroupKFold(folds).split(states, groups=groups)) if folds > 1 else None
    fitted = RidgeCV(_PENALTIES, cv=split).fit((states - states.mean(axis=0)) / spread, rewards)
    return torch.from_numpy(fitted.coef_ / spread).float()


def last_states(model: ReadElsewhere, head: torch.nn.Module, exchanges: Sequence[tuple[Prompt, str]]) -> Array:
    """(num_answers, hidden_size) what `head` gets of each answer, at the token where a classifier's output is read."""
    given: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    pad = model.tokenizer.pad_token_id
    with head.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0])):
        for prompt, answer in exchanges:  # one by one: nothing is padded
            ids = model.tokens(prompt, answer)
            model.score_tokens([ids])
            # transformers (5.23) reads the last token that is no padding; a tokenizer without one pads with the end of a sequence.
            last = max(place for place, token in enumerate(ids) if token != pad)
            states.append(given.pop()[0, last].float().cpu().clone())  # of (1, num_tokens, hidden_size), which a view would keep
    return torch.stack(states).double().numpy()
