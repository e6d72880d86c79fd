"""Draws from a model: arguments are checked, then a sampler runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import truncate
from arjax.conditionals.temperature import as_temperature
from arjax.core.arrays import as_array, as_sites
from arjax.core.errors import UserError
from arjax.core.integers import LARGEST, check_size, is_integer
from arjax.core.memory import check_memory
from arjax.core.output import say_once
from arjax.core.spec import EventSpec
from arjax.models.checks import as_context, as_values, check_end, check_key, check_params, is_one_context
from arjax.models.queries import evidence_first
from arjax.samplers import SAMPLERS, Draw, DrawOptions, Sampler, example_keys


def keys_of(key: jax.Array, num: int) -> jax.Array:
    """The keys of `num` examples drawn under one key; raises `UserError` unless these are a key and a number."""
    if not is_integer(num) or num < 1:
        raise UserError(f"the number of samples must be a whole number, at least 1, not {num!r}")
    check_size(num, LARGEST, "the number of samples")
    check_key(key)
    return example_keys(key, num)


def draw(
    model: Any,
    params: Any,
    keys: jax.Array,
    sampler: Sampler,
    options: DrawOptions,
    place: Callable[[Any], Any] | None = None,
) -> Draw:
    """Draws one example from an autoregressive model for each of the B keys; see `Model.draw`.

    Raises:
      UserError: wrong shapes or values, observed sites that the order does not put first, or options that the sampler
        cannot take.
    """
    temperature, event, num = as_temperature(options.temperature), model.event, num_keys(keys)
    check_params(model.param_shapes, params)
    check_memory(num * model.event.num_dims * model.event.dtype.itemsize, f"{num:,} examples take")
    conditional = truncate(model.conditional, options.top_k, options.top_p, options.min_p)
    given, observed = options.given, options.observed
    if (given is None) != (observed is None):
        raise UserError("`given` values and the mask of `observed` sites go together: pass both or neither")
    factorization, observed_D, shared = model.factorization, None, False
    if observed is None:
        canvas = jnp.zeros((num, *event.shape), event.dtype)
    else:
        observed = as_sites(event, observed, "`observed`")
        canvas, observed_D = canvas_of(event, num, given, observed), jnp.asarray(observed.ravel())
        factorization = evidence_first(model, observed, ~observed)
        shared = np.shape(given) == event.shape and is_one_context(model.context_spec, options.context)
    of_examples = keys, canvas, as_context(model.context_spec, options.context, num, one_for_all=True)
    keys, canvas, context = place(of_examples) if place else of_examples
    model = dataclasses.replace(model, conditional=conditional, factorization=factorization)
    tell_temperature(sampler, temperature)
    sampler.check(model)
    model = dataclasses.replace(model, orders=None)
    resolved = options.resolved(observed=observed_D, context=context, end=check_end(event, options.end))
    return sampler(model, params, keys, canvas, resolved, shared)


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
    given = as_values(event, given if given.shape != event.shape else given[None], "given", observed)
    return jnp.broadcast_to(given, (num, *event.shape))


def added_stats(first: Mapping[str, jax.Array], second: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The statistics of a draw behind another one that belongs to the same examples: those of the second, with those
    of the first added. The member of a mixture is no count: it is left out where both draws chose one.
    """
    both = first.keys() & second.keys()
    return {name: value + first[name] if name in both else value for name, value in second.items()
            if not (name == "member" and name in both)}  # fmt: skip
