"""Columns under a mixture of Gaussians: numbers on its scale, by a monotone function of their values, with their
intervals; and the words of each component.

A number that is rounded stands for the interval of all numbers that are rounded to it. Skewed columns may be made more
symmetric by the transformation of Yeo & Johnson ("A new family of power transformations to improve normality or
symmetry", Biometrika 2000, equation 2.1).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from arjax.data.columns import Condition, Words
from arjax.tables.columns import Numbers

#: Powers of Yeo & Johnson that are used.
_LEAST_POWER, _MOST_POWER = -1.0, 3.0


@dataclasses.dataclass(frozen=True)
class Margin:
    """z = (y((x - shift) / scale) - mean) / spread of a number x, with the function y of Yeo & Johnson.

    Attributes:
      column: of numbers.
      power: of y; 1 is y(t) = t.
    """

    column: Numbers
    shift: float
    scale: float
    power: float = 1.0
    mean: float = 0.0
    spread: float = 1.0

    def forward(self, cells: np.ndarray) -> np.ndarray:
        """z of numbers, float64[...]."""
        return (_yeo_johnson((cells - self.shift) / self.scale, self.power) - self.mean) / self.spread

    def log_slope(self, cells: np.ndarray) -> np.ndarray:
        """log dz/dx."""
        t = (cells - self.shift) / self.scale
        return (self.power - 1) * np.sign(t) * np.log1p(abs(t)) - math.log(self.scale * self.spread)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """The numbers with these z; those beyond the range of the training rows become its ends."""
        low, high = self.range
        z = np.clip(z, *self.forward(np.array(self.range)))
        t = _inverse_yeo_johnson(z * self.spread + self.mean, self.power)
        return np.clip(t * self.scale + self.shift, low, high)

    @functools.cached_property
    def atoms(self) -> np.ndarray | None:
        """The values of a column that has few of them, which are no grid, in rising order; else None."""
        low = np.array(self.column.low)
        if not self.column.step or self.column.low != self.column.high:
            return None
        steps = (low - low[0]) / self.column.step
        return low if (abs(steps - np.round(steps)) > 1e-4).any() else None

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
        """The ends of the numbers that are rounded to each cell."""
        half = self.column.step / 2
        low, high = cells - half, cells + half
        if self.atoms is not None:
            at = np.clip(np.searchsorted(self.atoms, cells - 1e-9 * half), 0, len(self.atoms) - 1)
            is_atom = abs(self.atoms[at] - cells) <= 1e-6 * half
            low, high = np.where(is_atom, self.edges[at], low), np.where(is_atom, self.edges[at + 1], high)
        return low, high

    def parts(self, condition: Condition) -> list[tuple[float, float]]:
        """The intervals of numbers that are rounded to one which a condition allows, within the range of the training
        rows; None allows all.
        """
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
        """The nearest numbers that the column can have, within the range of the training rows."""
        low, high, step = self.column.low[0], self.column.high[-1], self.column.step
        if self.atoms is not None:
            return self.atoms[np.clip(np.searchsorted(self.edges, cells) - 1, 0, len(self.atoms) - 1)]
        if not step:
            return np.clip(cells, low, np.nextafter(high, -math.inf))
        return low + step * np.clip(np.round((cells - low) / step), 0, round((high - low) / step))


@dataclasses.dataclass(frozen=True, eq=False)
class WordTable:
    """A column of words under each component of a mixture.

    Attributes:
      column: of words.
      p: the probability of each word under each component, float64[K, V], all above 0.
    """

    column: Words
    p: np.ndarray

    @functools.cached_property
    def log_p(self) -> np.ndarray:
        return np.log(self.p)


def fit_margin(column: Numbers, cells: np.ndarray, is_power: bool) -> Margin:
    """The margin under which cells float64[N] (nan without a value) have mean 0 and variance 1; with the most probable
    power, or without one.
    """
    known = cells[~np.isnan(cells)]
    if not len(known):
        return Margin(column, column.centre, column.spread)
    shift, scale = float(known.mean()), float(known.std()) or 1.0
    if not is_power:
        return Margin(column, shift, scale)
    t = (known - shift) / scale
    log_t = (np.sign(t) * np.log1p(abs(t))).mean()

    def nats(power: float) -> float:
        """-log of the density of the numbers, over how many there are, where y is normal (section 3)."""
        return 0.5 * math.log(_yeo_johnson(t, power).var() + 1e-300) - (power - 1) * log_t

    power = float(minimize_scalar(nats, bounds=(_LEAST_POWER, _MOST_POWER), method="bounded").x)
    y = _yeo_johnson(t, power)
    return Margin(column, shift, scale, power, float(y.mean()), float(y.std()) or 1.0)


def _yeo_johnson(t: Any, power: float) -> np.ndarray:
    """sign(t) ((1 + |t|)^p - 1) / p with p = power for t >= 0, and 2 - power below; log(1 + |t|) for p = 0."""
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
