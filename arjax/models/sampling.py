"""Parts of a draw: its keys, its canvas, and its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.core.arrays import as_array
from arjax.core.errors import UserError
from arjax.core.integers import LARGEST, check_size, is_integer
from arjax.core.output import say_once
from arjax.core.spec import EventSpec
from arjax.models.checks import as_values, check_key
from arjax.samplers import SAMPLERS, Sampler, example_keys


def keys_of(key: jax.Array, num: int) -> jax.Array:
    """The keys of `num` examples drawn under one key; raises `UserError` unless these are a key and a number."""
    if not is_integer(num) or num < 1:
        raise UserError(f"the number of samples must be a whole number, at least 1, not {num!r}")
    check_size(num, LARGEST, "the number of samples")
    check_key(key)
    return example_keys(key, num)


@jax.jit
def step_keys(keys_B: jax.Array, t: int | jax.Array) -> jax.Array:
    """Other keys of the same examples, such as those of a step: fold_in(keys[b], t)."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys_B, t)


def tell_temperature(sampler: Sampler, temperature: Any) -> None:
    """Says on stderr that a temperature has no effect, where the sampler looks for probable values."""
    if not sampler.WARMS and not isinstance(temperature, jax.Array) and temperature != 1.0:
        say_once(f"the sampler {SAMPLERS.name_of(type(sampler))!r} finds the same values at any temperature")


def num_keys(keys: Any) -> int:
    """B; raises `UserError` unless these are B random keys."""
    if not isinstance(keys, jax.Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != 1:
        raise UserError(f"the keys of a draw are as from jax.random.split(jax.random.key(0), 8), not {keys!r}")
    if not len(keys):
        raise UserError("a draw needs at least one key")
    return len(keys)


def canvas_of(event: EventSpec, num: int, given: Any, observed: np.ndarray) -> jax.Array:
    """The values of the observed sites, and 0 elsewhere, [num, *event.shape]."""
    given = as_array(given, "given")
    if given.shape not in (event.shape, (num, *event.shape)):
        raise UserError(f"`given` has shape {given.shape}, but {num} examples have shape {(num, *event.shape)}")
    given, remedy = given if given.shape != event.shape else given[None], "a missing value is not observed"
    given = as_values(event, given, "given", observed, remedy=remedy)
    return jnp.broadcast_to(given, (num, *event.shape))


def added_stats(first: Mapping[str, jax.Array], second: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The statistics of a draw behind another one that belongs to the same examples: those of the second, with those
    of the first added. The member of a mixture is no count: it is left out where both draws chose one.
    """
    both = first.keys() & second.keys()
    return {name: value + first[name] if name in both else value for name, value in second.items()
            if not (name == "member" and name in both)}  # fmt: skip
