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
#: Entries of a value that are less correlated than this may be independent given the sites before.
_CORRELATED = 0.5


def remarks_about(dataset: Dataset, independent: str = "") -> list[str]:
    """Returns a sentence each about real values far from standard ones, about images with channels first, and about
    correlated entries of a value, if the conditional of this name takes them for `independent` given the past.
    """
    remarks, shape = _about_scale(dataset), dataset.event.shape
    remarks += _about_entries(dataset, independent) if independent else []
    if len(shape) == 3 and shape[0] <= _MOST_CHANNELS < min(shape[1:]):
        given, right = (" x ".join(map(str, sizes)) for sizes in (shape, (*shape[1:], shape[0])))
        remarks.append(f"an example has the shape {given}. If its channels come first, write them last: {right}")
    return remarks


def _about_scale(dataset: Dataset) -> list[str]:
    """Returns a sentence about an entry of unstandardised real values whose mean or deviation is far from 0 and 1."""
    if not dataset.event.reals.all() or dataset.scale is not None:
        return []
    x = _some_values(dataset)
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


def _about_entries(dataset: Dataset, conditional: str) -> list[str]:
    """Returns a sentence if two entries of a value, such as two channels of a pixel, are clearly correlated."""
    x = _some_values(dataset)
    x = x[~np.isnan(x).any(1)]
    if x.shape[1] < 2 or len(x) < 2 or not x.std(0).all():
        return []
    correlations = np.abs(np.corrcoef(x.T) - np.eye(x.shape[1]))
    if correlations.max() < _CORRELATED:
        return []
    first, second = sorted(map(int, np.unravel_index(correlations.argmax(), correlations.shape)))
    return [
        f"entries {first} and {second} of a value have a correlation of {correlations.max():.2f}, and the conditional "
        f"{conditional!r} draws them independently of one another: discretized_logistic_mixture couples the channels "
        "of images, and nested(network='made') the entries of any value"
    ]


def _some_values(dataset: Dataset) -> np.ndarray:
    """Returns values of some train examples, float64[sites, entries]; NaN where there is none."""
    source = dataset.splits["train"]
    num = max(1, min(_MOST_EXAMPLES, _MOST_VALUES // math.prod(dataset.event.shape), len(source)))
    rows = source.__getitems__(np.arange(num) * len(source) // num)
    x = np.asarray(rows.x, np.float64).reshape(num * dataset.event.num_sites, -1)
    return x if rows.mask is None else np.where(np.asarray(rows.mask).reshape(-1, 1) > 0, x, np.nan)
