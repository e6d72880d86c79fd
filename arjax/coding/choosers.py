"""How the values of a step are chosen from its tables: by values that are known, or by the words of a file."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from arjax.coding.entropy import Decoder, Encoder


class Chooser(Protocol):
    """Chooses the values of some scalars of a step."""

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        """Values int32[B, k] from tables [B, k, V]. `known_Bk` has the values where `coded_Bk` is False; where the
        values are known, all of them.
        """


class Given:
    """Takes the values that are known, and writes them to an encoder."""

    def __init__(self, encoder: Encoder):
        self._encoder = encoder

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        if coded_Bk.all():
            self._encoder(_all_rows(table_BkV), known_Bk.reshape(-1))
        elif coded_Bk.any():
            self._encoder(table_BkV[coded_Bk], known_Bk[coded_Bk])
        return known_Bk


class Read:
    """Takes the values out of a decoder."""

    def __init__(self, decoder: Decoder):
        self._decoder = decoder

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        if coded_Bk.all():
            return self._decoder(_all_rows(table_BkV)).reshape(known_Bk.shape)
        values_Bk = known_Bk.copy()
        if coded_Bk.any():
            values_Bk[coded_Bk] = self._decoder(table_BkV[coded_Bk])
        return values_Bk


def _all_rows(table_BkV: np.ndarray) -> np.ndarray:
    """The tables of all scalars, [B * k, V]."""
    return table_BkV.reshape(-1, table_BkV.shape[-1])
