"""Data as files and back: `compress` and `decompress`.

Decoding is the cached sampler whose noise is the file. Encoding makes the same steps by the same compiled program at
the same batch, with the values given. No other two computations agree to the last bit, and one bit is enough to lose
the rest of a file. So a file says what it depends on, and is refused where that is not the same.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from arjax.coding.choosers import Chooser, Given, Read
from arjax.coding.container import Container, unpack
from arjax.coding.entropy import Decoder, Encoder, coder_version
from arjax.coding.examples import Contexts, code_examples
from arjax.coding.place import check_place, describe_place, digest, digest_of_arrays
from arjax.coding.tables import Choice, MixedTables, choices
from arjax.coding.texts import check_text, code_text, num_streams, to_bytes, to_tokens
from arjax.core.arrays import as_array
from arjax.core.errors import UserError
from arjax.data.vocabulary import Vocabulary
from arjax.models import Model
from arjax.models.base import Params
from arjax.models.checks import as_context, as_values

#: Rows side by side of examples, where no number is given.
BATCH = 128
#: Rows side by side, at most.
MOST_STREAMS = 2**16
#: Examples, or tokens of a text, of a file, at most.
MOST_VALUES = 2**40
#: Steps whose tables are compared before a file is decoded.
PROBED = 3
#: Tokens at the beginning of a stream that are compared with the others.
COLD = 32


class Coded(NamedTuple):
    """A compressed file.

    Attributes:
      data: its bytes.
      bits: the sum of -log2 p of the values that were coded, without header and exceptions.
      num_values: how many these are.
      num_exceptions: bytes of the characters without a token.
      streams: rows side by side.
      cold_bits: of a text, the bits that a stream costs more by its beginning without context: the bits of its first
        tokens above the mean of the others.
      choice: the order, or the member of a mixture, that was taken; "" where there was no choice.
    """

    data: bytes
    bits: float
    num_values: int
    num_exceptions: int
    streams: int
    cold_bits: float
    choice: str


class Restored(NamedTuple):
    """The data of a compressed file.

    Attributes:
      x: examples [N, *grid, *value] in the type in which they were given, or the bytes of a text.
      about: notes of the one who compressed them.
    """

    x: Any
    about: dict[str, Any]


class _Job(NamedTuple):
    """What is coded how, as it stands in the header of a file."""

    num: int  # examples, or tokens of a text
    batch: int
    end: int
    is_text: bool


def compress(
    model: Model,
    params: Params,
    x: np.ndarray | bytes,
    *,
    context: Any = None,
    vocabulary: Vocabulary | None = None,
    end: int = -1,
    streams: int = 0,
    num_orders: int = 1,
    verify: bool = True,
    about: Mapping[str, Any] | None = None,
    tell: Callable[[], None] | None = None,
) -> Coded:
    """Examples, or the bytes of a text, as a file.

    Args:
      model, params: an autoregressive model of discrete values, or a mixture of such models, and its parameters.
      x: examples [N, *grid, *value]; or the contents of a text file, which needs a `vocabulary`.
      context: of the examples, as for `model.log_prob`; it is not a part of the file.
      vocabulary: of the tokens of a text.
      end: the token that ends an example, which holds nothing else behind it; -1: there is none.
      streams: examples, or streams of a text, that are coded side by side; 0: as many as suit the data.
      num_orders: of a model of several orders, those of which the best one is taken.
      verify: whether to decode the file and to compare.
      about: notes that `decompress` returns, in types of JSON.
      tell: is called when all is checked and the work begins.

    Raises:
      UserError: the library constriction is missing, the model has no tables, the data does not fit it, or decoding
        gives other data.
    """
    _check_alone(streams)
    coder_version()
    found = choices(model, params, num_orders)
    if isinstance(x, bytes):
        return _compress_text(model, params, found, x, vocabulary, streams, verify, about, tell)
    given = np.asarray(as_array(x, "x"))
    x, parts = _checked(model, given, context)
    if tell is not None:
        tell()
    best = _best(found, x, parts)
    job = _Job(len(x), streams or min(BATCH, len(x)), _end_of(found[best], x, end), False)
    header = _header(model, params, found[best], best, job)
    header |= {"dtype": given.dtype.str, "context": digest_of_arrays(parts), "orders": num_orders}
    header |= {"about": dict(about)} if about else {}
    encoder = _encoded(found[best], job, parts, x)
    return _finished(model, params, encoder, header, b"", given, verify, parts, vocabulary, found[best].name)


def _compress_text(
    model: Model,
    params: Params,
    found: list[Choice],
    content: bytes,
    vocabulary: Any,
    streams: int,
    verify: bool,
    about: Mapping[str, Any] | None,
    tell: Callable[[], None] | None,
) -> Coded:
    """The contents of a text file as a file."""
    if vocabulary is None:
        raise UserError("bytes are compressed by a model of text: this model was not trained on one, give an array")
    check_text(found[0])
    tokens_T, side = to_tokens(vocabulary, content)
    job = _Job(len(tokens_T), num_streams(len(tokens_T), streams), -1, True)
    if tell is not None:
        tell()
    header = _header(model, params, found[0], 0, job) | ({"about": dict(about)} if about else {})
    encoder = _encoded(found[0], job, {}, tokens_T)
    return _finished(model, params, encoder, header, side, content, verify, {}, vocabulary, "")


def decompress(
    model: Model,
    params: Params,
    data: bytes,
    *,
    context: Any = None,
    vocabulary: Vocabulary | None = None,
    streams: int = 0,
    find_context: Callable[[Mapping[str, Any]], Any] | None = None,
    tell: Callable[[], None] | None = None,
) -> Restored:
    """The data of a file that `compress` has made with the same model, parameters, context and vocabulary.

    Args:
      model, params, data: as those of `compress`, and its result.
      context, vocabulary: those of `compress`.
      streams: those of the file; 0: whatever they are.
      find_context: finds the context by the notes of a file, where none is given.
      tell: is called when the header is checked and the work begins.

    Raises:
      UserError: the file is damaged, or was made with another model or on another machine; before anything is decoded.
    """
    _check_alone(streams)
    container = unpack(data)
    header = container.header
    _check_header(header)
    check_place(header["place"], describe_place(model, params))
    job = _Job(*header["job"])
    if streams and streams != job.batch:
        raise UserError(f"the file has {job.batch} streams side by side, not {streams}: leave the number out")
    ways = choices(model, params, header.get("orders", 1))
    if header["choice"] >= len(ways):
        raise UserError("the file has a header that arjax does not write")
    found = ways[header["choice"]]
    parts: Contexts = {}
    if job.is_text:
        if vocabulary is None:
            raise UserError("the file is a text, and this model was not trained on one")
        check_text(found)
    else:
        if context is None and find_context is not None:
            context = find_context(header.get("about", {}))
        parts = _contexts(model, context, job.num)
        if digest_of_arrays(parts) != header.get("context"):
            raise UserError("the file was compressed with another context: give the same one")
    if tell is not None:
        tell()
    if header["probe"] != _probe(found, job.batch):
        raise UserError(
            "this machine computes other probabilities than the one that compressed the file, though all versions are "
            "the same: it cannot be decoded here"
        )
    x = _code(found, Read(Decoder(container.words)), job, parts, None)
    if job.is_text:
        assert vocabulary is not None, "a text has a vocabulary"
        return Restored(_checked_sum(to_bytes(vocabulary, x, container.side), header), header.get("about", {}))
    return Restored(_checked_sum(x.astype(np.dtype(header["dtype"])), header), header.get("about", {}))


def _check_header(header: Mapping[str, Any]) -> None:
    """Raises `UserError` for a header that `compress` does not write: its checksum is no proof of who wrote it."""
    match header:
        case {"place": dict(), "job": [int(num), int(batch), int(), bool()], "choice": int(choice), "probe": str()}:
            fits = 0 <= num <= MOST_VALUES and 0 < batch <= MOST_STREAMS and choice >= 0
            fits = fits and not any(isinstance(number, bool) for number in (num, batch, choice))
            fits = fits and all(isinstance(entry, int | str) for entry in header["place"].values())
        case _:
            fits = False
    orders, about = header.get("orders", 1), header.get("about", {})
    fits = fits and isinstance(orders, int) and 1 <= orders <= MOST_STREAMS
    fits = fits and isinstance(about, dict)
    fits = fits and (header["job"][3] or _is_type(header.get("dtype")))
    if not fits:
        raise UserError("the file has a header that arjax does not write")


def _is_type(name: Any) -> bool:
    """Whether it is the name of a type of numbers."""
    return isinstance(name, str) and re.fullmatch(r"\|b1|[<>|=][iu][1248]|[<>|=]f[248]", name) is not None


def _checked_sum(found: Any, header: Mapping[str, Any]) -> Any:
    if zlib.crc32(_as_bytes(found)) != header.get("sum"):
        raise UserError("decoding gave other data than the data that were compressed: this machine computes otherwise")
    return found


def _as_bytes(x: np.ndarray | bytes) -> bytes:
    return x if isinstance(x, bytes) else np.ascontiguousarray(x).tobytes()


def _check_alone(streams: int) -> None:
    """Raises `UserError` for no number of streams, and where there are several processes."""
    if isinstance(streams, bool) or not isinstance(streams, int) or not 0 <= streams <= MOST_STREAMS:
        raise UserError(f"streams must be a whole number from 0 to {MOST_STREAMS}, not {streams!r}")
    if jax.process_count() > 1:
        raise UserError("files are compressed by one process: leave the flags of several processes out")


def _checked(model: Model, x: Any, context: Any) -> tuple[np.ndarray, Contexts]:
    """Examples in the type of the event, and their contexts."""
    if np.shape(x)[1:] == model.event.shape and not len(x):
        raise UserError("there are no examples to compress")
    checked = np.asarray(as_values(model.event, x, remedy="a missing value has no probability: fill it in"))
    return checked, _contexts(model, context, len(checked))


def _contexts(model: Model, context: Any, num: int) -> Contexts:
    found = as_context(model.context_spec, context, num, one_for_all=True) or {}
    return {name: np.asarray(part) for name, part in found.items()}


def _end_of(choice: Choice, x: np.ndarray, end: int) -> int:
    """The token that ends examples, where they are coded along their line, and each holds nothing else behind the first
    one; else -1.
    """
    blocks_SM = np.asarray(choice.members[0].model.factorization.blocks)
    if end < 0 or x.ndim != 2 or not np.array_equal(blocks_SM, np.arange(x.shape[1])[:, None]):
        return -1
    behind = np.cumsum(x == end, axis=1) > 0
    return end if (x[behind] == end).all() else -1


def _best(found: list[Choice], x: np.ndarray, context: Contexts) -> int:
    """The number of the choice under which examples are most probable, by at most `BATCH` of them."""
    if len(found) == 1:
        return 0
    rows = np.unique(np.linspace(0, len(x) - 1, BATCH).astype(int))
    parts = {name: part[rows] for name, part in context.items()}
    return int(np.argmin([choice.nats(x[rows], parts) for choice in found]))


def _header(model: Model, params: Params, choice: Choice, number: int, job: _Job) -> dict[str, Any]:
    return {
        "place": describe_place(model, params),
        "job": list(job),
        "choice": number,
        "probe": _probe(choice, job.batch),
    }


def _probe(choice: Choice, batch: int) -> str:
    """The digest of the tables of some steps with values and contexts that anyone can make: where it is another, so are
    all probabilities.
    """
    model, rng, found = choice.members[0].model, np.random.default_rng(0), []
    tables = MixedTables(choice.members, max(batch, 1))
    tables.begin(dict(model.dummy_batch(tables.num).context))

    def choose(table: jax.Array, j: int) -> np.ndarray:
        found.append(np.asarray(table).tobytes())
        p = np.asarray(table)
        # One of the values that can be there, of some probability.
        return (np.log(np.maximum(p, 1e-9)) + rng.gumbel(size=p.shape)).argmax(-1).astype(np.int32)

    for _ in range(min(PROBED, model.factorization.num_steps)):
        tables.step(choose)
    return digest(*found)


def _code(choice: Choice, chooser: Chooser, job: _Job, context: Contexts, x: np.ndarray | None) -> np.ndarray:
    """All values of a job, chosen by a chooser."""
    if not job.num:
        return np.zeros(0, np.int32)
    if job.is_text:
        return code_text(choice, chooser, job.batch, job.num, x)
    return code_examples(choice, chooser, job.batch, job.num, context, job.end, x)


def _encoded(choice: Choice, job: _Job, context: Contexts, x: np.ndarray) -> Encoder:
    """The encoder that holds all values of a job."""
    encoder = Encoder()
    given = Given(encoder)
    _code(choice, given, job, context, x)
    given.close()
    return encoder


def _finished(
    model: Model,
    params: Params,
    encoder: Encoder,
    header: dict[str, Any],
    side: bytes,
    given: Any,
    verify: bool,
    context: Contexts,
    vocabulary: Vocabulary | None,
    choice: str,
) -> Coded:
    """The file, and what it costs."""
    bits, job = encoder.bits_of_calls, _Job(*header["job"])
    header["sum"] = zlib.crc32(_as_bytes(given))
    data = Container(header, side, encoder.words()).pack()
    if verify:
        found = decompress(model, params, data, context=context or None, vocabulary=vocabulary).x
        if _as_bytes(found) != _as_bytes(given):
            raise UserError("decoding gives other data: this machine does not repeat its own computation")
    cold = 0.0
    if job.is_text and len(bits) > COLD:
        cold = float(bits[:COLD].sum() - bits[COLD:].mean() * COLD) / job.batch
    return Coded(data, float(bits.sum()), encoder.num_symbols, len(side), job.batch, cold, choice)
