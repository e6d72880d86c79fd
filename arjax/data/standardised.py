"""Real values in standard units: mean 0 and standard deviation 1 on the train split, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from arjax.core.arrays import check_precision
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.registry import did_you_mean
from arjax.core.spec import EventSpec
from arjax.data.sources import ArraySource

#: What has a mean and a standard deviation of its own: each place of an example, or each entry of the value of a site.
UNITS = ("sites", "values")
#: Smallest standard deviation; the largest one is its inverse. Results computed from these fit float32.
SMALLEST = 1e-30


def in_standard_units(
    event: EventSpec, splits: Mapping[str, ArraySource], units: str, name: str, columns: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Replaces the values of each split by z = (x - shift) / scale; returns `scale` and `shift`, float64[*shape] each.

    They are the standard deviation and the mean in the train split. Values that are missing (NaN) or masked, and
    examples of weight 0, have no part in them. Of mixed columns the discrete ones stay as they are.

    Raises `UserError` for values that are not real, and where those of a place (by its name in `columns`, if it has
    one) are all the same or vary by less than 1e-30 or more than 1e30.
    """
    if units not in UNITS:
        raise UserError(
            f"standardise of the data {name!r} must be 'sites' or 'values', not {units!r}{did_you_mean(units, UNITS)}"
        )
    kinds = [spec.kind for spec in event.columns or (event,)]
    if "real" not in kinds:
        raise UserError(f"standardise is for real values, and {name!r} has {event.in_words}")
    if event.columns and units == "values":
        raise UserError(f"each column of {name!r} has units of its own: give standardise='sites'")
    shift, scale = (np.broadcast_to(each, event.shape).copy() for each in _moments(event, splits, units, name, columns))
    for split, source in splits.items():
        z = (np.asarray(source.arrays.x, np.float64) - shift) / scale
        if split == "train":
            remedy = "leave it out, or give it as a logarithm or in other units"
            check_precision(z, f"the standardised rows of {name!r}", remedy, columns)
        source.arrays = source.arrays.replace(x=z.astype(np.float32))
    return {"scale": scale, "shift": shift}


def _moments(
    event: EventSpec, splits: Mapping[str, ArraySource], units: str, name: str, columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each place, or of each entry of a value; 0 and 1 of discrete columns."""
    rows = _scored(event, splits["train"].arrays)
    if units == "values":
        rows = rows.reshape(-1, *event.value_shape)
    real = np.ones(rows.shape[1:], bool)
    if event.columns:
        real[:] = [column.kind == "real" for column in event.columns]

    def refuse(bad: np.ndarray, words: str) -> None:
        for i in np.flatnonzero(bad)[:1].tolist():
            raise UserError(f"{_called(i, bad.shape, units, name, columns)} {words}")

    elsewhere = "" if event.columns or columns or units == "values" else ", or give standardise='values'"
    refuse(np.isnan(rows).all(0), "has no value in any train row: leave it out")
    constant = np.nanmax(rows, 0) == np.nanmin(rows, 0)
    refuse(real & constant, f"holds one number in all train rows: leave it out{elsewhere}")
    shift, scale = np.where(real, np.nanmean(rows, 0), 0.0), np.where(real, np.nanstd(rows, 0), 1.0)
    far = (scale < SMALLEST) | (scale > 1 / SMALLEST)
    refuse(far, f"varies by {scale[far].ravel()[:1].sum():g}: give it in other units")
    return shift, scale


def _scored(event: EventSpec, train: Batch) -> np.ndarray:
    """The values of the train split, float64[N, *shape], with NaN at masked sites, of the examples that count."""
    x = np.asarray(train.x, np.float64)
    if train.mask is not None:
        scored = np.asarray(train.mask).reshape(len(x), *event.grid_shape, *(1 for _ in event.value_shape))
        x = np.where(scored > 0, x, np.nan)
    return x if train.weight is None else x[np.asarray(train.weight) > 0]


def _called(i: int, shape: tuple[int, ...], units: str, name: str, columns: Sequence[str]) -> str:
    """The name of a place in messages."""
    if columns:
        return f"the column {columns[i]!r} of {name!r}"
    if not shape:
        return f"the data set {name!r}"
    place = ", ".join(str(int(k)) for k in np.unravel_index(i, shape))
    return f"the {'site' if units == 'sites' else 'entry'} {place if len(shape) == 1 else f'({place})'} of {name!r}"
