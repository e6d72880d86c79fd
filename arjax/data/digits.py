"""Handwritten digits that come with scikit-learn: no download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits, label_context

_SIZES = {"train": 1297, "validation": 200, "test": 300}
_SPLIT_SEED = 0


def _file() -> Path:
    """The file within scikit-learn; the package itself takes more than a second to import."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise UserError("the data set 'digits' lies in a package that is missing: pip install scikit-learn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():
        raise UserError(f"the data set 'digits' is not where scikit-learn keeps it, {file}")
    return file


@DATASETS.register("digits")
def digits(*, context: str = "none") -> Dataset:
    """1797 digits of 8 x 8 pixels with 17 levels; the set has no official split, so a fixed seed shuffles it.

    Source: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI repository, 1998).

    Args:
      context: "label" to condition on the digit.
    """
    spec = label_context(context, 10)
    x, label = np.split(np.loadtxt(_file(), np.int64, delimiter=","), [64], axis=1)
    arrays = {"x": x.reshape(-1, 8, 8).astype(np.uint8)} | ({"context": label[:, 0]} if spec else {})
    rows = np.random.default_rng(_SPLIT_SEED).permutation(len(x))
    parts = np.split(rows, np.cumsum(list(_SIZES.values()))[:-1])
    splits = {split: {k: a[part] for k, a in arrays.items()} for split, part in zip(_SIZES, parts, strict=True)}
    return from_splits(EventSpec((8, 8), kind="levels", num_levels=17), splits, context=spec, name="digits")
