"""The entropy coder: symbols as bits by tables of their probabilities, and back, by a range coder of `constriction`. A
chooser takes the values of a step from the tables of the model: values that are known, or the words of a file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, Protocol

import numpy as np

from arjax.core.errors import UserError
from arjax.samplers.stepwise import LEAST

NOT_FINITE = "the model has probabilities that are not finite: nothing can be coded with it"


def coder_version() -> str:
    """The version of the library."""
    _library()
    return importlib.metadata.version("constriction")


def _library() -> Any:
    try:
        return importlib.import_module("constriction")
    except ImportError as error:
        raise UserError(
            "files are compressed with the range coder of constriction: pip install 'arjax[coding]'"
        ) from error


class Chooser(Protocol):
    """Chooses the values of some scalars of a step."""

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        """Returns values int32[B, k] by tables [B, k, V]. `known_Bk` has the values where `coded_Bk` is False and, to
        encode data, all values.
        """


class Encoder:
    """Takes the values that are known, and turns them into one stream of words."""

    def __init__(self) -> None:
        self._stream = _library().stream
        self._coder = self._stream.queue.RangeEncoder()
        self._family = self._stream.model.Categorical(perfect=False)
        self._chosen: list[np.ndarray] = []

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        if coded_Bk.any():
            table_KV = _coded(table_BkV, coded_Bk)
            symbols_K = np.ascontiguousarray(_coded(known_Bk, coded_Bk), np.int32)
            try:
                self._coder.encode(symbols_K, self._family, table_KV)
            except ValueError as error:
                raise UserError(NOT_FINITE) from error
            self._chosen.append(table_KV[np.arange(len(symbols_K)), symbols_K])
        return known_Bk

    def words(self) -> np.ndarray:
        return self._coder.get_compressed()

    @property
    def num_symbols(self) -> int:
        return sum(map(len, self._chosen))

    @property
    def bits(self) -> float:
        """The sum of -log2 p of the symbols so far."""
        return float(sum(-np.log2(np.maximum(p_K, LEAST, dtype=np.float64)).sum() for p_K in self._chosen))


class Decoder:
    """Takes the values out of the words of an `Encoder`, by the same tables in the same calls."""

    def __init__(self, words: np.ndarray):
        stream = _library().stream
        self._coder = stream.queue.RangeDecoder(np.ascontiguousarray(words, np.uint32))
        self._family = stream.model.Categorical(perfect=False)

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        values_Bk = known_Bk.copy()
        if coded_Bk.any():
            try:
                values_Bk[coded_Bk] = self._coder.decode(self._family, _coded(table_BkV, coded_Bk))
            except AssertionError as error:
                raise UserError("the file has words that arjax does not write with the tables of this model") from error
            except ValueError as error:
                raise UserError(NOT_FINITE) from error
        return values_Bk


def _coded(array: np.ndarray, coded_Bk: np.ndarray) -> np.ndarray:
    """The entries of the scalars that are coded, [K, ...]; without a copy where they are all."""
    return array.reshape(-1, *array.shape[2:]) if coded_Bk.all() else array[coded_Bk]
