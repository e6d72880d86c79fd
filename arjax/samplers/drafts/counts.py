"""CountsDraft of n-grams as a draft: a look-up is all that a proposal costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.blocks import scores_blocks
from arjax.conditionals.restricted import Truncated
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.samplers.base import Resources
from arjax.samplers.drafts.base import DRAFTS, Draft, Place, Proposal, Target, log_table
from arjax.samplers.drafts.count_models import CountModel, fit_count_model, rows_of

#: Training examples that are counted, at most.
MOST_EXAMPLES = 50_000
#: Histories that the index of the table may have: 256 MB of it.
MOST_HISTORIES = 2**26


@DRAFTS.register("counts")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CountsDraft(Draft):
    """Proposes values by how often they followed the last n values in the training split, along the order of the model.

    Options: `order`, n. The counts are smoothed by those of lower orders, as strongly as is best on validation; see
    `arjax.samplers.drafts.count_models`.
    """

    order: int = opt(3, least=0)
    row_H: jax.Array | None = None  # int32[(V + 1)^n], the row of the table for each history; a digit V is no value
    log_p_RV: jax.Array | None = None  # float32[R, V], the table

    def prepare(self, model: Any, params: Any, resources: Resources) -> CountsDraft:
        if self.log_p_RV is not None:
            return self
        self.check(model)
        visited_D = np.asarray(model.factorization.order)

        def rows(split: str) -> tuple[np.ndarray, np.ndarray]:
            x_ND, mask_ND = rows_of(resources.examples(split, MOST_EXAMPLES))
            order_D = visited_D[visited_D < x_ND.shape[1]]  # a draw may be longer than the examples
            return x_ND[:, order_D], mask_ND[:, order_D]

        counted = fit_count_model(rows("train"), rows("validation"), model.event.num_levels, self.order)
        row_H, log_p_RV = table_of(counted)
        return dataclasses.replace(self, row_H=jnp.asarray(row_H), log_p_RV=jnp.asarray(log_p_RV))

    def check(self, model: Any, with_log_q: bool = False) -> None:
        """Raises `UserError` unless there is one discrete value per step, and few enough histories."""
        event = model.event
        if not event.num_levels or event.value_size > 1 or model.factorization.block_size > 1:
            raise UserError("the draft 'counts' needs steps of one site that holds one discrete value")
        if (event.num_levels + 1) ** self.order > MOST_HISTORIES:
            raise UserError(
                f"the draft 'counts' would have a table of {event.num_levels + 1}^{self.order} histories: take a lower "
                "order"
            )
        family = model.conditional.family if isinstance(model.conditional, Truncated) else model.conditional
        family.from_log_table(jnp.zeros(event.num_levels))

    def propose(self, target: Target, state: Any, place: Place, k: int, keys: jax.Array, with_log_q: bool):
        row_H, log_p_RV = self.row_H, self.log_p_RV
        if row_H is None or log_p_RV is None:
            raise UserError("the draft has no counts: draw from a run, by run.sample or --mode=sample")
        steps, factorization = target.steps, target.model.factorization
        assert not scores_blocks(steps.head, factorization)
        family = steps.head.family if isinstance(steps.head, Truncated) else steps.head
        base, last = log_p_RV.shape[-1] + 1, factorization.num_steps - 1

        def step(history_n: jax.Array, i: jax.Array):
            digits = jnp.int32(0)
            for back in range(self.order, 0, -1):
                digits = digits * base + history_n[self.order - back]
            features = family.from_log_table(log_p_RV[row_H[digits]])[None, None]
            t = jnp.minimum(place.t + i, last)
            value = steps.window_values(keys, place.canvas, t, features)[0]
            log_q = log_table(steps.head, features[0], steps.temperature) if with_log_q else None
            if self.order:
                history_n = jnp.concatenate([history_n[1:], value.reshape(1).astype(jnp.int32)])
            return history_n, (value, log_q)

        _, (values, log_q) = jax.lax.scan(step, self._history(target, place, base - 1), jnp.arange(k), unroll=k <= 16)
        return state, Proposal(values, log_q)

    def _history(self, target: Target, place: Place, num_levels: int) -> jax.Array:
        """The last n values before step t, int32[n]; V where there is none."""
        order_D = jnp.asarray(target.model.factorization.order)
        rank_n = place.t - self.order + jnp.arange(self.order)
        values_n = place.canvas.reshape(-1)[order_D[jnp.clip(rank_n, 0, len(order_D) - 1)]]
        return jnp.where(rank_n < 0, num_levels, values_n.astype(jnp.int32))


def table_of(model: CountModel) -> tuple[np.ndarray, np.ndarray]:
    """`(row int32[(V + 1)^n], log p float32[R, V])`: the distribution after each history of the last n values.

    A history that was not seen has the row of the longest end of it that was.
    """
    num_levels, order = model.num_levels, len(model.levels) - 1
    base = num_levels + 1
    row_H = np.zeros(base**order, np.int32)
    p_RV = np.full((1, num_levels), 1 / num_levels)
    for k, level in enumerate(model.levels):
        history_K, gram = level.histories.keys, level.grams
        place_k = np.arange(k)
        code_K = (history_K[:, None] // num_levels**place_k % num_levels) @ base**place_k  # the same digits, in `base`
        lower_KV = p_RV[row_H[code_K]]
        counts_KV = np.zeros((len(history_K), num_levels))
        owner, value = np.divmod(gram.keys, num_levels)
        counts_KV[np.searchsorted(history_K, owner), value] = gram.counts
        new_KV = (counts_KV + level.strength * lower_KV) / (counts_KV.sum(1, keepdims=True) + level.strength)
        row_H.reshape(base ** (order - k), base**k)[:, code_K] = len(p_RV) + np.arange(len(history_K))
        p_RV = np.concatenate([p_RV, new_KV])
    return row_H, np.log(p_RV).astype(np.float32)
