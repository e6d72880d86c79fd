"""The laws of an objective: finite, lowered by a step against its gradient, independent of examples of weight 0."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.batch import Batch
from arjax.models import KINDS, make_model
from arjax.objectives import Step, make_objective
from arjax.testing.examples import EVENTS, random_x
from arjax.testing.laws import Law, LawTest, NotSupported, by_name, refusals, require
from arjax.testing.models import random_like, supported

NUM = 12


@LawTest
def objective_laws(call: str, *, network: str = "made", orders: str = "") -> list[Law]:
    """A pytest test of a registered objective:

        test_my_loss = objective_laws("my_loss(weight=0.5)")

    An objective with companions is checked without them. `network` and `orders` are those of the small autoregressive
    model that it trains; by default `pool(num=4)` for an objective that draws from orders.
    """
    checks = by_name(_check_finite, check_downhill, _check_weights)
    return [Law(name, functools.partial(check, call, network, orders)) for name, check in checks.items()]


@functools.cache
def _program(objective: Any, network: str, orders: str) -> tuple[Callable[..., Any], Any, Any]:
    """The loss and its gradients as one compiled program, and parameters of the model and of the objective."""
    orders = orders or ("pool(num=4)" if "needs_orders" in objective.traits else "")
    with refusals():
        if "orders" in KINDS.get(objective.KIND).CALLS:
            model: Any = supported(network, EVENTS["binary"], "raster", "sites", orders=orders)
        else:
            small = next(iter(KINDS.get(objective.KIND).EXAMPLES.values()))
            model = make_model(EVENTS["binary"], small.choice)
        objective.check(model)
    params = jax.tree.map(lambda leaf: 0.3 * leaf, random_like(model.param_shapes))
    objective_state = objective.init(model, jax.random.key(1))

    @jax.jit
    def run(params: Any, objective_state: Any, batch: Batch, key: jax.Array) -> tuple[Any, Any, Any]:
        def loss(params: Any, objective_params: Any) -> tuple[jax.Array, Any]:
            kept = type(objective_state)(objective_params, objective_state.state)
            result = objective.loss(model, params, kept, batch, Step(key, jnp.float32(0.5)))
            return result.value, result

        (value, result), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
            params, objective_state.params
        )
        return value, gradients, result

    return run, params, objective_state


def _run(call: str, network: str, orders: str, batch: Batch, params: Any = None) -> tuple:
    run, fresh, objective_state = _program(make_objective(call), network, orders)
    return jax.tree.map(np.asarray, run(fresh if params is None else params, objective_state, batch, jax.random.key(2)))


def _batch() -> Batch:
    return Batch(random_x(EVENTS["binary"], NUM), weight=np.ones(NUM, np.float32))


def _check_finite(call: str, network: str, orders: str) -> None:
    """The loss is one number; it, its gradients and its metrics are finite, its state has the structure of `init`."""
    value, gradients, result = _run(call, network, orders, _batch())
    require(value.shape == (), f"the loss has the shape {value.shape}")
    for name, tree in (("loss", value), ("gradient", gradients), ("metrics", result.metrics), ("state", result.state)):
        for path, leaf in jax.tree.leaves_with_path(tree):
            require(np.isfinite(leaf).all(), f"the {name} {jax.tree_util.keystr(path)} is not finite")
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients[0]))
    require(largest > 0, "no parameter of the model has a gradient")
    initial = _program(make_objective(call), network, orders)[2]
    shapes = [jax.tree.map(lambda leaf: (np.shape(leaf), str(jnp.asarray(leaf).dtype)), t) for t in (initial, result)]
    require(shapes[0].state == shapes[1].state, f"the state after a batch is {shapes[1].state}, not {shapes[0].state}")


def check_downhill(call: str, network: str, orders: str) -> None:
    """A small step against the gradient lowers the loss of the same batch under the same key."""
    if "draws" in make_objective(call).traits:
        raise NotSupported("the loss depends on draws of the model: a step against the gradient lowers its mean")
    before, (gradient, _), _ = _run(call, network, orders, _batch())
    params = _program(make_objective(call), network, orders)[1]
    size = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient))
    step = 0.01 / max(size, 1e-12) ** 0.5
    moved = jax.tree.map(lambda leaf, slope: leaf - step * slope, params, gradient)
    after = _run(call, network, orders, _batch(), moved)[0]
    require(after < before, f"a small step against the gradient takes the loss from {before:.6g} to {after:.6g}")


def _check_weights(call: str, network: str, orders: str) -> None:
    """The values of examples of weight 0 do not matter, and a batch of nothing else has loss and gradients 0."""
    batch = _batch()
    weight = (np.arange(NUM) < NUM - 3).astype(np.float32)
    other = batch.replace(weight=weight, x=np.where(weight[:, None, None] > 0, batch.x, 1 - batch.x))
    same, changed = (_run(call, network, orders, each) for each in (batch.replace(weight=weight), other))
    pairs = zip(("loss", "gradient"), same[:2], changed[:2], strict=True)
    for name, a, b in (*pairs, ("metrics", same[2].metrics, changed[2].metrics)):
        close = jax.tree.map(lambda a, b: np.allclose(a, b, rtol=1e-4, atol=1e-6), a, b)
        require(all(jax.tree.leaves(close)), f"the {name} depends on examples of weight 0")
    _, gradients, result = _run(call, network, orders, batch.replace(weight=np.zeros(NUM, np.float32)))
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradients, result.metrics)))
    require(finite, "a batch of weight 0 has gradients or metrics that are not finite")
    moves = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients[0]))
    require(moves == 0, "a batch of weight 0 has a gradient")
