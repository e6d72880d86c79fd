"""Small models with random parameters, or the message of the refusal of a combination."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from arjax.conditionals import make_conditional
from arjax.core import traits
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import AutoregressiveModel, make_model
from arjax.models.autoregressive import CONDITIONAL
from arjax.networks import NETWORKS
from arjax.networks.denoisers import NoisyNetwork
from arjax.testing.examples import random_like, random_x
from arjax.testing.laws import NotSupported, require


def autoregressive_networks() -> list[str]:
    """Returns the names of the networks that follow an order: all but those that read noisy values."""
    return [name for name in NETWORKS.names() if not issubclass(NETWORKS.get(name), NoisyNetwork)]


def small_model(
    network: str, event: EventSpec, ordering: str = "raster", partition: str = "sites", **choice: Any
) -> AutoregressiveModel | str:
    """Returns a model of a network with the options in its `SMALL`, or the message of a refusal. `choice` are other
    arguments of `make_model`, options of the network among them.
    """
    return _small_model(NETWORKS.get(network), network, event, ordering=ordering, partition=partition, **choice)


@functools.cache
def _small_model(family: Any, network: str, event: EventSpec, **choice: Any) -> AutoregressiveModel | str:
    """`family` is an argument for the cache: a name can be registered again."""
    try:
        # data: for orderings that read it
        model = make_model(event, network, data=random_x(event, 30), **{**family.SMALL, **choice})
        return traits.require(model, "conditionals", "a law")
    except UserError as refusal:
        require(len(str(refusal)) > 20, f"a refusal is a sentence, not {str(refusal)!r}")
        return str(refusal)


def supported_model(
    network: str, event: EventSpec, ordering: str, partition: str, **choice: Any
) -> AutoregressiveModel | str:
    """Returns the small model of this order and partition or, if it is refused, of the next one that the network
    supports: single sites, raster-like orders, and from coarse to fine. A refusal only if all are refused.
    """
    for order in (ordering, "reversed", "raster", "multiscale"):
        for cut in (partition, "sites"):
            model = small_model(network, event, order, cut, **choice)
            if not isinstance(model, str):
                return model
    return model


def supported(network: str, event: EventSpec, ordering: str, partition: str, **choice: Any) -> AutoregressiveModel:
    """`supported_model`; raises `NotSupported` where all are refused."""
    model = supported_model(network, event, ordering, partition, **choice)
    if isinstance(model, str):
        raise NotSupported(model)
    return model


@functools.cache
def random_params(network: Any, grid_shape: tuple[int, ...], sizes: tuple[int, ...]) -> Any:
    """Parameters of a network from their shapes alone: compiling `init` takes longer than most laws."""
    factorization = make_factorization(grid_shape, "raster", f"sizes(sizes={sizes})")
    model = AutoregressiveModel(network, make_conditional("", EventSpec((1,))), factorization)
    return random_like(jax.eval_shape(model.init, jax.random.key(0)))


def params_of(model: AutoregressiveModel) -> Any:
    """The parameters of a model: the same for all orderings of one block structure."""
    sizes = tuple(int(n) for n in np.bincount(np.asarray(model.factorization.step)))
    params = random_params(model.network, model.event.grid_shape, sizes)
    shapes = jax.eval_shape(model.conditional.init, jax.random.key(0))
    return params if shapes is None else params | {CONDITIONAL: random_like(shapes)}


def gentle_params_of(model: AutoregressiveModel) -> Any:
    """Smaller parameters, for real values: products of scales and slopes would overflow float32 after a few steps."""
    return jax.tree.map(lambda leaf: 0.3 * leaf, params_of(model))
