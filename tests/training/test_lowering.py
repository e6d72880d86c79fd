"""Every network and every kind of model has programs for accelerators: they are lowered here, where there are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lowering import MESH, Program, draw, draw_after_prompt, refusal, score, train_steps
from mesh_gradients import OBJECTIVE_OF, SMALL_MODELS, small_model

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.models.kinds import DTYPES
from arjax.networks import NETWORKS
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.denoisers import BlockTransformer, Denoiser
from arjax.testing.examples import EVENTS
from arjax.testing.models import autoregressive_networks, supported

#: Networks of four families, which the fast suite lowers.
FAST = ("gru", "made", "pixelcnn", "transformer")
EACH_NETWORK = [
    pytest.param(name, dtype, marks=() if name in FAST and dtype == "float32" else pytest.mark.slow)
    for name in autoregressive_networks()
    for dtype in DTYPES
]
#: The networks of chains.
DENOISE = {
    "gaussian_chain": Denoiser,
    "discrete_chain": (Denoiser, OrderAgnosticNetwork),
    "block_diffusion": BlockTransformer,
}
DENOISERS = [
    (kind, name)
    for kind, families in DENOISE.items()
    for name in NETWORKS.names()
    if issubclass(NETWORKS.get(name), families)
]


@pytest.fixture(autouse=True)
def partitioner_of_users():
    """The tests turn Shardy off where it can be."""
    name = "jax_use_shardy_partitioner"
    if (before := getattr(jax.config, name, True)) is True:
        yield
        return
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


def autoregressive(network: str, dtype: str):
    return supported(network, EVENTS["tokens"], "raster", "sites", dtype=dtype)


def refusals(model, objective: str = "teacher_forcing") -> dict[str, str]:
    found = {
        "train steps": refusal(train_steps, model, objective, MESH, num_devices=8),
        "score": refusal(score, model),
        "draw": refusal(draw, model),
    }
    return {name: reason for name, reason in found.items() if reason}


@pytest.mark.parametrize(["network", "dtype"], EACH_NETWORK)
def test_train_steps_on_a_mesh_and_the_step_form_of_every_network(network, dtype):
    model = autoregressive(network, dtype)
    assert not refusal(train_steps, model, "teacher_forcing", MESH, num_devices=8)
    assert not refusal(draw_after_prompt, model)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("network", autoregressive_networks())
def test_scores_of_every_network(network, dtype):
    assert not refusal(score, autoregressive(network, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("network", autoregressive_networks())
def test_train_steps_on_one_device(network):
    assert not refusal(train_steps, autoregressive(network, "float32"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", SMALL_MODELS)
def test_every_kind_of_model(model, dtype):
    assert not refusals(small_model(model, "small", dtype), OBJECTIVE_OF.get(model, "teacher_forcing"))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(["kind", "network"], DENOISERS)
def test_every_network_of_a_chain(kind, network, dtype):
    options = NETWORKS.get(network).SMALL
    assert not refusals(make_model(EventSpec((4, 4), (), "levels", 3), network, kind=kind, dtype=dtype, **options))


def test_programs_that_only_a_cpu_has_are_refused():
    numbers = jax.ShapeDtypeStruct((3,), jnp.float32)
    alone = jax.jit(lambda x: jax.lax.platform_dependent(x, cpu=jnp.sin))
    python = jax.jit(lambda x: jax.pure_callback(np.sin, x, x))
    for function, reason in ((alone, "cuda"), (python, "callback")):
        assert reason in refusal(Program, function, (numbers,))
    assert not refusal(Program, jax.jit(jnp.sin), (numbers,))
    assert "for 1 devices" in refusal(Program, jax.jit(jnp.sin), (numbers,), num_devices=8)
