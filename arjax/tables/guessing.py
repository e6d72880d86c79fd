"""How much each engine of a table counts in best guesses of missing cells, by cells of validation rows that are hidden
from all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from arjax.core.scores import fit_weights
from arjax.tables.columns import Numbers
from arjax.tables.engine import TableEngine
from arjax.tables.mixed import NUMBERS, WORDS

#: Rows with hidden cells, and the patterns of these: rows of one pattern share the conditionals of a Gaussian.
_ROWS, _PATTERNS = 1000, 32
#: An engine with less weight than this is left out of the guesses.
_LEAST_WEIGHT = 0.02
#: Weighs the equation that weights add up to 1 against those of the cells.
_STIFF = 1e4


class Hidden(NamedTuple):
    """Rows of which some cells are hidden.

    Attributes:
      cells: float64[N, C].
      given: the known cells that are not hidden, bool[N, C].
      queried: the known cells that are hidden, bool[N, C].
    """

    cells: np.ndarray
    given: np.ndarray
    queried: np.ndarray


def hide(cells_NC: np.ndarray, seed: int) -> Hidden:
    """Up to half of the cells of each row hidden, at least one; few rows are repeated with other patterns."""
    rng, (num, width) = np.random.default_rng(seed), cells_NC.shape
    rows = rng.permutation(np.arange(max(num, _ROWS)) % num)[:_ROWS]
    many_M = rng.integers(1, max(1, width // 2) + 1, _PATTERNS)
    hidden_MC = rng.random((_PATTERNS, width)).argsort(1) < many_M[:, None]
    hidden_NC, known_NC = hidden_MC[rng.integers(_PATTERNS, size=len(rows))], ~np.isnan(cells_NC[rows])
    return Hidden(cells_NC[rows], known_NC & ~hidden_NC, known_NC & hidden_NC)


def fit_guesses(engines: Sequence[TableEngine], cells_NC: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of engines in the guesses of `MixedTable`: of numbers those with the least squared error in standard
    deviations of the columns, of words those under which they are most probable. A kind of columns that the table does
    not have is not there.
    """
    hidden, weights = hide(cells_NC, seed), {}
    errors = [_errors(engines, hidden, c) for c in range(cells_NC.shape[1])]
    for kind, fit in ((NUMBERS, _stacked), (WORDS, fit_weights)):
        parts = [
            errors_of_column
            for c, errors_of_column in enumerate(errors)
            if isinstance(engines[0].columns[c], Numbers) == (kind == NUMBERS)
        ]
        if parts and sum(errors_of_column.shape[1] for errors_of_column in parts):
            weights[kind] = _without_small(fit, np.concatenate(parts, 1))
    return weights


def _errors(engines: Sequence[TableEngine], hidden: Hidden, c: int) -> np.ndarray:
    """What each engine does with the hidden cells of a column, float64[E, N]: errors of the means in standard
    deviations of the column, or nats of words.
    """
    rows, column = np.flatnonzero(hidden.queried[:, c]), engines[0].columns[c]
    cells_NC, given_NC = hidden.cells[rows], hidden.given[rows]
    if not len(rows):
        return np.zeros((len(engines), 0))
    if isinstance(column, Numbers):
        scale = np.nanstd(hidden.cells[:, c]) or 1.0
        return np.stack([(engine.means(cells_NC, given_NC, c) - cells_NC[:, c]) / scale for engine in engines])
    tables_ENV = np.stack([engine.code_table(cells_NC, given_NC, c) for engine in engines])
    words_N = cells_NC[:, c].astype(np.int64)
    return -np.log(tables_ENV[:, np.arange(len(rows)), words_N] + 1e-300)


def _stacked(errors_EN: np.ndarray) -> np.ndarray:
    """The weights, none below 0 and their sum 1, whose sum of errors has the least square: [E]."""
    stiff = _STIFF * math.sqrt(errors_EN.shape[1] * max(float((errors_EN**2).mean()), 1e-12))
    equations = np.concatenate([errors_EN.T, np.full((1, len(errors_EN)), stiff)])
    weights_E, _ = nnls(equations, np.append(np.zeros(errors_EN.shape[1]), stiff))
    return weights_E / weights_E.sum()


def _without_small(fit: Callable[[np.ndarray], np.ndarray], errors_EN: np.ndarray) -> np.ndarray:
    """The weights of a fit, without the engines that have little of them: [E]."""
    kept = np.arange(len(errors_EN))
    while True:
        weights = fit(errors_EN[kept])
        if (weights >= _LEAST_WEIGHT).all():
            all_weights = np.zeros(len(errors_EN))
            all_weights[kept] = weights
            return all_weights
        kept = kept[weights >= _LEAST_WEIGHT]
