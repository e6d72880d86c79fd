"""Checks of the arguments of public methods of models: shapes and types, and outside of `jit` also values. JAX clamps,
wraps or fills values out of range, and broadcasts shapes that do not match: a mistake would come out as a plausible
number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core import arrays
from arjax.core.batch import Batch, as_parts
from arjax.core.errors import UserError, refuse
from arjax.core.options import checked_arguments, is_integer
from arjax.core.programs import bytes_of, check_memory
from arjax.core.scores import NO_LIKELIHOOD
from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import Factorization
from arjax.networks.base import Network, name_of

#: What leaves out sites without a value, for the ends of sentences.
MISSING_VALUES = (
    "a missing value (NaN) needs a model of the kind gaussian_mixture, or one of the kind autoregressive whose network "
    "predicts from any set of observed sites, such as masked_transformer or deep_nade, and whose sites of a step are "
    "scored one by one"
)


def as_values(
    event: EventSpec,
    values: Any,
    name: str = "x",
    counts: np.ndarray | None = None,
    *,
    holes: bool = False,
    remedy: str = MISSING_VALUES,
) -> jax.Array:
    """Returns `values` [B, *event.shape] in the type of the event; messages call them `name`. Values outside of
    `counts`, bool[*grid], are not checked and become 0. With `holes`, values may be missing: they stay NaN (see
    `arjax.core.arrays`). `remedy` is the advice about a missing one.
    """
    values, wanted = arrays.as_array(values, name), f"(B, {', '.join(map(str, event.shape))})"
    fits = values.ndim and len(values) and values.shape[1:] == event.shape
    refuse((not fits, f"{name} has shape {values.shape}, but must have {wanted}"))
    if counts is not None:
        values = arrays.blank(values, counts.reshape(*event.grid_shape, *[1] * len(event.value_shape)))
    arrays.check_values(event, values, name, holes=holes, remedy=remedy)
    # Small types (uint8 on the device) would overflow in index arithmetic.
    return jnp.asarray(values, event.dtype)


def check_factorization(network: Network, factorization: Factorization) -> None:
    """Refuses a factorization that the network does not support: it would silently score under another one."""
    if not isinstance(factorization, Factorization):
        raise UserError(f"a factorization is one as from make_factorization, not {factorization!r}")
    shape, grid_shape = factorization.grid_shape, network.event.grid_shape
    lacks_graphs = factorization.parents is not None and "graphs" not in network.traits
    refuse(
        (shape != grid_shape, f"the factorization is of {shape}, the grid is {grid_shape}"),
        (lacks_graphs, f"the network {name_of(network)!r} reads all earlier sites, not the parents of a graph alone"),
    )
    if not arrays.is_traced(factorization):
        network.check(factorization)


def as_context(spec: ContextSpec, context: Any, num: int, *, one_for_all: bool = False) -> dict[str, jax.Array] | None:
    """Returns the parts of the context of `num` examples in the types of the spec, [num, ...] each; None without parts.
    A context of one part may be given as its array alone. `one_for_all` also allows one context for all examples.
    """
    given = as_parts(spec, context)
    parts = {}
    for name, part in spec.parts:
        called = "the context" if len(spec.parts) == 1 else f"the part {name!r} of the context"
        array = arrays.as_array(given[name], called)
        fits = array.shape == (num, *part.shape) or (one_for_all and array.shape == part.shape)
        refuse((not fits, f"{called} has shape {array.shape}, but {num} examples need {(num, *part.shape)}"))
        arrays.check_context(part, array, called)
        parts[name] = jnp.broadcast_to(jnp.asarray(array, part.dtype), (num, *part.shape))
    return parts or None


def is_one_context(spec: ContextSpec, context: Any) -> bool:
    """Returns whether each part of a context is given once, for all examples."""
    given = as_parts(spec, context)
    return all(np.shape(given[name]) == part.shape for name, part in spec.parts)


def as_mask(event: EventSpec, mask: Any, num: int) -> jax.Array | None:
    """Returns the mask bool[num, *grid] of the sites that count."""
    if mask is None:
        return None
    mask, shape = arrays.as_array(mask, "mask"), (num, *event.grid_shape)
    refuse((mask.shape != shape, f"mask has shape {mask.shape}, but {num} examples need {shape}"))
    arrays.check_marks(mask, "mask")
    return jnp.asarray(mask) > 0


def check_key(key: Any) -> None:
    """Raises `UserError` unless `key` is one random key, new-style or old-style."""
    is_key = isinstance(key, (jax.Array, np.ndarray)) and (
        (jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0) or (key.dtype == np.uint32 and key.ndim == 1)
    )
    refuse((not is_key, f"a random key is one key such as jax.random.key(0), not {key!r}"))


def check_end(event: EventSpec, end: Any) -> int | None:
    """Returns the token that ends an example, or None."""
    if end is None:
        return None
    is_token = is_integer(end) and 0 <= end < event.num_levels
    refuse(
        (not event.is_text, f"sequences of tokens have an end, and examples here are {event.in_words}"),
        (not is_token, f"the end of an example is a token from 0 to {event.num_levels - 1}, not {end!r}"),
    )
    return int(end)


def public(method: Callable) -> Callable:
    """Decorates a method for users, whose first argument is `params`, with messages for mistakes in a call."""
    named = checked_arguments()(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _check_mapping(args[0] if args else kwargs.get("params"))
        return named(self, *args, **kwargs)

    return call


def checked_batch(
    model: Any,
    params: Any,
    x: Any,
    context: Any = None,
    mask: Any = None,
    key: Any = None,
    counts: np.ndarray | None = None,
) -> Batch:
    """Returns the arguments of a public method as a batch; values outside of `counts`, bool[*grid], may be anything."""
    check_params(model.param_shapes, params)
    if key is not None:
        check_key(key)
    x = as_values(model.event, x, counts=counts, holes="holes" in model.traits)
    return Batch(x, as_context(model.context_spec, context, len(x)) or {}, as_mask(model.event, mask, len(x)))


def check_query(event: EventSpec, query: Any, evidence: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sites of the query and those that are given, bool[*grid] each, without overlap."""
    query, evidence = arrays.as_sites(event, query, "the query"), arrays.as_sites(event, evidence, "the evidence")
    overlap = (query & evidence).any()
    refuse((overlap, "the query and the evidence overlap: a site is in one of them, not in both"))
    return query, evidence


def check_init(model: Any, key: Any) -> None:
    """Refuses anything but a random key, and parameters that do not fit into the memory of a device."""
    check_key(key)
    if not arrays.is_traced(key):
        check_memory(bytes_of(model.param_shapes), "the parameters of this model take")


def _check_mapping(params: Any) -> None:
    wanted = f"params must be the nested dict of arrays that model.init makes, not of type {type(params).__name__}"
    remedy = "a model has no parameters of its own: model.init(key) or arjax.fit_arrays gives them"
    refuse((not isinstance(params, Mapping), f"{wanted}; {remedy}"))


def check_params(expected: Any, params: Any) -> None:
    """Refuses parameters whose names, shapes and types are not `expected`: Flax would ignore surplus ones."""
    _check_mapping(params)
    misfit, wanted, given = "these are not the parameters of this model:", _by_path(expected), _by_path(params)
    refuse(
        *((path not in given, f"{misfit} they lack {path!r}") for path in wanted),
        *((path not in wanted, f"{misfit} they hold {path!r}, which it does not have") for path in given),
    )
    for path, leaf in given.items():
        is_array = isinstance(leaf, jax.Array | np.ndarray | np.generic) and arrays.is_real_type(leaf.dtype)
        kind, shape = getattr(leaf, "dtype", type(leaf).__name__), getattr(leaf, "shape", None)
        refuse(
            (not is_array, f"{misfit} {path!r} should be an array of real numbers, not of type {kind}"),
            (shape != wanted[path].shape, f"{misfit} {path!r} has the shape {shape}, not {wanted[path].shape}"),
        )


def _by_path(tree: Any, path: str = "") -> dict[str, Any]:
    """Returns the values in nested dicts by their paths, such as "out/kernel"."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    parts = (_by_path(part, f"{path}/{name}" if path else str(name)) for name, part in tree.items())
    return {name: leaf for part in parts for name, leaf in part.items()}


def check_likelihood(model: Any, subject: str) -> None:
    """Refuses a model without a likelihood; the subject begins the sentence."""
    lacks = f"{subject} needs a likelihood, and this model has none"
    remedy = "take a conditional with one, such as diffusion or flow_matching"
    refuse((model.score_kind == NO_LIKELIHOOD, f"{lacks}: {remedy}"))
