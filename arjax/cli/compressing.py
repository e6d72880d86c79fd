"""Compressed files from the shell: the modes `compress` and `decompress`."""

from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax

from arjax.api import compressing
from arjax.api.run import Run
from arjax.cli.opening import open_run
from arjax.coding import Coded, CodingOptions
from arjax.coding.classical import sizes
from arjax.core.files import reading, replacing, user_path, writable_file
from arjax.evaluation.sampling import parse_context
from arjax.evaluation.splits import split_of
from arjax.training.reporter import announce

#: Scores in `results.json` per value.
UNITS = ("bits_per_char", "bits_per_byte", "bits_per_dim")


def compress_file(flags: SimpleNamespace) -> None:
    """Compresses the file --input, or the split `config.evaluate.split`, and prints what it costs."""
    run, options = _opened(flags)
    target = writable_file(flags.output)
    if path := flags.input:
        with reading(path):
            content = user_path(path).read_bytes()
        name, (x, form) = path, compressing.read_file(run, content, path)
        about = {compressing.FORM: form}
    else:
        name = run.config.evaluate.split
        x = split_of(run.dataset, name)
        about = {compressing.FORM: "array" if compressing.vocabulary_of(run) is None else "text", "split": name}
    tell = functools.partial(announce, "compiling, and compressing ...", sys.stderr)
    compressed = compressing.coded(run, x, dataclasses.replace(options, about=about, tell=tell))
    _write(target, compressed.data)
    for line in size_lines(run, x, compressed, name, flags.output):
        print(line)


def decompress_file(flags: SimpleNamespace) -> None:
    """Writes the data of the compressed file --input."""
    run, options = _opened(flags)
    target = writable_file(flags.output)
    with reading(flags.input):
        data = user_path(flags.input).read_bytes()
    tell = functools.partial(announce, "compiling, and decompressing ...", sys.stderr)
    decompressed = compressing.restored(run, data, dataclasses.replace(options, tell=tell))
    _write(target, compressing.written(run, decompressed.x, compressing.form_of(run, decompressed, flags.output)))
    print(flags.output)


def _opened(flags: SimpleNamespace) -> tuple[Run, CodingOptions]:
    run = open_run(flags)
    context = parse_context(run.dataset.context, flags.context, run.dataset.classes) if flags.context else None
    return run, CodingOptions(context=context, streams=flags.streams, verify=flags.verify)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        Path(part).write_bytes(content)


def size_lines(run: Run, x: Any, compressed: Coded, name: str, output: str) -> list[str]:
    """Returns lines about a compressed file: its size, the score of the model, and the sizes of other compressors."""
    content, pictures, num, unit = compressing.content_of(run, x)
    as_text = compressing.is_text(run, x)
    size, model = len(compressed.data), sum(leaf.nbytes for leaf in jax.tree.leaves(run.params))
    rate = f"{8 * size / num:.4f} bits per {unit}" if num else "no data"
    stands = "" if as_text else " of values"
    lines = [f"{name}: {len(content):,} bytes{stands} -> {output}: {size:,} bytes, {rate}"]
    if num:
        results, stored = run.results or {}, ""
        if results.get("split") == name and (units := [key for key in UNITS if key in results]):
            stored = f"; {results[units[0]]:.4f} {units[0].replace('_', ' ')} in results.json"
            stored += ", which may be by other windows" * as_text
        lines.append(f"  by the tables of this pass {compressed.bits / num:.4f}{stored}")
    if compressed.choice:
        lines.append(f"  coded with the best one alone, {compressed.choice}: a mixture of orders has no tables")
    if as_text:
        lines.append(f"  streams: {compressed.streams} side by side")
    if compressed.num_exceptions:
        lines.append(f"  characters without a token: {compressed.num_exceptions:,} bytes")
    others, of_windows = sizes(content), not as_text and compressing.vocabulary_of(run) is not None
    lines.append("  " + ", ".join(f"{key} {value:,}" for key, value in (others | dict(pictures)).items()) + " bytes")
    if not of_windows and (known := compressing.known_of(run)):  # windows are no text to compare with one
        given = ", ".join(f"{key} {value:,}" for key, value in sizes(content, known).items())
        lines.append(f"  {given} bytes where the training data are known")
    adjusted = f"; with it {(size + model) / len(content):.2f} times the data" if content else ""
    lines.append(f"  parameters of the model: {model:,} bytes{adjusted}")
    return lines
