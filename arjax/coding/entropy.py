"""The entropy coder: symbols as bits by tables of their probabilities, and back. A range coder of `constriction`.

A chooser takes the values of a step from the tables of the model: values that are known, or the words of a file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, Protocol

import numpy as np

from arjax.core.errors import UserError
from arjax.samplers.stepwise import LEAST


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


class Encoder:
    """Turns the symbols of many calls into one stream of words."""

    def __init__(self) -> None:
        self._stream = _library().stream
        self._coder = self._stream.queue.RangeEncoder()
        self._family = self._stream.model.Categorical(perfect=False)
        self._chosen: list[np.ndarray] = []

    def __call__(self, probabilities_KV: np.ndarray, symbols_K: np.ndarray) -> None:
        """Appends K symbols, each with the table of its probabilities."""
        try:
            self._coder.encode(np.ascontiguousarray(symbols_K, np.int32), self._family, probabilities_KV)
        except ValueError as error:
            raise UserError("the model has probabilities that are not finite: nothing can be coded with it") from error
        self._chosen.append(probabilities_KV[np.arange(len(symbols_K)), symbols_K])

    def words(self) -> np.ndarray:
        """All words so far, uint32[W]."""
        return self._coder.get_compressed()

    @property
    def num_symbols(self) -> int:
        """The symbols so far."""
        return sum(map(len, self._chosen))

    @property
    def bits_of_calls(self) -> np.ndarray:
        """The sum of -log2 p of the symbols of each call, float64[calls]."""
        if not self._chosen:
            return np.zeros(0)
        starts = np.cumsum([0, *map(len, self._chosen[:-1])])
        return np.add.reduceat(-np.log2(np.maximum(np.concatenate(self._chosen), LEAST, dtype=np.float64)), starts)


class Decoder:
    """Turns the words of an `Encoder` back into symbols, by the same tables in the same calls."""

    def __init__(self, words: np.ndarray):
        stream = _library().stream
        self._coder = stream.queue.RangeDecoder(np.ascontiguousarray(words, np.uint32))
        self._family = stream.model.Categorical(perfect=False)

    def __call__(self, probabilities_KV: np.ndarray) -> np.ndarray:
        """The next K symbols, int32[K]."""
        try:
            return self._coder.decode(self._family, probabilities_KV)
        except AssertionError as error:
            raise UserError("the file has words that arjax does not write with the tables of this model") from error
        except ValueError as error:
            raise UserError("the model has probabilities that are not finite: nothing can be coded with it") from error


class Chooser(Protocol):
    """Chooses the values of some scalars of a step."""

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        """Values int32[B, k] from tables [B, k, V]. `known_Bk` has the values where `coded_Bk` is False; where the
        values are known, all of them.
        """


class KnownValues:
    """Takes the values that are known, and writes them to an encoder."""

    def __init__(self, encoder: Encoder):
        self._encoder = encoder

    def __call__(self, table_BkV: np.ndarray, coded_Bk: np.ndarray, known_Bk: np.ndarray) -> np.ndarray:
        if coded_Bk.all():
            self._encoder(_all_rows(table_BkV), known_Bk.reshape(-1))
        elif coded_Bk.any():
            self._encoder(table_BkV[coded_Bk], known_Bk[coded_Bk])
        return known_Bk


class DecodedValues:
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
