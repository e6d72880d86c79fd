"""Sets of vectors: binary UCI sets and the wines."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import refuse
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.data.base import DATASETS, Dataset, from_splits
from arjax.data.prepared import read_splits
from arjax.data.raw_sets import UCI


@DATASETS.register("uci_binary")
def uci_binary(*, set: str = opt("dna", choices=tuple(UCI)), as_image: bool = False, data_dir: str = "") -> Dataset:
    """Binary sets of the UCI repository with the splits of the NADE and MADE papers (Germain et al. 2015, table 2).

    Args:
      set: "adult" (123 bits), "connect4" (126), "dna" (180), "mushrooms" (112), "nips" (500) or "ocr_letters" (128).
      as_image: the letters as images of 16 x 8 pixels; the other sets have no such form.
    """
    refuse((as_image and set != "ocr_letters", f"dataset.as_image is for the set ocr_letters: {set} has no images"))
    name = f"uci_binary/{set}"
    x = {split: np.asarray(rows["x"]) for split, rows in read_splits(name, data_dir).items()}
    if as_image:
        x = {split: bits.reshape(-1, 16, 8) for split, bits in x.items()}
    return from_splits(EventSpec(x["train"].shape[1:]), x, name=name)


@DATASETS.register("wine_quality")
def wine_quality(*, noise: float = opt(0.0, least=0), group: int = 1, data_dir: str = "") -> Dataset:
    """Eleven measurements of 1599 red wines and their grade (Cortez et al. 2009), 1279 / 160 / 160.

    Each of the 12 columns is standardised on the train split; `scale` of the data set turns a density back into data
    units. The columns are rounded and the grade is a whole number, so a density can be made arbitrarily high by peaks
    at these values: report it with care.

    Args:
      noise: standard deviation of fresh Gaussian noise on the rows in every training step, in the network's units.
      group: columns of one site, which is then a vector of as many neighbours: a number that divides 12.
    """
    splits = read_splits("wine_quality", data_dir)
    num = len(splits["train"]["x"][0])
    refuse((num % group, f"the data set option 'group' must divide the {num} columns of 'wine_quality', not {group}"))
    event = EventSpec((num // group,), (group,) if group > 1 else (), "real")
    examples = {split: np.asarray(rows["x"]).reshape(-1, *event.shape) for split, rows in splits.items()}
    return with_noise(from_splits(event, examples, name="wine_quality", standardise="sites"), noise)


def with_noise(dataset: Dataset, noise: float) -> Dataset:
    """Adds fresh Gaussian noise of this standard deviation to real values in training, as the network sees them."""
    if not noise:
        return dataset
    dataset.event.check_kind(("real",), f"noise is for real values, and those of {dataset.name!r} are")
    return dataclasses.replace(dataset, transform=functools.partial(_add_noise, noise=noise))


def _add_noise(key: jax.Array, batch: Batch, train: bool, *, noise: float) -> Batch:
    """Returns x + noise e, e ~ N(0, 1), in training, for a smoother density (Rothfuss et al., "Noise Regularization for
    Conditional Density Estimation", 2019, section 4), and x elsewhere.
    """
    return batch.replace(x=batch.x + noise * jax.random.normal(key, batch.x.shape, batch.x.dtype)) if train else batch
