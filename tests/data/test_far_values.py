"""Real values far from 0 and 1 have a remark before the training."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.data.far_values import remark_about_scale

Z = np.random.default_rng(0).normal(size=(60, 8, 2)).astype(np.float32)
EVENT = EventSpec((8,), (2,), "real", 0)


@pytest.mark.parametrize(
    ("shift", "scale", "words"),
    [
        ((0, 0), (1, 1), ""),
        ((0, 9), (8, 0.1), ""),
        ((0, 120), (1, 1), "the mean of entry 1 of a value is 120"),
        ((0, 0), (30, 1), "the mean of entry 0 of a value is"),
        ((0, 0), (1, 1e-3), "the mean of entry 1 of a value is"),
    ],
)
def test_entries_far_away_are_named(shift, scale, words):
    remarks = remark_about_scale(from_arrays(EVENT, train=Z * np.float32(scale) + np.float32(shift)))
    assert len(remarks) == bool(words) and words in "".join(remarks)


def test_sites_that_are_masked_or_missing_do_not_count():
    x, mask = Z.copy(), np.ones((60, 8), int)
    x[:, 4:], mask[:, 4:] = 1e4, 0
    assert not remark_about_scale(from_arrays(EVENT, train={"x": x, "mask": mask}))
    assert remark_about_scale(from_arrays(EVENT, train=x))
    x[:, 4:] = np.nan
    assert not remark_about_scale(from_arrays(EVENT, train=x))


def test_standardised_and_discrete_data_have_none():
    data = from_arrays(EVENT, train=100 * Z)
    assert remark_about_scale(data)
    assert not remark_about_scale(dataclasses.replace(data, scale=np.ones((8, 2)), shift=np.zeros((8, 2))))
    levels = from_arrays(EventSpec((8,), (), "levels", 200), train=np.full((9, 8), 150))
    assert not remark_about_scale(levels)
