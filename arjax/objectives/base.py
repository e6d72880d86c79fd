"""What an objective is, and the counts that every objective reports."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.registry import Registry, parse_call
from arjax.core.spec import EventSpec

#: An objective is a pure function `(model, params, batch, key) -> (loss, sums)`. The loss is in nats per scored
#: dimension; `sums` add up over batches: `nll` (nats), `examples`, `sites`, `dims`.
OBJECTIVES = Registry("objective")

Sums = dict[str, jax.Array]
#: What every objective gets; its other arguments are options.
ARGUMENTS = ("model", "params", "batch", "key")


def make_objective(text: str) -> Callable[..., tuple[jax.Array, Sums]]:
    """The objective of a call string, such as `teacher_forcing` or `order_agnostic(orders_per_batch=4)`.

    Raises:
      UserError: an unknown name or option, or a value of another type.
    """
    name, options = parse_call(text)
    objective = OBJECTIVES.get(name)
    OBJECTIVES.check_options(name, options, hidden=ARGUMENTS)
    for key, default in OBJECTIVES.options(name, hidden=ARGUMENTS).items():
        _check_option(name, key, options.get(key, default), default)
    return functools.partial(objective, **options) if options else objective


def _check_option(name: str, key: str, value: Any, default: Any) -> None:
    whole = type(default) is int
    if type(value) is not type(default) or (whole and value < 0):
        kind = "a whole number, at least 0" if whole else f"of type {type(default).__name__}"
        raise UserError(f"the option {key!r} of the objective {name!r} must be {kind}, not {value!r}")


def loss_and_sums(event: EventSpec, batch: Batch, log_prob_B: jax.Array) -> tuple[jax.Array, Sums]:
    """The loss of a batch, nats per scored scalar, and its sums, from log p of each example in nats.

    `log_prob_B` leaves out the sites that the mask leaves out; the weights of the examples are taken into account here.
    """
    nll_B = -log_prob_B
    if batch.weight is not None:
        nll_B = jnp.where(batch.weight > 0, batch.weight * nll_B, 0.0)
    sums = count(event, batch) | {"nll": nll_B.sum()}
    return sums["nll"] / jnp.where(sums["dims"] > 0, sums["dims"], 1.0), sums


def count(event: EventSpec, batch: Batch) -> Sums:
    """How many examples, sites and scalars of the batch are scored, float32 (`weight` and `mask` honoured)."""
    num = len(batch)
    weight_B = jnp.ones(num, jnp.float32) if batch.weight is None else batch.weight
    if batch.mask is not None:
        sites_B = (batch.mask > 0).reshape(num, -1).sum(-1, dtype=jnp.float32)
    else:
        sites_B = jnp.full(num, event.num_sites, jnp.float32)
    sites = (weight_B * sites_B).sum()
    return {"examples": weight_B.sum(), "sites": sites, "dims": sites * event.value_size}
