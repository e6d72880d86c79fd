"""The study of memory: parameters scored with another memory, and its picture and table."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import arjax
from arjax.data import from_arrays
from arjax.evaluation.splits import Scoring
from arjax.testing.examples import random_like, random_x

EVENT = arjax.EventSpec((12,), (), "tokens", 4)
SIZES = {"width": 8, "num_layers": 2, "num_heads": 2, "segment": 3}


@pytest.fixture
def measure(load_script):
    return load_script("experiments/memory/measure.py")


@pytest.mark.slow
def test_the_memory_of_a_run_is_replaced_and_its_parameters_stay(measure):
    model = arjax.make_model(EVENT, "transformer_xl", memory=6, **SIZES)
    params = random_like(model.param_shapes)
    x = random_x(EVENT, 5)
    dataset = from_arrays(EVENT, name="own", train={"x": x}, test={"x": x})
    run = SimpleNamespace(model=model, params=params, dataset=dataset, settings=SimpleNamespace(scoring=Scoring(5)))
    for memory in (0, 6):
        nll, sites = measure.scored_with(run, memory)
        other = arjax.make_model(EVENT, "transformer_xl", memory=memory, **SIZES)
        np.testing.assert_allclose(nll, -np.asarray(jax.jit(other.log_prob)(params, x)), rtol=1e-5)
        assert sites.tolist() == [12] * 5
    assert np.abs(measure.scored_with(run, 0)[0] - nll).max() > 1e-3
