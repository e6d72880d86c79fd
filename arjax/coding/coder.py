"""Data as files and back: `compress` and `decompress`.

Decoding is the cached sampler whose noise is the file. Encoding makes the same steps by the same compiled program at
the same batch, with the values given: one different bit would lose the rest of a file. So a file lists what its bits
depend on, and is refused elsewhere.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from arjax.coding.container import Container, check_place, describe_place, digest, digest_of_arrays, read_container
from arjax.coding.entropy import Chooser, Decoder, Encoder, coder_version
from arjax.coding.examples import Choice, Contexts, choices, code_examples
from arjax.coding.texts import check_text, code_text, num_streams, to_bytes, to_tokens
from arjax.core.arrays import are_ended, as_array
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt, typed_fields
from arjax.data.vocabulary import Vocabulary
from arjax.models import Model
from arjax.models.base import Params, dummy_batch
from arjax.models.checks import as_context, as_values
from arjax.samplers.stepwise import OutsideSteps

#: Rows side by side of examples, where no number is given.
BATCH = 128
#: Examples, or tokens of a text, of a file, at most.
MOST_VALUES = 2**40
#: Steps whose tables are compared before a file is decoded.
PROBED = 3
WRONG_HEADER = "the file has a header that arjax does not write"
#: Rows side by side, at most.
MOST_STREAMS = 2**16


@dataclasses.dataclass(frozen=True)
class CodingOptions:
    """How data are compressed, and how a file is decompressed. Both calls need the same `context` and `vocabulary`.

    Attributes:
      context: of the examples, as for `model.log_prob`; it is not a part of the file.
      vocabulary: of the tokens of a text.
      streams: examples, or streams of a text, that are coded side by side; 0: as many as suit the data, or as in the
        file.
      end: to compress: the token that ends an example, which holds nothing else behind it; -1: there is none.
      num_orders: to compress with a model of several orders: how many are tried.
      verify: to compress: whether to decode the file and to compare.
      about: to compress: notes that `decompress` returns, in types of JSON.
      find_context: to decompress: finds a context that is not given, by the notes of a file.
      tell: is called when all is checked and the work begins.
    """

    context: Any = None
    vocabulary: Vocabulary | None = None
    streams: int = opt(0, most=MOST_STREAMS)
    end: int = -1
    num_orders: int = opt(1, most=MOST_STREAMS)
    verify: bool = True
    about: Mapping[str, Any] | None = None
    find_context: Callable[[Mapping[str, Any]], Any] | None = None
    tell: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        typed_fields(CodingOptions, {"streams": self.streams, "num_orders": self.num_orders})


PLAIN = CodingOptions()


class Coded(NamedTuple):
    """A compressed file.

    Attributes:
      bits: the sum of -log2 p of the values that were coded, without header and exceptions.
      num_exceptions: bytes of the characters without a token.
      choice: the order, or the member of a mixture, that was taken; "" where there was no choice.
    """

    data: bytes
    bits: float
    num_values: int
    num_exceptions: int
    streams: int
    choice: str


class Restored(NamedTuple):
    """The data of a compressed file: examples [N, *grid, *value] in their own type, or the bytes of a text."""

    x: Any
    about: dict[str, Any]


class _Job(NamedTuple):
    """What is coded how, as it stands in the header of a file."""

    num: int  # examples, or tokens of a text
    batch: int
    end: int
    is_text: bool


def compress(model: Model, params: Params, x: np.ndarray | bytes, options: CodingOptions = PLAIN) -> Coded:
    """Returns examples [N, *grid, *value], or the bytes of a text, which needs a vocabulary, as a file. The model is an
    autoregressive model of discrete values, or a mixture of such models.
    """
    _check_alone()
    coder_version()
    is_text, side, header = isinstance(x, bytes), b"", dict[str, Any]()
    ways = choices(model, params, 1 if is_text else options.num_orders)  # a text has the order of the model
    contexts: Contexts = {}
    if isinstance(x, bytes):
        if options.vocabulary is None:
            raise UserError("bytes are compressed by a model of text: this model was not trained on one, give an array")
        check_text(ways[0])
        values, side = to_tokens(options.vocabulary, x)
    else:
        x = np.asarray(as_array(x, "x"))
        if x.dtype.kind == "f":
            x = np.where(x == 0, 0, x).astype(x.dtype)  # a file holds 0 for -0, which is the same value
        refuse((x.shape[1:] == model.event.shape and not len(x), "there are no examples to compress"))
        values = np.asarray(as_values(model.event, x, remedy="a missing value has no probability: fill it in"))
        contexts = _contexts(model, options.context, len(values))
        header = {"dtype": x.dtype.str, "context": digest_of_arrays(contexts), "orders": options.num_orders}
    if options.tell is not None:
        options.tell()
    number, num = 0 if is_text else _best(ways, values, contexts), len(values)
    choice = ways[number]
    batch = num_streams(num, options.streams) if is_text else options.streams or min(BATCH, num)
    job = _Job(num, batch, -1 if is_text else _end_of(choice, values, options.end), is_text)
    header |= {"about": dict(options.about)} if options.about else {}
    place, probe = describe_place(model, params), _probe(choice, job.batch)
    header = {"place": place, "job": list(job), "choice": number, "probe": probe} | header
    header["sum"] = zlib.crc32(_as_bytes(x))
    encoder = Encoder()
    _code(choice, encoder, job, contexts, values)
    packed = Container(header, side, encoder.words()).pack()
    if options.verify:
        again = CodingOptions(context=contexts or None, vocabulary=options.vocabulary)
        if _as_bytes(decompress(model, params, packed, again).x) != _as_bytes(x):
            raise UserError("decoding gives other data: this machine does not repeat its own computation")
    return Coded(packed, encoder.bits, encoder.num_symbols, len(side), job.batch, "" if is_text else choice.name)


def decompress(model: Model, params: Params, data: bytes, options: CodingOptions = PLAIN) -> Restored:
    """Returns the data of a file that `compress` has made with the same model, parameters, context and vocabulary. A
    damaged file, or one of another model or another machine, is refused before anything is decoded.
    """
    _check_alone()
    container = read_container(data)
    header = container.header
    _check_header(header)
    check_place(header["place"], describe_place(model, params))
    job = _Job(*header["job"])
    if options.streams and options.streams != job.batch:
        raise UserError(f"the file has {job.batch} streams side by side, not {options.streams}: leave the number out")
    ways = choices(model, params, header.get("orders", 1))
    refuse((header["choice"] >= len(ways), WRONG_HEADER))
    choice = ways[header["choice"]]
    contexts = _contexts_of_file(model, choice, job, header, options)
    if options.tell is not None:
        options.tell()
    if header["probe"] != _probe(choice, job.batch):
        raise UserError(
            "this machine, or this version of arjax, computes other probabilities than the one that compressed the "
            "file, though the versions of jax are the same: it cannot be decoded here"
        )
    x = _code(choice, Decoder(container.words), job, contexts, None)
    restored: Any
    if job.is_text:
        assert options.vocabulary is not None, "a text has a vocabulary"
        restored = to_bytes(options.vocabulary, x, container.side)
    else:
        restored = x.astype(np.dtype(header["dtype"]))
    if zlib.crc32(_as_bytes(restored)) != header.get("sum"):
        raise UserError("decoding gave other data than the data that were compressed: this machine computes otherwise")
    return Restored(restored, header.get("about", {}))


def _contexts_of_file(
    model: Model, choice: Choice, job: _Job, header: Mapping[str, Any], options: CodingOptions
) -> Contexts:
    if job.is_text:
        if options.vocabulary is None:
            raise UserError("the file is a text, and this model was not trained on one")
        check_text(choice)
        return {}
    context = options.context
    if context is None and options.find_context is not None:
        context = options.find_context(header.get("about", {}))
    contexts = _contexts(model, context, job.num)
    if digest_of_arrays(contexts) != header.get("context"):
        raise UserError("the file was compressed with another context: give the same one")
    return contexts


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
    dtype = r"\|b1|[<>|=][iu][1248]|[<>|=]f[248]"
    fits = fits and (header["job"][3] or re.fullmatch(dtype, str(header.get("dtype"))) is not None)
    refuse((not fits, WRONG_HEADER))


def _as_bytes(x: np.ndarray | bytes) -> bytes:
    return x if isinstance(x, bytes) else np.ascontiguousarray(x).tobytes()


def _check_alone() -> None:
    refuse((jax.process_count() > 1, "files are compressed by one process: leave the flags of several processes out"))


def _contexts(model: Model, context: Any, num: int) -> Contexts:
    contexts = as_context(model.context_spec, context, num, one_for_all=True) or {}
    return {name: np.asarray(part) for name, part in contexts.items()}


def _end_of(choice: Choice, x: np.ndarray, end: int) -> int:
    """The token that ends examples, if they are coded along their line and hold nothing else behind it; else -1."""
    blocks_SM = np.asarray(choice.members[0].model.factorization.blocks)
    if end < 0 or x.ndim != 2 or not np.array_equal(blocks_SM, np.arange(x.shape[1])[:, None]):
        return -1
    return end if are_ended(x, end) else -1


def _best(ways: list[Choice], x: np.ndarray, context: Contexts) -> int:
    """The number of the choice under which examples are most probable, by at most `BATCH` of them."""
    if len(ways) == 1:
        return 0
    rows = np.unique(np.linspace(0, len(x) - 1, BATCH).astype(int))
    parts = {name: part[rows] for name, part in context.items()}
    return int(np.argmin([choice.nats(x[rows], parts) for choice in ways]))


def _probe(choice: Choice, batch: int) -> str:
    """The digest of the tables of some steps: if it differs, so do all probabilities."""
    model, rng, tables = choice.members[0].model, np.random.default_rng(0), []
    steps = OutsideSteps(choice.members, max(batch, 1))
    steps.begin(dict(dummy_batch(model, steps.num).context))

    def choose(table_BkV: np.ndarray, t: int, j: int) -> np.ndarray:
        tables.append(table_BkV.tobytes())
        # One of the values that can be there, of some probability.
        noise = rng.gumbel(size=table_BkV.shape)
        return (np.log(np.maximum(table_BkV, 1e-9)) + noise).argmax(-1).astype(np.int32)

    steps.run(choose, min(PROBED, model.factorization.num_steps))
    return digest(*tables)


def _code(choice: Choice, chooser: Chooser, job: _Job, context: Contexts, x: np.ndarray | None) -> np.ndarray:
    if not job.num:
        return np.zeros(0, np.int32)
    if job.is_text:
        return code_text(choice, chooser, job.batch, job.num, x)
    return code_examples(choice, chooser, job.batch, job.num, context, job.end, x)
