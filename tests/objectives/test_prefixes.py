"""Objectives that replace prefixes: nothing replaced is teacher forcing, all replaced are the samplers' own draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prefix_cases import NETWORKS, TOKENS, close, loss_and_gradient, model_and_params

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import ObjectiveState, Step, make_objective
from arjax.objectives.prefixes import SCHEDULES
from arjax.testing.examples import random_x

#: Objectives with which nothing is replaced, each of one network; with the other one they are slow.
NOTHING = (
    "scheduled_sampling(final=0)",
    "scheduled_sampling(final=0, passes=0)",
    "rollout(length=0)",
    "input_noise(rate=0)",
)
NOTHING_OF = [
    pytest.param(call, network, marks=[pytest.mark.slow] * ((i + j) % 2))
    for (i, call), (j, network) in itertools.product(enumerate(NOTHING), enumerate(("lstm", "made")))
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "network"), NOTHING_OF)
def test_with_nothing_replaced_the_gradient_is_that_of_teacher_forcing(call, network):
    model, params = model_and_params(network)
    mask = np.float32(random_x(EventSpec((6,)), 5))
    batch = Batch(random_x(TOKENS, 5), mask=mask, weight=np.float32([1, 0.5, 0, 2, 1]))
    value, gradient, metrics = loss_and_gradient(make_objective(call), model, params, batch, jax.random.key(0))
    right, of_right, of_teacher = loss_and_gradient(
        make_objective("teacher_forcing"), model, params, batch, jax.random.key(0)
    )
    close((value, gradient), (right, of_right))
    close(metrics.nll, of_teacher.nll)


@pytest.mark.parametrize("network", [pytest.param(n, marks=[pytest.mark.slow] * (n != "lstm")) for n in NETWORKS])
def test_with_all_replaced_the_prefixes_are_the_draws_of_the_naive_sampler(network):
    model, params = model_and_params(network)
    batch, key = Batch(jnp.asarray(random_x(TOKENS, 7))), jax.random.key(3)

    @jax.jit
    def inputs(model, params, batch, key):
        objectives = [make_objective(f"scheduled_sampling(passes={n})") for n in (0, 6, 1)]
        return [objective.inputs(model, params, batch, key, 1.0) for objective in objectives]

    in_steps, in_passes, in_one = inputs(model, params, batch, key)
    drawn = model.draw(params, jax.random.split(jax.random.split(key)[1], 7), sampler="naive").x
    np.testing.assert_array_equal(in_steps, drawn)
    np.testing.assert_array_equal(in_passes, drawn)
    assert (np.asarray(in_one) != np.asarray(drawn)).any()


def test_a_coin_for_each_value_and_masked_values_stay():
    model, params = model_and_params("made")
    mask = np.ones((2000, 6), np.float32)
    mask[:, 2] = 0
    batch = Batch(jnp.full((2000, 6), 1), mask=mask)
    objective = make_objective("scheduled_sampling(passes=0)")
    params = jax.tree.map(lambda leaf: jnp.zeros_like(leaf), params)  # every draw is 0, 1 or 2 with probability 1/3
    inputs = np.asarray(jax.jit(objective.inputs)(model, params, batch, jax.random.key(0), 0.6))
    assert (inputs[:, 2] == 1).all()
    changed = (inputs != 1).mean(0)[[0, 1, 3, 4, 5]]
    np.testing.assert_allclose(changed, 0.4, atol=5 * (0.24 / 2000) ** 0.5)
    pairs = np.corrcoef((inputs[:, [0, 1, 3, 4, 5]] != 1).T) - np.eye(5)
    assert np.abs(pairs).max() < 5 / 2000**0.5


def test_noise_has_its_rate():
    for event, changed in ((TOKENS, 0.3 * 2 / 3), (EventSpec((6,), (), "real"), None)):
        model = make_model(event, "made", conditional="gaussian" if changed is None else "", **NETWORKS["made"])
        batch = Batch(jnp.ones((4000, 6), event.dtype), mask=jnp.ones((4000, 6)).at[:, 0].set(0))
        inputs = np.asarray(make_objective("input_noise(rate=0.3)").inputs(model, batch, jax.random.key(0)), np.float64)
        assert (inputs[:, 0] == 1).all()
        if changed is None:
            np.testing.assert_allclose((inputs[:, 1:] - 1).std(), 0.3, rtol=0.02)
        else:
            np.testing.assert_allclose((inputs[:, 1:] != 1).mean(), changed, atol=4 * (0.16 / 20000) ** 0.5)
    model, rows = model_and_params("made")[0], jnp.arange(20)[:, None] * jnp.ones((20, 6), int)
    noise, weight = make_objective("input_noise(rate=1, values='shuffled')"), (jnp.arange(20) == 3) * 1.0
    assert (noise.inputs(model, Batch(rows, weight=weight), jax.random.key(0)) == 3).all(), "of rows with a weight"
    assert len(set(np.asarray(noise.inputs(model, Batch(rows), jax.random.key(0)))[:, 0].tolist())) > 5


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_from_0_to_1(name):
    values = np.asarray(SCHEDULES[name](jnp.linspace(0, 1, 11)))
    start = 1 if name == "constant" else 0
    np.testing.assert_allclose(values[[0, -1]], [start, 1], atol=1e-6)
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("call", ["scheduled_sampling(final=1, passes=0)", "scheduled_sampling(final=1)", "rollout"])
def test_no_gradient_flows_through_draws_of_real_values(call):
    """Which are functions of features and noise: the gradient is that of the second pass alone."""
    event = EventSpec((4,), (), "real")
    model, params = model_and_params("made", event, "raster", "gaussian")
    objective = make_objective("rollout(prefix=1, length=3)" if call == "rollout" else call)
    batch, step = Batch(jnp.asarray(random_x(event, 5))), Step(jax.random.key(3), jnp.float32(1.0))

    @jax.jit
    def both(params):
        if call == "rollout":
            inputs = objective._draw(model, params, batch, step)[1]
        else:
            inputs = objective.inputs(model, params, batch, jax.random.split(step.key)[0], 1.0)
        of_second = jax.value_and_grad(
            lambda p: -model.log_prob_per_site(p, batch.x, inputs=jax.lax.stop_gradient(inputs)).sum() / 20
        )
        return of_second(params), jax.value_and_grad(
            lambda p: objective.loss(model, p, ObjectiveState(), batch, step).value
        )(params)

    expected, found = both(params)
    close(found, expected)


def test_windows_of_a_rollout_begin_at_all_steps_from_which_they_fit():
    model, params = model_and_params("made")
    batch, objective = Batch(jnp.asarray(random_x(TOKENS, 1))), make_objective("rollout(length=4)")
    window = jax.jit(jax.vmap(lambda key: objective._draw(model, params, batch, Step(key))[0][0]))
    found = np.asarray(window(jax.random.split(jax.random.key(0), 60)))[:, np.asarray(model.factorization.order)]
    expected = [[first <= t < first + 4 for t in range(6)] for first in range(3)]
    np.testing.assert_array_equal(np.unique(found, axis=0)[::-1], expected)


def test_the_window_of_a_rollout_grows():
    model, params = model_and_params("made")
    objective = make_objective("rollout(prefix=1, length=4, grow=0.5)")
    batch = Batch(jnp.asarray(random_x(TOKENS, 2)))
    draw = jax.jit(lambda u: objective._draw(model, params, batch, Step(jax.random.key(0), u))[0])
    assert [int(draw(jnp.float32(u))[0].sum()) for u in (0, 0.124, 0.25, 0.49, 0.5, 0.9)] == [1, 1, 3, 4, 4, 4]
