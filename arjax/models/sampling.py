"""Draws from a model: arguments are checked, then a sampler runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import truncate
from arjax.conditionals.temperature import as_temperature
from arjax.core.arguments import named_arguments
from arjax.core.arrays import as_array, as_sites
from arjax.core.errors import UserError
from arjax.core.integers import LARGEST, check_size, is_integer
from arjax.core.memory import check_memory
from arjax.core.output import say_once
from arjax.core.spec import EventSpec
from arjax.models.checks import as_context, as_values, check_end, check_key, check_params, is_one_context
from arjax.models.queries import evidence_first
from arjax.samplers import SAMPLERS, Draw, Sampler, example_keys, make_sampler


def keys_of(key: jax.Array, num: int) -> jax.Array:
    """The keys of `num` examples drawn under one key; raises `UserError` unless these are a key and a number."""
    if not is_integer(num) or num < 1:
        raise UserError(f"the number of samples must be a whole number, at least 1, not {num!r}")
    check_size(num, LARGEST, "the number of samples")
    check_key(key)
    return example_keys(key, num)


@named_arguments
def draw(
    model: Any,
    params: Any,
    keys: jax.Array,
    *,
    sampler: str | Sampler = "cached",
    given: jax.Array | None = None,
    observed: jax.Array | None = None,
    context: jax.Array | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    end: int | None = None,
    place: Callable[[Any], Any] | None = None,
) -> Draw:
    """Draws one example from the model for each of the B keys: `x` [B, *grid, *value], and statistics of the draw.

    Args:
      keys: random keys, [B]. Each example depends on its own key alone.
      sampler: a call string, see `arjax.samplers`, or a sampler.
      given: values to clamp, [*grid, *value] or [B, *grid, *value]. Those of one shape for all, under one context, are
        read once where they are a prompt: the first steps of the order.
      observed: bool[*grid], the sites where `given` counts. The rest is drawn from its exact conditional distribution,
        which needs an order of the model with every observed site before (or in the same step as) every other; a model
        trained under all orders has one for any set of sites. Within a step, a `nested` conditional has to visit the
        observed sites first, too. It is the order in which `conditional_log_prob` scores the rest given these sites.
      context: int[B] or float[B, size], or one for all: int[] or float[size].
      temperature: divides the logits, up to 1e20; 1 is the model's own distribution, and tiny ones draw the most
        probable value of each step.
      top_k, top_p, min_p: draw only from the most probable values of each scalar, see `arjax.conditionals.truncate`.
      end: of sequences of tokens, the one that ends an example: behind it all is `end` again, and the values up to it
        are those without this option. `cached` stops when all examples have ended.
      place: puts a tree of arrays, with examples as their first axis, on several devices.

    Raises:
      UserError: an unknown sampler or option, wrong shapes or values, or observed sites that the order does not put
        first.
    """
    temperature, event, num = as_temperature(temperature), model.event, num_keys(keys)
    check_params(model.param_shapes, params)
    check_memory(num * model.event.num_dims * model.event.dtype.itemsize, f"{num:,} examples take")
    sample, conditional = make_sampler(sampler), truncate(model.conditional, top_k, top_p, min_p)
    if (given is None) != (observed is None):
        raise UserError("`given` values and the mask of `observed` sites go together: pass both or neither")
    factorization, observed_D, shared = model.factorization, None, False
    if observed is None:
        canvas = jnp.zeros((num, *event.shape), event.dtype)
    else:
        observed = as_sites(event, observed, "`observed`")
        canvas, observed_D = _canvas(event, num, given, observed), jnp.asarray(observed.ravel())
        factorization = evidence_first(model, observed, ~observed)
        shared = np.shape(given) == event.shape and is_one_context(model.context_spec, context)
    of_examples = keys, canvas, as_context(model.context_spec, context, num, one_for_all=True)
    keys, canvas, context = place(of_examples) if place else of_examples
    model = dataclasses.replace(model, conditional=conditional, factorization=factorization)
    tell_temperature(sample, temperature)
    sample.check(model)
    model = dataclasses.replace(model, orders=None)
    return sample(model, params, keys, canvas, observed_D, context, temperature, shared, end=check_end(event, end))


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


def _canvas(event: EventSpec, num: int, given: Any, observed: np.ndarray) -> jax.Array:
    """The values of the observed sites, and 0 elsewhere, [num, *event.shape]."""
    given = as_array(given, "given")
    if given.shape not in (event.shape, (num, *event.shape)):
        raise UserError(f"`given` has shape {given.shape}, but {num} examples have shape {(num, *event.shape)}")
    given = as_values(event, given if given.shape != event.shape else given[None], "given", observed)
    return jnp.broadcast_to(given, (num, *event.shape))
