"""Every network and every kind of model has programs for accelerators: they are lowered here, where there are none."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh
from jax.sharding import PartitionSpec as P
from lowering import BATCH, MESH, Program, draw, draw_after_prompt, refusal, score, train_steps
from mesh_gradients import OBJECTIVE_OF, SMALL_MODELS, small_model

from arjax.core import programs
from arjax.core.programs import by_rows, inner_jaxprs, rows_over_all_axes
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.models.kinds import DTYPES
from arjax.networks import NETWORKS, step_variables
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.denoisers import BlockTransformer, Denoiser
from arjax.networks.layers.steps import to_grid
from arjax.testing.examples import EVENTS
from arjax.testing.models import autoregressive_networks, supported

#: Networks of two families, which the fast suite lowers.
FAST = ("gru", "pixelcnn")
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


def equations(function: Callable[..., Any], *arguments: Any, mesh: AbstractMesh = MESH) -> list[tuple[bool, Any]]:
    """The operations of a program on a mesh, and whether each stands in a loop."""

    def walk(jaxpr: Any, in_loop: bool) -> Iterator[tuple[bool, Any]]:
        for equation in jaxpr.eqns:
            yield in_loop, equation
            for inner in inner_jaxprs(equation.params):
                yield from walk(inner, in_loop or equation.primitive.name in ("scan", "while"))

    with jax.sharding.use_abstract_mesh(mesh):
        return list(walk(jax.make_jaxpr(function)(*arguments).jaxpr, False))


def constraints(function: Callable[..., Any], *arguments: Any) -> list[tuple[bool, Any]]:
    """How arrays are placed on the mesh, and whether that is in a loop."""
    named = [(loop, each) for loop, each in equations(function, *arguments) if "constraint" in each.primitive.name]
    return [(loop, each.params["sharding"].spec) for loop, each in named]


def test_draws_gather_parameters_before_their_steps_unless_they_are_too_large(monkeypatch):
    model = autoregressive("lstm", "float32")
    gathered = constraints(functools.partial(step_variables, model.network), model.param_shapes)
    assert gathered == [(False, P())] * len(jax.tree.leaves(model.param_shapes))
    monkeypatch.setattr(programs, "MOST_WHOLE", 0)
    assert not constraints(functools.partial(step_variables, model.network), model.param_shapes)


def test_a_chain_gathers_parameters_before_its_steps():
    model = small_model("gaussian_chain/levels", "small")
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), BATCH))
    found = constraints(lambda params, keys: model.draw(params, keys)[0], model.param_shapes, keys)
    assert found.count((False, P())) == len(jax.tree.leaves(model.param_shapes))


@pytest.mark.parametrize(("batch", "axes"), [(8, ("data", "fsdp", "tensor")), (4, ("data", "fsdp")), (3, None)])
@pytest.mark.parametrize("network", ["lstm", "row_lstm", "diagonal_bilstm"])
def test_recurrences_divide_examples_over_all_axes_and_have_whole_kernels(network, batch, axes):
    model = autoregressive(network, "float32")
    x = jax.ShapeDtypeStruct((batch, *model.event.shape), model.event.dtype)
    found = constraints(model.network.apply, {"params": model.param_shapes}, x, model.factorization)
    placed = [spec for _, spec in found]
    divided = {axis for spec in placed for axis in spec if isinstance(axis, str | tuple)}
    assert P() in placed and ((axes in divided) if axes else not divided)


def test_the_strips_of_a_diagonal_bilstm_are_for_the_devices_of_the_program():
    model = autoregressive("diagonal_bilstm", "float32")
    x = jax.ShapeDtypeStruct((BATCH, *model.event.shape), model.event.dtype)

    def steps(platform: str) -> set[int]:
        mesh = AbstractMesh((1,), ("data",), abstract_device=AbstractDevice("", 1, platform))
        arguments = {"params": model.param_shapes}, x, model.factorization
        found = equations(model.network.apply, *arguments, mesh=mesh)
        return {each.params["length"] for _, each in found if each.primitive.name == "scan"} - {2}

    height, width = model.event.grid_shape
    assert max(steps("tpu")) == height + width + 1 and max(steps("cpu")) == height + 4 * (width + 2) - 1


#: Networks that divide rows over all axes and read whole kernels: of steps in chunks, and of equal layers in a loop.
WHOLE = ("nade", "deep_nade", "conv_nade", "masked_transformer", "pixelcnn_pp", "pixelsnail")


@pytest.mark.parametrize("network", WHOLE)
def test_loops_divide_rows_over_all_axes_and_read_whole_kernels(network):
    """Kernels are put together before the loop, not in it, and no row moves between devices within. A convolution asks
    for its kernel once more, which is whole there.
    """
    model = autoregressive(network, "float32")
    x = jax.ShapeDtypeStruct((BATCH, *model.event.shape), model.event.dtype)
    placed = constraints(model.network.apply, {"params": model.param_shapes}, x, model.factorization)
    inside = [spec for loop, spec in placed if loop and spec != P()]
    assert (False, P()) in placed and (
        (True, P()) not in placed or network in ("conv_nade", "pixelcnn_pp", "pixelsnail")
    )
    assert inside or network == "deep_nade"
    assert all(("data", "fsdp", "tensor") in spec for spec in inside)
    assert any(("data", "fsdp", "tensor") in spec for _, spec in placed)


def test_the_scope_of_rows_ends():
    x = jax.ShapeDtypeStruct((BATCH, 3), jnp.float32)
    ((_, within),) = constraints(rows_over_all_axes()(by_rows), x)
    ((_, after),) = constraints(lambda x: by_rows(x), x)
    assert within[0] == ("data", "fsdp", "tensor") and after[0] == ("data", "fsdp")


def test_features_in_the_order_of_the_sites_are_not_gathered():
    """The gradient of a gather is a scatter, on accelerators a loop over the sites."""
    features = jnp.arange(24.0).reshape(2, 4, 1, 3)
    for name, gathers in (("raster", False), ("reversed", True)):
        order = make_factorization((2, 2), name)
        found = [each.primitive.name for _, each in equations(lambda x, order=order: to_grid(x, order), features)]
        assert any("gather" in primitive for primitive in found) == gathers
        np.testing.assert_array_equal(to_grid(features, order).reshape(2, 4, 3), features[:, order.rank, 0])
