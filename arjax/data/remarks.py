"""Remarks about data that its user may not expect."""

from __future__ import annotations

import math
import warnings

import numpy as np

from arjax.data.base import Dataset

#: Examples and scalars that are looked at, at most.
_MOST_EXAMPLES, _MOST_VALUES = 256, 2**22
#: Means and deviations of values within these limits need no remark.
_LARGEST, _SMALLEST = 10.0, 0.01
#: Images have at most so many channels.
_MOST_CHANNELS = 4


def remarks_about(dataset: Dataset) -> list[str]:
    """Returns a sentence each about real values far from standard ones, and about images with channels first."""
    remarks, shape = _about_scale(dataset), dataset.event.shape
    if len(shape) == 3 and shape[0] <= _MOST_CHANNELS < min(shape[1:]):
        given, right = (" x ".join(map(str, sizes)) for sizes in (shape, (*shape[1:], shape[0])))
        remarks.append(f"an example has the shape {given}. If its channels come first, write them last: {right}")
    return remarks


def _about_scale(dataset: Dataset) -> list[str]:
    """Returns a sentence about an entry of unstandardised real values whose mean or deviation is far from 0 and 1."""
    if not dataset.event.reals.all() or dataset.scale is not None:
        return []
    source = dataset.splits["train"]
    num = max(1, min(_MOST_EXAMPLES, _MOST_VALUES // math.prod(dataset.event.shape), len(source)))
    rows = source.__getitems__(np.arange(num) * len(source) // num)
    x = np.asarray(rows.x, np.float64).reshape(num * dataset.event.num_sites, -1)
    if rows.mask is not None:
        x = np.where(np.asarray(rows.mask).reshape(-1, 1) > 0, x, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an entry without any value is NaN, and has no remark
        mean, deviation = np.nanmean(x, 0), np.nanstd(x, 0)
    far = (abs(mean) > _LARGEST) | (deviation > _LARGEST) | ((deviation > 0) & (deviation < _SMALLEST))
    if not far.any():
        return []
    entry = int(far.argmax())
    place = f" of entry {entry} of a value" if len(far) > 1 else ""
    return [
        f"the real values are read as they are: the mean{place} is {mean[entry]:.4g} and the standard deviation "
        f"{deviation[entry]:.4g}. Networks learn better from standardised values, (x - mean) / deviation: arrays in "
        "memory take standardise='sites' or, for images and series, standardise='values'"
    ]
