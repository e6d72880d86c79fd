"""Order-agnostic training: which orders a batch sees, and that its loss is that of a random order without bias."""

from __future__ import annotations

import functools
import itertools

import jax
import law_cases as cases
import numpy as np
import pytest
from objective_cases import loss_and_sums

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_orders
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.objectives import make_objective
from arjax.objectives.order_agnostic import OrderAgnostic

EVENT = EventSpec((2, 2), (), "levels", 3)
X = cases.random_x(EVENT, 6)
AGNOSTIC = [name for name in NETWORKS.names() if issubclass(NETWORKS.get(name), OrderAgnosticNetwork)]


def build(network: str, orders: str, partition: str = "sites", **options):
    options = NETWORKS.get(network).SMALL | options
    model = make_model(EVENT, network, orders=orders, partition=partition, **options)
    return model, cases.random_like(jax.eval_shape(model.init, jax.random.key(0)))


def loss(model, params, batch, key, **options):
    return loss_and_sums(OrderAgnostic(**options), model, params, batch, key)


@pytest.mark.parametrize("network", ["made", "transformer", "lstm"])
@pytest.mark.parametrize("parts", [1, 2, 0])
def test_each_part_of_the_batch_is_scored_in_its_own_order(network, parts):
    model, params = build(network, "uniform")
    value, sums = jax.jit(functools.partial(loss, model, orders_per_batch=parts))(params, Batch(X), jax.random.key(3))
    order_key = jax.random.split(jax.random.key(3))[0]
    keys = [order_key] if parts == 1 else jax.random.split(order_key, parts or 6)
    score = jax.jit(lambda x, f: model.log_prob(params, x, factorization=f))
    drawn = [model.orders.draw(key) for key in keys]
    expected = [score(x, f) for x, f in zip(np.split(X, len(drawn)), drawn, strict=True)]
    assert len({tuple(np.asarray(f.order)) for f in drawn}) > 1 or parts == 1
    np.testing.assert_allclose(sums["nll"], -np.concatenate(expected).sum(), rtol=1e-5)
    np.testing.assert_allclose(value, sums["nll"] / 24, rtol=1e-6)


@pytest.mark.parametrize("partition", ["sites", "blocks(size=2)", "sizes(sizes=(1, 3))"])
@pytest.mark.parametrize("orders", ["uniform", "pool(num=3)"])
@pytest.mark.parametrize("network", AGNOSTIC)
def test_predicting_from_known_sites_has_the_loss_of_a_random_order(network, orders, partition):
    model, params = build(network, orders, partition)
    losses = jax.jit(jax.vmap(lambda key: loss(model, params, Batch(X), key)[1]["nll"]))
    estimates = np.asarray(losses(jax.random.split(jax.random.key(0), 4000)), np.float64)
    unique = list(itertools.permutations(range(4))) if orders == "uniform" else model.orders.pool
    nll = jax.jit(lambda f: -model.log_prob(params, X, factorization=f).sum())
    texts = [f"list(order={tuple(map(int, order))})" for order in unique]
    exact = np.mean([nll(make_orders(f"any_of(orderings=({t!r},))", (2, 2), partition).first) for t in texts])
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / np.sqrt(len(estimates))


def test_masked_sites_are_not_scored():
    mask = np.random.default_rng(1).integers(0, 2, (6, 2, 2)).astype(np.float32)
    for network in ("made", "deep_nade"):
        model, params = build(network, "pool(num=2)")
        value, sums = loss(model, params, Batch(X, mask=mask), jax.random.key(0))
        assert sums["sites"] == mask.sum()
        nothing = loss(model, params, Batch(X, mask=np.zeros_like(mask)), jax.random.key(0))[1]
        assert nothing["nll"] == 0 and value > 0


def test_mistakes_are_told():
    with pytest.raises(UserError, match=r"cannot be cut into 4 equal parts"):
        model, params = build("made", "uniform")
        loss(model, params, Batch(X), jax.random.key(0), orders_per_batch=4)
    with pytest.raises(UserError, match=r"needs model\.orders"):
        model, params = build("made", "")
        loss(model, params, Batch(X), jax.random.key(0))
    with pytest.raises(UserError, match=r"set network\.position=learned"):
        build("transformer", "uniform", position="none")
    with pytest.raises(UserError, match=r"set network\.target_position=True"):
        build("transformer", "uniform", target_position=False)
    with pytest.raises(UserError, match="needs a raster-like order"):
        build("pixelcnn", "uniform")
    with pytest.raises(UserError, match="has no option 'orders_per_bach', did you mean 'orders_per_batch'"):
        make_objective("order_agnostic(orders_per_bach=2)")
    with pytest.raises(UserError, match="must be a whole number, at least 0, not -1"):
        make_objective("order_agnostic(orders_per_batch=-1)")
