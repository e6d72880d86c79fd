"""WaveNet and TCN against their definitions, tap by tap; their contexts, receptive fields and queues."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from families import slow
from numpy_layers import initialised

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks.causal_conv import TCNBlock

rng = np.random.default_rng(0)


def test_tcn_drops_whole_channels():
    """Without normalisation or bias in between, a dropped channel is 0 in all steps, a kept one in none."""
    x = np.ones((16, 7, 6), np.float32)
    block = TCNBlock(6, 6, 1, 1, 0.5, "float32")
    params = initialised(block, x, False)
    params["second"] |= {"kernel": np.eye(6, dtype=np.float32), "scale": np.ones(6, np.float32), "bias": np.ones(6)}
    out = jax.jit(lambda key: block.apply({"params": params}, x, True, rngs={"dropout": key}))(jax.random.key(0))
    dropped = np.asarray(out == 1)  # x alone
    assert (dropped.all(1) == dropped.any(1)).all()
    assert 0.3 < dropped[:, 0].mean() < 0.7


@pytest.mark.parametrize(
    ("network", "options", "field"),
    [
        ("causal_conv", {"num_layers": 3, "dilation_cycle": 2}, 5),
        slow("causal_conv", {"num_layers": 2, "kernel_size": 1}, 1),
        slow("wavenet", {"num_layers": 2, "dilation_cycle": 2, "skip_channels": 16}, 5),
        ("wavenet", {"num_layers": 2, "dilation_cycle": 1, "kernel_size": 3, "skip_channels": 16}, 7),
        ("tcn", {"num_layers": 2, "kernel_size": 2}, 7),
        slow("tcn", {"num_layers": 1, "kernel_size": 3}, 5),
    ],
)
def test_reads_as_far_back_as_it_says(network, options, field):
    model = make_model(EventSpec((10,)), network, hidden_size=16, ordering="reversed", position="none", **options)
    assert model.network.receptive_field == field
    params = cases.params_of(model)
    depends = cases.dependence(model.network, params, model.factorization, num=16)
    np.testing.assert_array_equal(depends, model.network.dependencies(model.factorization))
    assert depends[0].tolist() == [False, *[True] * field, *[False] * (9 - field)]


def test_frames_condition_their_own_steps_and_the_summary_all():
    """Local conditioning: without the summary of the whole, frame l reaches the steps that read it, and those after."""
    spec = ContextSpec("frames", 2, 3)
    options = {"hidden_size": 8, "skip_channels": 8, "num_layers": 2, "kernel_size": 1}
    model = make_model(EventSpec((7,)), "wavenet", context=spec, **options)
    params = cases.params_of(model)
    x, c = np.zeros((1, 7), np.int32), rng.normal(size=(1, 3, 2)).astype(np.float32)
    other = c.copy()
    other[:, 1] += 1

    def changed(params):
        before, after = (
            cases.parallel(model.network, params, x, model.factorization, {"frames": f}) for f in (c, other)
        )
        return (np.asarray(before) != np.asarray(after)).any((0, -1))

    assert changed(params).all()
    params["conditioning"]["whole"]["summary"]["kernel"] = 0 * params["conditioning"]["whole"]["summary"]["kernel"]
    assert np.flatnonzero(changed(params)).tolist() == [3, 4]  # floor(s 3 / 7) = 1
