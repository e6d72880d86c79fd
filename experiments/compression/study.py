"""Test splits as compressed files: bits of the score, bits in the file, other compressors, and the time both ways.

    python experiments/compression/study.py --data=shakespeare --workdir=runs/compression

Trains the run of a row, or opens it in the folder `workdir/DATA`, compresses its test split, decompresses it and
compares, and keeps the row in measured.csv and in the table of README.md. `--examples=1000` takes examples of the
split that are evenly spaced.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import arjax
from arjax.api.compressing import coded, content_of, known_of, text_of_split, vocabulary_of
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.coding import Coded, CodingOptions
from arjax.coding.classical import sizes
from arjax.coding.container import CHUNK, read_container
from arjax.core.errors import UserError
from arjax.core.files import replacing
from arjax.data.frames import read_frame
from arjax.data.sources import Subset, read_all
from arjax.data.vocabulary import Vocabulary

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

HERE = Path(__file__).parent
#: The overrides of experiments/cascades/sweep.py, whose runs in raster order these are.
RASTER = {"train.checkpoint_every": 200}
#: Rows of the study: a config with its argument, and overrides.
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "shakespeare": ("configs/text.py:file=tiny_shakespeare,minutes=10", {}),
    "binarized_mnist": ("configs/binarized_mnist.py:network=fvsbn", {}),
    "binarized_mnist_lstm": ("configs/binarized_mnist.py:network=diagonal_bilstm", {}),
    "digits": ("configs/cascades.py:row=raster,data=digits", RASTER | {"train.steps": 4150, "train.eval_every": 207}),
    "mnist": ("configs/cascades.py:row=raster,data=mnist", RASTER | {"train.steps": 1090, "train.eval_every": 1090}),
    "fashion_mnist": (
        "configs/cascades.py:row=raster,data=fashion_mnist",
        RASTER | {"train.steps": 1090, "train.eval_every": 1090},
    ),
    "adult_words": ("configs/table.py:file={train},test={test}", {"dataset.missing": "level"}),
    "spoken_digits": ("configs/spoken_digits.py:network=wavenet", {"dataset.bits": 8}),
}
#: Samples a second of the spoken digits, and the level that fills their examples behind the last sample.
RATE, FILLING = 8000, 0
#: Columns of Adult that hold words; the others are whole numbers.
WORDS = ("workclass", "education", "marital-status", "occupation", "relationship", "race", "sex")
WORDS += ("native-country", "income")
#: The columns of the table on the page: those of measured.csv, by their titles.
SHOWN = {
    "data": "data",
    "network": "network",
    "values": "values",
    "score": "bits by score",
    "tables": "-log2 p of the tables",
    "file": "bits in the file",
    "ratio": "file / -log2 p",
    "gzip": "gzip",
    "bz2": "bz2",
    "xz": "xz",
    "PNG": "PNG",
    "WebP": "WebP",
    "FLAC": "FLAC",
    "gzip_known": "gzip, train known",
    "bz2_known": "bz2, train known",
    "xz_known": "xz, train known",
}
COSTS = {
    "data": "data",
    "examples": "examples",
    "streams": "side by side",
    "data_bytes": "bytes of the data",
    "file_bytes": "of the file",
    "allowed_bytes": "allowed",
    "parameter_bytes": "of the parameters",
    "seconds_in": "seconds in",
    "seconds_out": "seconds out",
    "rate_in": "values/s in",
    "rate_out": "values/s out",
    "different": "bytes different",
}
COLUMNS = list(SHOWN | COSTS)


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """The time of a call, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def adult_words(folder: Path) -> dict[str, str]:
    """The columns of words of the Adult data set, its train and test rows as csv files in a folder."""
    raw = os.environ.get("ARJAX_RAW_DATA")
    if not raw:
        raise UserError("ARJAX_RAW_DATA must name the folder that holds tables/adult_train.csv.gz")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for split in ("train", "test"):
        columns = read_frame(Path(raw, "tables", f"adult_{split}.csv.gz")).columns
        paths[split] = str(folder / f"adult_words_{split}.csv")
        with open(paths[split], "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(WORDS)
            writer.writerows(zip(*(columns[name] for name in WORDS), strict=True))
    return paths


def allowed(found: Coded) -> float:
    """Bytes that a file may have: 1.001 of those of -log2 p, 512, 16 for each stream, and 8 for each chunk."""
    chunks = -(-len(read_container(found.data).words) // CHUNK)
    return 1.001 * found.bits / 8 + 512 + 16 * found.streams + 8 * chunks


def score(run: Any, x: Any, context: Any, vocabulary: Vocabulary | None, mask: Any = None) -> float:
    """Bits per value by the parallel pass: of these examples, or of a text that of the windows in results.json."""
    if vocabulary is not None:
        return float(run.results["bits_per_char"])
    num = np.size(x) if mask is None else np.count_nonzero(mask)
    return float(-run.log_prob(x, context=context, mask=mask).sum() / np.log(2) / num)


def masked_sizes(run: Any, x: np.ndarray, mask: np.ndarray) -> dict[str, int]:
    """Bytes of recordings of different lengths in other formats: their samples of one byte one behind another, and each
    as a FLAC file of 8 bits, where soundfile is installed.
    """
    train = run.dataset.splits["train"]
    known = read_all(train)
    found = sizes(_samples(x, mask))
    found |= {f"{key}_known": size for key, size in sizes(_samples(x, mask), _samples(known.x, known.mask)).items()}
    try:
        soundfile = importlib.import_module("soundfile")
    except ImportError:
        return found
    found["FLAC"] = 0
    for recording, heard in zip(x, mask, strict=True):
        file = io.BytesIO()
        # Samples of 8 bits are the high bytes of those of 16.
        samples = (recording[heard > 0].astype(np.int16) - 128) * 256
        soundfile.write(file, samples, RATE, format="FLAC", subtype="PCM_S8")
        found["FLAC"] += len(file.getvalue())
    return found


def _samples(x: Any, mask: Any) -> bytes:
    return np.asarray(x, np.uint8)[np.asarray(mask) > 0].tobytes()


def both_ways(
    run: Any, x: Any, context: Any, vocabulary: Vocabulary | None, end: int = -1
) -> tuple[dict[str, Any], Coded]:
    """The times of compressing and decompressing, without compilation, what differs behind them, and the file. `end`:
    as of `CodingOptions`.
    """
    few = x[: 16 * 512] if vocabulary is not None else x[:128]
    coded(run, few, CodingOptions(context=_first(context, len(few)), end=end, verify=False))  # compiles
    time_in, found = seconds(lambda: coded(run, x, CodingOptions(context=context, end=end, verify=False)))
    time_out, back = seconds(lambda: run.decompress(found.data, context=context))
    sent, came = (bytes(part) if vocabulary is not None else np.asarray(part, x.dtype).tobytes() for part in (x, back))
    if len(sent) != len(came):
        raise UserError(f"{len(came)} bytes came back of {len(sent)}")
    different = int((np.frombuffer(sent, np.uint8) != np.frombuffer(came, np.uint8)).sum())
    return {"seconds_in": time_in, "seconds_out": time_out, "different": different}, found


def _first(context: Any, num: int) -> Any:
    return None if context is None else {part: np.asarray(values)[:num] for part, values in context.items()}


def measure(name: str, run: Any, examples: int) -> dict[str, Any]:
    """The row of a run."""
    source, vocabulary = run.dataset.splits["test"], vocabulary_of(run)
    if examples and examples < len(source):
        source = Subset(source, np.unique(np.linspace(0, len(source) - 1, examples).astype(int)))
    batch = read_all(source)
    if batch.mask is not None and vocabulary is None:  # a window that begins with samples of the one before is left out
        source = Subset(source, np.flatnonzero(np.asarray(batch.mask)[:, 0]))
        batch = read_all(source)
    x: Any = np.asarray(batch.x) if vocabulary is None else text_of_split(vocabulary, source)
    context, mask = (batch.context or None, batch.mask) if vocabulary is None else (None, None)
    row, found = both_ways(run, x, context, vocabulary, end=-1 if mask is None else FILLING)
    content, pictures, num, _ = content_of(run, x)
    if mask is None:
        others = sizes(content) | dict(pictures)
        others |= {f"{key}_known": size for key, size in sizes(content, known_of(run)).items()}
    else:
        num, content, others = np.count_nonzero(mask), _samples(x, mask), masked_sizes(run, x, np.asarray(mask))
    row |= {key: 8 * size / num for key, size in others.items()}
    return row | {
        "data": name,
        "network": run.config.network.name,
        "examples": len(source) if vocabulary is None else "",
        "values": num,
        "score": score(run, x, context, vocabulary, mask),
        "tables": found.bits / num,
        "file": 8 * len(found.data) / num,
        "ratio": 8 * len(found.data) / found.bits,
        "streams": found.streams,
        "data_bytes": len(content),
        "file_bytes": len(found.data),
        "allowed_bytes": allowed(found),
        "parameter_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(run.params)),
        "rate_in": num / row["seconds_in"],
        "rate_out": num / row["seconds_out"],
    }


def keep(row: dict[str, Any]) -> None:
    """Puts a row in place of an earlier one of the same data, in measured.csv and on the page."""
    path = HERE / "measured.csv"
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [each for each in csv.DictReader(file) if each["data"] != row["data"]]
    rows.append({name: row.get(name, "") for name in COLUMNS})
    rows.sort(key=lambda each: list(DATA).index(each["data"]))
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    tables = [
        markdown_table(list(shown.values()), [[_shown(each.get(name, "")) for name in shown] for each in rows])
        for shown in (SHOWN, COSTS)
    ]
    write_measured(HERE / "README.md", "\n\n".join(tables))


def main() -> int:
    """Measures a row; returns the exit code."""
    parser = Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", required=True, choices=DATA)
    parser.add_argument("--workdir", required=True, help="folder of the runs")
    parser.add_argument("--examples", type=int, default=0, help="of the test split; 0: all")
    flags = parser.parse_args()
    config, overrides = DATA[flags.data]
    workdir = Path(flags.workdir)
    if flags.data == "adult_words":
        config = config.format(**adult_words(workdir))
    run = arjax.fit(config, workdir / flags.data, overrides)
    row = measure(flags.data, run, flags.examples)
    keep(row)
    print("\n".join(f"{name}: {_shown(row.get(name, ''))}" for name in COLUMNS))
    return 0


def _shown(value: Any) -> str:
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return f"{number:,.0f}" if number >= 1000 or number == int(number) else f"{number:.4g}"


if __name__ == "__main__":
    sys.exit(tell_mistakes("study.py", main))
