"""What an objective is, and the counts that every objective reports."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from arjax.registry import Registry
from arjax.spec import EventSpec

#: An objective is a pure function `(model, params, batch, key) -> (loss, sums)`. The loss is in nats per scored
#: dimension; `sums` add up over batches: `nll` (nats), `examples`, `sites`, `dims`.
OBJECTIVES = Registry("objective")

Sums = dict[str, jax.Array]


def count(event: EventSpec, batch: dict[str, jax.Array]) -> Sums:
    """How many examples, sites and scalars of the batch are scored, float32 (`weight` and `mask` honoured)."""
    num = batch["x"].shape[0]
    weight_B = batch["weight"] if "weight" in batch else jnp.ones(num, jnp.float32)
    if "mask" in batch:
        sites_B = batch["mask"].reshape(num, -1).sum(-1)
    else:
        sites_B = jnp.full(num, event.num_sites, jnp.float32)
    sites = (weight_B * sites_B).sum()
    return {"examples": weight_B.sum(), "sites": sites, "dims": sites * event.value_size}
