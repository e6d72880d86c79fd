"""Order-agnostic training with missing values: its expectation, by all orders and steps of three columns."""

import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from objective_cases import loss_and_sums

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.factorization import from_order

COLUMNS = (EventSpec((), (), "tokens", 3), EventSpec((), (), "binary"), EventSpec((), (), "real"))
EVENT = EventSpec((3,), kind="columns", columns=COLUMNS)
ORDERS = list(itertools.permutations(range(3)))
X = np.array([[2, 1, 0.3], [0, 1, -0.8], [1, 0, 1.5]], np.float32)
PRESENT = np.array([[True, True, True], [True, False, True], [False, False, True]])
HOLES = np.where(PRESENT, X, np.nan).astype(np.float32)
NUM = 600


def nats(model, params) -> dict[tuple[frozenset, int], np.ndarray]:
    """-log p(x_i | x_A) of the rows without missing values, by the pairs of a set A and a site i."""
    score = jax.jit(lambda factorization: model.log_prob_per_site(params, X, factorization=factorization))
    found = {}
    for order in ORDERS:
        log_prob = np.asarray(score(from_order(np.array(order), [1, 1, 1], (3,))), np.float64)
        found |= {(frozenset(order[:t]), i): -log_prob[:, i] for t, i in enumerate(order)}
    return found


@pytest.mark.parametrize("network", ["deep_nade", pytest.param("masked_transformer", marks=pytest.mark.slow)])
def test_the_expected_loss_is_that_of_the_observed_values_under_all_their_orders(network):
    model = cases.small_model(network, EVENT, orders="uniform")
    params = cases.params_of(model)
    of, masked = nats(model, params), Batch(HOLES, mask=PRESENT.astype(np.float32))

    def left(b, order, t):
        """What row b adds in step t of an order: the sites that are left, with weight 3 / (number of steps left)."""
        seen = frozenset(i for i in order[:t] if PRESENT[b, i])
        return 3 / (3 - t) * sum(of[seen, i][b] for i in order[t:] if PRESENT[b, i])

    def on_present(b, order):
        own = [i for i in order if PRESENT[b, i]]
        return sum(of[frozenset(own[:k]), i][b] for k, i in enumerate(own))

    steps = np.array([[left(b, order, t) for order in ORDERS for t in range(3)] for b in range(3)])
    expected = np.array([[on_present(b, order) for order in ORDERS] for b in range(3)])
    np.testing.assert_allclose(steps.mean(1), expected.mean(1), rtol=1e-5)
    np.testing.assert_allclose(expected[2], of[frozenset(), 2][2], rtol=1e-5)  # one value: p of it alone

    @jax.jit
    def draws(row, keys):
        return jax.vmap(lambda key: loss_and_sums("order_agnostic", model, params, row, key))(keys)

    for b in range(3):
        loss, sums = draws(masked.take(slice(b, b + 1)), jax.random.split(jax.random.key(b), NUM))
        drawn = np.asarray(sums["nll"], np.float64)
        assert np.isclose(drawn[:, None], steps[b], rtol=1e-5, atol=1e-5).any(1).all()  # each of an order and a step
        error = drawn.std() / NUM**0.5
        assert abs(drawn.mean() - expected[b].mean()) < 4 * error + 1e-4
        assert (np.asarray(sums["dims"]) == PRESENT[b].sum()).all()
        np.testing.assert_allclose(loss, drawn / PRESENT[b].sum(), rtol=1e-5)


def test_gradients_are_finite_and_do_not_depend_on_what_is_missing():
    model = cases.small_model("deep_nade", EVENT, orders="uniform")
    masked = {"mask": PRESENT.astype(np.float32)}

    @jax.jit
    def gradient(x):
        def loss(params):
            return loss_and_sums("order_agnostic", model, params, Batch(x, **masked), jax.random.key(1))[0]

        return jax.grad(loss)(cases.params_of(model))

    found = gradient(HOLES)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(found)) > 0
    nothing = gradient(np.full_like(HOLES, np.nan))
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(nothing)) == 0
