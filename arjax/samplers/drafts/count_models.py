"""Count models: baselines for networks on sequences of discrete values."""

from __future__ import annotations

import dataclasses

import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError

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
        """The counts of keys int64[N], 0 for those that never occurred."""
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
    """p(x_t | the last n values) of V values; places with fewer values before them use the order that they have.

    The levels are the counts of orders 0 to n.
    """

    num_levels: int
    levels: tuple[Level, ...]

    @property
    def num_counts(self) -> int:
        """Numbers kept: the grams that were seen, of all orders."""
        return sum(len(level.grams.keys) for level in self.levels)

    def log_prob(self, x_WT: np.ndarray, mask_WT: np.ndarray) -> np.ndarray:
        """Nats, float64[W, T]; 0 where the mask is."""
        p_WT = np.full(x_WT.shape, 1 / self.num_levels)
        for order, level in enumerate(self.levels):
            places, history, gram = _grams(x_WT, mask_WT, order, self.num_levels)
            p_WT[places] = smooth(level.grams[gram], level.histories[history], p_WT[places], level.strength)
        return np.where(mask_WT, np.log(p_WT), 0.0)


def fit_count_model(train: Rows, validation: Rows, num_levels: int, order: int) -> CountModel:
    """Counts the training rows; each strength is the best on the validation rows, given those of lower orders.

    `num_levels` is V, and `order` n, the number of values before a place that its distribution may depend on. Raises
    `UserError` for a negative order, or more kinds of grams than a 64-bit key can tell apart.
    """
    if order < 0 or (order + 1) * np.log2(num_levels) >= 63:
        raise UserError(f"the order must be at least 0, with {num_levels}^(order + 1) below 2^63, not {order}")
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
