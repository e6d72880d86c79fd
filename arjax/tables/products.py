"""A mixture of products models a table: in each of many classes of rows, the columns are independent (latent classes).

    p(x) = sum_k w_k prod_c p_kc(code of x_c) p(x_c | code)

A column that is not known drops out of the product, so any columns given any others, and ranges of any columns, have
closed forms at the cost of classes times columns; all orders of the columns agree. A number that no code has is
independent of the class. EM fits the classes (Dempster, Laird & Rubin, "Maximum likelihood from incomplete data via the
EM algorithm", 1977, section 4.3); each of its steps smooths the codes of numbers (Silverman et al., "A smoothed EM
approach to indirect estimation problems", 1990) and adds some average rows to each class.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from arjax.core.scores import best_members
from arjax.data.columns import MISSING, Words
from arjax.tables.any_order import codes_of, frequencies_of
from arjax.tables.columns import Column
from arjax.tables.engine import (
    Conditions,
    FitSearch,
    FitSettings,
    TableEngine,
    categorical,
    normalised_logs,
    only_given,
    thinned,
)

#: Scalars that are in memory at once.
_MOST_SCALARS = 2**21
#: Numbers of classes that are tried, and train rows of a class at least.
SIZES, _ROWS_EACH = (32, 128, 512, 2048, 8192), 4
#: Widths of the smoothing, as parts of the rows; average rows that are added to each class; where both start.
WIDTHS, ROWS = (0.0, 0.003, 0.01, 0.03, 0.1), (0.1, 0.3, 1.0, 3.0, 10.0)
_FIRST = (3, 3)
#: The most steps of EM; it ends after so many of them without a gain on validation.
_STEPS, _PATIENCE = 60, 2
#: The least gain in nats of a row that counts.
_ENOUGH = 2e-3
#: Steps of the proportional fitting of frequencies.
_FITTINGS = 30
#: Seeds of further fits with the best options, and the most classes of all fits together.
_SEEDS, _MOST_CLASSES = 8, 12_000
#: The most rows that EM reads, and validation rows by which it ends.
_TRAIN_ROWS, _HELD_ROWS = 60_000, 4000


class ProductsTable(TableEngine):
    """Columns under a mixture of products: `params` has the logs of the weights of the classes, `log_weights` [K], and
    of the probabilities of all codes of all columns in turn, `log_p` [K, S].
    """

    kind, model, orders_agree, reads_codes = "products", None, True, True

    def __init__(self, columns: Sequence[Column], params: Mapping[str, Any]):
        self.columns, self.params = tuple(columns), dict(params)
        log_weights_K, log_p_KS = (np.asarray(params[name], np.float64) for name in ("log_weights", "log_p"))
        self._starts = np.cumsum([0, *(column.num_codes for column in columns)])
        parts = np.split(log_p_KS, self._starts[1:-1], 1)
        self._log_weights = normalised_logs(log_weights_K)
        # [S + 1, K]; the last row is that of a cell without a code
        self._log_p = np.concatenate([*(normalised_logs(part.T) for part in parts), np.zeros((1, len(log_p_KS)))])

    @functools.cached_property
    def _p(self) -> list[np.ndarray]:
        """p(code | class) of each column, float64[V, K]."""
        return np.split(np.exp(self._log_p[:-1]), self._starts[1:-1])

    def in_words(self) -> str:
        return f"a mixture of {len(self._log_weights):,} products"

    def _places(self, cells_NC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows of `_log_p` of cells, int[N, C], and log p(value | code) of these, float64[N, C]."""
        places_NC, within_NC = np.full(cells_NC.shape, self._starts[-1]), np.zeros(cells_NC.shape)
        for c, column in enumerate(self.columns):
            rows = np.flatnonzero(~np.isnan(cells_NC[:, c]))
            if len(rows):
                within_NC[rows, c], known_N = column.log_within(cells_NC[rows, c])
                codes_N = column.codes(cells_NC[rows, c])
                places_NC[rows, c] = np.where(known_N, codes_N + self._starts[c], self._starts[-1])
        return places_NC, within_NC

    def _joint(self, places_NC: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields some rows, and log w_k prod_c p_kc of these, float64[N, K]."""
        size = max(1, _MOST_SCALARS // len(self._log_weights))
        for start in range(0, len(places_NC), size):
            some = slice(start, start + size)
            yield some, sum((self._log_p[places_N] for places_N in places_NC[some].T), self._log_weights)

    def _log_codes(self, places_NC: np.ndarray) -> np.ndarray:
        """Returns log p(codes), float64[N]."""
        parts = [np.logaddexp.reduce(joint_NK, 1) for _, joint_NK in self._joint(places_NC)]
        return np.concatenate([np.zeros(0), *parts])

    def _classes(self, cells_NC: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields some rows, and p(class | known cells) of these, float64[N, K]."""
        for some, joint_NK in self._joint(self._places(cells_NC)[0]):
            yield some, np.exp(normalised_logs(joint_NK.T)).T

    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        cells_NC = np.asarray(cells_NC, np.float64)
        if order is not None:
            given_NC = given_NC & ~np.isnan(cells_NC)
            cells_NC = np.where(given_NC | np.isin(np.arange(cells_NC.shape[1]), order), cells_NC, np.nan)
        places_NC, within_NC = self._places(cells_NC)
        nats_N = np.where(given_NC, 0.0, within_NC).sum(1) + self._log_codes(places_NC)
        if given_NC.any():
            nats_N -= self._log_codes(np.where(given_NC, places_NC, self._starts[-1]))
        return nats_N

    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        table_NV = np.empty((len(cells_NC), self.columns[c].num_codes))
        for some, r_NK in self._classes(only_given(cells_NC, given_NC, c)):
            table_NV[some] = r_NK @ self._p[c].T
        return table_NV

    def complete(self, cells_NC: np.ndarray, given_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws a class for each row by its known cells, and all other cells from this class."""
        cells_NC = only_given(cells_NC, given_NC)
        for some, r_NK in self._classes(cells_NC):
            class_N, drawn_NC = categorical(r_NK, rng), cells_NC[some].copy()
            for c, column in enumerate(self.columns):
                rows = np.flatnonzero(np.isnan(drawn_NC[:, c]))
                if len(rows):
                    codes_N = categorical(self._p[c][:, class_N[rows]].T, rng)
                    drawn_NC[rows, c] = column.draw(codes_N, rng)
            cells_NC[some] = drawn_NC
        return cells_NC

    def num_sums(self, conditions: Conditions) -> float:
        return 1.0

    def exact_mass(self, cells_C: np.ndarray, conditions: Conditions) -> list[float]:
        ((_, r_1K),) = self._classes(cells_C[None])
        mass_K, masses = r_1K[0], []
        for c, condition in conditions:
            mass_K = mass_K * (self.columns[c].weights(condition) @ self._p[c])
            masses.append(float(mass_K.sum()))
        return masses


@dataclasses.dataclass(frozen=True)
class ProductOptions:
    """The options of a fit: the number of classes, the numbers of `WIDTHS` and `ROWS`, and the seed of the start."""

    classes: int
    width: int
    rows: int
    seed: int = 0


class ProductSearch(FitSearch):
    """Fits of mixtures of products; the nats are those of the codes."""

    SIZE = "classes"

    def __init__(self, training: FitSettings):
        super().__init__(training)
        self._sizes = [column.num_codes for column in training.columns]
        self._starts = np.cumsum([0, *self._sizes])
        most = {"train": _TRAIN_ROWS, "validation": _HELD_ROWS}
        train, held = (codes_of(training.columns, thinned(training.cells[split], num)) for split, num in most.items())
        self._train, self._held = self._one_hot(train), self._one_hot(held)
        self._margin = np.concatenate(frequencies_of(self._sizes, train)).astype(np.float32)

    def _one_hot(self, codes_NC: np.ndarray) -> csr_matrix:
        """Returns codes as one-hot vectors of all columns, float32[N, S]; a missing cell has zeros."""
        rows, columns = np.nonzero(codes_NC != MISSING)
        places = codes_NC[rows, columns] + self._starts[columns]
        ones = np.ones(len(rows), np.float32)
        return csr_matrix((ones, (rows, places)), shape=(len(codes_NC), self._starts[-1]))

    def run(self) -> None:
        """Fits more and more classes until validation stops gaining, then with better smoothing, and other seeds."""
        few = max(1, min(SIZES[0], self._train.shape[0] // _ROWS_EACH))
        best = ProductOptions(few, *_FIRST)
        nats = self.fit(best)
        for classes in SIZES[1:]:
            more = dataclasses.replace(best, classes=classes)
            if classes > self._train.shape[0] / _ROWS_EACH or self.fit(more) > nats - _ENOUGH:
                break
            best, nats = more, self.fit(more)
        best = self._best_smoothing(best)
        for seed in range(1, 1 + _SEEDS):
            self.fit(dataclasses.replace(best, seed=seed))

    def _best_smoothing(self, options: ProductOptions) -> ProductOptions:
        """Returns the options with the widths and rows from which no neighbour is better."""
        nats = self.fit(options)
        while True:
            others = [
                dataclasses.replace(options, **{name: getattr(options, name) + step})
                for name, step in itertools.product(("width", "rows"), (1, -1))
            ]
            fits = [each for each in others if 0 <= each.width < len(WIDTHS) and 0 <= each.rows < len(ROWS)]
            best = min(fits, key=self.fit)
            if self.fit(best) >= nats - _ENOUGH:
                return options
            options, nats = best, self.fit(best)

    def fitted(self, options: ProductOptions, end: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Runs EM from random train rows until validation stops gaining; returns the best parameters and nats."""
        rng = np.random.default_rng([self.training.seed, options.seed])
        smooth = self._smoother(WIDTHS[options.width])
        rows = rng.choice(self._train.shape[0], options.classes, replace=options.classes > self._train.shape[0])
        params = self._maximised(self._train[rows].T.toarray(), np.ones(options.classes), smooth, ROWS[options.rows])
        best, best_nats, since = params, self._nats(params), 0
        for _ in range(_STEPS):
            params = self._maximised(*self._expected(params), smooth, ROWS[options.rows])
            nats_N = self._nats(params)
            since = 0 if nats_N.mean() < best_nats.mean() - _ENOUGH else since + 1
            if nats_N.mean() < best_nats.mean():
                best, best_nats = params, nats_N
            if since == _PATIENCE or time.monotonic() > end:
                break
        return {"log_weights": best[0], "log_p": best[1].T}, best_nats

    def _smoother(self, width: float) -> list[np.ndarray]:
        """Returns p(code' | code) of a number, float32[V, V]: the codes whose rows lie within `width` of all rows, by
        their frequency and nearness; a word stays as it is.
        """
        smoothers = []
        for column, p_V in zip(self.training.columns, np.split(self._margin, self._starts[1:-1]), strict=True):
            if width and not isinstance(column, Words):
                place_V = np.cumsum(p_V) - p_V / 2
                near_VV = p_V * np.exp(-0.5 * ((place_V[:, None] - place_V) / width) ** 2)
                smoothers.append(near_VV / near_VV.sum(1, keepdims=True))
            else:
                smoothers.append(np.eye(len(p_V), dtype=np.float32))
        return smoothers

    def _maximised(self, counts_SK: np.ndarray, rows_K: np.ndarray, smooth: Sequence[np.ndarray], more: float) -> Any:
        """Returns log w [K] and log p [S, K] of the counts of codes and rows in the classes, with `more` rows each."""
        parts = []
        for counts_VK, p_V, smooth_VV in zip(
            np.split(counts_SK, self._starts[1:-1]), np.split(self._margin, self._starts[1:-1]), smooth, strict=True
        ):
            counts_VK = smooth_VV.T @ counts_VK + more * p_V[:, None]
            parts.append(np.log(counts_VK / counts_VK.sum(0)))
        log_w_K = np.log((rows_K + 0.01) / (rows_K + 0.01).sum())
        return log_w_K.astype(np.float32), np.concatenate(parts).astype(np.float32)

    def _expected(self, params: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns the expected counts of codes, float32[S, K], and of rows, [K], in the classes."""
        counts_SK, rows_K = np.zeros(params[1].shape, np.float32), np.zeros(len(params[0]))
        for hot_NS, joint_NK in self._joint(self._train, params):
            joint_NK -= joint_NK.max(1, keepdims=True)
            r_NK = np.exp(joint_NK, out=joint_NK)
            r_NK /= r_NK.sum(1, keepdims=True)
            counts_SK += hot_NS.T @ r_NK
            rows_K += r_NK.sum(0)
        return counts_SK, rows_K

    def _nats(self, params: Any) -> np.ndarray:
        """Returns -log p of the codes of the validation rows, float64[N]."""
        nats = []
        for _, joint_NK in self._joint(self._held, params):
            best_N1 = joint_NK.max(1, keepdims=True)
            nats.append(-(best_N1[:, 0] + np.log(np.exp(joint_NK - best_N1).sum(1))))
        return np.concatenate(nats).astype(np.float64)

    def _joint(self, hot_NS: csr_matrix, params: Any) -> Iterator[tuple[csr_matrix, np.ndarray]]:
        """Yields one-hot vectors of some rows, and log p(codes, class) of these, float32[N, K]."""
        size = max(1, _MOST_SCALARS // len(params[0]))
        for start in range(0, hot_NS.shape[0], size):
            some = hot_NS[start : start + size]
            yield some, some @ params[1] + params[0]

    def mixed(self) -> tuple[ProductsTable, list[ProductOptions]]:
        """Returns the mixture of the members that is best on validation, with equal weights, and their options."""
        options = self.best()
        chosen = [options[i] for i in best_members(np.stack([self.members[each][1] for each in options]))]
        sizes = np.cumsum([each.classes for each in chosen])
        chosen = [each for each, size in zip(chosen, sizes, strict=True) if size <= max(sizes[0], _MOST_CLASSES)]
        members = [self.members[each][0] for each in chosen]
        params = {name: np.concatenate([member[name] for member in members]) for name in members[0]}
        params["log_p"] = self._with_frequencies(np.exp(normalised_logs(params["log_weights"])), params["log_p"])
        return ProductsTable(self.training.columns, params), chosen

    def _with_frequencies(self, w_K: np.ndarray, log_p_KS: np.ndarray) -> np.ndarray:
        """Returns log p(code | class) under which codes have their frequencies in the train rows: smoothing has moved
        them, and proportional fitting moves them back (Deming & Stephan, 1940).
        """
        p_KS = np.exp(log_p_KS)
        for _ in range(_FITTINGS):
            p_KS *= self._margin / (w_K @ p_KS)
            p_KS /= np.repeat(np.add.reduceat(p_KS, self._starts[:-1], 1), self._sizes, 1)
        return np.log(p_KS)


def fit_products(training: FitSettings) -> tuple[ProductsTable, dict[str, Any]]:
    """Returns a mixture of products, and facts about it; the plan has `ProductOptions`."""
    search = ProductSearch(training)
    search.follow()
    engine, chosen = search.mixed()
    recipe = list(map(dataclasses.asdict, search.members))
    return engine, {"recipe": recipe, "fits": list(map(dataclasses.asdict, chosen)), "tried": len(search.members)}
