"""Whether people choose the model's side less often than was certified: a test that may be asked after each judgement.

It is a bet against the certificate (betting.py). If that is true, the probability that it is ever refuted is at most `error`, however
often somebody looks. The bet is a mixture over the judgement from which on the share is lower, the k-th one with the weight
1 / (k (k + 1)): so a change after many good judgements is found nearly as soon as an early one.
"""

import numpy as np
from scipy.special import logsumexp

from trainer.evaluation.betting import log_bet
from trainer.evaluation.intervals import Array


def log_evidence(agrees: Array, *, target: float) -> float:
    """The logarithm of the bet after these votes, in their order: (num_votes,) 1 if the model's side was chosen, else 0.

    The certificate is refuted at log(1 / error) and above.
    """
    if not len(agrees):
        return 0.0
    count = np.arange(len(agrees), 0, -1.0)  # (num_votes,) of the votes from the k-th one on
    agreeing = np.cumsum(agrees[::-1])[::-1]
    ratio = log_bet(count - agreeing, agreeing, bound=1 - target)
    number = np.arange(1.0, len(agrees) + 1)
    later = -np.log(len(agrees) + 1.0)  # the weight of all changes to come, on which nothing is won or lost yet
    return float(logsumexp(np.append(ratio - np.log(number * (number + 1)), later)))
