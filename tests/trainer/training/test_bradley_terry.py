import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from trainer.training.bradley_terry import least_loss

PRIORS = (0.01, 1.0, 30.0)


def problem(num_pairs: int, size: int, *, strength: float) -> torch.Tensor:
    """(num_pairs, size) differences in which the first column decides, more surely the larger `strength` is."""
    random = np.random.default_rng(num_pairs + size)
    columns = random.standard_normal((num_pairs, size)).astype(np.float32) * size**-0.5
    is_turned = random.random(num_pairs) > expit(strength * columns[:, 0] * size**0.5)
    columns[is_turned] *= -1
    return torch.from_numpy(columns)


def loss(weight: np.ndarray, columns: torch.Tensor, votes: np.ndarray, margins: np.ndarray, prior: float) -> float:
    gaps = columns.double().numpy() @ weight - margins
    return float((votes * np.logaddexp(0, -gaps)).sum() + prior / 2 * weight @ weight)


@pytest.mark.parametrize(("num_pairs", "size"), [(300, 20), (40, 200), (60, 60)])
@pytest.mark.parametrize("strength", [0.5, 50.0])
def test_every_problem_has_the_optimum_that_scikit_learn_finds_for_it_alone(num_pairs: int, size: int, strength: float) -> None:
    columns = problem(num_pairs, size, strength=strength)
    votes = torch.from_numpy(np.random.default_rng(1).choice([0.5, 1.0, 3.0], num_pairs).astype(np.float32))
    subsets = torch.stack([torch.ones(num_pairs, dtype=torch.bool), torch.arange(num_pairs) % 3 > 0])

    (weights,) = least_loss(columns, votes, torch.zeros(num_pairs), PRIORS, subsets=[subsets])

    assert weights.shape == (3, 2, size)
    for of_prior, prior in zip(weights, PRIORS, strict=True):
        for weight, subset in zip(of_prior, subsets.numpy(), strict=True):
            rows, counts = columns[subset].double().numpy(), votes[subset].double().numpy()
            # On (D, 1) and (-D, 0) scikit-learn's loss is C times twice ours, so that half its C is one by our prior.
            peer = LogisticRegression(fit_intercept=False, C=0.5 / prior, tol=1e-10, max_iter=100_000)
            peer.fit(np.vstack([rows, -rows]), [1] * len(rows) + [0] * len(rows), sample_weight=np.tile(counts, 2))
            none = np.zeros(len(rows))
            best = loss(peer.coef_[0], columns[subset], counts, none, prior)
            assert loss(weight, columns[subset], counts, none, prior) <= best + 1e-3
            np.testing.assert_allclose(rows @ weight, rows @ peer.coef_[0], atol=0.03 * np.std(rows @ peer.coef_[0]) + 1e-3)


def test_margins_are_kept_to() -> None:
    columns, votes = problem(200, 10, strength=2.0), torch.ones(200)
    margins = torch.linspace(0, 1, 200)
    subsets = torch.ones(1, 200, dtype=torch.bool)

    (((weight,),),) = least_loss(columns, votes, margins, [1.0], subsets=[subsets])

    best = loss(weight, columns, votes.numpy(), margins.numpy(), 1.0)
    for direction in np.random.default_rng(0).standard_normal((20, 10)):
        assert loss(weight + 0.05 * direction, columns, votes.numpy(), margins.numpy(), 1.0) > best


def test_a_subset_without_pairs_and_columns_of_nothing_have_weights_of_zero() -> None:
    columns = torch.zeros(6, 4)
    subsets = [torch.ones(1, 4, dtype=torch.bool), torch.tensor([[True] * 6, [False] * 6])]
    assert not any(weights.any() for weights in least_loss(columns, torch.ones(6), torch.zeros(6), [1.0], subsets=subsets))


@pytest.mark.parametrize(("num_pairs", "size"), [(300, 20), (40, 200)])
def test_the_first_pairs_have_the_weights_that_they_have_by_themselves(num_pairs: int, size: int) -> None:
    columns = problem(num_pairs, size, strength=2.0)
    votes, margins = torch.linspace(0, 2, num_pairs), torch.linspace(0, 1, num_pairs)
    subsets = [torch.ones(1, count, dtype=torch.bool) for count in (num_pairs // 10, num_pairs // 2, num_pairs)]

    together = least_loss(columns, votes, margins, PRIORS, subsets=subsets)

    for weights, subset in zip(together, subsets, strict=True):
        first = slice(subset.shape[1])
        (alone,) = least_loss(columns[first], votes[first], margins[first], PRIORS, subsets=[subset])
        for weight, of_alone, prior in zip(weights[:, 0], alone[:, 0], PRIORS, strict=True):
            lost = [
                loss(each, columns[first], votes[first].numpy(), margins[first].numpy(), prior) for each in (weight, of_alone)
            ]
            assert lost[0] == pytest.approx(lost[1], abs=1e-4)
            gaps, expected = (columns[first].double().numpy() @ each for each in (weight, of_alone))
            np.testing.assert_allclose(gaps, expected, atol=0.01 * np.std(expected) + 1e-3)
