"""A model from names: the one place where network, conditional and factorization are chosen and checked together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from arjax.conditionals import Conditional, make_conditional
from arjax.conditionals.blocks import scores_blocks
from arjax.core import arrays
from arjax.core.arguments import check_names, checked_arguments
from arjax.core.errors import UserError
from arjax.core.output import say_once
from arjax.core.registry import nearest
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec, check_spec
from arjax.factorization import Factorization, Orders, make_factorization, make_orders
from arjax.models.autoregressive import AutoregressiveModel
from arjax.networks import NETWORKS

DTYPES = ("float32", "bfloat16")


#: Arguments of `make_model` that are call strings.
OPTIONS_OF_ONE = ("ordering", "partition", "orders", "graph", "conditional")


@checked_arguments()
def make_model(
    event: EventSpec,
    network: str,
    *,
    context: ContextSpec = NO_CONTEXT,
    ordering: str = "raster",
    partition: str = "sites",
    orders: str = "",
    graph: str = "",
    conditional: str = "",
    dtype: str = "float32",
    data: np.ndarray | None = None,
    **options: Any,
) -> AutoregressiveModel:
    """A model from names, for notebooks: `make_model(event, "made", hidden_sizes=(500,), ordering="random(seed=1)")`.

    Args:
      event: shape and kind of one example.
      network: name of a registered network; `options` are its options.
      ordering: call string of an ordering, likewise `partition` and `conditional` ("": the usual one for the
        kind of data).
      orders: call string of a distribution over orders, for `order_agnostic` training; "": one order.
      graph: call string of a dependency graph; "": every site may depend on all of earlier steps.
      data: training examples [N, *grid, *value], for orderings and graphs that are read off them.

    Raises:
      UserError: an unknown name or option, or a combination that does not work.
    """
    check_spec(event, EventSpec)
    check_spec(context, ContextSpec)
    _check_own_names(network, options)
    options = NETWORKS.resolve(network, options)
    check_dtype(dtype)
    values = None if data is None else _examples(event, data)
    if graph and orders:
        raise UserError("a dependency graph goes with one order: leave model.orders or model.graph empty")
    factorization = make_factorization(event.grid_shape, ordering, partition, values, graph)
    several = make_orders(orders, event.grid_shape, partition, values) if orders else None
    if several is not None and not several.has(factorization):
        factorization = several.first  # samples and queries need an order that is trained
    check_choice(network, event, context, factorization, several, options)
    head = make_conditional(conditional, event, factorization.block_size)
    return put_together(network, event, context, dtype, head, factorization, several, options)


def check_choice(
    network: str,
    event: EventSpec,
    context: ContextSpec,
    factorization: Factorization,
    several: Orders | None,
    options: dict[str, Any],
) -> None:
    """Raises `UserError` when the network, with all its options, does not support the event, the context, the order or
    several of them.
    """
    NETWORKS.get(network).check_context(context, options)
    check_network(network, event, factorization, options)
    _tell_reaches(network, factorization, options)
    if several is not None:
        _check_orders(network, event, factorization, several, options)


def put_together(
    network: str,
    event: EventSpec,
    context: ContextSpec,
    dtype: str,
    head: Conditional,
    factorization: Factorization,
    several: Orders | None,
    options: dict[str, Any],
) -> AutoregressiveModel:
    """The model of parts that are checked by `check_choice`; raises `UserError` where the conditional does not fit."""
    if factorization.parents is not None and scores_blocks(head, factorization):
        raise UserError(
            "a dependency graph and a joint conditional contradict each other: the sites of a step would depend on one "
            "another without an edge"
        )
    family = NETWORKS.get(network)
    net = family(event=event, context_spec=context, num_features=head.num_params, dtype=dtype, **options)
    return AutoregressiveModel(net, head, factorization, several)


def _check_own_names(network: str, options: Mapping[str, Any]) -> None:
    """Raises `UserError` for an option that is no option of the network, and is nearest to an argument of its own."""
    known, own = NETWORKS.options(network), {"context", *OPTIONS_OF_ONE, "dtype", "data"}
    for name in options:
        if name not in known and nearest(name, [*known, *own]) in own:
            check_names("make_model", [name], own)


def _tell_reaches(network: str, factorization: Factorization, options: dict[str, Any]) -> None:
    """Says on stderr that an option, such as a window, is longer than the steps that there are: it is cut to them."""
    defaults = NETWORKS.options(network)
    for name, most in NETWORKS.get(network).reaches(options, factorization.num_steps).items():
        if options[name] > most and options[name] != defaults[name]:
            say_once(
                f"{name}={options[name]} of the network {network!r} reaches beyond the {factorization.num_steps} steps "
                f"of the model: it has the effect of {name}={most}"
            )


def check_dtype(dtype: str) -> None:
    """Raises `UserError` for a compute type that there is not."""
    if dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")


def _examples(event: EventSpec, data: Any) -> np.ndarray:
    """Training examples by sites, [N, D, size of a value]; raises `UserError` when they are none of the event."""
    data = np.asarray(arrays.as_array(data, "data"))
    if data.shape[1:] != event.shape or not len(data):
        raise UserError(f"data has shape {data.shape}, but must have (N, {', '.join(map(str, event.shape))})")
    arrays.check_values(event, data, f"data of kind {event.kind}")
    return data.reshape(len(data), event.num_sites, -1)


def _check_orders(network: str, event: EventSpec, factorization: Factorization, orders: Orders, options) -> None:
    """Raises `UserError` when one network does not support all these orders, or cannot tell them apart."""
    for member in orders.members(1 if orders.pool is None else len(orders.pool)):
        check_network(network, event, member, options)
    if orders.first.blocks.shape != factorization.blocks.shape:
        raise UserError("model.partition cuts model.ordering into other blocks than model.orders")
    NETWORKS.get(network).check_several_orders(options)


def check_network(network: str, event: EventSpec, factorization: Factorization, options: dict[str, Any]) -> None:
    """Raises `UserError` when the network does not support the event, the factorization or the options.

    Where it is not the options, the sentence ends with the networks that can.
    """
    try:
        _check_graph(network, factorization)
        NETWORKS.get(network).check(event, factorization, options)
    except UserError as refusal:
        if _supports(network, event, factorization):
            raise
        able = [name for name in NETWORKS.names() if _supports(name, event, factorization)]
        raise UserError(f"{refusal} (networks that can: {', '.join(able)})") from refusal


def _check_graph(network: str, factorization: Factorization) -> None:
    if factorization.parents is not None and not NETWORKS.get(network).SUPPORTS_GRAPHS:
        raise UserError(f"the network {network!r} reads all earlier sites, not the parents in model.graph alone")


def _supports(network: str, event: EventSpec, factorization: Factorization) -> bool:
    """Whether the family, with its default options, supports this kind of data and factorization."""
    try:
        _check_graph(network, factorization)
        NETWORKS.get(network).check(event, factorization, NETWORKS.options(network))
    except UserError:
        return False
    return True
