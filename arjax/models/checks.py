"""What a model is given, checked before it computes: shapes and types always, values where they are known.

JAX clamps, wraps or fills whatever is out of range, and broadcasts what does not match: a mistake would come out as a
plausible number. Inside `jit` values are not known, so only shapes and types are checked there.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.errors import UserError
from arjax.factorization import Factorization
from arjax.networks import Network
from arjax.spec import ContextSpec, EventSpec


def as_values(event: EventSpec, values: Any, name: str = "x") -> jax.Array:
    """`values` [B, *event.shape] in the type of the event; they are called `name` in messages.

    Raises:
      UserError: another shape, fractions for discrete data, or values that the event cannot have.
    """
    values = _as_array(values)
    if values.shape[1:] != event.shape or not values.ndim or not len(values):
        raise UserError(f"{name} has shape {values.shape}, but must have (B, {', '.join(map(str, event.shape))})")
    if event.is_discrete:
        _check_integers(values, event.num_levels, f"{name} of {event.kind} data")
    # Small types (uint8 on the device) would overflow in index arithmetic.
    return jnp.asarray(values, event.dtype)


def check_factorization(network: Network, factorization: Factorization) -> None:
    """Raises `UserError` when the network does not serve a factorization other than the one it was made for.

    Else a network for raster order and single sites would score by itself what it makes of any other.
    """
    grid_shape = network.event.grid_shape
    if factorization.grid_shape != grid_shape:
        raise UserError(f"the factorization is of {factorization.grid_shape}, the grid is {grid_shape}")
    if factorization.parents is not None and not network.SERVES_GRAPHS:
        raise UserError("this network reads all earlier sites, not the parents of a graph alone")
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(factorization)):
        options = {field.name: getattr(network, field.name) for field in dataclasses.fields(network)}
        network.check(network.event, factorization, options)


def as_context(spec: ContextSpec, context: Any, num: int, *, one_for_all: bool = False) -> jax.Array | None:
    """The context of `num` examples in the type of the spec, [num, *spec.shape], or None where the spec is none.

    `one_for_all` also allows the context of a single example, [*spec.shape], which then counts for all.

    Raises:
      UserError: a context that is missing or not wanted, another shape, or integers that are no class or token.
    """
    if (context is None) != (spec.kind == "none"):
        wanted = "this model has no context, so none can be given"
        raise UserError(wanted if spec.kind == "none" else f"this model needs a {spec.kind} context")
    if context is None:
        return None
    context = _as_array(context)
    if context.shape != (num, *spec.shape) and not (one_for_all and context.shape == spec.shape):
        raise UserError(f"the context has shape {context.shape}, but {num} examples need {(num, *spec.shape)}")
    if spec.is_discrete:
        _check_integers(context, spec.size, "the context", lowest=-1 if spec.kind == "sequence" else 0)
    if spec.kind == "sequence" and _is_known(context):
        with jax.ensure_compile_time_eval():
            holes = (context[..., :-1] < 0) & (context[..., 1:] >= 0)
            if holes.any():
                raise UserError("a sequence is filled up with -1 after its end, not before or between its tokens")
    return jnp.broadcast_to(jnp.asarray(context, spec.dtype), (num, *spec.shape))


def as_mask(event: EventSpec, mask: Any, num: int) -> jax.Array | None:
    """The mask bool[num, *grid] of the sites that count; raises `UserError` for any other shape."""
    if mask is None:
        return None
    mask = _as_array(mask)
    if mask.shape != (num, *event.grid_shape):
        raise UserError(f"mask has shape {mask.shape}, but {num} examples need {(num, *event.grid_shape)}")
    return jnp.asarray(mask) > 0


def check_key(key: Any) -> None:
    """Raises `UserError` unless `key` is one random key, new-style or old-style."""
    is_key = isinstance(key, (jax.Array, np.ndarray)) and (
        (jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0) or (key.dtype == np.uint32 and key.ndim == 1)
    )
    if not is_key:
        raise UserError(f"a random key is one key such as jax.random.key(0), not {key!r}")


def _as_array(values: Any) -> jax.Array | np.ndarray:
    return values if isinstance(values, jax.Array) else np.asarray(values)


def _is_known(values: jax.Array | np.ndarray) -> bool:
    """Whether the values can be looked at: not inside `jit`, and not where another process holds some of them."""
    return not isinstance(values, jax.core.Tracer) and getattr(values, "is_fully_addressable", True)


def _check_integers(values: jax.Array | np.ndarray, num_levels: int, name: str, lowest: int = 0) -> None:
    """Raises `UserError` unless the values are integers, and `lowest` to num_levels - 1 where they are known."""
    if not (jnp.issubdtype(values.dtype, jnp.integer) or values.dtype == bool):
        raise UserError(f"{name} must be integers, not {values.dtype}")
    if not values.size or not _is_known(values):
        return
    with jax.ensure_compile_time_eval():  # an array that a jitted function closes over is known, too
        low, high = int(values.min()), int(values.max())
    if low < lowest or high >= num_levels:
        raise UserError(f"{name} must be {lowest} to {num_levels - 1}, not {low} to {high}")
