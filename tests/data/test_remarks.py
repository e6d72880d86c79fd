"""Remarks before the training: real values far from 0 and 1, and images with their channels first."""

import dataclasses
import re

import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.data.remarks import remarks_about

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
    remarks = remarks_about(from_arrays(EVENT, train=Z * np.float32(scale) + np.float32(shift)))
    assert len(remarks) == bool(words) and words in "".join(remarks)


def test_sites_that_are_masked_or_missing_do_not_count():
    x, mask = Z.copy(), np.ones((60, 8), int)
    x[:, 4:], mask[:, 4:] = 1e4, 0
    assert not remarks_about(from_arrays(EVENT, train={"x": x, "mask": mask}))
    assert remarks_about(from_arrays(EVENT, train=x))
    x[:, 4:] = np.nan
    assert not remarks_about(from_arrays(EVENT, train=x))


def test_standardised_and_discrete_data_have_none():
    data = from_arrays(EVENT, train=100 * Z)
    assert remarks_about(data)
    assert not remarks_about(dataclasses.replace(data, scale=np.ones((8, 2)), shift=np.zeros((8, 2))))
    levels = from_arrays(EventSpec((8,), (), "levels", 200), train=np.full((9, 8), 150))
    assert not remarks_about(levels)


@pytest.mark.parametrize(
    ("event", "remark"),
    [
        (EventSpec((3, 6, 5), (), "levels", 4), "shape 3 x 6 x 5.*write them last: 6 x 5 x 3"),
        (EventSpec((1, 6), (6,), "levels", 4), "shape 1 x 6 x 6"),
        (EventSpec((6, 5, 3), (), "levels", 4), ""),
        (EventSpec((3, 6), (), "levels", 4), ""),
        (EventSpec((3, 3, 3), (), "levels", 4), ""),
    ],
)
def test_images_with_channels_first_have_a_remark(event, remark):
    remarks = remarks_about(from_arrays(event, train=np.zeros((2, *event.shape), np.int32)))
    assert len(remarks) == bool(remark) and (not remark or re.search(remark, remarks[0]))
