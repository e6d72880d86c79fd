"""Counts of n-grams, with the smoothing that is best on validation, and a draft that looks its proposals up in them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.blocks import scores_blocks
from arjax.conditionals.restricted import Truncated
from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt
from arjax.samplers.base import Resources
from arjax.samplers.drafts.base import DRAFTS, Draft, Place, Proposal, Target, log_table

#: `x` int64[W, T] with values 0 to V-1, and `mask` bool[W, T] of the places that count.
Rows = tuple[np.ndarray, np.ndarray]
#: Strengths that are tried for each order: powers of two.
STRENGTHS = tuple(2.0**i for i in range(-4, 15))


@dataclasses.dataclass(frozen=True)
class Table:
    """The number of occurrences of each key: keys ascending int64[K], counts int64[K]."""

    keys: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, keys_N: np.ndarray) -> Table:
        """Counts the keys int64[N]."""
        return cls(*np.unique(keys_N, return_counts=True))

    def __getitem__(self, keys_N: np.ndarray) -> np.ndarray:
        """Returns the counts of keys int64[N], 0 for those that never occurred."""
        if not len(self.keys):
            return np.zeros(keys_N.shape, np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys_N), len(self.keys) - 1)
        return np.where(self.keys[place] == keys_N, self.counts[place], 0)


@dataclasses.dataclass(frozen=True)
class Level:
    """The counts of one order k: of histories h (the k values before) and of histories with the value v that follows.

    p_k(v | h) = (n(h, v) + m_k p_(k-1)(v | h)) / (n(h) + m_k): the lower order is a prior of m_k observations (MacKay &
    Peto, "A Hierarchical Dirichlet Language Model", 1995). Order 0, above p_(-1) = 1/V, is additive smoothing.
    """

    histories: Table
    grams: Table
    strength: float


def smooth(grams_N: np.ndarray, histories_N: np.ndarray, lower_N: np.ndarray, strength: float) -> np.ndarray:
    """(n(h, v) + m p) / (n(h) + m)."""
    return (grams_N + strength * lower_N) / (histories_N + strength)


@dataclasses.dataclass(frozen=True)
class CountModel:
    """p(x_t | the last n values) of V values by the counts of orders 0 to n; the first values use lower orders."""

    num_levels: int
    levels: tuple[Level, ...]

    def log_prob(self, x_WT: np.ndarray, mask_WT: np.ndarray) -> np.ndarray:
        """Returns log p in nats, float64[W, T]; 0 where the mask is 0."""
        p_WT = np.full(x_WT.shape, 1 / self.num_levels)
        for order, level in enumerate(self.levels):
            places, history, gram = _grams(x_WT, mask_WT, order, self.num_levels)
            p_WT[places] = smooth(level.grams[gram], level.histories[history], p_WT[places], level.strength)
        return np.where(mask_WT, np.log(p_WT), 0.0)


def fit_count_model(train: Rows, validation: Rows, num_levels: int, order: int) -> CountModel:
    """Counts the training rows up to `order`; each strength is the best on validation, given those of lower orders."""
    wrong = order < 0 or (order + 1) * np.log2(num_levels) >= 63
    refuse((wrong, f"the order must be at least 0, with {num_levels}^(order + 1) below 2^63, not {order}"))
    x, mask = validation
    p_WT, levels = np.full(x.shape, 1 / num_levels), []
    for k in range(order + 1):
        _, history, gram = _grams(*train, k, num_levels)
        histories, grams = Table.of(history), Table.of(gram)
        places, history, gram = _grams(x, mask, k, num_levels)
        seen = grams[gram], histories[history], p_WT[places]
        strength = max(STRENGTHS, key=lambda strength: np.log(smooth(*seen, strength)).sum())
        p_WT[places] = smooth(*seen, strength)
        levels.append(Level(histories, grams, strength))
    return CountModel(num_levels, tuple(levels))


def _grams(
    x_WT: np.ndarray, mask_WT: np.ndarray, order: int, num_levels: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Places (row, t) that count and have `order` values before them; keys of these values, and with x_t; int64[N]."""
    row, t = np.nonzero(mask_WT)
    row, t = row[t >= order], t[t >= order]
    history = np.zeros(len(t), np.int64)
    for back in range(order, 0, -1):
        history = history * num_levels + x_WT[row, t - back]
    return (row, t), history, history * num_levels + x_WT[row, t]


def rows_of(arrays: Batch) -> Rows:
    """`x` int64[W, T] and `mask` bool[W, T] of the arrays of a split; without a mask all places count."""
    x_WT = np.asarray(arrays.x).astype(np.int64).reshape(len(arrays), -1)
    mask = np.ones(x_WT.shape) if arrays.mask is None else np.asarray(arrays.mask)
    return x_WT, mask.reshape(x_WT.shape) > 0


#: Training examples that are counted, at most.
MOST_EXAMPLES = 50_000
#: Histories that the index of the table may have: 256 MB of it.
MOST_HISTORIES = 2**26


@DRAFTS.register("counts")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class CountsDraft(Draft):
    """Proposes values by how often they followed the last n values in the training split, along the order of the model.

    Options: `order`, n. Lower orders smooth the counts, as strongly as is best on validation; see
    `arjax.samplers.drafts.counts`.
    """

    order: int = opt(3, least=0)
    row_H: jax.Array | None = None  # int32[(V + 1)^n], the row of the table for each history; a digit V is no value
    log_p_RV: jax.Array | None = None  # float32[R, V], the table

    def prepare(self, model: Any, params: Any, resources: Resources) -> CountsDraft:
        if self.log_p_RV is not None:
            return self
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
        event, base = model.event, model.event.num_levels + 1
        several = not event.num_levels or event.value_size > 1 or model.factorization.block_size > 1
        refuse(
            (several, "the draft 'counts' needs steps of one site that holds one discrete value"),
            (base**self.order > MOST_HISTORIES, f"too many histories, {base}^{self.order}: take a lower order"),
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
        """Returns the last n values before step t, int32[n]; V before the first value."""
        order_D = jnp.asarray(target.model.factorization.order)
        rank_n = place.t - self.order + jnp.arange(self.order)
        values_n = place.canvas.reshape(-1)[order_D[jnp.clip(rank_n, 0, len(order_D) - 1)]]
        return jnp.where(rank_n < 0, num_levels, values_n.astype(jnp.int32))


def table_of(model: CountModel) -> tuple[np.ndarray, np.ndarray]:
    """`(row int32[(V + 1)^n], log p float32[R, V])` after each history, or after its longest end that was seen."""
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
        new_KV = smooth(counts_KV, counts_KV.sum(1, keepdims=True), lower_KV, level.strength)
        row_H.reshape(base ** (order - k), base**k)[:, code_K] = len(p_RV) + np.arange(len(history_K))
        p_RV = np.concatenate([p_RV, new_KV])
    return row_H, np.log(p_RV).astype(np.float32)
