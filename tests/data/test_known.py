"""Data of known probabilities: the truth is the model that they were drawn from."""

import itertools

import jax
import numpy as np
import pytest
from scipy import special

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.generated import dirichlet, stationary
from arjax.data.sources import SPLITS, read_all
from arjax.evaluation.exposure import open_truth
from arjax.testing.statistics import LEAST_P, chi_square


def values(dataset, split: str = "test") -> np.ndarray:
    return np.asarray(read_all(dataset.splits[split]).x)


def nats(dataset, x: np.ndarray) -> np.ndarray:
    """-log p of examples under the truth, float64[N]."""
    log_prob = jax.jit(lambda truth, x: truth.model.log_prob(truth.params, x))
    return -np.asarray(log_prob(open_truth(dataset), x), np.float64)


def entropy(p: np.ndarray) -> np.ndarray:
    """Of the last axis, in nats."""
    return special.entr(p).sum(-1)


def check_mean(found: np.ndarray, expected: float) -> None:
    """The mean of the nats is the entropy, within three standard errors."""
    stderr = found.std(ddof=1) / np.sqrt(len(found))
    assert abs(found.mean() - expected) < 3 * stderr and stderr < 0.02 * expected


@pytest.mark.parametrize("order", [1, 2])
def test_the_nats_of_a_chain_are_its_entropy(order):
    """Those of the first values, and the entropy rate of the stationary distribution, by an eigenvector, for each of
    the others: a sequence that began elsewhere would have another entropy."""
    levels, length = 3, 20
    dataset = make_dataset("markov_chain", order=order, levels=levels, length=length, num_examples=16_000, seed=4)
    table = special.softmax(dataset.truth.params["table"].astype(np.float64), -1)
    rows = table[-(levels**order) :]  # p(next value | history)
    chain = np.zeros((levels**order, levels**order))
    for history, value in np.ndindex(rows.shape):
        chain[history, (history * levels + value) % levels**order] += rows[history, value]
    eigenvalues, vectors = np.linalg.eig(chain.T)
    p = np.real(vectors[:, np.argmax(np.real(eigenvalues))])
    p /= p.sum()
    np.testing.assert_allclose(table[0], p.reshape(levels, -1).sum(1), atol=1e-6)
    expected = entropy(p) + (length - order) * (p @ entropy(rows))
    x = values(dataset)
    check_mean(nats(dataset, x), expected)
    counts = np.bincount(x[:, -order:] @ levels ** np.arange(order)[::-1], minlength=levels**order)
    assert chi_square(counts, p) > LEAST_P  # the last values are as the first ones


@pytest.mark.parametrize("order", [1, 2])
def test_chains_that_hardly_ever_leave_a_history_begin_in_their_stationary_distribution(order):
    """p(x_2) of the first two values is p(x_1), also where a chain forgets its beginning after ten thousand steps."""
    levels = 4 if order == 2 else 2
    for seed in range(8):
        rows = dirichlet(np.random.default_rng((seed, 3)), 0.01, levels**order, levels)
        p = stationary(rows)
        after = np.zeros(levels**order)
        for history, value in np.ndindex(rows.shape):
            after[(history * levels + value) % levels**order] += p[history] * rows[history, value]
        assert p.min() > 0 and abs(p.sum() - 1) < 1e-12
        np.testing.assert_allclose(after, p, atol=1e-12)


def test_the_nats_of_a_hidden_markov_model_are_its_entropy():
    """Over all sequences of a small event: their probabilities are those of the truth, and those of the draws."""
    dataset = make_dataset("hidden_markov", states=3, levels=3, length=4, num_examples=16_000, seed=1)
    every = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
    p = np.exp(-nats(dataset, every))
    assert abs(p.sum() - 1) < 1e-5
    x = values(dataset)
    check_mean(nats(dataset, x), entropy(p))
    counts = np.bincount(x @ 3 ** np.arange(4)[::-1], minlength=81)
    assert chi_square(counts, p / p.sum()) > LEAST_P
    uniform = chi_square(counts, np.full(81, 1 / 81))
    assert uniform < LEAST_P  # the test can fail
    by_site = np.array([[p[every[:, t] == v].sum() for v in range(3)] for t in range(4)])
    np.testing.assert_allclose(by_site, np.broadcast_to(by_site[0], (4, 3)), atol=1e-4)  # stationary


@pytest.mark.parametrize("name", ["hidden_markov", "markov_chain"])
def test_seeds_and_splits_differ_and_the_truth_is_a_pytree(name):
    first, again, other = (make_dataset(name, length=30, num_examples=40, seed=seed) for seed in (0, 0, 1))
    assert [len(first.splits[split]) for split in SPLITS] == [40, 10, 10]
    np.testing.assert_array_equal(values(first), values(again))
    assert (values(first) != values(other)).any() and (values(first) != values(first, "validation")).any()
    leaves, others = jax.tree.leaves(first.truth.params), jax.tree.leaves(other.truth.params)
    assert all((a != b).any() for a, b in zip(leaves, others, strict=True))
    assert jax.tree.structure(open_truth(first)) == jax.tree.structure(open_truth(again))
    assert open_truth(first).model.event == first.event and np.isfinite(nats(first, values(first))).all()


def test_histories_and_concentrations_have_limits():
    with pytest.raises(UserError, match=r"at most 65,536 histories, and levels\^order are 8\^9"):
        make_dataset("markov_chain", order=9)
    for concentration in (0.01, 1e6):
        dataset = make_dataset("hidden_markov", concentration=concentration, num_examples=4)
        x = np.asarray(dataset.splits["train"].arrays.x)
        assert len(x) == 4 and x.min() >= 0 and x.max() < dataset.event.num_levels
