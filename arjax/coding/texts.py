"""Texts: files of any bytes as tokens of a vocabulary and exceptions, and a long text in streams side by side."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator

import numpy as np

from arjax.coding.entropy import Chooser
from arjax.coding.examples import Choice
from arjax.core.errors import UserError, refuse
from arjax.data.vocabulary import Vocabulary, code_points
from arjax.models.longer import of_length
from arjax.networks.base import chunk_of
from arjax.samplers.stepwise import OutsideSteps

#: Characters that a stream has at least, where the number of streams is not given, and the most streams then.
LEAST_PER_STREAM, MOST_STREAMS = 512, 16
#: The part of a window that is read again when it slides: of networks that read many sites in one pass, and of others.
OVERLAP, OVERLAP_OF_STEPS = 1 / 2, 1 / 4


def to_tokens(vocabulary: Vocabulary, content: bytes) -> tuple[np.ndarray, bytes]:
    """Returns the tokens int32[T] of the bytes of a file, and its exceptions: the characters and bytes without a token,
    which are left out of the tokens, with their places; b"" without exceptions. Characters are those of UTF-8; bytes
    that are none are characters of their own (PEP 383).
    """
    if vocabulary.unit == "byte":
        return vocabulary.encode(content.decode("utf-8", "surrogateescape")), b""
    codes_T = code_points(content.decode("utf-8", "surrogateescape"))
    known_T = np.isin(codes_T, code_points(vocabulary.shown))
    kept = codes_T[known_T].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    places = np.flatnonzero(~known_T)
    if not len(places):
        return vocabulary.encode(kept), b""
    gaps = np.diff(places, prepend=-1) - 1
    return vocabulary.encode(kept), zlib.compress(_varints(gaps) + _varints(codes_T[places]), 9)


def to_bytes(vocabulary: Vocabulary, tokens_T: np.ndarray, exceptions: bytes) -> bytes:
    """The inverse of `to_tokens`."""
    if vocabulary.unit == "byte":
        return np.asarray(tokens_T, np.uint8).tobytes()
    symbols_V = np.array([ord(symbol) if len(symbol) == 1 else 0 for symbol in vocabulary.symbols], np.uint32)
    codes = symbols_V[tokens_T]
    try:
        codes = _with_exceptions(codes, exceptions) if exceptions else codes
        return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogateescape")
    # The checksum is no proof of who wrote it: no deflated numbers, other places, no characters.
    except (zlib.error, ValueError, IndexError, OverflowError) as error:
        raise UserError("the file has side information that arjax does not write") from error


def _with_exceptions(codes_T: np.ndarray, exceptions: bytes) -> np.ndarray:
    """Returns the code points of the tokens with the exceptions in their places."""
    gaps, codes = np.split(_numbers(zlib.decompress(exceptions)), 2)
    whole = np.zeros(len(codes_T) + len(codes), np.uint32)
    is_exception = np.zeros(len(whole), bool)
    is_exception[np.cumsum(gaps + 1) - 1] = True
    whole[is_exception], whole[~is_exception] = codes, codes_T
    return whole


def _varints(numbers: np.ndarray) -> bytes:
    """Whole numbers as bytes of 7 bits each, the lowest first; the highest bit says that more follow."""
    content = bytearray()
    for number in numbers.tolist():
        while number > 127:
            content.append(number & 127 | 128)
            number >>= 7
        content.append(number)
    return bytes(content)


def _numbers(content: bytes) -> np.ndarray:
    numbers, number, shift = [], 0, 0
    for byte in content:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(number)
            number, shift = 0, 0
    return np.array(numbers, np.int64)


def num_streams(num_tokens: int, streams: int) -> int:
    """B, the streams of a text; `streams`: 0 for as many as suit its length."""
    if streams:
        return max(1, min(streams, num_tokens))
    return max(1, min(MOST_STREAMS, num_tokens // LEAST_PER_STREAM))


def code_text(
    choice: Choice, chooser: Chooser, streams: int, num: int, tokens_T: np.ndarray | None = None
) -> np.ndarray:
    """Returns the tokens of a text, int32[T], as a chooser chooses them, out of `tokens_T` if they are known.

    The text is cut into B streams of equal length, the last ones shorter, which are coded side by side. A stream begins
    without context. A network with the trait "unbounded" goes on through its stream. The window of any other slides,
    and each window begins with the last tokens before it as a prompt.
    """
    length, known = -(-num // streams), tokens_T is not None
    x_BL = np.zeros((streams, length), np.int32)
    if tokens_T is not None:
        x_BL.reshape(-1)[:num] = tokens_T
    x_LB = np.ascontiguousarray(x_BL.T)
    size_B = np.clip(num - length * np.arange(streams), 0, length)
    steps = OutsideSteps(_lengthened(choice, length).members, streams)
    for start, first, last in _windows(choice, length):

        def choose(table_B1V: np.ndarray, t: int, j: int, start: int = start) -> np.ndarray:
            place = start + t
            values_B1 = chooser(table_B1V, (place < size_B)[:, None], x_LB[place, :, None])
            if not known:
                x_LB[place] = values_B1[:, 0]
            return values_B1

        steps.begin(None, x_LB[start:first].T if first > start else None)
        steps.run(choose, last - start)
    return np.ascontiguousarray(x_LB.T).reshape(-1)[:num]


def _goes_on(choice: Choice) -> bool:
    return all("unbounded" in member.model.network.traits for member in choice.members)


def _lengthened(choice: Choice, length: int) -> Choice:
    """The choice with models of streams: of windows or, if networks go on, of a power of two that holds the length."""
    size = 1 << max(length - 1, 63).bit_length() if _goes_on(choice) else choice.members[0].model.event.num_sites
    members = tuple(member._replace(model=of_length(member.model, size)) for member in choice.members)
    return dataclasses.replace(choice, members=members)


def check_text(choice: Choice) -> None:
    """Raises `UserError` unless texts of any length can be coded with the model."""
    for model in (member.model for member in choice.members):
        examples = f"examples of this model are {model.event.in_words}"
        refuse(
            (not model.event.is_text, f"a text is coded by a model of text, and {examples}"),
            (model.context_spec, "a text of any length is coded by a model without a context: code examples instead"),
        )
        of_length(model, model.event.num_sites)


def _windows(choice: Choice, length: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, last) of the windows over streams: where each starts, and the tokens that are coded in it."""
    if _goes_on(choice):
        yield 0, 0, length
        return
    model = choice.members[0].model
    size = model.event.num_sites
    overlap = int(size * (OVERLAP if chunk_of(model.network) > 1 else OVERLAP_OF_STEPS))
    start, first = 0, 0
    while first < length:
        last = min(start + size, length)
        yield start, first, last
        start, first = last - overlap, last
