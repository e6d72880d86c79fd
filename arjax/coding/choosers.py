"""How the values of a step are chosen from its tables: by values that are known, or by the words of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax
import numpy as np

from arjax.coding.entropy import Decoder, Encoder


class Chooser(Protocol):
    """Chooses the values of some scalars of a step."""

    def __call__(self, table: jax.Array, coded_Bk: np.ndarray | None, known_Bk: np.ndarray) -> np.ndarray:
        """Values int32[B, k] from tables [B, k, V]. `known_Bk` has the values where `coded_Bk` is False; where the
        values are known, all of them. `coded_Bk` is None where all scalars are coded.
        """


class Given:
    """Takes the values that are known, and writes them to an encoder.

    The tables of a step are read when those of the next one are on their way: `close` reads the last ones.
    """

    def __init__(self, encoder: Encoder):
        self._encoder = encoder
        self._waiting: tuple[jax.Array, np.ndarray | None, np.ndarray] | None = None

    def __call__(self, table: jax.Array, coded_Bk: np.ndarray | None, known_Bk: np.ndarray) -> np.ndarray:
        self.close()
        self._waiting = table, coded_Bk, known_Bk
        return known_Bk

    def close(self) -> None:
        """Writes what waits."""
        if self._waiting is not None:
            table, coded_Bk, known_Bk = self._waiting
            if coded_Bk is None:
                self._encoder(_all_rows(table), known_Bk.reshape(-1))
            elif coded_Bk.any():
                self._encoder(np.asarray(table)[coded_Bk], known_Bk[coded_Bk])
            self._waiting = None


class Read:
    """Takes the values out of a decoder."""

    def __init__(self, decoder: Decoder):
        self._decoder = decoder

    def __call__(self, table: jax.Array, coded_Bk: np.ndarray | None, known_Bk: np.ndarray) -> np.ndarray:
        if coded_Bk is None:
            return self._decoder(_all_rows(table)).reshape(known_Bk.shape)
        values_Bk = known_Bk.copy()
        if coded_Bk.any():
            values_Bk[coded_Bk] = self._decoder(np.asarray(table)[coded_Bk])
        return values_Bk


def _all_rows(table: jax.Array) -> np.ndarray:
    """The tables [B, k, V] of all scalars, [B * k, V]."""
    return np.asarray(table).reshape(-1, table.shape[-1])


def chosen_by(
    chooser: Chooser, coded_Bn: np.ndarray | None, known_Bn: np.ndarray
) -> Callable[[jax.Array, int], np.ndarray]:
    """The scalars j, ... of a step by a chooser of all steps; `coded_Bn` is None where all scalars are coded."""

    def choose(table: jax.Array, j: int) -> np.ndarray:
        k = table.shape[1]
        if k == known_Bn.shape[1]:
            return chooser(table, coded_Bn, known_Bn)
        return chooser(table, None if coded_Bn is None else coded_Bn[:, j : j + k], known_Bn[:, j : j + k])

    return choose
