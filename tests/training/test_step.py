import dataclasses
import functools
import traceback
from pathlib import Path

import flax.linen as nn
import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from loop_helpers import assert_same_bits, tiny_config

import arjax
from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import MADE
from arjax.objectives import Loss, Mean, Metrics, Objective, make_objective
from arjax.parallel.sharding import make_mesh, replicated
from arjax.training.feed import ResidentFeed, as_traced
from arjax.training.optimizer import make_optimizer
from arjax.training.state import StepSpec, TrainState, abstract_state, fresh_state, init_state
from arjax.training.step import compile_chunk, train_chunk, train_step, zero_sums


@pytest.fixture(scope="module")
def setup():
    return build(tiny_config())


@pytest.fixture(scope="module")
def feed(setup):
    return ResidentFeed(setup.dataset.splits["train"], setup.mesh, seed=0, batch_size=8, max_steps=6)


def run_groups(setup, feed, groups):
    """Runs the steps in dispatches of the given sizes, all by one compiled program."""
    init_key, key = setup.keys()
    state, chunk, step = setup.init_state(init_key), feed.chunk(0, 1), 0
    sums = jax.device_put(zero_sums(setup.spec, state, chunk), replicated(setup.mesh))
    program = compile_chunk(setup.spec, state, sums, chunk, as_traced(1, setup.mesh), key)
    for n in groups:
        state, sums = program(state, sums, feed.chunk(step, n), as_traced(n, setup.mesh), key)
        step += n
    return state, sums


def test_one_program_serves_all_groupings_of_steps_and_gives_the_same_bits(setup, feed):
    state, sums = run_groups(setup, feed, (6, 1))
    assert_same_bits((state, sums), run_groups(setup, feed, (1, 2, 4)))
    assert int(state.step) == 7 and float(sums.steps) == 7 and float(sums.metrics.examples) == 56


@pytest.mark.slow
def test_dropout_differs_between_steps_and_seeds_only(setup, feed):
    _, key = setup.keys()
    state, batch = setup.init_state(key), feed.chunk(0, 1).batch(0)
    step = jax.jit(lambda state, key: train_step(setup.spec, state, batch, key)[1].value)
    later = state.replace(step=state.step + 1)
    assert step(state, key) == step(state, key)
    assert len({float(step(state, key)), float(step(later, key)), float(step(state, jax.random.key(9)))}) == 3


def test_first_step_with_a_loss_that_is_not_finite_is_remembered(setup, feed):
    class Doubling(Objective):
        def loss(self, model, params, own, batch, step):
            value, one = jnp.where(params["w"] < 1e9, params["w"], jnp.nan), jnp.float32(1)
            return Loss((Mean(value, one),), Metrics(value, one, one, one))

    double = optax.GradientTransformation(lambda params: (), lambda g, state, params: (params, state))
    spec = dataclasses.replace(setup.spec, objective=Doubling(), optimizer=double, ema_decay=0.0)
    state = TrainState(step=jnp.int32(0), params={"w": jnp.float32(3e8)}, opt_state=(), ema={})
    sums = zero_sums(spec, state, feed.chunk(0, 1))
    step = jax.jit(functools.partial(train_chunk, spec))
    _, sums = step(state, sums, feed.chunk(0, 6), jnp.int32(6), jax.random.key(0))
    assert int(sums.bad_step) == 3


def test_transform_runs_inside_the_step(setup, feed):
    def blank(key, batch, train):
        assert train
        return batch.replace(x=jnp.zeros_like(batch.x))

    spec = dataclasses.replace(setup.spec, transform=blank)
    init_key, key = setup.keys()
    state, batch = setup.init_state(init_key), feed.chunk(0, 1).batch(0)
    zeros = batch.replace(x=jnp.zeros_like(batch.x))
    _, loss = jax.jit(functools.partial(train_step, spec))(state, batch, key)
    _, expected = jax.jit(functools.partial(train_step, setup.spec))(state, zeros, key)
    np.testing.assert_allclose(loss.value, expected.value, rtol=1e-6)


def test_the_average_is_of_the_parameters_after_the_step(setup, feed):
    """a_1 = p_1 + d (a_0 - p_1) with d = min(decay, 1 / 10)."""
    spec = dataclasses.replace(setup.spec, ema_decay=0.9)
    init_key, key = setup.keys()
    before = setup.init_state(init_key)
    before = before.replace(ema=jax.tree.map(lambda p: p + 1, before.params))
    after, _ = jax.jit(functools.partial(train_step, spec))(before, feed.chunk(0, 1).batch(0), key)
    expected = jax.tree.map(lambda new, old: new + 0.1 * (old - new), after.params, before.ema)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.ema, expected)
    moved = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), after.params, before.params)
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_few_frames_lie_between_a_train_step_and_the_network():
    """The score reads like its equation: checks stand at the edge, and nothing is there that only forwards."""
    model = make_model(EventSpec((8, 8), (), "levels", 17), "made", hidden_sizes=(9,))
    spec = StepSpec(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    key, batch, calls = jax.random.key(0), Batch(np.zeros((2, 8, 8), np.uint8)), []
    state = jax.eval_shape(lambda: fresh_state(spec, key))

    def note(method, args, kwargs, context):
        if isinstance(context.module, MADE) and context.method_name == "__call__":
            calls.append(
                [
                    frame.name
                    for frame in traceback.extract_stack()
                    if frame.filename.startswith(str(Path(arjax.__file__).parent))
                ]
            )
        return method(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda state: train_step(spec, state, batch, key), state)
    (frames,) = calls
    between = [*frames[frames.index("train_step") :], "__call__"]
    assert len(between) <= 12, between


def test_the_program_of_the_first_state_finds_what_its_shapes_have_traced():
    model = make_model(EventSpec((5,), (), "levels", 3), "made", hidden_sizes=(13,))  # no other test has this one
    spec = StepSpec(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    mesh, traced = make_mesh(1, 1, 1, jax.devices()[:1]), []

    def count(method, args, kwargs, context):
        traced.append(context.method_name)
        return method(*args, **kwargs)

    key = jax.device_put(jax.random.key(0), replicated(mesh))
    with nn.intercept_methods(count):
        shapes = abstract_state(spec, mesh)
        calls = len(traced)
        state = init_state(spec, key, mesh)
    assert calls and len(traced) == calls
    assert jax.tree.map(lambda leaf: leaf.shape, state) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    expected = jax.jit(lambda key: fresh_state(spec, key))(jax.random.key(0))
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def draws(jaxpr):
    """The number of random draws that a program has, those of a loop counted as often as its body is written out."""
    total = sum(equation.primitive.name == "random_bits" for equation in jaxpr.eqns)
    for equation in jaxpr.eqns:
        scan = equation.params if equation.primitive.name == "scan" else {"unroll": 1, "length": 1}
        total += min(scan["unroll"], scan["length"]) * sum(
            map(draws, jax.extend.core.jaxprs_in_params(equation.params))
        )
    return total


@pytest.mark.parametrize("network", ["transformer", "delta_net", "row_lstm"])
def test_deeper_stacks_have_no_larger_program(network):
    def draws_of(num_layers):
        model = make_model(EventSpec((2, 3), (), "levels", 3), network, num_layers=num_layers)
        return draws(jax.make_jaxpr(model.init)(jax.random.key(0)).jaxpr)

    assert draws_of(4) == draws_of(2) > 0
