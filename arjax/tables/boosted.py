"""Boosted trees model the rows of a table: each column given those before it in an order of the columns.

The codes of a column are halved again and again, words from the most frequent one on and numbers by their size, so that
both halves have about equally many train rows. At each halving, boosted trees (scikit-learn's, on histograms, as in Ke
et al., "LightGBM: a highly efficient gradient boosting decision tree", 2017) read the cells of the columns before it
and predict in which half the code is,

    p(code | columns before it) = prod_halvings sigmoid(+-(b + t sum_trees leaf)),

so a column of V codes costs about log V sums of trees a row (as in McCarter, "Unmasking trees for tabular data", 2024).
Validation chooses the number of trees and the temperature t of each depth of halvings; from the depth on where no trees
help, halves have their frequencies. Several orders are mixed with equal weights, p(x) = (1/O) sum_o p_o(x).

The trees of a column know the columns before it and no others, so the engine scores and draws whole rows, and predicts
the last column of an order from all others, but answers no other question.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit

from arjax.core.scores import log_mean
from arjax.data.columns import MISSING
from arjax.tables.any_order import codes_of
from arjax.tables.columns import Column
from arjax.tables.engine import FitSettings, RowEngine, thinned

#: Options of the trees of a halving, and the most of them.
_TREE = {"learning_rate": 0.15, "max_leaf_nodes": 16, "min_samples_leaf": 20, "l2_regularization": 1.0, "max_bins": 127}
_MOST_TREES = 60
#: Halvings have trees from this part of the train rows on, and the least and the most rows that this may mean.
_PART, _FEWEST_ROWS = 1 / 64, (60, 300)
#: The first order may take so many times the given seconds.
_LATE = 2.0
#: Pairs of rows and trees that are read at once.
_MOST_PAIRS = 2**21
#: The most orders, and train rows that the trees read.
MOST_ORDERS, _TRAIN_ROWS = 8, 100_000


class Halving(NamedTuple):
    """The codes from `low` to `high`, without it, of which those from `cut` on are the upper half; the roots of the
    trees from `first` to `last`; and the log-odds of the upper half, to which `heat` times the sum of leaves is added.
    """

    low: int
    cut: int
    high: int
    first: int = 0
    last: int = 0
    log_odds: float = 0.0
    heat: float = 1.0


class Trees(NamedTuple):
    """The nodes of trees, [M] each, of which `roots` [T] are the first ones: cells of a feature up to the threshold, or
    missing ones if `missing_left`, go to the left. A leaf is its own child.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    missing_left: np.ndarray

    def leaves(self, x_NF: np.ndarray, first: int, last: int) -> np.ndarray:
        """Returns the value of the leaf of each row in some trees, float32[N, T]."""
        size = max(1, _MOST_PAIRS // max(1, last - first))
        pieces = [self._leaves(x_NF[start : start + size], first, last) for start in range(0, len(x_NF), size)]
        return np.concatenate([np.zeros((0, last - first), np.float32), *pieces])

    def _leaves(self, x_NF: np.ndarray, first: int, last: int) -> np.ndarray:
        at_NT, rows_N1 = np.repeat(self.roots[None, first:last], len(x_NF), 0), np.arange(len(x_NF))[:, None]
        while True:
            x_NT = x_NF[rows_N1, self.feature[at_NT]]
            is_left = np.where(np.isnan(x_NT), self.missing_left[at_NT], x_NT <= self.threshold[at_NT])
            next_NT = np.where(is_left, self.left[at_NT], self.right[at_NT])
            if (next_NT == at_NT).all():
                return self.value[at_NT]
            at_NT = next_NT


def all_trees(parts: Sequence[Trees]) -> Trees:
    """Returns all trees of several sets of trees."""
    starts = np.cumsum([0, *(len(part.feature) for part in parts)])
    moved = [
        part._replace(roots=part.roots + start, left=part.left + start, right=part.right + start)
        for part, start in zip(parts, starts, strict=False)
    ]
    return Trees(*map(np.concatenate, zip(*moved, strict=True)))


class BoostedTable(RowEngine):
    """Rows under boosted trees in several orders.

    Attributes:
      orders: of the columns, [O, C].
      halvings: of each column in each order, as they are drawn, those of an interval after those that contain it.
      trees: those of all halvings.
    """

    kind, model = "boosted", None

    def __init__(
        self,
        columns: Sequence[Column],
        orders: Sequence[Sequence[int]],
        halvings: Sequence[Sequence[Sequence[Halving]]],
        trees: Trees,
    ):
        self.columns, self.orders, self.halvings, self.trees = tuple(columns), orders, halvings, trees

    @property
    def params(self) -> dict[str, np.ndarray]:
        """All arrays, from which `from_params` makes the engine."""
        of_columns = [of_column for of_order in self.halvings for of_column in of_order]
        halvings = np.array([halving for of_column in of_columns for halving in of_column], np.float64)
        return {**self.trees._asdict(), "halvings": halvings, "num_halvings": np.array(list(map(len, of_columns)))}

    @classmethod
    def from_params(cls, columns: Sequence[Column], orders: Sequence[Sequence[int]], params: Any) -> BoostedTable:
        """Makes the engine of `params`."""
        flat = [Halving(*map(int, values[:5]), *values[5:]) for values in params["halvings"].tolist()]
        ends = np.cumsum(params["num_halvings"]).tolist()
        of_columns = [flat[start:end] for start, end in itertools.pairwise([0, *ends])]
        halvings = [of_columns[start : start + len(columns)] for start in range(0, len(of_columns), len(columns))]
        return cls(columns, orders, halvings, Trees(*(params[name] for name in Trees._fields)))

    def in_words(self) -> str:
        num = len(self.orders)
        return f"boosted trees of each column given those before it in {num} order{'s' if num > 1 else ''}"

    def log_prob_over_orders(self, cells_NC: np.ndarray, num_orders: int = 0) -> np.ndarray:
        codes_NC, nats_N = codes_of(self.columns, cells_NC), np.zeros(len(cells_NC))
        for c, column in enumerate(self.columns):
            within_N, known_N = column.log_within(cells_NC[:, c])
            nats_N += within_N
            codes_NC[~known_N, c] = MISSING
        log_p_ON = []
        for order, halvings in zip(self.orders, self.halvings, strict=True):
            x_NC = cells_NC[:, order]
            pairs = enumerate(zip(order, halvings, strict=True))
            log_p_ON.append(sum(self._log_prob(x_NC[:, :place], codes_NC[:, c], of_c) for place, (c, of_c) in pairs))
        return nats_N + log_mean(np.stack(log_p_ON))

    def _log_prob(self, x_NF: np.ndarray, codes_N: np.ndarray, halvings: Sequence[Halving]) -> np.ndarray:
        """Returns log p(codes of a column | cells of those before it), float64[N], 0 without a code."""
        log_p_N = np.zeros(len(codes_N))
        for halving in halvings:
            rows = np.flatnonzero((codes_N >= halving.low) & (codes_N < halving.high))
            if len(rows):
                odds_N = self._log_odds(x_NF[rows], halving)
                log_p_N[rows] += log_expit(np.where(codes_N[rows] >= halving.cut, odds_N, -odds_N))
        return log_p_N

    def _log_odds(self, x_NF: np.ndarray, halving: Halving) -> np.ndarray:
        """Returns the log-odds of the upper half, float64[N]."""
        leaves_NT = self.trees.leaves(x_NF, halving.first, halving.last)
        return halving.log_odds + halving.heat * leaves_NT.sum(1, dtype=np.float64)

    def prediction(self, cells_NC: np.ndarray, c: int) -> np.ndarray | None:
        """Returns the mean over the orders that end with the column; None where no order does."""
        tables = []
        for order, halvings in zip(self.orders, self.halvings, strict=True):
            if order[-1] == c:
                p_NV = np.ones((len(cells_NC), self.columns[c].num_codes))
                for halving in halvings[-1]:
                    upper_N1 = expit(self._log_odds(cells_NC[:, order[:-1]], halving))[:, None]
                    p_NV[:, halving.low : halving.cut] *= 1 - upper_N1
                    p_NV[:, halving.cut : halving.high] *= upper_N1
                tables.append(p_NV)
        return np.mean(tables, 0) if tables else None

    def draw_rows(self, num: int, rng: np.random.Generator) -> np.ndarray:
        cells_NC, order_N = np.full((num, len(self.columns)), np.nan), rng.integers(len(self.orders), size=num)
        for o, (order, halvings) in enumerate(zip(self.orders, self.halvings, strict=True)):
            rows = np.flatnonzero(order_N == o)
            x_NC = np.full((len(rows), len(order)), np.nan)
            for place, (c, of_c) in enumerate(zip(order, halvings, strict=True)):
                x_NC[:, place] = self.columns[c].draw(self._draw_codes(x_NC[:, :place], c, of_c, rng), rng)
            cells_NC[rows[:, None], order] = x_NC
        return cells_NC

    def _draw_codes(
        self, x_NF: np.ndarray, c: int, halvings: Sequence[Halving], rng: np.random.Generator
    ) -> np.ndarray:
        low_N, high_N = np.zeros(len(x_NF), np.int64), np.full(len(x_NF), self.columns[c].num_codes)
        for halving in halvings:
            rows = np.flatnonzero((low_N == halving.low) & (high_N == halving.high))
            if len(rows):
                is_upper = rng.random(len(rows)) < expit(self._log_odds(x_NF[rows], halving))
                low_N[rows], high_N[rows] = np.where(
                    is_upper, [[halving.cut], [halving.high]], [[halving.low], [halving.cut]]
                )
        return low_N


def cut_codes(low: int, high: int, counts_V: np.ndarray) -> int:
    """Returns the first code of the upper half of the codes from `low` to `high`, by the counts of these."""
    below = np.cumsum(counts_V[low:high])[:-1]
    middle = (high - low) / 2 - 1
    score = abs(below - counts_V[low:high].sum() / 2) + 1e-6 * abs(np.arange(len(below)) - middle)
    return low + 1 + int(score.argmin())


#: A tree that no halving has: there may be no other.
_LEAF = Trees(*(np.zeros(1, kind) for kind in (int, int, float, int, int, np.float32, bool)))


class _Rows(NamedTuple):
    """Rows that have a value in a column: the cells of the columns before it [N, F], and its codes [N]."""

    x: np.ndarray
    codes: np.ndarray

    def between(self, low: int, high: int) -> _Rows:
        rows = (self.codes >= low) & (self.codes < high)
        return _Rows(self.x[rows], self.codes[rows])


class _Grown(NamedTuple):
    """A halving, its trees, and for the validation rows in it the sums of leaves after each tree, float32[N, T], and
    whether they are in the upper half, bool[N].
    """

    halving: Halving
    trees: list[Trees]
    sums: np.ndarray
    upper: np.ndarray


def fit_column(train: _Rows, held: _Rows, num_codes: int, seed: int, trees: list[Trees]) -> list[Halving]:
    """Returns the halvings of a column, depth by depth; their trees are appended to `trees`."""
    counts_V, halvings = np.bincount(train.codes, minlength=num_codes), []
    fewest = np.clip(_PART * len(train.codes), *_FEWEST_ROWS)
    intervals, most_trees = [(0, num_codes)], _MOST_TREES if train.x.shape[1] else 0
    while intervals := [(low, high) for low, high in intervals if high - low > 1]:
        depth = []
        for low, high in intervals:
            rows, halving = train.between(low, high), Halving(low, cut_codes(low, high, counts_V), high)
            most = most_trees if len(rows.codes) >= fewest else 0
            depth.append(_grow(rows, held.between(low, high), halving, most, seed))
        num, heat = _best_stage(depth)
        most_trees = min(_MOST_TREES, 2 * num)  # finer halves have fewer rows, and need fewer trees
        for halving, of_halving, _, _ in depth:
            first = len(trees)
            trees += of_halving[:num]
            halvings.append(halving._replace(first=first, last=len(trees), heat=heat))
        intervals = [ends for h, *_ in depth for ends in ((h.low, h.cut), (h.cut, h.high))]
    return halvings


def _grow(train: _Rows, held: _Rows, halving: Halving, most_trees: int, seed: int) -> _Grown:
    """Returns a halving with its log-odds, and with at most so many trees where there are rows in both halves."""
    upper, held_upper = train.codes >= halving.cut, held.codes >= halving.cut
    num_upper = int(upper.sum())
    if not most_trees or not 0 < num_upper < len(upper):
        odds = math.log((num_upper + 0.5) / (len(upper) - num_upper + 0.5))
        return _Grown(halving._replace(log_odds=odds), [], np.zeros((len(held_upper), 0)), held_upper)
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    options = {"max_iter": most_trees, "early_stopping": False, "random_state": seed, **_TREE}
    with threadpool_limits(1):  # threads of small trees wait for one another where other programs run
        fitted: Any = HistGradientBoostingClassifier(**options).fit(train.x, upper)
    trees = [_as_trees(each.nodes) for (each,) in fitted._predictors]
    sums = np.cumsum(all_trees(trees).leaves(held.x, 0, len(trees)), 1)
    return _Grown(halving._replace(log_odds=float(fitted._baseline_prediction.item())), trees, sums, held_upper)


def _as_trees(nodes: np.ndarray) -> Trees:
    """Returns one tree of scikit-learn."""
    leaf, here = nodes["is_leaf"].astype(bool), np.arange(len(nodes))
    left, right = (np.where(leaf, here, nodes[side]) for side in ("left", "right"))
    value = np.where(leaf, nodes["value"], 0.0).astype(np.float32)
    feature, missing_left = np.where(leaf, 0, nodes["feature_idx"]), nodes["missing_go_to_left"].astype(bool)
    return Trees(
        np.zeros(1, np.int64), feature, nodes["num_threshold"].astype(np.float64), left, right, value, missing_left
    )


def _best_stage(depth: Sequence[_Grown]) -> tuple[int, float]:
    """Returns the number of trees, and the temperature, under which the halves of validation rows are most probable."""
    grown = [each for each in depth if each.trees]
    if not grown:
        return 0, 1.0

    def nats(sums: Sequence[np.ndarray], heat: float) -> np.ndarray:
        """Returns -log p summed over the rows of all halvings, for each of the columns of some sums of leaves."""
        total: Any = 0.0
        for each, sums_NT in zip(grown, sums, strict=True):
            odds_NT = each.halving.log_odds + heat * sums_NT.astype(np.float64)
            total = total - log_expit(np.where(each.upper[:, None], odds_NT, -odds_NT)).sum(0)
        return total

    stages = [np.concatenate([np.zeros((len(each.upper), 1)), each.sums], 1) for each in grown]
    num = int(np.argmin(nats(stages, 1.0)))
    last = [each[:, num : num + 1] for each in stages]
    found = minimize_scalar(lambda log_heat: float(nats(last, math.exp(log_heat))[0]), bounds=(-1, 1), method="bounded")
    return num, math.exp(found.x)


def fit_boosted(training: FitSettings, most_orders: int = MOST_ORDERS) -> tuple[BoostedTable, dict[str, Any]] | None:
    """Returns boosted trees in as many orders as the seconds allow, and facts about them; None where these do not
    suffice for one order.
    """
    start, rng = time.monotonic(), np.random.default_rng(training.seed)
    columns, cells, seconds = training.columns, training.cells, training.seconds
    train_NC = thinned(cells["train"], _TRAIN_ROWS)
    every = [(cells_NC, codes_of(columns, cells_NC)) for cells_NC in (train_NC, cells["validation"])]
    orders: list[list[int]] = []
    halvings: list[list[list[Halving]]] = []
    trees = [_LEAF]
    while len(orders) < most_orders:
        order = rng.permutation(len(columns)).tolist() if orders else list(range(len(columns)))
        of_order = []
        for place, c in enumerate(order):
            if not orders and time.monotonic() - start > _LATE * seconds:
                return None
            known = [(cells_NC, codes_NC, codes_NC[:, c] != MISSING) for cells_NC, codes_NC in every]
            train, held = (_Rows(x_NC[there][:, order[:place]], codes_NC[there, c]) for x_NC, codes_NC, there in known)
            of_order.append(fit_column(train, held, columns[c].num_codes, training.seed, trees))
        orders.append(order)
        halvings.append(of_order)
        taken = time.monotonic() - start
        print(f"boosted trees in {len(orders)} orders after {taken:.0f} s", flush=True)
        if taken * (1 + 1 / len(orders)) > seconds:
            break
    return BoostedTable(columns, orders, halvings, all_trees(trees)), {"num_trees": len(trees), "recipe": len(orders)}
