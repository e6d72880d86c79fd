"""Tokens of text: characters or bytes, possibly with an end and an unknown token, and back."""

from __future__ import annotations

import codecs
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from arjax.core.arrays import as_array, check_integers
from arjax.core.errors import UserError, refuse

END, UNKNOWN = "<end>", "\ufffd"
#: The option `tokens` of data sets of text, and the unit that numbers per token are named after.
UNITS = {"characters": "char", "bytes": "byte"}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens 0 to V - 1 of a text."""

    symbols: tuple[str, ...]  # the characters of the tokens; bytes above 127 by their numbers in hexadecimal
    unit: str = "char"  # of a token, "char" or "byte"
    end: int | None = None  # the token that ends a string; None: texts go on
    unknown: int | None = None  # the token of all characters without one of their own; None: these have no token

    def __len__(self) -> int:
        """Returns V."""
        return len(self.symbols)

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that holds all tokens and -1, for storage."""
        return np.dtype(np.int8 if len(self) <= 2**7 else np.int16 if len(self) <= 2**15 else np.int32)

    @property
    def units(self) -> str:
        """The unit of tokens in words: "characters" or "bytes"."""
        return next(words for words, unit in UNITS.items() if unit == self.unit)

    @functools.cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """The code points (of bytes: values) with a token of their own, in order, and these tokens."""
        plain_tokens = [token for token in range(len(self)) if token not in (self.end, self.unknown)]
        is_byte = self.unit == "byte"
        codes = np.array([token if is_byte else ord(self.symbols[token]) for token in plain_tokens], np.uint32)
        order = np.argsort(codes)
        return codes[order], np.array(plain_tokens, np.int32)[order]

    def _codes(self, text: str) -> np.ndarray:
        """Returns the code points of a text, or the values of its bytes, uint32[T]."""
        refuse((not isinstance(text, str), f"a text is a string of characters, not {text!r}"))
        if self.unit == "char":
            return code_points(text)
        try:
            return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8).astype(np.uint32)
        except UnicodeEncodeError as error:  # half of a pair of surrogates
            raise UserError(f"the character {text[error.start]!r} cannot be written in bytes") from error

    @property
    def shown(self) -> str:
        """The characters with a token of their own, as one text for messages."""
        return "".join(s for token, s in enumerate(self.symbols) if token not in (self.end, self.unknown))

    def missing(self, text: str) -> list[str]:
        """Returns the characters of a text without a token of their own, in order."""
        return [chr(code) for code in np.setdiff1d(self._codes(text), self._known[0])]

    def num_tokens(self, text: str) -> int:
        """Returns T, the tokens of a text without an end."""
        return len(text) if self.unit == "char" else len(self._codes(text))

    def encode(self, text: str) -> np.ndarray:
        """Returns the tokens of a text, int32[T], without an end; characters without one become the unknown token."""
        codes, (known, tokens) = self._codes(text), self._known
        places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        is_known = known[places] == codes
        if self.unknown is None and not is_known.all():
            character = chr(codes[~is_known][0])
            raise UserError(f"no token stands for the character {character!r}; there are those of {self.shown!r}")
        return np.where(is_known, tokens[places], -1 if self.unknown is None else self.unknown).astype(np.int32)

    def _before_end(self, tokens: np.ndarray) -> np.ndarray:
        ends = np.flatnonzero(tokens == self.end) if self.end is not None else np.zeros(0, int)
        return tokens[: ends[0]] if len(ends) else tokens

    def decode(self, tokens: np.ndarray) -> str:
        """Returns the text of tokens int[...], up to the first end. Bytes that are not UTF-8 become U+FFFD."""
        tokens = self._before_end(np.asarray(as_array(tokens, "tokens")).ravel())
        if tokens.size:
            check_integers(tokens, len(self), "tokens")
        if self.unit == "byte":
            return tokens.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(self.symbols[int(token)] for token in tokens)

    def decode_pieces(self, pieces: Iterable[np.ndarray]) -> Iterator[str]:
        """Yields the text of tokens that come piece by piece, int[...] each; joined, it is the text of `decode`. A
        character of several bytes comes with the last of them.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for piece in pieces:
            tokens = self._before_end(np.asarray(piece).ravel())
            yield decoder.decode(tokens.astype(np.uint8).tobytes()) if self.unit == "byte" else self.decode(tokens)
            if len(tokens) < np.size(piece):
                break
        if rest := decoder.decode(b"", final=True):
            yield rest


def code_points(text: str) -> np.ndarray:
    """Returns the code points of a text, uint32[T]."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def make_vocabulary(text: str, tokens: str = "characters", min_count: int = 0, end: bool = False) -> Vocabulary:
    """Returns the vocabulary of a training text: its characters sorted by code point, or all 256 bytes. With
    `min_count` above 0, characters seen less often share one unknown token. `end` adds an end token, the last one.
    """
    no_count = f"min_count must be 0 for bytes, of which none is unknown; not {min_count}"
    refuse((min_count and tokens == "bytes", no_count))
    if tokens == "bytes":
        symbols = [chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in range(256)]
    else:
        codes, counts = np.unique(code_points(text), return_counts=True)
        symbols = [chr(code) for code in codes[counts >= min_count]]
        if not symbols:
            reason = f"the most frequent one is seen {counts.max()} times" if len(counts) else "it is empty"
            raise UserError(f"the train split has no character that is seen min_count={min_count} times: {reason}")
    unknown = len(symbols) if min_count else None
    symbols += [UNKNOWN] * (unknown is not None)
    return Vocabulary((*symbols, *[END] * end), UNITS[tokens], len(symbols) if end else None, unknown)


def check_known(vocabulary: Vocabulary, name: str, split: str, text: str, remedy: str = "") -> None:
    """Refuses characters of a split that no token stands for."""
    if vocabulary.unknown is None and (missing := vocabulary.missing(text)):
        raise UserError(f"the {split} split of {name!r} has the character {missing[0]!r}, which train lacks{remedy}")


def padded(vocabulary: Vocabulary, texts: Sequence[str], length: int, fill: int) -> np.ndarray:
    """Returns the tokens of many texts, [N, length], with `fill` after the end of each."""
    sizes_N = np.array([vocabulary.num_tokens(text) for text in texts])
    tokens_NT = np.full((len(texts), length), fill, vocabulary.dtype)
    tokens_NT[np.arange(length) < sizes_N[:, None]] = vocabulary.encode("".join(texts))
    return tokens_NT


def check_same_tokens(vocabulary: Vocabulary | None, other: Vocabulary | None, name: str) -> None:
    """Refuses another run, such as "the judge", that reads texts of other tokens."""

    def in_words(vocabulary: Vocabulary) -> str:
        special = {"one for unknown characters": vocabulary.unknown, "an end": vocabulary.end}
        return " and ".join([repr(vocabulary.shown), *(words for words, token in special.items() if token is not None)])

    if vocabulary is None or other is None:
        return
    if (vocabulary.shown, vocabulary.end, vocabulary.unknown) != (other.shown, other.end, other.unknown):
        raise UserError(f"{name} knows the tokens {in_words(other)}, and this run {in_words(vocabulary)}")
