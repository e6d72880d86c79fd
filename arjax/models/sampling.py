"""Draws from a model: what its users give is checked, then a sampler runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals import truncate
from arjax.conditionals.temperature import as_temperature
from arjax.core.arrays import as_array, as_sites
from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.core.spec import EventSpec
from arjax.models.checks import as_context, as_values, check_key, check_params
from arjax.models.queries import evidence_first
from arjax.samplers import SAMPLERS


def draw(
    model: Any,
    params: Any,
    key: jax.Array,
    num: int,
    *,
    sampler: str = "cached",
    given: jax.Array | None = None,
    observed: jax.Array | None = None,
    context: jax.Array | None = None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> jax.Array:
    """Draws `num` examples from the model, [num, *grid, *value].

    Args:
      given: values to clamp, [*grid, *value] or [num, *grid, *value].
      observed: bool[*grid], the sites where `given` counts. The rest is drawn from its exact conditional distribution,
        which needs an order of the model with every observed site before (or in the same step as) every other; a model
        trained under all orders has one for any set of sites. Within a step, a `nested` conditional has to visit the
        observed sites first, too. It is the order in which `conditional_log_prob` scores the rest given these sites.
      context: int[num] or float[num, size], or one for all: int[] or float[size].
      temperature: divides the logits, up to 1e20; 1 is the model's own distribution, and tiny ones draw the most
        probable value of each step.
      top_k, top_p: draw only from the most probable values of each scalar, see `arjax.conditionals.truncate`.

    Raises:
      UserError: an unknown sampler, wrong shapes or values, or observed sites that the order does not put first.
    """
    if not is_integer(num) or num < 1:
        raise UserError(f"the number of samples must be a whole number, at least 1, not {num!r}")
    temperature, event = as_temperature(temperature), model.event
    check_key(key)
    check_params(model.param_shapes, params)
    sample = SAMPLERS.get(sampler)
    conditional = truncate(model.conditional, top_k, top_p)
    if (given is None) != (observed is None):
        raise UserError("`given` values and the mask of `observed` sites go together: pass both or neither")
    factorization = model.factorization
    if observed is None:
        canvas, clamped_D = jnp.zeros((num, *event.shape), event.dtype), jnp.zeros(event.num_sites, bool)
    else:
        observed = as_sites(event, observed, "`observed`")
        canvas, clamped_D = _canvas(event, num, given, observed), jnp.asarray(observed.ravel())
        factorization = evidence_first(model, observed, ~observed)
    context = as_context(model.context_spec, context, num, one_for_all=True)
    return sample(model.network, conditional, params, factorization, key, canvas, clamped_D, context, temperature)


def _canvas(event: EventSpec, num: int, given: Any, observed: np.ndarray) -> jax.Array:
    """The values of the observed sites, and 0 elsewhere, [num, *event.shape]."""
    given = as_array(given, "given")
    if given.shape not in (event.shape, (num, *event.shape)):
        raise UserError(f"`given` has shape {given.shape}, but {num} examples have shape {(num, *event.shape)}")
    given = as_values(event, given if given.shape != event.shape else given[None], "given", observed)
    return jnp.broadcast_to(given, (num, *event.shape))
