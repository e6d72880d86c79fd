"""Columns with point masses for engines of smooth densities: each becomes a word, the point mass or none, beside a
number that has a value where the word is none. So a column has probabilities of its point masses, and a density
elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.data.columns import Condition, Words
from arjax.tables.columns import Column, Numbers
from arjax.tables.engine import TableEngine, categorical, log_sums, only_given


class SplitColumns:
    """Columns in which point masses are words of their own.

    Attributes:
      columns: without point masses, a word before each number that has some; they are the columns of `engine`s.
      word, number: the places of the parts of each column in these; `word` has columns with point masses alone.
    """

    def __init__(self, columns: Sequence[Column]):
        self.whole, self.columns = tuple(columns), list[Column]()
        self.word: dict[int, int] = {}
        self.number: dict[int, int] = {}
        for c, column in enumerate(columns):
            if isinstance(column, Numbers) and column.masses:
                self.word[c] = len(self.columns)
                self.columns.append(Words(f"{column.name} at", ("", *map(str, column.masses))))
                kept = ~np.isin(column.lows, column.masses)
                ends = tuple(column.lows[kept].tolist()), tuple(column.highs[kept].tolist())
                column = dataclasses.replace(column, low=ends[0], high=ends[1], date="", masses=())
            self.number[c] = len(self.columns)
            self.columns.append(column)

    def cells(self, cells_NC: np.ndarray) -> np.ndarray:
        """Returns the cells of the parts, float64[N, P]: word 0 for a number that is no point mass."""
        cells_NP = np.full((len(cells_NC), len(self.columns)), np.nan)
        for c, cells_N in enumerate(np.asarray(cells_NC, np.float64).T):
            cells_NP[:, self.number[c]] = cells_N
            if c in self.word:
                column: Any = self.whole[c]
                is_mass_NJ = abs(cells_N[:, None] - column.masses) <= 1e-4 * column.step
                words_N = np.where(is_mass_NJ.any(1), 1 + is_mass_NJ.argmax(1), 0)
                cells_NP[:, self.word[c]] = np.where(np.isnan(cells_N), np.nan, words_N)
                cells_NP[words_N > 0, self.number[c]] = np.nan
        return cells_NP

    def marks(self, marks_NC: np.ndarray) -> np.ndarray:
        """Returns marks of columns as marks of their parts, bool[N, P]."""
        return np.repeat(marks_NC, [2 if c in self.word else 1 for c in range(len(self.whole))], axis=1)

    def order(self, order: Sequence[int]) -> list[int]:
        """Returns the parts of columns in an order."""
        return [part for c in order for part in (*([self.word[c]] if c in self.word else []), self.number[c])]

    def joined(self, engine: TableEngine) -> TableEngine:
        """Returns an engine of the parts as one of the whole columns."""
        return PointMassTable(self, engine) if self.word else engine


class PointMassTable(TableEngine):
    """An engine of split columns as one of the whole columns. A number between two point masses is scored by a density
    that also reaches over these, so that probabilities of whole numbers add up to a little less than 1.
    """

    def __init__(self, split: SplitColumns, engine: Any):
        self.split, self.engine, self.columns = split, engine, split.whole
        self.kind, self.model, self.params = engine.kind, engine.model, engine.params
        self.orders_agree = engine.orders_agree

    def in_words(self) -> str:
        return f"{self.engine.in_words()}, with point masses"

    def log_prob(self, cells_NC: np.ndarray, given_NC: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
        order = range(len(self.columns)) if order is None else order
        return self.engine.log_prob(self.split.cells(cells_NC), self.split.marks(given_NC), self.split.order(order))

    def _parts(self, cells_NC: np.ndarray, c: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns p(no point mass, each point mass of a column | known cells of the others), float64[N, J + 1], and the
        cells of the parts of a row whose column is no point mass.
        """
        cells_NP = self.split.cells(only_given(cells_NC, np.ones(cells_NC.shape, bool), c))
        if c not in self.split.word:
            return np.ones((len(cells_NC), 1)), cells_NP
        p_NJ = self.engine.code_table(cells_NP, ~np.isnan(cells_NP), self.split.word[c])
        cells_NP[:, self.split.word[c]] = 0
        return p_NJ, cells_NP

    def code_table(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        p_NJ, cells_NP = self._parts(only_given(cells_NC, given_NC), c)
        codes_NV = self.engine.code_table(cells_NP, ~np.isnan(cells_NP), self.split.number[c])
        column: Any = self.columns[c]
        if c not in self.split.word:
            return codes_NV
        is_mass_V, table_NV = np.isin(column.lows, column.masses), np.empty((len(cells_NC), column.num_codes))
        table_NV[:, is_mass_V], table_NV[:, ~is_mass_V] = p_NJ[:, 1:], p_NJ[:, :1] * codes_NV
        return table_NV

    def means(self, cells_NC: np.ndarray, given_NC: np.ndarray, c: int) -> np.ndarray:
        p_NJ, cells_NP = self._parts(only_given(cells_NC, given_NC), c)
        column: Any = self.columns[c]
        means_N = self.engine.means(cells_NP, ~np.isnan(cells_NP), self.split.number[c])
        return p_NJ[:, 0] * means_N + p_NJ[:, 1:] @ np.array(column.masses)

    def draw(
        self, cells_NC: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        if c not in self.split.word:
            return self.engine.draw(self.split.cells(cells_NC), self.split.number[c], condition, rng)
        column: Any = self.columns[c]
        p_NJ, cells_NP = self._parts(cells_NC, c)
        numbers_N, log_part_N = self._draw_number(column, cells_NP, c, condition, rng)
        masses_J, allowed_NJ = np.array(column.masses), p_NJ.copy()
        allowed_NJ[:, 0] *= np.exp(log_part_N)
        if condition is not None:
            allowed_NJ[:, 1:] *= column.weights(condition)[column.codes(masses_J)]
        word_N = categorical(allowed_NJ, rng)
        return np.where(word_N > 0, masses_J[word_N - 1], numbers_N), log_sums(allowed_NJ)

    def _draw_number(
        self, column: Numbers, cells_NP: np.ndarray, c: int, condition: Condition, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns numbers that are no point masses, float64[N], and log p of those that a condition allows."""
        place, whole = self.split.number[c], [(-math.inf, math.inf)]
        parts = whole if condition is None else column.parts(condition)
        if not column.step:
            return self.engine.draw(cells_NP, place, None if condition is None else parts, rng)
        numbers_N, log_part_N = self.engine.draw(cells_NP, place, _between(parts, column), rng)
        if condition is None:
            return numbers_N, np.zeros(len(numbers_N))
        return numbers_N, log_part_N - self.engine.draw(cells_NP, place, _between(whole, column), rng)[1]


def _between(parts: Sequence[tuple[float, float]], column: Numbers) -> list[tuple[float, float]]:
    """Returns the parts of ranges between the point masses of a column of rounded numbers."""
    cut, half = list(parts), column.step / 2
    for mass in column.masses:
        pieces = [(low, min(high, mass - half)) for low, high in cut] + [
            (max(low, mass + half), high) for low, high in cut
        ]
        cut = sorted(piece for piece in pieces if piece[0] <= piece[1])
    return cut
