"""Order-agnostic training: which orders a batch sees, and that its loss is that of a random order without bias."""

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from objective_cases import loss_and_sums
from refusals import each_refused, refusal

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.factorization import from_order
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.objectives import Step, make_objective
from arjax.objectives.likelihood import OrderAgnostic, num_observed

EVENT = EventSpec((2, 2), (), "levels", 3)
X = cases.random_x(EVENT, 6)
AGNOSTIC = [name for name in NETWORKS.names() if issubclass(NETWORKS.get(name), OrderAgnosticNetwork)]


#: Networks that predict from observed sites, with orders and partitions: all of them for one, one for the others. All
#: but two are slow.
CHOICES = list(itertools.product(("uniform", "pool(num=3)"), ("sites", "blocks(size=2)", "sizes(sizes=(1, 3))")))
CASES = [("deep_nade", *choice) for choice in CHOICES]
CASES += [(name, *CHOICES[-1 - i]) for i, name in enumerate(AGNOSTIC) if name != "deep_nade"]


@functools.cache
def build(network: str, orders: str, partition: str = "sites", **options):
    options = NETWORKS.get(network).SMALL | options
    model = make_model(EVENT, network, orders=orders, partition=partition, **options)
    return model, cases.random_like(model.param_shapes)


@functools.partial(jax.jit, static_argnums=0)
def loss(objective: OrderAgnostic, model, params, batch, key):
    return loss_and_sums(objective, model, params, batch, key)


@jax.jit
def estimates_of(model, params, keys):
    return jax.vmap(lambda key: loss(OrderAgnostic(), model, params, Batch(X), key)[1]["nll"])(keys)


@functools.partial(jax.jit, static_argnums=2)
def drawn_orders(orders, key, parts: int) -> list:
    """One order for each part of the batch, 0: for each example."""
    order_key = jax.random.split(key)[0]
    return [orders.draw(k) for k in ([order_key] if parts == 1 else jax.random.split(order_key, parts or 6))]


#: A part, some, and one for each example; of networks that are given their orders otherwise, too.
SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in (("made", 1), ("made", 0), ("transformer", 2))]
CASES_OF_PARTS = [("made", 2), pytest.param("lstm", 0, marks=pytest.mark.slow), *SLOW]


log_prob = jax.jit(lambda model, params, factorization: model.log_prob(params, X, factorization=factorization))


@pytest.mark.parametrize(("network", "parts"), CASES_OF_PARTS)
def test_each_part_of_the_batch_is_scored_in_its_own_order(network, parts):
    model, params = build(network, "uniform")
    value, sums = loss(OrderAgnostic(orders_per_batch=parts), model, params, Batch(X), jax.random.key(3))
    drawn = drawn_orders(model.orders, jax.random.key(3), parts)
    rows = np.split(np.arange(6), len(drawn))
    expected = [np.asarray(log_prob(model, params, f))[part] for f, part in zip(drawn, rows, strict=True)]
    assert len({tuple(np.asarray(f.order)) for f in drawn}) > 1 or parts == 1
    np.testing.assert_allclose(sums["nll"], -np.concatenate(expected).sum(), rtol=1e-5)
    np.testing.assert_allclose(value, sums["nll"] / 24, rtol=1e-6)


MIXED = "weighted(of=('reversed', 'uniform'), weights=(3, 1))"
FAST = [("deep_nade", MIXED, "sites")]


@pytest.mark.parametrize(
    ("network", "orders", "partition"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (case not in FAST)) for case in [*CASES, FAST[0]]],
)
def test_predicting_from_observed_sites_has_the_loss_of_a_random_order(network, orders, partition):
    model, params = build(network, orders, partition)
    estimates = np.asarray(estimates_of(model, params, jax.random.split(jax.random.key(0), 4000)), np.float64)
    num = 24 if model.orders.has_all else 3
    members, shares = model.orders.members(num), model.orders.shares(num).weights
    exact = shares @ [-np.asarray(log_prob(model, params, f)).sum() for f in members]
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / np.sqrt(len(estimates))


def test_every_network_predicts_from_observed_sites():
    assert {network for network, *_ in CASES} == set(AGNOSTIC)


def test_masked_sites_are_not_scored():
    mask = np.random.default_rng(1).integers(0, 2, (6, 2, 2)).astype(np.float32)
    for network in ("made", "deep_nade"):
        model, params = build(network, "pool(num=2)")
        value, sums = loss(OrderAgnostic(), model, params, Batch(X, mask=mask), jax.random.key(0))
        assert sums["sites"] == mask.sum()
        nothing = loss(OrderAgnostic(), model, params, Batch(X, mask=np.zeros_like(mask)), jax.random.key(0))[1]
        assert nothing["nll"] == 0 and value > 0


def whole_loss(parts):
    return loss(OrderAgnostic(orders_per_batch=parts), *build("made", "uniform"), Batch(X), jax.random.key(0))


test_mistakes_are_told = each_refused(
    (lambda: whole_loss(4), "cannot be cut into 4 equal parts"),
    (lambda: OrderAgnostic().check(build("made", "")[0]), r"needs model\.orders"),
    (lambda: build("transformer", "uniform", position="none"), r"set network\.position=learned"),
    (lambda: build("transformer", "uniform", target_position=False), r"set network\.target_position=True"),
    (lambda: build("pixelcnn", "uniform"), "needs a raster-like order"),
)


def test_the_hidden_part_is_that_of_a_truncated_normal():
    """Of 49 steps: mean and least of the hidden ones, and the shape of the normal (Li et al., 2024)."""
    keys = jax.random.split(jax.random.key(0), 4000)
    observed = np.asarray(jax.vmap(lambda key: num_observed(key, 49, "truncated_normal"))(keys))
    hidden = 49 - observed
    assert hidden.max() == 49 and hidden.min() == 35  # ceil(.7 * 49)
    grid = (np.arange(1000) + 0.5) / 1000 * 0.3 + 0.7
    weight = np.exp(-0.5 * ((grid - 1) / 0.25) ** 2)
    expected = (np.ceil(grid * 49) * weight).sum() / weight.sum()
    assert abs(hidden.mean() - expected) < 4 * hidden.std() / 4000**0.5
    uniform = np.asarray(jax.vmap(lambda key: num_observed(key, 49, "uniform"))(keys))
    assert uniform.max() == 48 and uniform.min() == 0


@pytest.mark.slow
def test_other_hidden_parts_are_no_likelihood():
    """The loss is the mean over the hidden sites, times the number of sites; it is reported as `masked`."""
    model, params = build("masked_transformer", "uniform")
    objective = make_objective("order_agnostic(hidden='truncated_normal')")
    objective.check(model)
    found = jax.jit(lambda p: objective.loss(model, p, None, Batch(X), Step(jax.random.key(3))))(params)
    assert found.metrics.nll is None and list(found.metrics.means) == ["masked"]
    # of four steps, at least three are hidden: all of a row of the loss are between the least and the largest -log p
    assert 0 < float(found.value) < 10
    for name, orders in (("made", "uniform"), ("masked_transformer", "pool(num=3)")):
        assert "needs a network that predicts from any set" in refusal(objective.check, build(name, orders)[0])


COLUMNS = (EventSpec((), (), "tokens", 3), EventSpec((), (), "binary"), EventSpec((), (), "real"))
MIXED_EVENT = EventSpec((3,), kind="columns", columns=COLUMNS)
ORDERS = list(itertools.permutations(range(3)))
ROWS = np.array([[2, 1, 0.3], [0, 1, -0.8], [1, 0, 1.5]], np.float32)
PRESENT = np.array([[True, True, True], [True, False, True], [False, False, True]])
HOLES = np.where(PRESENT, ROWS, np.nan).astype(np.float32)
NUM = 600


def nats(model, params) -> dict[tuple[frozenset, int], np.ndarray]:
    """-log p(x_i | x_A) of the rows without missing values, by the pairs of a set A and a site i."""
    score = jax.jit(lambda factorization: model.log_prob_per_site(params, ROWS, factorization=factorization))
    found = {}
    for order in ORDERS:
        log_prob = np.asarray(score(from_order(np.array(order), [1, 1, 1], (3,))), np.float64)
        found |= {(frozenset(order[:t]), i): -log_prob[:, i] for t, i in enumerate(order)}
    return found


@pytest.mark.parametrize("network", ["deep_nade", pytest.param("masked_transformer", marks=pytest.mark.slow)])
def test_the_expected_loss_is_that_of_the_observed_values_under_all_their_orders(network):
    model = cases.small_model(network, MIXED_EVENT, orders="uniform")
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
    model = cases.small_model("deep_nade", MIXED_EVENT, orders="uniform")
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
