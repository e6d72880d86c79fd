"""A model of the codes of a table that predicts any columns from any others."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.columns import Columns
from arjax.core.spec import EventSpec
from arjax.data.columns import MISSING, Condition
from arjax.factorization import Factorization, from_order
from arjax.models import AutoregressiveModel
from arjax.tables.columns import Column
from arjax.tables.engine import Conditions, TableEngine, categorical

#: Rows that are computed at once.
ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Sites:
    """The sites of columns: one for a column of at most `most_levels` codes, else one for each of two digits of a code.
    `sizes` are the numbers of codes of the columns.
    """

    sizes: tuple[int, ...]
    most_levels: int = 256

    @functools.cached_property
    def bases(self) -> tuple[int, ...]:
        """The base of the digits of each column; 1 for a column of one site."""
        return tuple(1 if size <= self.most_levels else math.isqrt(size - 1) + 1 for size in self.sizes)

    @functools.cached_property
    def of_column(self) -> tuple[tuple[int, ...], ...]:
        """The sites of each column."""
        sites = itertools.count()
        return tuple(tuple(next(sites) for _ in range(2 if base > 1 else 1)) for base in self.bases)

    @functools.cached_property
    def levels(self) -> tuple[int, ...]:
        """The number of values of each site."""
        pairs = zip(self.sizes, self.bases, strict=True)
        return tuple(level for size, base in pairs for level in ([size] if base == 1 else [-(-size // base), base]))

    @property
    def event(self) -> EventSpec:
        """The event of the model."""
        kinds = tuple(EventSpec((), (), "binary") if n == 2 else EventSpec((), (), "tokens", n) for n in self.levels)
        return EventSpec((len(kinds),), kind="columns", columns=kinds)

    def values(self, codes_NC: np.ndarray) -> np.ndarray:
        """Returns codes as values of the sites, float32[N, D], nan for a missing one."""
        x_ND = np.empty((len(codes_NC), len(self.levels)), np.float32)
        for codes, base, sites in zip(codes_NC.T, self.bases, self.of_column, strict=True):
            for site, digit in zip(sites, [codes] if base == 1 else [codes // base, codes % base], strict=True):
                x_ND[:, site] = np.where(codes == MISSING, np.nan, digit)
        return x_ND

    def spread(self, marks_NC: np.ndarray) -> np.ndarray:
        """Returns marks of columns as marks of sites, [N, D]."""
        return np.repeat(marks_NC, [len(sites) for sites in self.of_column], axis=1)


def codes_of(columns: Sequence[Column], cells_NC: np.ndarray) -> np.ndarray:
    """Returns the codes of cells, int32[N, C]."""
    pairs = zip(columns, np.asarray(cells_NC, np.float64).T, strict=True)
    return np.stack([column.codes(cells_N).astype(np.int32) for column, cells_N in pairs], 1)


def frequencies_of(sizes: Sequence[int], codes_NC: np.ndarray) -> list[np.ndarray]:
    """Returns the part of the rows that have each code of columns with so many codes, [C] of float64[V]; a code that no
    row has counts as less than a row.
    """
    counts = [
        np.bincount(codes_N[codes_N != MISSING], minlength=num) for num, codes_N in zip(sizes, codes_NC.T, strict=True)
    ]
    return [(count_V + 1 / len(count_V)) / (count_V.sum() + 1) for count_V in counts]


class AnyOrderTable(TableEngine):
    """The codes of all columns under one network for all orders: `model` with `params`, of the values of `sites`."""

    kind, reads_codes = "any_order", True

    def __init__(
        self,
        columns: Sequence[Column],
        model: AutoregressiveModel,
        params: Any,
        sites: Sites | None = None,
        frequencies: Sequence[np.ndarray] = (),
    ):
        """Makes the engine; `sites` follow from the columns unless they are given. Where no other cell is known, the
        codes of a column have their `frequencies` [C][V], from `frequencies_of`; (): the probabilities of the network.
        """
        self.columns, self.model, self.params = tuple(columns), model, params
        self.sites, self.frequencies = sites or Sites(tuple(column.num_codes for column in columns)), frequencies
        self._log_alone = [self._in_digits(c, np.log(p_V)) for c, p_V in enumerate(frequencies)]

    def _in_digits(self, c: int, log_p_V: np.ndarray) -> np.ndarray:
        """Returns log p of the codes of a column by their digits, float64[first, second], -inf beyond the last one."""
        base = self.sites.bases[c]
        log_p = np.full(-(-len(log_p_V) // base) * base, -np.inf)
        log_p[: len(log_p_V)] = log_p_V
        return log_p.reshape(-1, base)

    def in_words(self) -> str:
        return f"a network for all orders of the columns, {self.model.num_params:,} parameters"

    def _table(self, x_ND: np.ndarray, observed_ND: np.ndarray, site: int) -> np.ndarray:
        """Returns log p of a site's values given the observed ones, float64[N, V], computed once for equal rows."""
        seen_ND = np.where(observed_ND, x_ND, np.nan)
        first_R, row_N = _different(seen_ND)

        def table(x_BD: np.ndarray) -> jax.Array:
            return _log_table(self.model, self.params, np.nan_to_num(x_BD), ~np.isnan(x_BD), site)

        table_RV = _in_pieces(table, seen_ND[first_R])[:, : self.sites.levels[site]]
        if self.frequencies:
            self._read_frequencies(table_RV, seen_ND[first_R], site)
        return table_RV[row_N]

    def _read_frequencies(self, table_RV: np.ndarray, seen_RD: np.ndarray, site: int) -> None:
        """Sets the rows of a table of `_table` in which no other column is known to the frequencies."""
        c, sites = next((c, sites) for c, sites in enumerate(self.sites.of_column) if site in sites)
        is_alone_R, log_p = np.isnan(np.delete(seen_RD, sites, 1)).all(1), self._log_alone[c]
        if site == sites[0]:
            table_RV[is_alone_R] = np.logaddexp.reduce(log_p, 1)
        else:
            rows = np.flatnonzero(is_alone_R & ~np.isnan(seen_RD[:, sites[0]]))
            log_p = log_p[seen_RD[rows, sites[0]].astype(int)]
            table_RV[rows] = log_p - np.logaddexp.reduce(log_p, 1)[:, None]

    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        order = list(range(len(self.columns)) if order is None else order)
        codes_NC, nats_N = codes_of(self.columns, cells_NC), np.zeros(len(cells_NC))
        queried_NC = (codes_NC != MISSING) & ~given_NC
        known_NC = np.zeros(cells_NC.shape, bool)
        for c in order:
            within_N, known_NC[:, c] = self.columns[c].log_within(cells_NC[:, c])
            nats_N += np.where(queried_NC[:, c], within_N, 0.0)
        if not given_NC.any() and len(order) == len(self.columns):
            return nats_N + np.where(queried_NC & known_NC, self._in_one_pass(codes_NC, order), 0.0).sum(1)
        x_ND, observed_NC = self.sites.values(codes_NC), given_NC & (codes_NC != MISSING)
        for c in order:
            rows = np.flatnonzero(queried_NC[:, c] & known_NC[:, c])
            if len(rows):
                nats_N[rows] += self._code_log_prob(x_ND[rows], observed_NC[rows], codes_NC[rows, c], c)
            observed_NC[:, c] = True  # a missing cell stays unknown
        return nats_N

    def _in_one_pass(self, codes_NC: np.ndarray, order: Sequence[int]) -> np.ndarray:
        """Returns log p(code | codes of the columns before it in the order), float64[N, C]."""
        places = [site for c in order for site in self.sites.of_column[c]]
        factorization = from_order(np.array(places), np.ones(len(places), np.int64), (len(places),))
        x_ND = self.sites.values(codes_NC)
        nats_ND = _in_pieces(lambda x_BD: _site_log_prob(self.model, self.params, x_BD, factorization), x_ND)
        for c, base in enumerate(self.sites.bases):
            if base > 1:  # digits of codes that there are not have no probability
                nats_ND[:, self.sites.of_column[c][1]] -= self._log_there(x_ND, codes_NC[:, c], order, c)
        nats_NC = np.stack([nats_ND[:, list(sites)].sum(1) for sites in self.sites.of_column], 1)
        first_N = np.array(order)[(codes_NC[:, order] != MISSING).argmax(1)]
        for c, p_V in enumerate(self.frequencies):
            rows = np.flatnonzero((first_N == c) & (codes_NC[:, c] != MISSING))
            nats_NC[rows, c] = np.log(p_V)[codes_NC[rows, c]]
        return nats_NC

    def _log_there(self, x_ND: np.ndarray, codes_N: np.ndarray, order: Sequence[int], c: int) -> np.ndarray:
        """Returns log p(a code has the second digit of a column), float64[N]; 0 unless the first digit is the last."""
        log_p_N, base, num = np.zeros(len(codes_N)), self.sites.bases[c], self.columns[c].num_codes
        rows = np.flatnonzero(codes_N // base == (num - 1) // base)
        if len(rows) and num % base:
            before = np.isin(np.arange(len(self.columns)), order[: order.index(c)])
            observed_ND = self.sites.spread(np.tile(before, (len(rows), 1)))
            observed_ND[:, self.sites.of_column[c][0]] = True
            observed_ND &= ~np.isnan(x_ND[rows])
            table = self._table(x_ND[rows], observed_ND, self.sites.of_column[c][1])[:, : num % base]
            log_p_N[rows] = np.logaddexp.reduce(table, 1)
        return log_p_N

    def _code_log_prob(self, x_ND, observed_NC, codes_N, c: int) -> np.ndarray:
        """Returns log p(code of a column | observed columns), float64[N]."""
        observed_ND, base = self.sites.spread(observed_NC), self.sites.bases[c]
        rows, first_N = np.arange(len(codes_N)), codes_N // base
        total_N = self._first_digit(x_ND, observed_ND, c)[rows, first_N]
        if base > 1:
            total_N += self._second_digit(x_ND, observed_ND, first_N, c)[rows, codes_N % base]
        return total_N

    def _first_digit(self, x_ND: np.ndarray, observed_ND: np.ndarray, c: int) -> np.ndarray:
        """Returns log p of the code of a column, or of its first digit, float64[N, V]."""
        return self._table(x_ND, observed_ND, self.sites.of_column[c][0])

    def _second_digit(self, x_ND: np.ndarray, observed_ND: np.ndarray, first_N: np.ndarray | int, c: int) -> np.ndarray:
        """Returns log p of the second digit given the first, among the digits of codes, float64[N, base]."""
        (first, second), base = self.sites.of_column[c], self.sites.bases[c]
        x_ND = x_ND.copy()
        x_ND[:, first] = first_N
        observed_ND = observed_ND | (np.arange(observed_ND.shape[1]) == first)
        table = self._table(x_ND, observed_ND, second)
        there = x_ND[:, first, None] * base + np.arange(base) < self.columns[c].num_codes
        table = np.where(there, table, -np.inf)
        return table - np.logaddexp.reduce(table, 1)[:, None]

    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        codes_NC = codes_of(self.columns, cells_NC)
        observed_NC = given_NC & (codes_NC != MISSING)
        observed_NC[:, c] = False
        return self._code_table(self.sites.values(codes_NC), observed_NC, c)

    def _code_table(self, x_ND, observed_NC, c: int) -> np.ndarray:
        base, observed_ND = self.sites.bases[c], self.sites.spread(observed_NC)
        first_NV = np.exp(self._first_digit(x_ND, observed_ND, c))
        if base == 1:
            return first_NV
        digits = range(first_NV.shape[1])
        second = np.stack([np.exp(self._second_digit(x_ND, observed_ND, digit, c)) for digit in digits], 1)
        return (first_NV[:, :, None] * second).reshape(len(x_ND), -1)[:, : self.columns[c].num_codes]

    def draw(
        self, cells_NC: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        codes_NC, column = codes_of(self.columns, cells_NC), self.columns[c]
        observed_NC = codes_NC != MISSING
        observed_NC[:, c] = False
        base, size = self.sites.bases[c], column.num_codes
        x_ND, observed_ND = self.sites.values(codes_NC), self.sites.spread(observed_NC)
        allowed = np.zeros((-(-size // base), base))
        allowed.ravel()[:size] = 1 if condition is None else column.weights(condition)
        there = np.arange(allowed.size).reshape(allowed.shape) < size  # the last digit may have fewer codes
        least, most = np.where(there, allowed, np.inf).min(1), allowed.max(1)
        p_NV = np.exp(self._first_digit(x_ND, observed_ND, c)) * most
        for digit in np.flatnonzero(least < most).tolist():  # where not all codes under a first digit are allowed alike
            p_NV[:, digit] *= np.exp(self._second_digit(x_ND, observed_ND, digit, c)) @ (allowed[digit] / most[digit])
        codes_N = categorical(p_NV, rng)
        with np.errstate(divide="ignore"):
            log_mass_N = np.log(p_NV.sum(1))
        if base > 1:
            p_NV = np.exp(self._second_digit(x_ND, observed_ND, codes_N, c)) * allowed[codes_N]
            codes_N = np.minimum(codes_N * base + categorical(p_NV, rng), size - 1)  # it may be none if none is allowed
        return column.draw(codes_N, rng, condition), log_mass_N

    def num_sums(self, conditions: Conditions) -> float:
        """Returns the number of combinations of codes that all conditions but the last one allow."""
        return math.prod(float((self.columns[c].weights(condition) > 0).sum()) for c, condition in conditions[:-1])

    def exact_mass(self, cells_C: np.ndarray, conditions: Conditions) -> list[float]:
        codes_NC = codes_of(self.columns, cells_C[None])
        p_N, masses = np.ones(1), []
        for c, condition in conditions:
            weights_V, observed_NC = self.columns[c].weights(condition), codes_NC != MISSING
            table_NV = self._code_table(self.sites.values(codes_NC), observed_NC, c) * weights_V * p_N[:, None]
            masses.append(float(table_NV.sum()))
            allowed = np.flatnonzero(weights_V)
            if not len(allowed):
                break
            codes_NC = np.repeat(codes_NC, len(allowed), 0)
            codes_NC[:, c] = np.tile(allowed, len(table_NV))
            p_N = table_NV[:, allowed].ravel()
        return masses + [0.0] * (len(conditions) - len(masses))


@jax.jit
def _log_table(
    model: AutoregressiveModel, params: Any, x_BD: jax.Array, observed_BD: jax.Array, site: jax.Array
) -> jax.Array:
    """Returns log p of the values of one site, float32[B, V] with the V of the largest site; one program for all."""
    features_BF = model.features_given_at(params, x_BD, observed_BD, site)
    head = model.head(params)
    assert isinstance(head, Columns), "the sites of a table are columns"
    most = model.event.most_levels

    def padded(family: Any) -> Any:
        def table(features_BF: jax.Array) -> jax.Array:
            table_BV = family.log_table(features_BF[:, : family.num_params])
            return jnp.pad(table_BV, [(0, 0), (0, most - table_BV.shape[-1])], constant_values=-jnp.inf)

        return table

    group_D = np.zeros(len(head.families), np.int32)
    for g, columns_N in enumerate(head.groups.values()):
        group_D[columns_N] = g
    return jax.lax.switch(jnp.asarray(group_D)[site], [padded(family) for family in head.groups], features_BF)


@jax.jit
def _site_log_prob(model: AutoregressiveModel, params: Any, x_BD: jax.Array, factorization: Factorization) -> jax.Array:
    return model.log_prob_per_site(params, x_BD, factorization=factorization)


def _in_pieces(compute: Callable[[np.ndarray], jax.Array], rows_ND: np.ndarray) -> np.ndarray:
    """Returns the results of a program for rows, float64[N, ...], in pieces of few sizes, which need few programs."""
    size, computed = ROWS if len(rows_ND) > ROWS else 1 << max(4, (len(rows_ND) - 1).bit_length()), []
    for start in range(0, len(rows_ND), ROWS):
        part = rows_ND[start : start + ROWS]
        filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), 0)])
        computed.append(np.asarray(compute(filled))[: len(part)])
    return np.concatenate(computed).astype(np.float64)


def _different(array_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the different rows, int[R], and which of them each row equals, int[N]; nan equals nan."""
    varied = (array_ND != array_ND[:1]) & ~(np.isnan(array_ND) & np.isnan(array_ND[:1]))
    keys_NK = np.nan_to_num(array_ND[:, varied.any(0)], nan=-1.0)
    if not keys_NK.shape[1]:
        return np.zeros(1, int), np.zeros(len(array_ND), int)
    _, first_R, row_N = np.unique(keys_NK, axis=0, return_index=True, return_inverse=True)
    return first_R, row_N.reshape(-1)
