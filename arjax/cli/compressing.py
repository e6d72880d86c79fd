"""Compressed files from the shell: the modes `compress` and `decompress`."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from arjax.api.compressing import (
    FORM,
    bits_in_results,
    coded,
    form_of,
    read_file,
    restored,
    text_of_split,
    vocabulary_of,
    written,
)
from arjax.api.run import Run
from arjax.coding import Coded, CodingOptions
from arjax.coding.classical import image_sizes, packed, sizes
from arjax.core.arrays import are_ended, up_to_end
from arjax.core.files import reading, replacing, user_path, writable_file
from arjax.data.sources import Subset
from arjax.data.vocabulary import Vocabulary
from arjax.evaluation.sampling import parse_context
from arjax.evaluation.splits import split_of
from arjax.training.reporter import announce

#: Bytes of the training data that other compressors are shown.
MOST_KNOWN = 2**22


def compress_file(run: Run, path: str, output: str, options: CodingOptions) -> None:
    """Compresses a file, or with `path` "" the split `config.evaluate.split`, and prints what it costs."""
    target = writable_file(output)
    if path:
        with reading(path):
            content = user_path(path).read_bytes()
        name, (x, form) = path, read_file(run, content, path)
        about = {FORM: form}
    else:
        name = run.config.evaluate.split
        x = split_of(run.dataset, name)
        about = {FORM: "array" if vocabulary_of(run) is None else "text", "split": name}
    tell = functools.partial(announce, "compiling, and compressing ...", sys.stderr)
    compressed = coded(run, x, dataclasses.replace(options, about=about, tell=tell))
    _write(target, compressed.data)
    for line in size_lines(run, x, compressed, name, output):
        print(line)


def decompress_file(run: Run, path: str, output: str, options: CodingOptions) -> None:
    """Writes the data of a compressed file."""
    target = writable_file(output)
    with reading(path):
        data = user_path(path).read_bytes()
    tell = functools.partial(announce, "compiling, and decompressing ...", sys.stderr)
    decompressed = restored(run, data, dataclasses.replace(options, tell=tell))
    _write(target, written(run, decompressed.x, form_of(run, decompressed, output)))
    print(output)


def options_of(run: Run, flags: SimpleNamespace) -> CodingOptions:
    """Returns the options of the flags of a command."""
    context = parse_context(run.dataset.context, flags.context, run.dataset.classes) if flags.context else None
    return CodingOptions(context=context, streams=flags.streams, verify=flags.verify)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        Path(part).write_bytes(content)


def size_lines(run: Run, x: Any, compressed: Coded, name: str, output: str) -> list[str]:
    """Returns lines about a compressed file: its size, the score of the model, and the sizes of other compressors."""
    content, pictures, num, unit = content_of(run, x)
    is_text = _is_text(run, x)
    size, model = len(compressed.data), sum(leaf.nbytes for leaf in jax.tree.leaves(run.params))
    rate = f"{8 * size / num:.4f} bits per {unit}" if num else "no data"
    stands = "" if is_text else " of values"
    lines = [f"{name}: {len(content):,} bytes{stands} -> {output}: {size:,} bytes, {rate}"]
    if num:
        stored = bits_in_results(run, name)
        stored += ", which may be by other windows" if stored and is_text else ""
        scored = f"by the tables of this pass {compressed.bits / num:.4f}"
        lines.append(f"  {scored}{f'; {stored}' if stored else ''}")
    if compressed.choice:
        lines.append(f"  coded with the best one alone, {compressed.choice}: a mixture of orders has no tables")
    if is_text:
        cold = f", and each costs {compressed.cold_bits:.0f} bits more by its beginning"
        lines.append(f"  streams: {compressed.streams} side by side{cold * (compressed.cold_bits >= 0.5)}")
    if compressed.num_exceptions:
        lines.append(f"  characters without a token: {compressed.num_exceptions:,} bytes")
    known = known_of(run) if is_text or vocabulary_of(run) is None else b""  # windows are no text to compare with one
    others = sizes(content)
    lines.append("  " + ", ".join(f"{key} {value:,}" for key, value in (others | dict(pictures)).items()) + " bytes")
    if known:
        given = ", ".join(f"{key} {value:,}" for key, value in sizes(content, known).items())
        lines.append(f"  {given} bytes where the training data are known")
    adjusted = f"; with it {(size + model) / len(content):.2f} times the data" if content else ""
    lines.append(f"  parameters of the model: {model:,} bytes{adjusted}")
    return lines


def content_of(run: Run, x: Any, whole: bool = True) -> tuple[bytes, Mapping[str, int], int, str]:
    """Returns the data as bytes, the sizes of image files (of `whole` data), the number of values, and their unit.

    Strings are the tokens up to and with each end, as in their scores.
    """
    vocabulary = vocabulary_of(run)
    if vocabulary is not None and _is_text(run, x):
        content = x if isinstance(x, bytes) else text_of_split(vocabulary, x, whole)
        num = len(content) if vocabulary.unit == "byte" else len(content.decode("utf-8", "surrogateescape"))
        return content, {}, num, _unit(vocabulary)
    event = run.model.event
    array = np.asarray(x.__getitems__(np.arange(len(x))).x if hasattr(x, "__getitems__") else x)
    levels = event.most_levels
    strings, end = run.dataset.vocabulary, run.dataset.end
    if strings is not None and end is not None and are_ended(array, end):  # what is scored: no padding
        array = array[up_to_end(array, end)]
        return packed(array, levels), {}, array.size, _unit(strings)
    return packed(array, levels), image_sizes(array, event) if whole else {}, array.size, "dimension"


def _is_text(run: Run, x: Any) -> bool:
    """Whether data are a text, or a split of its windows, and not an array of examples."""
    return vocabulary_of(run) is not None and not isinstance(x, np.ndarray)


def _unit(vocabulary: Vocabulary) -> str:
    """The unit of a token in words."""
    return "byte" if vocabulary.unit == "byte" else "character"


def known_of(run: Run) -> bytes:
    """The last `MOST_KNOWN` bytes of the data of the training: of more, xz takes minutes."""
    source = run.dataset.splits["train"]
    if vocabulary_of(run) is None:
        size = max(MOST_KNOWN // run.model.event.num_dims, 1)
        source = Subset(source, np.arange(max(len(source) - size, 0), len(source)))
    return content_of(run, source, whole=False)[0][-MOST_KNOWN:]
