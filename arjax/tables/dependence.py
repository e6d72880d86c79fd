"""Whether draws have the dependence between columns that the rows of a table have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.tables.columns import Column, Numbers

#: Words of a column, the most frequent ones, whose correlations are compared.
_WORDS = 4
#: Smaller correlations are none; larger differences are worth a sentence. Both are beside the noise of so many errors.
_LEAST, _ERRORS = 0.1, 3.0


class Dependence:
    """The correlations of pairs of columns of a table, of the ranks of numbers and of marks of frequent words."""

    def __init__(self, columns: Sequence[Column], cells_NC: np.ndarray):
        self._columns, self._num = columns, len(cells_NC)
        self._known = [np.sort(cells_N[~np.isnan(cells_N)]) for cells_N in cells_NC.T]
        self._names, self._owners = [], []
        for c, column in enumerate(columns):
            marks = [""] if isinstance(column, Numbers) else [f" = {word}" for word in column.labels[:_WORDS]]
            self._names += [column.name + mark for mark in marks]
            self._owners += [c] * len(marks)
        self._rows = self.correlations(cells_NC)

    def correlations(self, cells_NC: np.ndarray) -> np.ndarray:
        """Returns the correlations of features of different columns, float64[F, F], over the rows that have both."""
        features = []
        for column, known, cells_N in zip(self._columns, self._known, cells_NC.T, strict=True):
            if isinstance(column, Numbers):
                ranks_N = np.searchsorted(known, cells_N) + np.searchsorted(known, cells_N, side="right")
                features.append(np.where(np.isnan(cells_N), np.nan, ranks_N)[:, None])
            else:
                marks_NV = cells_N[:, None] == np.arange(min(column.num_codes, _WORDS))
                features.append(np.where(np.isnan(cells_N)[:, None], np.nan, marks_NV))
        x_NF = np.ma.masked_invalid(np.concatenate(features, 1))
        z_NF = ((x_NF - x_NF.mean(0)) / np.maximum(x_NF.std(0), 1e-9)).filled(0)
        both_FF = np.maximum((~x_NF.mask).T.astype(float) @ ~x_NF.mask, 1) if x_NF.mask.any() else len(x_NF)
        return np.where(np.not_equal.outer(self._owners, self._owners), z_NF.T @ z_NF / both_FF, 0.0)

    def judge(self, draws_NC: np.ndarray) -> dict[str, Any]:
        """Returns the part of the dependence of the rows that draws have, `dependence`, 1 for all of it; and a sentence
        about the pair of columns whose correlations differ most, `lacks`, if they differ by much.
        """
        draws_FF, noise = self.correlations(draws_NC), _ERRORS * math.sqrt(1 / len(draws_NC) + 1 / self._num)
        rows_FF = np.where(abs(self._rows) > _LEAST, self._rows, 0.0)
        facts = {"dependence": float((rows_FF * draws_FF).sum() / (rows_FF**2).sum()) if rows_FF.any() else 1.0}
        i, j = np.unravel_index(abs(self._rows - draws_FF).argmax(), draws_FF.shape)
        rows, draws, pair = self._rows[i, j], draws_FF[i, j], f"{self._names[i]} and {self._names[j]}"
        lacks = f"the correlation of {pair} is {rows:.2f} in rows and {draws:.2f} in draws"
        return facts | ({"lacks": lacks} if abs(rows - draws) > _LEAST + noise else {})
