"""A mixture of Gaussians with full covariances models a table of numbers and some words: any columns given others.

On the scale z of the margins, component k has the mean m_k and the covariance S_k = C C^T, with the Cholesky factor C
of the columns in some order. A column c given those before it has the mean m_c + C_c,<c e_<c and the scale C_cc, with
the noise e = C^-1 (z - m) (Bishop, "Pattern Recognition and Machine Learning", 2006, equations 2.81 and 2.82). A number
that is rounded has the probability of its rounding interval [a, b],

    p_k(x_c | x_<c) = Phi((z(b) - m_c - C_c,<c e_<c) / C_cc) - Phi((z(a) - m_c - C_c,<c e_<c) / C_cc),

and p(x) = sum_k w_k prod_c p_k(x_c | x_<c), which adds up to 1. A real number has the density. For real numbers all
orders of the columns agree; for rounded ones they do as far as the intervals are short beside the scales. A word has a
probability under each component, whatever the other columns (latent classes). The scale z of a column is a monotone
function of its numbers: skewed columns may be made more symmetric by the transformation of Yeo & Johnson ("A new family
of power transformations to improve normality or symmetry", Biometrika 2000, equation 2.1).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr, ndtri_exp

from arjax.core.normal import log_mass, lower_tail
from arjax.data.columns import Condition, Words
from arjax.models.gaussian_mixture import GaussianMixtureModel, gaussians
from arjax.tables.columns import Numbers
from arjax.tables.engine import TableEngine, categorical, normalised_logs, only_given

#: Scalars that are in memory at once.
_MOST_SCALARS = 2**21
#: No log-probability is below this: an interval far away has no width in float64.
_LEAST_LOG = -1e200
#: Nodes of the quadrature of a mean.
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
#: Powers of Yeo & Johnson that are used.
_LEAST_POWER, _MOST_POWER = -1.0, 3.0
#: The part of the numbers of a grid from which on a column may have all of them.
_FULL = 0.9


@dataclasses.dataclass(frozen=True)
class Margin:
    """z = (y((x - shift) / scale) - mean) / spread of a number x, with y of Yeo & Johnson and its power."""

    column: Numbers
    shift: float
    scale: float
    power: float = 1.0
    mean: float = 0.0
    spread: float = 1.0

    def forward(self, cells: np.ndarray) -> np.ndarray:
        """Returns z of numbers, float64[...]."""
        return (_yeo_johnson((cells - self.shift) / self.scale, self.power) - self.mean) / self.spread

    def log_slope(self, cells: np.ndarray) -> np.ndarray:
        """Returns log dz/dx."""
        t = (cells - self.shift) / self.scale
        return (self.power - 1) * np.sign(t) * np.log1p(abs(t)) - math.log(self.scale * self.spread)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Returns the numbers with these z, clipped to the range of the training rows."""
        low, high = self.range
        z = np.clip(z, *self.forward(np.array(self.range)))
        t = _inverse_yeo_johnson(z * self.spread + self.mean, self.power)
        return np.clip(t * self.scale + self.shift, low, high)

    @functools.cached_property
    def atoms(self) -> np.ndarray | None:
        """The values of a column, in rising order, where each has a code, but not each number of a grid; else None."""
        low = np.array(self.column.low)
        if not self.column.step or self.column.low != self.column.high:
            return None
        steps = (low - low[0]) / self.column.step
        is_sparse = len(low) < _FULL * (steps[-1] + 1)
        return low if is_sparse or (abs(steps - np.round(steps)) > 1e-4).any() else None

    @functools.cached_property
    def range(self) -> tuple[float, float]:
        """The ends of the training rows, with their rounding."""
        half = self.column.step / 2
        return self.column.low[0] - half, self.column.high[-1] + half

    @functools.cached_property
    def edges(self) -> np.ndarray:
        """The ends of the codes, float64[V + 1]: half-way between two neighbours."""
        low, high = np.array(self.column.low), np.array(self.column.high)
        return np.concatenate([[self.range[0]], (high[:-1] + low[1:]) / 2, [self.range[1]]])

    def bounds(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ends of the numbers that are rounded to each cell."""
        half = self.column.step / 2
        low, high = cells - half, cells + half
        if self.atoms is not None:
            at = np.clip(np.searchsorted(self.atoms, cells - 1e-9 * half), 0, len(self.atoms) - 1)
            is_atom = abs(self.atoms[at] - cells) <= 1e-6 * half
            low, high = np.where(is_atom, self.edges[at], low), np.where(is_atom, self.edges[at + 1], high)
        return low, high

    def parts(self, condition: Condition) -> list[tuple[float, float]]:
        """Returns the intervals in the training range that round to numbers which a condition allows; None: all."""
        if condition is None:
            return [self.range]
        parts = [self._part(*ends) for ends in self.column.parts(condition)]
        return [(low, high) for low, high in parts if low < high]

    def _part(self, first: float, last: float) -> tuple[float, float]:
        low, step = self.column.low[0], self.column.step
        if self.atoms is not None:
            slack = 1e-4 * step
            start, end = np.searchsorted(self.atoms, first - slack), np.searchsorted(self.atoms, last + slack, "right")
            return (float(self.edges[start]), float(self.edges[end])) if start < end else (low, low)
        if step:
            first = low + step * (np.ceil((first - low) / step - 1e-4) - 0.5)
            last = low + step * (np.floor((last - low) / step + 1e-4) + 0.5)
        return float(max(first, self.range[0])), float(min(last, self.range[1]))

    def snapped(self, cells: np.ndarray) -> np.ndarray:
        """Returns the nearest numbers that the column can have, within the range of the training rows."""
        low, high, step = self.column.low[0], self.column.high[-1], self.column.step
        if self.atoms is not None:
            return self.atoms[np.clip(np.searchsorted(self.edges, cells) - 1, 0, len(self.atoms) - 1)]
        if not step:
            return np.clip(cells, low, np.nextafter(high, -math.inf))
        return low + step * np.clip(np.round((cells - low) / step), 0, round((high - low) / step))


@dataclasses.dataclass(frozen=True, eq=False)
class WordTable:
    """A column of words: the probability of each under each component of a mixture, float64[K, V], all above 0."""

    column: Words
    p: np.ndarray


def fit_margin(column: Numbers, cells: np.ndarray, is_power: bool) -> Margin:
    """Returns the margin, with the best power if `is_power`, by which cells float64[N] have mean 0 and variance 1."""
    known = cells[~np.isnan(cells)]
    if not len(known):
        return Margin(column, column.centre, column.spread)
    shift, scale = float(known.mean()), float(known.std()) or 1.0
    if not is_power:
        return Margin(column, shift, scale)
    t = (known - shift) / scale
    log_t = (np.sign(t) * np.log1p(abs(t))).mean()

    def nats(power: float) -> float:
        """Returns the mean of -log density of the numbers, where y is normal (section 3)."""
        return 0.5 * math.log(_yeo_johnson(t, power).var() + 1e-300) - (power - 1) * log_t

    power = float(minimize_scalar(nats, bounds=(_LEAST_POWER, _MOST_POWER), method="bounded").x)
    y = _yeo_johnson(t, power)
    return Margin(column, shift, scale, power, float(y.mean()), float(y.std()) or 1.0)


def _yeo_johnson(t: Any, power: float) -> np.ndarray:
    """Returns sign(t) ((1 + |t|)^p - 1) / p, p = power for t >= 0, else 2 - power; sign(t) log(1 + |t|) for p = 0."""
    t = np.asarray(t, np.float64)
    if power == 1:
        return t
    log_t, p = np.log1p(abs(t)), np.where(t >= 0, power, 2 - power)
    there = abs(p) > 1e-8
    safe = np.where(there, p, 1.0)
    return np.sign(t) * np.where(there, np.expm1(safe * log_t) / safe, log_t)


def _inverse_yeo_johnson(y: np.ndarray, power: float) -> np.ndarray:
    if power == 1:
        return y
    p = np.where(y >= 0, power, 2 - power)
    there = abs(p) > 1e-8
    safe = np.where(there, p, 1.0)
    with np.errstate(divide="ignore"):
        log_t = np.where(there, np.log1p(np.maximum(safe * abs(y), -1)) / safe, abs(y))
    return np.sign(y) * np.expm1(log_t)


class _Factor(NamedTuple):
    """Columns in an order, the Cholesky factors of their covariances [K, S, S], and the inverses of these."""

    order: list[int]
    root: np.ndarray
    inverse: np.ndarray


class GaussianTable(TableEngine):
    """Columns of numbers, and of words, under a mixture of Gaussians: `model`, with `params`, of the z of all numbers.
    `margins` are those of all columns; `numbers` and `words` have them by the numbers of their columns.
    """

    kind = "gaussian"

    def __init__(self, margins: Sequence[Margin | WordTable], model: GaussianMixtureModel, params: Any):
        self.margins, self.columns = tuple(margins), tuple(margin.column for margin in margins)
        self.numbers = {c: margin for c, margin in enumerate(margins) if isinstance(margin, Margin)}
        self.words = {c: margin for c, margin in enumerate(margins) if isinstance(margin, WordTable)}
        self._dims = {c: dim for dim, c in enumerate(self.numbers)}
        self.model, self.params = model, params
        self._log_weights, self._means, self._covariances = gaussians(params, model.min_log_scale)
        self.orders_agree = all(not margin.column.step for margin in self.numbers.values())

    def in_words(self) -> str:
        powers = ", of columns made symmetric" if any(margin.power != 1 for margin in self.numbers.values()) else ""
        words = " and words" if self.words else ""
        return f"a mixture of {self.model.components} Gaussians{words}{powers}"

    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        cells_NC, num = np.asarray(cells_NC, np.float64), len(self.columns)
        known_NC, log_p_N = ~np.isnan(cells_NC), np.zeros(len(cells_NC))
        order = range(num) if order is None else order
        for rows, pattern in _patterns(np.concatenate([known_NC & given_NC, known_NC & ~given_NC], 1)):
            given = np.flatnonzero(pattern[:num]).tolist()
            queried = [c for c in order if pattern[num + c]]
            if queried:
                factor = self._factor([*given, *queried])
                for some in self._pieces(rows, num):
                    log_p_N[some] = self._log_prob(cells_NC[some], factor, given, queried)
        return log_p_N

    def _log_prob(
        self, cells_NC: np.ndarray, factor: _Factor, given: Sequence[int], queried: Sequence[int]
    ) -> np.ndarray:
        """Returns log p(queried columns | given ones) of rows where all are known; the factor has the numbers."""
        log_p_SKN, num_given = self._in_order(cells_NC, factor), sum(c in self.numbers for c in given)
        before_KN = self._of_words(cells_NC, given) + log_p_SKN[:num_given].sum(0)
        before_KN = before_KN + self._log_weights[:, None]
        both_KN = before_KN + log_p_SKN[num_given:].sum(0) + self._of_words(cells_NC, queried)
        nats_N = np.logaddexp.reduce(both_KN, 0) - np.logaddexp.reduce(before_KN, 0)
        return nats_N - sum(self.numbers[c].column.log_unit for c in factor.order[num_given:])

    def _of_words(self, cells_NC: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Returns log of the probability that each component gives to the words in some columns, float64[K, N]."""
        log_p_KN = np.zeros((len(self._means), len(cells_NC)))
        for c in columns:
            if c in self.words:
                log_p_KN += np.log(self.words[c].p[:, cells_NC[:, c].astype(np.int64)])
        return log_p_KN

    def _factor(self, order: Sequence[int]) -> _Factor:
        """Returns the Cholesky factor of the numbers among columns in an order."""
        order = [c for c in order if c in self.numbers]
        dims = [self._dims[c] for c in order]
        root_KSS = np.linalg.cholesky(self._covariances[:, dims][:, :, dims])
        return _Factor(order, root_KSS, np.linalg.inv(root_KSS))

    def _noise(self, cells_NC: np.ndarray, factor: _Factor) -> np.ndarray:
        """Returns e of the S columns of a factor, [K, S, N]."""
        z_SN = np.stack([self.numbers[c].forward(cells_NC[:, c]) for c in factor.order])
        return factor.inverse @ (z_SN - self._means[:, [self._dims[c] for c in factor.order]][..., None])

    def _in_order(self, cells_NC: np.ndarray, factor: _Factor) -> np.ndarray:
        """Returns log p_k(x_c | the columns before it) of the S columns of a factor, float64[S, K, N]."""
        if not factor.order:
            return np.zeros((0, len(self._means), len(cells_NC)))
        noise_KSN = self._noise(cells_NC, factor)
        log_ps = []
        for i, c in enumerate(factor.order):
            margin, e_KN, scale_K1 = self.numbers[c], noise_KSN[:, i], factor.root[:, i, i][:, None]
            if margin.column.step:
                z_N, ends = margin.forward(cells_NC[:, c]), margin.bounds(cells_NC[:, c])
                low_N, high_N = (margin.forward(end) - z_N for end in ends)
                width_N = np.exp(margin.log_slope(cells_NC[:, c])) * np.maximum(ends[1] - ends[0], margin.column.step)
                log_p_KN = log_mass(e_KN + low_N / scale_K1, e_KN + high_N / scale_K1, width_N / scale_K1)
                if margin.atoms is not None:  # other numbers are new, as for the network
                    within_N, known_N = margin.column.log_within(cells_NC[:, c])
                    log_p_KN = np.where(known_N, log_p_KN, 0.0) + within_N + margin.column.log_unit
                log_ps.append(log_p_KN)
            else:
                log_p_KN = -0.5 * (e_KN**2 + math.log(2 * math.pi)) - np.log(scale_K1)
                log_ps.append(log_p_KN + margin.log_slope(cells_NC[:, c]))
        return np.maximum(np.stack(log_ps), _LEAST_LOG)

    def _conditionals(self, cells_NC: np.ndarray, c: int, wide: int = 1) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields the conditionals of a column given the known cells of the others, some rows at a time (fewer if `wide`
        scalars of each component are needed): the numbers of the rows [N], the log-weights of the components [K, N],
        and the means [K, N] and the scales [K, 1] of z; 0 for words.
        """
        known_NC = ~np.isnan(cells_NC)
        known_NC[:, c] = False
        for rows, pattern in _patterns(known_NC):
            given = np.flatnonzero(pattern).tolist()
            before = self._factor(given)
            for some in self._pieces(rows, max(wide, len(given))):
                log_r_KN = self._log_weights[:, None] + self._in_order(cells_NC[some], before).sum(0)
                log_r_KN = log_r_KN + self._of_words(cells_NC[some], given)
                yield some, normalised_logs(log_r_KN), *self._moments(cells_NC[some], before, c)

    def _moments(self, cells_NC: np.ndarray, before: _Factor, c: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean [K, N] and the scale [K, 1] of the z of a column given the numbers of a factor."""
        if c in self.words:
            return np.zeros((len(self._means), len(cells_NC))), np.zeros((len(self._means), 1))
        root_KSS = self._factor([*before.order, c]).root
        mean_KN = np.repeat(self._means[:, self._dims[c], None], len(cells_NC), 1)
        if before.order:
            mean_KN = mean_KN + (root_KSS[:, -1:, :-1] @ self._noise(cells_NC, before))[:, 0]
        return mean_KN, root_KSS[:, -1, -1][:, None]

    def _pieces(self, rows: np.ndarray, wide: int) -> list[np.ndarray]:
        size = max(1, _MOST_SCALARS // (len(self._means) * wide))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        cells_NC = only_given(cells_NC, given_NC, c)
        table_NV = np.empty((len(cells_NC), self.columns[c].num_codes))
        if c in self.words:
            for rows, log_r_KN, *_ in self._conditionals(cells_NC, c):
                table_NV[rows] = np.exp(log_r_KN).T @ self.words[c].p
            return table_NV
        margin = self.numbers[c]
        z_E = margin.forward(margin.edges)
        for rows, log_r_KN, mean_KN, scale_K1 in self._conditionals(cells_NC, c, 4 * len(z_E)):
            e_KNE = (z_E - mean_KN[..., None]) / scale_K1[..., None]
            below, above = ndtr(e_KNE), ndtr(-e_KNE)
            inside_KNV = np.where(e_KNE[..., :-1] > 0, above[..., :-1] - above[..., 1:], np.diff(below))
            p_NV = np.einsum("kn,knv->nv", np.exp(log_r_KN), inside_KNV)
            # Far outside of the range all codes are improbable: the nearest one has all of the probability.
            lost = np.flatnonzero(p_NV.sum(1) < 1e-250)
            p_NV[lost, np.where(mean_KN[log_r_KN.argmax(0), np.arange(len(rows))][lost] < z_E[0], 0, -1)] = 1.0
            table_NV[rows] = p_NV / p_NV.sum(1, keepdims=True)
        return table_NV

    def means(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        """Returns the mean of a column given cells, with numbers beyond the range of the training rows at its ends."""
        cells_NC, margin, means_N = only_given(cells_NC, given_NC, c), self.numbers[c], np.empty(len(cells_NC))
        weights_Q = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
        for rows, log_r_KN, mean_KN, scale_K1 in self._conditionals(cells_NC, c, len(_NODES)):
            x_KNQ = margin.inverse(mean_KN[..., None] + scale_K1[..., None] * _NODES)
            means_N[rows] = (np.exp(log_r_KN) * (x_KNQ @ weights_Q)).sum(0)
        return means_N

    def draw(
        self, cells_NC: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        if c in self.words:
            return super().draw(cells_NC, c, condition, rng)
        margin, parts = self.numbers[c], np.array(self.numbers[c].parts(condition))
        drawn_N, log_mass_N = np.full((2, len(cells_NC)), -np.inf)
        if not len(parts):
            return np.full(len(cells_NC), margin.column.low[0]), log_mass_N
        z_P2, whole = margin.forward(parts), margin.forward(np.array(margin.range))
        for rows, log_r_KN, mean_KN, scale_K1 in self._conditionals(cells_NC, c, 2 * len(parts)):
            e_2PKN = (z_P2.T[..., None, None] - mean_KN) / scale_K1
            log_p_PKN = log_r_KN + log_mass(e_2PKN[0], e_2PKN[1])
            log_all_KN = log_r_KN + log_mass(*((end - mean_KN) / scale_K1 for end in whole))
            log_p_FN, all_N = log_p_PKN.reshape(-1, len(rows)), np.logaddexp.reduce(log_all_KN, 0)
            best_N = log_p_FN.max(0)
            i_N = categorical(np.exp(log_p_FN - np.where(np.isfinite(best_N), best_N, 0)).T, rng)
            part_N, k_N, at_N = i_N // len(mean_KN), i_N % len(mean_KN), np.arange(len(rows))
            e_N = _draw_between(e_2PKN[0][part_N, k_N, at_N], e_2PKN[1][part_N, k_N, at_N], rng)
            x_N = margin.inverse(mean_KN[k_N, at_N] + scale_K1[k_N, 0] * e_N)
            low_N, high_N = parts[part_N].T
            slack = 0.01 * margin.column.step  # the ends of an interval may lie between two rounded numbers
            drawn_N[rows] = margin.snapped(np.clip(x_N, low_N + slack, high_N - slack))
            log_part_N = np.logaddexp.reduce(log_p_FN, 0)
            log_mass_N[rows] = np.minimum(log_part_N - np.where(np.isfinite(all_N), all_N, 0), 0)
            lost = np.flatnonzero(np.isinf(all_N))  # as in `code_table`
            is_low_N = mean_KN[log_r_KN.argmax(0), at_N][lost] < whole[0]
            end_N = np.where(is_low_N, *margin.range)
            is_in_N = ((parts[:, :1] <= end_N) & (end_N <= parts[:, 1:])).any(0)
            drawn_N[rows[lost]], log_mass_N[rows[lost]] = margin.snapped(end_N), np.where(is_in_N, 0.0, -np.inf)
        return drawn_N, log_mass_N


def _patterns(marks_NM: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the rows with the same marks, and these marks."""
    if not len(marks_NM):
        return
    different, which_N = np.unique(marks_NM, axis=0, return_inverse=True)
    order = np.argsort(which_N, kind="stable")
    ends = np.cumsum(np.bincount(which_N.ravel(), minlength=len(different)))
    for pattern, rows in zip(different, np.split(order, ends[:-1]), strict=True):
        yield rows, pattern


def _draw_between(low_N: np.ndarray, high_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws standard normal numbers between two ends."""
    flip, (first, last) = low_N > 0, lower_tail(low_N, high_N)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.logaddexp(log_ndtr(first), np.log(rng.random(len(first))) + log_mass(first, last))
    quantile = np.clip(ndtri_exp(np.minimum(log_p, 0)), first, last)
    return np.where(flip, -quantile, quantile)
