"""The entropy coder: symbols as bits by tables of their probabilities, and back. A range coder of `constriction`."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.samplers.stepwise import LEAST


def coder_version() -> str:
    """The version of the library; raises `UserError` where it is not installed."""
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
    """Turns symbols into words, those of many calls one behind another."""

    def __init__(self) -> None:
        """Raises `UserError` where the library is not installed."""
        self._stream = _library().stream
        self._coder = self._stream.queue.RangeEncoder()
        self._family = self._stream.model.Categorical(perfect=False)
        self._chosen: list[np.ndarray] = []

    def __call__(self, probabilities_KV: np.ndarray, symbols_K: np.ndarray) -> None:
        """Appends K symbols, each with the table of its probabilities. Raises `UserError` where one is not finite."""
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
    """Turns words back into symbols: those of an `Encoder` by the same tables in the same calls."""

    def __init__(self, words: np.ndarray):
        """Raises `UserError` where the library is not installed."""
        stream = _library().stream
        self._coder = stream.queue.RangeDecoder(np.ascontiguousarray(words, np.uint32))
        self._family = stream.model.Categorical(perfect=False)

    def __call__(self, probabilities_KV: np.ndarray) -> np.ndarray:
        """The next K symbols, int32[K]; raises `UserError` for words that no encoder writes with these tables."""
        try:
            return self._coder.decode(self._family, probabilities_KV)
        except AssertionError as error:
            raise UserError("the file has words that arjax does not write with the tables of this model") from error
        except ValueError as error:
            raise UserError("the model has probabilities that are not finite: nothing can be coded with it") from error
