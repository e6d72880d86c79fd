"""EM of mixtures of Gaussians on rows with missing values (Ghahramani & Jordan, "Supervised learning from incomplete
data via an EM approach", NIPS 1993, section 3).

With the observed values o of a row, component k has the responsibility r_k, proportional to w_k N(x_o; m_o, S_oo), and
expects the row m + S W (x - m) with the covariance S - S W S, where W is the inverse of S_oo with 0 for missing values.
The step of maximisation takes the moments of these.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np

#: Scalars that are in memory at once.
_MOST_SCALARS = 2**21
#: EM ends where the mean of log p gains less than this, as in scikit-learn.
_ENOUGH = 1e-5


class Components(NamedTuple):
    """Weights float64[K], means [K, D] and covariances [K, D, D]."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class _Moments(NamedTuple):
    """The number of rows of each component [K], the sums of what it expects of them [K, D], and of their products
    [K, D, D].
    """

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray


def em_with_holes(
    x_ND: np.ndarray, start: Components, variance: float, iterations: int, deadline: float = math.inf
) -> tuple[Components, np.ndarray]:
    """The components after so many steps from a start, to whose covariances each step adds `variance`, and the
    responsibilities of the rows, float64[N, K]; nan marks a missing value. It stops earlier where log p gains little,
    or after the time `deadline`.
    """
    found, last = start, -math.inf
    order = np.lexsort(np.isnan(x_ND).T)  # rows with the same values missing are neighbours
    x_ND, back = x_ND[order], np.argsort(order)
    for _ in range(iterations):
        moments, _, log_p = _expect(x_ND, found)
        if log_p - last < _ENOUGH or time.monotonic() > deadline:
            break
        found, last = _maximise(moments, len(x_ND), variance), log_p
    return found, _expect(x_ND, found)[1][back]


def _maximise(moments: _Moments, num: int, variance: float) -> Components:
    rows_K = moments.rows + 1e-10
    means_KD = moments.first / rows_K[:, None]
    covariances_KDD = moments.second / rows_K[:, None, None] - means_KD[:, :, None] * means_KD[:, None]
    return Components(rows_K / num, means_KD, covariances_KDD + variance * np.eye(means_KD.shape[1]))


def _expect(x_ND: np.ndarray, components: Components) -> tuple[_Moments, np.ndarray, float]:
    """The moments, the responsibilities [N, K] and the mean of log p of the rows, some of which are read at a time."""
    num, width = components.means.shape
    size = max(1, _MOST_SCALARS // (num * width * width))
    r_NK, log_p_N = np.empty((len(x_ND), num)), np.empty(len(x_ND))
    sums = _Moments(np.zeros(num), np.zeros((num, width)), np.zeros((num, width, width)))
    for start in range(0, len(x_ND), size):
        some = slice(start, start + size)
        moments, r_NK[some], log_p_N[some] = _expect_some(x_ND[some], components)
        sums = _Moments(*(total + own for total, own in zip(sums, moments, strict=True)))
    return sums, r_NK, float(log_p_N.mean())


def _expect_some(x_ND: np.ndarray, components: Components) -> tuple[_Moments, np.ndarray, np.ndarray]:
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
    return _Moments(r_NK.sum(0), weighted_KND.sum(1), second_KDD), r_NK, log_p_N
