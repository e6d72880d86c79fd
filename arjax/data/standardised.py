"""Real values in standard units: mean 0 and standard deviation 1 on the train split, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from arjax.core.arrays import check_precision, is_present
from arjax.core.batch import Batch
from arjax.core.errors import UserError, did_you_mean, refuse, say_once
from arjax.core.spec import EventSpec
from arjax.data.sources import ArraySource

#: Means and standard deviations are those of each place of an example, or of each entry of the value of a site.
UNITS = ("sites", "values")
#: Smallest standard deviation; the largest one is its inverse. Results computed from these fit float32.
SMALLEST = 1e-30
#: A standard deviation of this part of the mean is rounding.
_ROUNDING = 1e-14
#: Values of more standard deviations are taken for raw ones, and so are whole numbers other than 0.
_FAR = 1e3


def in_standard_units(
    event: EventSpec, splits: Mapping[str, ArraySource], units: str, name: str, columns: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Replaces the values of each split by z = (x - shift) / scale; returns `scale` and `shift`, float64[*shape] each.

    They are the standard deviation and the mean in the train split, without missing (NaN) or masked values and examples
    of weight 0. In the units "sites", a place that is masked in all examples is given, and has the moments of its
    values. Discrete columns among mixed ones stay as they are.
    """
    hint, differ = did_you_mean(units, UNITS), f"each column of {name!r} has units of its own: give standardise='sites'"
    refuse(
        (units not in UNITS, f"standardise of the data {name!r} must be 'sites' or 'values', not {units!r}{hint}"),
        (not event.reals.any(), f"standardise is for real values, and {name!r} has {event.in_words}"),
        (units == "values" and not event.reals.all(), differ),
    )
    shift, scale = (np.broadcast_to(each, event.shape).copy() for each in _moments(event, splits, units, name, columns))
    for split, source in splits.items():
        z = (np.asarray(source.arrays.x, np.float64) - shift) / scale
        remedy = "leave it out, or give it as a logarithm or in other units"
        remedy = remedy if units == "sites" else "give standardise='sites' if places have different units, or " + remedy
        check_precision(z, f"the standardised {split} rows of {name!r}", remedy, columns)
        source.arrays = source.arrays.replace(x=as_float32(z, f"the {split} examples of {name!r}"))
    return {"scale": scale, "shift": shift}


def as_float32(z: np.ndarray, what: str) -> np.ndarray:
    """Returns standardised values in their type."""
    far = np.abs(z) > np.finfo(np.float32).max
    if far.any():
        raise UserError(f"a value of {what} is {z[far][0]:.1g} standard deviations from the mean of the train split")
    return z.astype(np.float32)


def remark_if_raw(scale: np.ndarray | None, x: np.ndarray) -> None:
    """Says on stderr if examples for a model of standardised values are probably in the units of the data."""
    if scale is None or x.dtype.kind not in "iuf" or not x.size:
        return
    largest = np.nanmax(np.abs(np.where(scale == 1, 0, x)))
    if largest > (_FAR if x.dtype.kind == "f" else 0):
        say_once(
            f"the examples hold values up to {largest:.3g}, and this model reads standardised ones: of examples in the "
            "units of the data give `standardise(x)`, the method of the model"
        )


def _moments(
    event: EventSpec, splits: Mapping[str, ArraySource], units: str, name: str, columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each place, or of each entry of a value; 0 and 1 for discrete columns."""
    rows, real = _scored(event, splits["train"].arrays, units), event.reals
    if units == "values":
        rows, real = rows.reshape(-1, *event.value_shape), np.array(True)

    def refuse_places(bad: np.ndarray, words: str) -> None:
        for i in np.flatnonzero(real & bad)[:1].tolist():
            raise UserError(f"{_called(i, bad.shape, units, name, columns)} {words}")

    elsewhere = "" if columns or units == "values" or not real.all() else ", or give standardise='values'"
    refuse_places(np.isnan(rows).all(0), f"has no value in any train row: leave it out{elsewhere}")
    refuse((len(rows) == 1, f"standardise of {name!r} needs more than one train example that counts"))
    known = np.where(real, rows, 0.0)
    shift, scale = np.nanmean(known, 0), np.where(real, np.nanstd(known, 0), 1.0)
    same = (np.nanmax(known, 0) == np.nanmin(known, 0)) | ((scale > 0) & (scale <= _ROUNDING * np.abs(shift)))
    refuse_places(same, f"holds one number in all train rows: leave it out{elsewhere}")
    refuse_places(scale < SMALLEST, f"varies by less than {SMALLEST:g}: give it in other units")
    refuse_places(scale > 1 / SMALLEST, f"varies by more than {1 / SMALLEST:g}: give it in other units")
    return shift, scale


def _scored(event: EventSpec, train: Batch, units: str) -> np.ndarray:
    """Returns the values of train examples that count, float64[N, *shape], NaN where they are missing or masked. A
    place masked in all of them is given, and keeps its known values; so do all places together for the units "values".
    """
    x = np.asarray(train.x, np.float64)
    ones = (1,) * len(event.value_shape)
    present = is_present(x, len(ones)).reshape(*x.shape[: x.ndim - len(ones)], *ones)
    scored = present if train.mask is None else present & (np.asarray(train.mask) > 0).reshape(present.shape)
    if train.weight is not None:
        counts = np.asarray(train.weight) > 0
        x, present, scored = x[counts], present[counts], scored[counts]
    is_given = ~scored.any(axis=0 if units == "sites" else None)
    return np.where(scored | (present & is_given), x, np.nan)


def _called(i: int, shape: tuple[int, ...], units: str, name: str, columns: Sequence[str]) -> str:
    """Returns the name of a place in messages."""
    if columns:
        return f"the column {columns[i]!r} of {name!r}"
    if not shape:
        return f"the data set {name!r}"
    place = ", ".join(str(int(k)) for k in np.unravel_index(i, shape))
    return f"the {'site' if units == 'sites' else 'entry'} {place if len(shape) == 1 else f'({place})'} of {name!r}"
