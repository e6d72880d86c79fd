"""Builder of the red wines of the UCI set "Wine Quality": eleven measurements and a grade, 1599 wines."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from arjax.core.errors import UserError
from arjax.data.builders import OwnBuilder

FILES = {"": ("winequality-red.csv", "wine_quality_red.tsv.gz")}  # as UCI and as PMLB publish the same rows
URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/{file}"
COLUMNS = 12
SIZES = {"": (1279, 160, 160)}
SPLIT_SEED = 0


def read_table(path: Path) -> np.ndarray:
    """The rows of a csv file (separated by `;`) or a gzipped tsv file with a header, float32[N, 12]."""
    opener, delimiter = (gzip.open, "\t") if path.suffix == ".gz" else (open, ";")
    try:
        with opener(path, "rt", newline="") as file:
            _, *rows = csv.reader(file, delimiter=delimiter)
        table = np.array([[float(cell) for cell in row] for row in rows if row], np.float32)
    # an empty file, ragged rows, words instead of numbers, bytes that are not text, a damaged archive
    except (ValueError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a table of numbers with a header: {error}") from error
    if table.ndim != 2 or table.shape[1] != COLUMNS or len(table) < 10:
        raise UserError(f"{path} must have {COLUMNS} columns and 10 rows or more, but has the shape {table.shape}")
    return table


class WineQualityRed(OwnBuilder):
    """One wine, float32[12], in data units; the grade is the last column.

    The set has no official split: a permutation with a fixed seed takes 80 / 10 / 10 percent. About 15 percent of
    the wines stand in the table more than once, so some test wines are also in the train split.
    """

    HOMEPAGE = "https://archive.ics.uci.edu/dataset/186/wine+quality"
    CITATION = """\
@article{cortez2009modeling,
  title={Modeling wine preferences by data mining from physicochemical properties},
  author={Cortez, Paulo and Cerdeira, Ant{\\'o}nio and Almeida, Fernando and Matos, Telmo and Reis, Jos{\\'e}},
  journal={Decision Support Systems}, year={2009}
}"""
    MANUAL_DOWNLOAD_INSTRUCTIONS = "The file {} of the UCI repository, or {} of PMLB.".format(*FILES[""])

    def _info(self) -> tfds.core.DatasetInfo:
        return self._described(x=tfds.features.Tensor(shape=(COLUMNS,), dtype=np.float32))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = Path(dl_manager.manual_dir)
        table = read_table(next(folder / name for name in FILES[""] if (folder / name).is_file()))
        rows = np.random.default_rng(SPLIT_SEED).permutation(len(table))
        held_out = round(0.1 * len(table))
        parts = np.split(rows, [len(rows) - 2 * held_out, len(rows) - held_out])
        splits = zip(("train", "validation", "test"), parts, strict=True)
        return {split: self._generate_examples(table, part) for split, part in splits}

    def _generate_examples(self, table: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, dict]]:
        for row in rows:
            yield int(row), {"x": table[row]}
