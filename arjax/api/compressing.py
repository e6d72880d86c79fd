"""Data of a run as compressed files: examples, splits and texts, and what stands in files of users."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arjax.coding import Coded, CodingOptions, Restored, compress, decompress
from arjax.coding.classical import image_sizes, packed
from arjax.coding.coder import PLAIN
from arjax.core.arrays import are_ended, up_to_end
from arjax.core.errors import UserError, refuse
from arjax.core.files import load_array
from arjax.data.sources import Subset, read_all
from arjax.data.text_rows import WindowRows
from arjax.data.vocabulary import Vocabulary

#: Forms of files that are compressed, by the note in their header.
FORM = "form"
TEXT, ARRAY, TABLE = "text", "array", "table"
#: Bytes of the training data that other compressors are shown.
MOST_KNOWN = 2**22


def coded(run: Any, x: Any, options: CodingOptions = PLAIN) -> Coded:
    """Returns the data of `TrainedModel.compress`, with the vocabulary, the end and the orders of the run."""
    context = options.context
    if hasattr(x, "__getitems__") and isinstance(run.dataset.rows, WindowRows) and vocabulary_of(run) is not None:
        x = text_of_split(run.dataset.rows.vocabulary, x)  # that its windows were cut from
    elif hasattr(x, "__getitems__"):
        batch = read_all(x)
        x, context = np.asarray(batch.x), (batch.context or None) if context is None else context
    elif isinstance(x, str):
        raise UserError("data to compress are an array, a split of the data set, or bytes: open(path, 'rb').read()")
    x = bytes(x) if isinstance(x, bytes | bytearray | memoryview) else x
    end = options.end if options.end >= 0 or run.dataset.end is None else int(run.dataset.end)
    of_run = {"end": end, "num_orders": run.settings.measures.num_orders}
    options = dataclasses.replace(options, context=run._context(context), vocabulary=vocabulary_of(run), **of_run)
    return compress(run.model, _on_one(run.params), x, options)


def restored(run: Any, data: bytes, options: CodingOptions = PLAIN) -> Restored:
    """Returns the data of a compressed file and the notes in its header, by the vocabulary and contexts of the run."""

    def find_context(about: Mapping[str, Any]) -> Any:
        name = about.get("split", "")
        is_split = isinstance(name, str) and name in run.dataset.splits
        return read_all(run.dataset.splits[name]).context if is_split else None

    context, vocabulary = run._context(options.context), vocabulary_of(run)
    options = dataclasses.replace(options, context=context, vocabulary=vocabulary, find_context=find_context)
    return decompress(run.model, _on_one(run.params), data, options)


def vocabulary_of(run: Any) -> Vocabulary | None:
    """The vocabulary of a model of texts without an end; None for all others."""
    vocabulary = run.dataset.vocabulary
    is_text = vocabulary is not None and vocabulary.end is None and len(run.model.event.grid_shape) == 1
    return vocabulary if is_text else None


def _on_one(params: Any) -> Any:
    """The parameters on one device: a step of a few rows is not divided."""
    return jax.device_put(params, jax.devices()[0])


def text_of_split(vocabulary: Vocabulary, source: Any, whole: bool = True) -> bytes:
    """Returns the text of a split of windows, in which each token is scored once. Characters that share one token are
    refused or, unless the `whole` text is needed, replaced by U+FFFD.
    """
    if hasattr(source, "length"):  # windows anywhere in one text
        tokens = np.asarray(source.arrays.x)
    else:
        batch = read_all(source)
        tokens = np.asarray(batch.x)
        tokens = tokens.ravel() if batch.mask is None else tokens[np.asarray(batch.mask) > 0]
    if vocabulary.unit == "byte":
        return tokens.astype(np.uint8).tobytes()
    if whole and vocabulary.unknown is not None and (tokens == vocabulary.unknown).any():
        raise UserError("the split has characters that share one token: compress its file, where they are known")
    return vocabulary.decode(tokens).encode("utf-8", "surrogateescape")


def read_file(run: Any, content: bytes, path: str) -> tuple[Any, str]:
    """Returns what a file of a user holds that can be compressed, and its form: its bytes have to come back."""
    if path.endswith(".npy"):
        x, form = load_array(io.BytesIO(content), path), ARRAY
    elif vocabulary_of(run) is not None:
        return content, TEXT
    elif run.dataset.to_cells is not None:
        x, form = run.read(path).arrays["x"], TABLE
    else:
        raise UserError(f"--input of {run.dataset.name!r} is a .npy file of examples, or a split: leave it out")
    laid_out = f"{path!r} is laid out otherwise than arjax writes such a file, so its bytes would not come back"
    refuse(
        (written(run, x, form) != content, f"{laid_out}: compress its values in Python, by run.compress of an array")
    )
    return x, form


def form_of(run: Any, restored_data: Restored, path: str) -> str:
    """Returns the form of restored data: that of the compressed file, else by `path` and type text, csv or array."""
    if isinstance(restored_data.x, bytes):
        return TEXT
    noted, is_table = restored_data.about.get(FORM), run.dataset.to_cells is not None
    from_file = noted is not None and "split" not in restored_data.about
    return TABLE if is_table and (noted == TABLE or (path.endswith(".csv") and not from_file)) else ARRAY


def written(run: Any, x: Any, form: str) -> bytes:
    """The bytes of a file of some form that holds the data."""
    if form == TEXT:
        return bytes(x)
    if form == TABLE:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(run.dataset.to_cells(run.in_data_units(x)))
        return text.getvalue().encode("utf-8")
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(x))
    return file.getvalue()


def content_of(run: Any, x: Any, whole: bool = True) -> tuple[bytes, Mapping[str, int], int, str]:
    """Returns the data as bytes, the sizes of image files (of `whole` data), the number of values, and their unit. A
    string is its tokens up to and with the end, as in its score.
    """
    vocabulary = vocabulary_of(run)
    if vocabulary is not None and is_text(run, x):
        content = x if isinstance(x, bytes) else text_of_split(vocabulary, x, whole)
        num = len(content) if vocabulary.unit == "byte" else len(content.decode("utf-8", "surrogateescape"))
        return content, {}, num, vocabulary.units[:-1]
    event = run.model.event
    array = np.asarray(read_all(x).x if hasattr(x, "__getitems__") else x)
    levels = event.most_levels
    strings, end = run.dataset.vocabulary, run.dataset.end
    if strings is not None and end is not None and are_ended(array, end):  # what is scored: no padding
        array = array[up_to_end(array, end)]
        return packed(array, levels), {}, array.size, strings.units[:-1]
    return packed(array, levels), image_sizes(array, event) if whole else {}, array.size, "dimension"


def is_text(run: Any, x: Any) -> bool:
    """Whether data are a text, or a split of its windows, and not an array of examples."""
    return vocabulary_of(run) is not None and not isinstance(x, np.ndarray)


def known_of(run: Any) -> bytes:
    """Returns the last `MOST_KNOWN` bytes of the training data; with more, xz would take minutes."""
    source = run.dataset.splits["train"]
    if vocabulary_of(run) is None:
        size = max(MOST_KNOWN // run.model.event.num_dims, 1)
        source = Subset(source, np.arange(max(len(source) - size, 0), len(source)))
    return content_of(run, source, whole=False)[0][-MOST_KNOWN:]
