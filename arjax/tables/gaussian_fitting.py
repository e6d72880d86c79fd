"""Fits mixtures of Gaussians to a table of numbers and some words within some minutes; validation makes all choices.

EM of mixtures of Gaussians on rows with missing values (Ghahramani & Jordan, "Supervised learning from incomplete data
via an EM approach", NIPS 1993, section 3). With the observed values o of a row, component k has the responsibility r_k,
proportional to w_k N(x_o; m_o, S_oo), and expects the row m + S W (x - m) with the covariance S - S W S, where W is the
inverse of S_oo with 0 for missing values. The maximisation step takes the moments of these.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import math
import operator
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from arjax.core.scores import best_members
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.models.gaussian_mixture import fit_by_em, gaussian_params, is_gaussian_mixture, without_holes
from arjax.tables.columns import Numbers
from arjax.tables.engine import FitSearch, FitSettings, TableEngine, thinned
from arjax.tables.gaussian import GaussianTable, Margin, WordTable, fit_margin
from arjax.tables.point_masses import SplitColumns

#: Variances that EM adds to the diagonals of the covariances of standardised columns.
FLOORS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1)
_FIRST_FLOOR = 1e-3
#: Numbers of components, up to where validation stops gaining; and that by which kinds of margins are put in order.
SIZES, _PILOT = (1, 2, 3, 5, 8, 16, 32, 64, 128, 256, 512, 1024), 8
#: More components are not tried once so many numbers in a row have not gained.
_PATIENCE = 2
#: Fewer components than this part of the rows are not tried.
_PER_ROW = 1e-3
#: The floor is chosen from so few rows per component on.
_ROWS_EACH = 150
#: The part of the time in which numbers of components grow; other seeds have the rest.
_GROWING = 0.65
#: The most rows that EM reads.
_TRAIN_ROWS = 20_000
#: The most steps of EM.
_ITERATIONS = 300
#: Seeds of further fits with the best options.
_SEEDS = 8
#: Options that are fitted again with other seeds, for each kind of margins.
_AGAIN = 4
#: The most fits that one mixture is made of, out of so many that are the best alone.
_MEMBERS, _CANDIDATES = 12, 48
#: The most components of it times the cube of the columns: the operations of a row with other missing cells.
_MOST_WORK = 2**23
#: Steps of rounding above this part of the standard deviation are worth a fit of rows with noise in place of rounding.
_COARSE = 0.02
#: The deviation of the noise on one-hot words, which EM reads as further numbers.
_WORD_NOISE = 0.3
#: Scalars that are in memory at once.
_MOST_SCALARS = 2**21
#: EM ends where the mean of log p gains less than this, as in scikit-learn.
_ENOUGH = 1e-5


class Options(NamedTuple):
    """The options of a fit."""

    is_power: bool  # whether columns are made symmetric by powers
    is_noisy: bool  # whether EM sees rounded numbers with uniform noise of the width of the rounding
    components: int
    floor: float
    seed: int = 0


class Components(NamedTuple):
    """Weights float64[K], means [K, D] and covariances [K, D, D]."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class Fit(NamedTuple):
    """The Gaussians of the numbers, and p(word | component) by the numbers of the columns, float64[K, V] each."""

    components: Components
    words: Mapping[int, np.ndarray]


class GaussianSearch(FitSearch):
    """Fits of mixtures of Gaussians."""

    SIZE = "components"

    def __init__(self, training: FitSettings):
        importlib.import_module("sklearn.mixture")  # here, so that the first fit is timed without it
        super().__init__(training)
        columns, self._train = training.columns, thinned(training.cells["train"], _TRAIN_ROWS)
        self._numbers = [c for c, column in enumerate(columns) if isinstance(column, Numbers)]
        self._steps = np.array([column.step for column in columns if isinstance(column, Numbers)])
        self._x = self._train[:, self._numbers]
        self.margins = {
            is_power: [
                fit_margin(column, x, is_power)
                for column, x in zip(columns, self._train.T, strict=True)
                if isinstance(column, Numbers)
            ]
            for is_power in (True, False)
        }

    def run(self) -> None:
        """Searches: more components, the most promising margins first, then other seeds of the best fits."""
        coarse = (self._steps > _COARSE * np.nanstd(self._x, axis=0)).any()
        kinds = list(itertools.product((True, False), (False, True) if coarse else (False,)))
        pilot = min(_PILOT, len(self._train) // 2)
        pilots = {kind: self._fit(Options(*kind, pilot, _FIRST_FLOOR)) for kind in kinds}
        kinds.sort(key=lambda kind: pilots[kind])
        start = time.monotonic()
        growing = _GROWING * (self._end - start)
        for i, kind in enumerate(kinds, 1):
            self._grow(Options(*kind, 1, _FIRST_FLOOR), start + growing * math.sqrt(i / len(kinds)))
        for kind in kinds:  # those that still gained when their time was over
            self._grow(Options(*kind, 1, _FIRST_FLOOR), self._end)
        best = {is_power: self.best(is_power=is_power)[:_AGAIN] for is_power in (True, False)}
        for seed in range(1, 1 + _SEEDS):
            for options in itertools.chain(*best.values()):
                self._fit(options._replace(seed=seed))

    def _grow(self, options: Options, end: float) -> None:
        """Fits more and more components until validation stops gaining, with the best floor; then sizes in between."""
        best, best_nats, gained = options, math.inf, 0
        for i, components in enumerate(SIZES):
            if components < len(self._train) * _PER_ROW:
                gained = i + 1
                continue
            if i - gained > _PATIENCE or components > len(self._train) // 2:
                break
            options = best._replace(components=components)
            if len(self._train) < _ROWS_EACH * components:
                options, nats = self._best_floor(options, end)
            else:
                nats = self._fit(options, end)
            if nats < best_nats:
                best, best_nats, gained = options, nats, i
        for other in SIZES[max(0, gained - 1) : gained + 2 : 2]:
            between = round(math.sqrt(best.components * other))
            if between not in SIZES and between <= len(self._train) // 2:
                self._best_floor(best._replace(components=between), end)

    def _best_floor(self, options: Options, end: float) -> tuple[Options, float]:
        """Returns the options with the floor from which neither neighbour is better, and their mean nats."""
        at, nats = FLOORS.index(options.floor), self._fit(options, end)
        for step in (1, -1):
            moved = False
            while math.isfinite(nats) and 0 <= at + step < len(FLOORS):
                other = self._fit(options._replace(floor=FLOORS[at + step]), end)
                if other >= nats:
                    break
                at, nats, moved = at + step, other, True
            if moved:
                break
        return options._replace(floor=FLOORS[at]), nats

    def _fit(self, options: Options, end: float = math.inf) -> float:
        return self.fit(options, end, is_power=options.is_power)

    def fitted(self, options: Options, end: float) -> tuple[Any, np.ndarray]:
        rng = np.random.default_rng([self.training.seed, options.seed])
        margins, x_ND = self.margins[options.is_power], self._x
        if options.is_noisy:
            x_ND = x_ND + self._steps * rng.uniform(-0.5, 0.5, x_ND.shape)
        z_ND = np.stack([margin.forward(x) for margin, x in zip(margins, x_ND.T, strict=True)], 1)
        try:
            fit = self._by_em(z_ND, options, rng, end)
        except ValueError as error:
            if "reg_covar" not in str(error):
                raise
            return None, np.full(1, math.nan)
        table, held_NC = self.table(options.is_power, [fit], options.floor), self.training.cells["validation"]
        return fit, -table.log_prob(held_NC, np.zeros(held_NC.shape, bool))

    def _by_em(self, z_ND: np.ndarray, options: Options, rng: np.random.Generator, end: float) -> Fit:
        """Fits by EM, which reads words as one-hot numbers with noise; the components then count the words of their
        rows. EM of scikit-learn starts from rows without missing cells, or with filled ones; where cells are missing,
        further steps read all rows as they are.
        """
        num, words = z_ND.shape[1], {c: x for c, x in enumerate(self._train.T) if c not in self._numbers}
        codes = {c: np.arange(self.training.columns[c].num_codes) for c in words}
        hot = {c: np.where(np.isnan(x)[:, None], np.nan, x[:, None] == codes[c]) for c, x in words.items()}
        noisy = [hot_NV + _WORD_NOISE * rng.normal(size=hot_NV.shape) for hot_NV in hot.values()]
        read_NE = np.concatenate([z_ND, *noisy], 1)
        begun_NE = without_holes(read_NE, 10 * options.components, self.training.seed)
        begun = fit_by_em(begun_NE, options.components, options.floor, 1, _ITERATIONS, int(rng.integers(2**31)))
        fitted = Components(begun.weights_, begun.means_, begun.covariances_)
        if np.isnan(read_NE).any():
            fitted, r_NK = em_with_holes(read_NE, fitted, options.floor, _ITERATIONS, end)
        else:
            r_NK = begun.predict_proba(read_NE) if words else np.zeros((0, 1))
        p = {c: _counted(hot_NV, r_NK) for c, hot_NV in hot.items()}
        numbers = Components(fitted.weights, fitted.means[:, :num], fitted.covariances[:, :num, :num])
        return Fit(numbers, p)

    def table(self, is_power: bool, fits: Sequence[Fit], floor: float) -> GaussianTable:
        """Returns the mixture of fits with equal weights; no variance is below the floor."""
        margins = iter(self.margins[is_power])
        p = {c: np.concatenate([fit.words[c] for fit in fits]) for c in fits[0].words}
        all_margins = [
            next(margins) if isinstance(column, Numbers) else WordTable(column, p[c])
            for c, column in enumerate(self.training.columns)
        ]
        return gaussian_table(all_margins, [fit.components for fit in fits], floor)

    def mixed(self, is_power: bool) -> tuple[GaussianTable, list[Options]] | None:
        """Returns the mixture of the members with these margins that is best on validation, and their options."""
        best = self.best(is_power=is_power)[:_CANDIDATES]
        if not best:
            return None
        nats_MN = np.stack([self.members[options][1] for options in best])
        chosen = [best[i] for i in best_members(nats_MN, _MEMBERS)]
        work = np.cumsum([options.components for options in chosen]) * len(self._steps) ** 3
        kept = [options for n, options in enumerate(chosen) if n == 0 or work[n] <= _MOST_WORK]
        floor = min(options.floor for options in kept)
        return self.table(is_power, [self.members[options][0] for options in kept], floor), kept


def _counted(hot_NV: np.ndarray, r_NK: np.ndarray) -> np.ndarray:
    """Returns p(word | component), float64[K, V], counted in the rows with a word and in one average row more."""
    there_N = ~np.isnan(hot_NV[:, 0])
    hot_NV, r_NK = hot_NV[there_N], r_NK[there_N]
    one_more_V = (hot_NV.sum(0) + 1) / (len(hot_NV) + hot_NV.shape[1])
    counts_KV = r_NK.T @ hot_NV + one_more_V
    return counts_KV / counts_KV.sum(1, keepdims=True)


def fit_gaussians(training: FitSettings) -> dict[str, tuple[TableEngine, dict[str, Any]]]:
    """Returns a mixture of Gaussians of the columns as they are, `gaussian`, and of columns made symmetric by powers,
    `gaussian_power`, each with facts about it; the plan has `Options`.
    """
    split, found = SplitColumns(training.columns), dict[str, tuple[TableEngine, dict[str, Any]]]()
    parts = {name: split.cells(rows) for name, rows in training.cells.items()}
    search = GaussianSearch(dataclasses.replace(training, columns=split.columns, cells=parts))
    search.follow()
    for name, is_power in (("gaussian", False), ("gaussian_power", True)):
        if mixed := search.mixed(is_power):
            facts: dict[str, Any] = {"fits": [options._asdict() for options in mixed[1]], "tried": len(search.members)}
            facts |= {} if found else {"recipe": [options._asdict() for options in search.members]}
            found[name] = split.joined(mixed[0]), facts
    return found


def gaussian_table(margins: Sequence[Margin | WordTable], parts: Sequence[Components], floor: float) -> GaussianTable:
    """Returns the mixture of several mixtures with equal weights; no variance is below the floor."""
    weights, means, covariances = map(np.concatenate, zip(*parts, strict=True))
    least, event = 0.5 * math.log(floor), EventSpec((means.shape[1],), (), "real")
    model = make_model(event, kind="gaussian_mixture", components=len(weights), start="random", min_log_scale=least)
    assert is_gaussian_mixture(model)
    with np.errstate(divide="ignore"):
        params = gaussian_params(weights / len(parts), means, covariances, least)
    return GaussianTable(margins, model, params)


def em_with_holes(
    x_ND: np.ndarray, start: Components, variance: float, iterations: int, deadline: float = math.inf
) -> tuple[Components, np.ndarray]:
    """Returns the components after EM on rows with missing values (nan), and the responsibilities of the rows,
    float64[N, K]. Each step adds `variance` to the covariances; EM ends early where log p gains little, or at the time
    `deadline`.
    """
    components, last = start, -math.inf
    order = np.lexsort(np.isnan(x_ND).T)  # rows with the same values missing are neighbours
    x_ND, back = x_ND[order], np.argsort(order)
    for _ in range(iterations):
        (rows_K, first_KD, second_KDD), _, log_p = _expect(x_ND, components)
        if log_p - last < _ENOUGH or time.monotonic() > deadline:
            break
        rows_K = rows_K + 1e-10
        means_KD = first_KD / rows_K[:, None]
        covariances_KDD = second_KDD / rows_K[:, None, None] - means_KD[:, :, None] * means_KD[:, None]
        covariances_KDD += variance * np.eye(means_KD.shape[1])
        components, last = Components(rows_K / len(x_ND), means_KD, covariances_KDD), log_p
    return components, _expect(x_ND, components)[1][back]


def _expect(x_ND: np.ndarray, components: Components) -> tuple[list[np.ndarray], np.ndarray, float]:
    """Returns the sums of `_expect_some` over all rows, the responsibilities [N, K] and the mean of log p."""
    num, width = components.means.shape
    size = max(1, _MOST_SCALARS // (num * width * width))
    parts = [_expect_some(x_ND[start : start + size], components) for start in range(0, len(x_ND), size)]
    moments, r_NK, log_p_N = zip(*parts, strict=True)
    sums = [functools.reduce(operator.add, each) for each in zip(*moments, strict=True)]
    return sums, np.concatenate(r_NK), float(np.concatenate(log_p_N).mean())


def _expect_some(
    x_ND: np.ndarray, components: Components
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Returns the sums of r [K], of expected rows [K, D] and of their products [K, D, D]; r_NK; and log p [N]."""
    _, means_KD, covariances_KDD = components
    seen_ND = ~np.isnan(x_ND)
    seen_PD, pattern_N = np.unique(seen_ND, axis=0, return_inverse=True)
    pattern_N = pattern_N.reshape(-1)
    both_PDD = seen_PD[:, :, None] & seen_PD[:, None]
    observed_PKDD = np.where(both_PDD[:, None], covariances_KDD, np.eye(x_ND.shape[1]))
    inverse_PKDD = np.where(both_PDD[:, None], np.linalg.inv(observed_PKDD), 0.0)
    log_scale_PK = 0.5 * np.linalg.slogdet(observed_PKDD)[1]
    off_NKD = np.where(seen_ND[:, None], x_ND[:, None] - means_KD, 0.0)
    solved_NKD = np.einsum("nkij,nkj->nki", inverse_PKDD[pattern_N], off_NKD)
    log_p_NK = -0.5 * (off_NKD * solved_NKD).sum(2) - log_scale_PK[pattern_N]
    log_p_NK -= 0.5 * math.log(2 * math.pi) * seen_ND.sum(1)[:, None]
    with np.errstate(divide="ignore"):
        log_p_NK += np.log(components.weights)
    log_p_N = np.logaddexp.reduce(log_p_NK, 1)
    r_NK = np.exp(log_p_NK - log_p_N[:, None])
    expected_NKD = means_KD + np.einsum("kij,nkj->nki", covariances_KDD, solved_NKD)
    spread_PKDD = covariances_KDD - covariances_KDD @ inverse_PKDD @ covariances_KDD
    r_PK = np.zeros((len(seen_PD), len(means_KD)))
    np.add.at(r_PK, pattern_N, r_NK)
    weighted_KND = np.swapaxes(r_NK[..., None] * expected_NKD, 0, 1)
    second_KDD = np.swapaxes(weighted_KND, 1, 2) @ np.swapaxes(expected_NKD, 0, 1)
    second_KDD += np.einsum("pk,pkij->kij", r_PK, spread_PKDD)
    return (r_NK.sum(0), weighted_KND.sum(1), second_KDD), r_NK, log_p_N
