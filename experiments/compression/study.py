"""Test splits as compressed files: bits of the score, bits in the file, other compressors, the time of a step.

    python experiments/compression/study.py --data=shakespeare --workdir=runs/compression

Trains the run of a row, or opens it in the folder `workdir/DATA`, compresses its test split, decompresses it and
compares, and keeps the row in measured.csv and in the table of README.md.
`--examples=1000` takes the first examples of the split.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import arjax
from arjax.api.compressing import coded, text_of_split, vocabulary_of
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.cli.compressing import content_of, known_of
from arjax.coding.classical import sizes
from arjax.core.errors import UserError
from arjax.core.files import replacing
from arjax.data.sources import Subset
from arjax.reporting.tables import markdown_table, write_measured

HERE = Path(__file__).parent
#: Rows of the study: a config with its argument, and overrides.
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "shakespeare": ("configs/tiny_shakespeare.py:network=gru,eval_stride=32", {}),
    "binarized_mnist": ("configs/binarized_mnist.py:network=diagonal_bilstm", {}),
    "mnist": ("configs/cascades.py:row=raster,data=mnist", {}),
    "fashion_mnist": ("configs/cascades.py:row=raster,data=fashion_mnist", {}),
    "spoken_digits": ("configs/spoken_digits.py:network=wavenet", {}),
    "digits": ("configs/digits.py", {}),
}
COLUMNS = ["data", "values", "bits by score", "bits in file", "gzip", "bz2", "xz", "PNG", "WebP"]
COLUMNS += ["gzip, train known", "bz2, train known", "xz, train known", "values/s in", "values/s out"]
COLUMNS += ["step in / sampler", "step out / sampler", "parameters, bytes", "data, bytes", "file, bytes"]


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """The time of a call, and its result."""
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return time.perf_counter() - start, result


def sampler_step(run: Any, batch: int) -> float:
    """Seconds of a step of the cached sampler at a batch, its second call."""
    steps = run.model.factorization.num_steps
    drawn = [seconds(lambda: run.sample(batch, seed=1))[0] for _ in range(2)]
    return drawn[-1] / steps


def measure(name: str, run: Any, examples: int) -> dict[str, Any]:
    """The row of a run."""
    source = run.dataset.splits["test"]
    vocabulary = vocabulary_of(run)
    if examples and examples < len(source):
        source = Subset(source, np.arange(examples))
    x: Any = source if vocabulary is None else text_of_split(vocabulary, source)
    context = None if vocabulary is not None else run.dataset.splits["test"].arrays.context or None
    if context is not None and examples:
        context = {part: np.asarray(values)[:examples] for part, values in context.items()}
    found = coded(run, x, None, 0, False)  # compiles
    time_in, found = seconds(lambda: coded(run, x, None, 0, False))
    time_out, back = seconds(lambda: run.decompress(found.data, context=context))
    content, pictures, num, _ = content_of(run, x)
    given = np.asarray(source.__getitems__(np.arange(len(source))).x) if vocabulary is None else x
    if not (back == given if vocabulary is not None else np.array_equal(back, given)):
        raise UserError(f"{name}: the data that came back are not those that were compressed")
    length = -(-num // found.streams)
    steps = length if vocabulary is not None else -(-len(given) // found.streams) * run.model.factorization.num_steps
    step, known = sampler_step(run, found.streams), known_of(run)
    bits = {key: 8 * value / num for key, value in (sizes(content) | pictures).items()}
    bits |= {f"{key}, train known": 8 * value / num for key, value in sizes(content, known).items()}
    return bits | {
        "data": name,
        "values": num,
        "bits by score": found.bits / num,
        "bits in file": 8 * len(found.data) / num,
        "values/s in": num / time_in,
        "values/s out": num / time_out,
        "step in / sampler": time_in / steps / step,
        "step out / sampler": time_out / steps / step,
        "parameters, bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(run.params)),
        "data, bytes": len(content),
        "file, bytes": len(found.data),
    }


def main() -> int:
    """Measures a row; returns the exit code."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", required=True, choices=DATA)
    parser.add_argument("--workdir", required=True, help="folder of the runs")
    parser.add_argument("--examples", type=int, default=0, help="of the test split; 0: all")
    flags = parser.parse_args()
    config, overrides = DATA[flags.data]
    run = arjax.fit(config, Path(flags.workdir) / flags.data, overrides)
    row = measure(flags.data, run, flags.examples)
    path = HERE / "measured.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [each for each in csv.DictReader(file) if each["data"] != flags.data]
    rows.append({name: row.get(name, "") for name in COLUMNS})
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    shown = [[_shown(each.get(name, "")) for name in COLUMNS] for each in rows]
    write_measured(HERE / "README.md", markdown_table(COLUMNS, shown))
    print("\n".join(f"{name}: {_shown(row.get(name, ''))}" for name in COLUMNS))
    return 0


def _shown(value: Any) -> str:
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


if __name__ == "__main__":
    sys.exit(tell_mistakes("study.py", main))
