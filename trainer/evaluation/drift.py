"""Whether people choose the model's side less often than was certified: a test that may be asked after each judgement.

A bet against the certificate (Shafer 2021, "Testing by betting", JRSS A 184): it starts at 1, and if the certificate is true, no way of
betting is expected to win. So whenever anybody looks, the probability that it ever reached 1 / error is at most `error` (Ville 1939).
The bet is a mixture of likelihood ratios over all lower shares, and over the judgement from which on it is lower, the k-th one with
the weight 1 / (k (k + 1)): so a change after many good judgements is found nearly as soon as an early one.
"""

import numpy as np
from scipy.special import betainc, betaln, logsumexp

from trainer.evaluation.intervals import Array


def log_evidence(agrees: Array, *, target: float) -> float:
    """The logarithm of the bet after these votes, in their order: (num_votes,) 1 if the model's side was chosen, else 0.

    The certificate is refuted at log(1 / error) and above.
    """
    if not len(agrees):
        return 0.0
    count = np.arange(len(agrees), 0, -1.0)  # (num_votes,) of the votes from the k-th one on
    agreeing = np.cumsum(agrees[::-1])[::-1]
    with np.errstate(divide="ignore"):  # log(0): people agree far more often than was certified
        ratio = (  # the mean over all shares below the target of (p / target)^agreeing ((1 - p) / (1 - target))^others
            betaln(agreeing + 1, count - agreeing + 1)
            + np.log(betainc(agreeing + 1, count - agreeing + 1, target))
            - (agreeing + 1) * np.log(target)
            - (count - agreeing) * np.log(1 - target)
        )
    number = np.arange(1.0, len(agrees) + 1)
    later = -np.log(len(agrees) + 1.0)  # the weight of all changes to come, on which nothing is won or lost yet
    return float(logsumexp(np.append(ratio - np.log(number * (number + 1)), later)))
