"""A mixture of models of a table: p(x) = sum_e w_e p_e(x), in conditionals by responsibilities of the evidence.

Its best guesses have weights of their own, because the engine with the most probable rows need not have the smallest
errors: guesses of numbers are the sum of the means of the engines, each times a weight (stacking, Breiman, "Stacked
regressions", Machine Learning 1996), and those of words the most probable under the sum of their probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from arjax.core.scores import log_mixture
from arjax.data.columns import Condition
from arjax.tables.columns import Column, Numbers
from arjax.tables.engine import Conditions, TableEngine, categorical, normalised, only_given

#: The kinds of columns whose best guesses have weights of their own.
NUMBERS, WORDS = GUESSED = ("numbers", "words")


def guessed_as(column: Column) -> str:
    """Which of the weights of best guesses are those of a column."""
    return NUMBERS if isinstance(column, Numbers) else WORDS


class MixedTable(TableEngine):
    """Engines of the same columns, mixed: p(query | evidence) = sum_e r_e p_e(query | evidence), in which the
    responsibilities r_e are proportional to w_e p_e(evidence).

    Attributes:
      engines: of which each has all columns.
      weights: w_e, which add up to 1; 0 for an engine that has a part in best guesses alone.
      guess_weights: those of best guesses, which add up to 1, for each of `GUESSED`; a kind that is not there is
        guessed by the distribution itself.
    """

    def __init__(
        self,
        engines: Sequence[TableEngine],
        weights: Sequence[float] | np.ndarray,
        guess_weights: Mapping[str, Sequence[float]] | Mapping[str, np.ndarray] | None = None,
    ):
        self.engines, self.columns = tuple(engines), engines[0].columns
        assert all(engine.columns == self.columns for engine in engines), "engines of the same columns"
        self.weights = np.array(weights, np.float64)
        self.guess_weights = {kind: np.array(weights, np.float64) for kind, weights in (guess_weights or {}).items()}
        self._parts = [engine for engine, weight in zip(engines, weights, strict=True) if weight]
        self._log_weights = np.log(self.weights[self.weights > 0])
        self.orders_agree = all(engine.orders_agree for engine in self._parts)

    def in_words(self) -> str:
        said = self._sum_in_words(self.weights)
        said = f"a mixture: {said}" if len(self._parts) > 1 else self._parts[0].in_words()
        for kind, weights in self.guess_weights.items():
            said += f"; {kind} are guessed by {self._sum_in_words(weights)}"
        return said

    def _sum_in_words(self, weights: np.ndarray) -> str:
        parts = zip(weights, self.engines, strict=True)
        return ", ".join(f"{weight:.2f} of {engine.in_words()}" for weight, engine in parts if weight)

    def _responsibilities(self, cells_NC: np.ndarray) -> np.ndarray:
        """log r_e given the known cells, float64[E, N]."""
        nothing_NC = np.zeros(cells_NC.shape, bool)
        log_EN = np.repeat(self._log_weights[:, None], len(cells_NC), 1)
        if not np.isnan(cells_NC).all():
            log_EN += np.stack([engine.log_prob(cells_NC, nothing_NC) for engine in self._parts])
        return normalised(log_EN)

    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        log_r_EN = self._responsibilities(only_given(cells_NC, given_NC))
        return log_mixture(log_r_EN, np.stack([engine.log_prob(cells_NC, given_NC, order) for engine in self._parts]))

    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        r_EN = np.exp(self._responsibilities(only_given(cells_NC, given_NC, c)))
        tables = [engine.code_table(cells_NC, given_NC, c) for engine in self._parts]
        return np.einsum("en,env->nv", r_EN, np.stack(tables))

    def means(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        r_EN = np.exp(self._responsibilities(only_given(cells_NC, given_NC, c)))
        return (r_EN * np.stack([engine.means(cells_NC, given_NC, c) for engine in self._parts])).sum(0)

    def guess(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        kind = guessed_as(self.columns[c])
        if kind not in self.guess_weights:
            return super().guess(cells_NC, given_NC, c)
        pairs = zip(self.guess_weights[kind], self.engines, strict=True)
        used = [(weight, engine) for weight, engine in pairs if weight]
        if kind == NUMBERS:
            return sum(weight * engine.means(cells_NC, given_NC, c) for weight, engine in used)
        table_NV = sum(weight * engine.code_table(cells_NC, given_NC, c) for weight, engine in used)
        return table_NV.argmax(1).astype(np.float64)

    def draw(
        self, cells_NC: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        all_NC = np.ones(cells_NC.shape, bool)
        log_EN = self._responsibilities(only_given(cells_NC, all_NC, c))
        drawn = [engine.draw(cells_NC, c, condition, rng) for engine in self._parts]
        log_EN = log_EN + np.stack([log_mass_N for _, log_mass_N in drawn])
        best_N = log_EN.max(0)
        engine_N = categorical(np.exp(log_EN - np.where(np.isfinite(best_N), best_N, 0)).T, rng)
        cells_EN = np.stack([cells_N for cells_N, _ in drawn])
        return cells_EN[engine_N, np.arange(len(cells_NC))], np.logaddexp.reduce(log_EN, 0)

    def complete(self, cells_NC: np.ndarray, given_NC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws an engine for each row by its responsibility, and all cells that are not given by this engine."""
        cells_NC = only_given(cells_NC, given_NC)
        engine_N = categorical(np.exp(self._responsibilities(cells_NC)).T, rng)
        for e, engine in enumerate(self._parts):
            rows = np.flatnonzero(engine_N == e)
            if len(rows):
                cells_NC[rows] = engine.complete(cells_NC[rows], ~np.isnan(cells_NC[rows]), rng)
        return cells_NC

    def num_sums(self, conditions: Conditions) -> float:
        return math.fsum(engine.num_sums(conditions) for engine in self._parts)

    def exact_mass(self, cells_C: np.ndarray, conditions: Conditions) -> list[float]:
        r_E = np.exp(self._responsibilities(cells_C[None]))[:, 0]
        return (r_E @ np.array([engine.exact_mass(cells_C, conditions) for engine in self._parts])).tolist()
