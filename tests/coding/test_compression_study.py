"""The study of the coder: what a file may have, what came back, and its table."""

import numpy as np
import pytest

import arjax
from arjax.data import from_arrays

EVENT = arjax.EventSpec((4,), kind="levels", num_levels=5)


@pytest.fixture
def study(load_script):
    return load_script("experiments/compression/study.py")


def test_a_file_keeps_the_limit_and_comes_back(study):
    x = np.arange(400).reshape(100, 4) % 5
    dataset = from_arrays(EVENT, name="own", train={"x": x}, test={"x": x})
    run = arjax.fit_arrays(arjax.make_model(EVENT, "independent"), train=dataset, steps=2, quiet=True)
    times, found = study.both_ways(run, x, None, None)
    assert times["different"] == 0 and min(times["seconds_in"], times["seconds_out"]) > 0
    bits = -run.log_prob(x).sum() / np.log(2)
    assert study.score(run, x, None, None) == pytest.approx(bits / x.size)
    assert study.allowed(found) == pytest.approx(1.001 * bits / 8 + 512 + 16 * 100 + 8, rel=1e-4)
    assert len(found.data) <= study.allowed(found)
