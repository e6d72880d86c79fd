"""Networks that read relaxed values: a discrete value as a point between the values that it can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.checks import check_factorization
from arjax.networks.base import NETWORKS, Network

Params = Any


def relaxed_event(event: EventSpec) -> EventSpec:
    """The event of relaxed values: weights [V] over the values of a site, or the weight of 1 where there are two."""
    if event.value_shape or not event.is_discrete:
        raise UserError(f"relaxed values are those of discrete scalars, and a site here is {event.in_words}")
    return EventSpec(event.grid_shape, () if event.num_levels == 2 else (event.num_levels,), kind="real")


def relaxed_values(event: EventSpec, x: jax.Array) -> jax.Array:
    """Values int[...] as relaxed ones, float32[...] of two values and float32[..., V] of more."""
    return x.astype(jnp.float32) if event.num_levels == 2 else jax.nn.one_hot(x, event.num_levels)


def relax(model: AutoregressiveModel, params: Params) -> tuple[Network, Params]:
    """The network of a model of discrete scalars as one that reads relaxed values, and its parameters.

    At values that are not between others, it computes the features of the model: a value is looked up in a table by a
    product with its one-hot vector.

    Raises:
      UserError: the values are not discrete scalars, or the network reads them in another way.
    """
    network = model.network.clone(event=relaxed_event(model.event))
    dummy = jnp.zeros((1, *network.event.shape))
    context = dict(model.dummy_batch(1).context) or None
    try:
        check_factorization(network, model.factorization)
        expected = jax.eval_shape(network.init, jax.random.key(0), dummy, model.factorization, context)
        expected = expected.get("params", {})
        found = _mapped({name: leaf for name, leaf in params.items() if name in expected}, expected)
    except (KeyError, TypeError, UserError) as error:
        raise _unsuited(model.network) from error
    if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, expected):
        raise _unsuited(model.network)
    return network, found


def _unsuited(network: Network) -> UserError:
    name = NETWORKS.name_of(type(network)) or type(network).__name__
    return UserError(f"the network {name!r} cannot read relaxed values: take as_is(estimator='score')")


def _mapped(params: Params, expected: Params) -> Params:
    """The parameters by the names of the network of real values, whose linear maps have the rows of the tables."""
    if not isinstance(params, Mapping):
        return params
    if "linear" in expected and "table" in params:
        table_VE = params["table"]["embedding"]
        linear = {"kernel": table_VE, "bias": jnp.zeros(table_VE.shape[-1], table_VE.dtype)}
        params = {name: leaf for name, leaf in params.items() if name != "table"} | {"linear": linear}
    return {name: _mapped(leaf, expected[name]) for name, leaf in params.items()}
