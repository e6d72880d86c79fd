"""Samples on a mesh of 8 simulated devices are those of one device, and every device draws its own."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
from loop_helpers import ROOT, finish, run_python
from mesh_samples import more_samples, samples, samples_of_all
from refusals import refusal

from arjax.core.spec import ContextSpec, EventSpec
from arjax.evaluation.sampling import draw_on_mesh
from arjax.models import make_model
from arjax.parallel.sharding import make_mesh

LAWS = Path(__file__).resolve().parents[1] / "laws"


def draws_of_one_and_of_eight_devices(draws):
    """What a function of `mesh_samples` draws here, and in a process of 8 devices."""
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(LAWS)]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = run_python(f"import mesh_samples; mesh_samples.main(mesh_samples.{draws.__name__})", 8, **environment)
    alone = draws(1, 1, 1)
    return alone, json.loads(finish(program, timeout=900).split("found ", 1)[1])


@pytest.mark.slow
@pytest.mark.parametrize("draws", [samples, more_samples])
def test_eight_devices_draw_what_one_draws(draws):
    alone, found = draws_of_one_and_of_eight_devices(draws)
    for network, x in alone.items():
        np.testing.assert_allclose(found[network], x, rtol=1e-4, atol=1e-5, err_msg=network)
        assert len(np.unique(np.reshape(x, (len(x), -1)), axis=0)) > 2


@pytest.mark.slow
def test_every_sampler_draws_the_same_on_eight_devices():
    alone, found = draws_of_one_and_of_eight_devices(samples_of_all)
    assert found == alone and len({str(x) for x in alone.values()}) > 4


@pytest.mark.slow
def test_given_values_and_contexts_are_those_of_each_example():
    mesh, event = make_mesh(), EventSpec((2, 2), (), "tokens", 3)
    model = make_model(event, "made", context=ContextSpec("label", 3), hidden_sizes=(8,))
    params, key = jax.jit(model.init)(jax.random.key(0)), jax.random.key(1)
    given, observed = np.arange(12).reshape(3, 2, 2) % 3, np.array([[1, 1], [0, 0]], bool)
    for options in ({"context": 1}, {"context": np.arange(3)}, {"context": 2, "given": given[0], "observed": observed}):
        x, _ = draw_on_mesh(model, params, key, 3, mesh, **options)
        np.testing.assert_array_equal(x, model.sample(params, key, 3, **options))
    x, _ = draw_on_mesh(model, params, key, 3, mesh, context=0, given=given, observed=observed, sampler="naive")
    np.testing.assert_array_equal(x[:, 0], given[:, 0])
    assert "the number of samples must be a whole" in refusal(draw_on_mesh, model, params, key, 0, mesh, context=0)
