"""Objectives that replace prefixes, and sums of objectives: their losses, their states, and what they refuse."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import NETWORKS, TOKENS, close, loss_and_gradient, model_and_params
from refusals import refusal

from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import Loss, Mean, Metrics, ObjectiveState, Step, make_objective
from arjax.objectives.likelihood import SCORES
from arjax.objectives.prefixes import SCHEDULES
from arjax.testing.examples import random_like, random_x
from arjax.training.step import _in_data_units

OF_COINS = ("scheduled_sampling(final=0)", "scheduled_sampling(final=0, passes=0)")


@pytest.mark.slow
@pytest.mark.parametrize("call", [*OF_COINS, "rollout(length=0)", "input_noise(rate=0)"])
@pytest.mark.parametrize("network", ["lstm", "made"])
def test_with_nothing_replaced_the_gradient_is_that_of_teacher_forcing(call, network):
    model, params = model_and_params(network)
    mask = np.float32(random_x(EventSpec((6,)), 5))
    batch = Batch(random_x(TOKENS, 5), mask=mask, weight=np.float32([1, 0.5, 0, 2, 1]))
    objectives = map(make_objective, (call, "teacher_forcing"))
    found, right = (loss_and_gradient(each, model, params, batch, jax.random.key(0)) for each in objectives)
    close(found[:2], right[:2])
    close(found[2].nll, right[2].nll)


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


@pytest.mark.parametrize(
    "call",
    [
        "scheduled_sampling(final=1, passes=0)",
        pytest.param("scheduled_sampling(final=1)", marks=pytest.mark.slow),
        "rollout",
    ],
)
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
        of_loss = jax.value_and_grad(lambda p: objective.loss(model, p, ObjectiveState(), batch, step).value)
        return of_second(params), of_loss(params)

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


REAL, GRID = EventSpec((6,), (), "real"), EventSpec((3, 3), (), "levels", 4)


@pytest.mark.parametrize(
    ("call", "network", "event", "sentence"),
    [
        ("rollout(length=7)", "lstm", TOKENS, "does not fit into the 6"),
        ("rollout(length=2, target='match')", "lstm", REAL, "equal values of discrete data, not real"),
        ("as_is(estimator='pathwise')", "lstm", TOKENS, "functions of noise"),
        ("as_is(estimator='straight_through')", "lstm", REAL, "discrete scalars"),
        ("as_is(estimator='gumbel_softmax')", "pixelcnn", GRID, "cannot read relaxed"),
    ],
)
def test_combinations_that_cannot_be_are_refused(call, network, event, sentence):
    conditional = "gaussian" if event is REAL else ""
    model = make_model(event, network, conditional=conditional, **NETWORKS.get(network, {}))
    assert sentence in refusal(make_objective(call).check, model)


def test_models_under_several_orders_are_refused():
    model = make_model(TOKENS, "made", orders="uniform", **NETWORKS["made"])
    for call in ("scheduled_sampling", "input_noise", "rollout", "as_is"):
        assert "trains one order" in refusal(make_objective(call).check, model)
    objective, batch = make_objective("rollout(length=2, target='oracle')"), Batch(random_x(TOKENS, 2))
    refused = refusal(loss_and_gradient, objective, *model_and_params("made"), batch, jax.random.key(0))
    assert "reads the true conditionals" in refused


def test_score_functions_of_a_bound_are_refused():
    """Its gradient is not that of log p; objectives without a score function train by the bound."""
    vectors, head = EventSpec((3,), (2,), "real"), "diffusion(steps=3, features=3, width=4, layers=1)"
    model = make_model(vectors, "made", conditional=head, hidden_sizes=(4,))
    for call in ("as_is", "rollout(target='reverse_kl', length=2)"):
        with pytest.raises(UserError, match="needs log p itself, and that of this conditional is of the kind 'bound'"):
            make_objective(call).check(model)
    make_objective("rollout(length=2)").check(model)


def test_score_functions_of_cut_blocks_are_refused():
    more = {"partition": "blocks(size=2)", "conditional": "mixture_of_products(components=2)"}
    model = make_model(TOKENS, "made", **more, **NETWORKS["made"])
    params, x = random_like(model.param_shapes), random_x(TOKENS, 2)
    for call in ("as_is", "rollout(length=1, target='match')"):
        trace = functools.partial(jax.eval_shape, functools.partial(loss_and_gradient, make_objective(call), model))
        masked = Batch(x, mask=np.ones(x.shape))
        assert "needs whole blocks, and the examples have masks" in refusal(trace, params, masked, jax.random.key(0))
        trace(params, Batch(x), jax.random.key(0))


LIMITS = [
    ("as_is(samples={})", (2,), (1,)),
    ("as_is(estimator='pathwise', samples={})", (1,), (0,)),
    ("rollout(target='match', samples={})", (2,), (1,)),
    ("rollout(target='reverse_kl', oracle='x', samples={})", (2,), (1,)),
    ("rollout(target='data', oracle={!r})", ("",), ("x",)),
    ("weighted(weights={})", ((0.1,), (2,)), ((0,), (-1.0,), (), (1, 1), ("1",))),
    ("weighted(of=('teacher_forcing', 'input_noise'), weights={})", ((1, 1),), ((1,), (1, 0), (0, 1))),
    ("weighted(of={}, weights=())", (), ((),)),
]


@pytest.mark.parametrize(("call", "taken", "refused"), LIMITS, ids=[call for call, _, _ in LIMITS])
def test_limits(call, taken, refused):
    for value in taken:
        make_objective(call.format(value))
    for value in refused:
        assert refusal(make_objective, call.format(value))


@pytest.mark.slow
def test_weighted_objectives_add_up():
    model, params = model_and_params("lstm")
    batch, key = Batch(random_x(TOKENS, 5)), jax.random.key(0)
    both = make_objective("weighted(of=('teacher_forcing', 'input_noise(rate=0.5)'), weights=(0.25, 2))")
    value, gradient, metrics = loss_and_gradient(both, model, params, batch, key)
    parts = [
        loss_and_gradient(make_objective(call), model, params, batch, k)
        for call, k in (("teacher_forcing", key), ("input_noise(rate=0.5)", jax.random.fold_in(key, 1)))
    ]
    value, gradient, parts = jax.tree.map(np.asarray, (value, gradient, parts))
    np.testing.assert_allclose(value, 0.25 * parts[0][0] + 2 * parts[1][0], rtol=1e-5)
    close(gradient, jax.tree.map(lambda a, b: 0.25 * a + 2 * b, parts[0][1], parts[1][1]))
    assert set(metrics.means) == {"1/input_noise"}


@pytest.mark.slow
def test_weighted_keeps_parameters_of_its_objectives():
    objective = make_objective("weighted(of=('order_agnostic', 'learned_order'), weights=(0.5, 0.5))")
    assert "needs_orders" in objective.traits and make_objective("weighted").traits == {"holes"}
    assert make_objective("weighted(of=('rollout',))").traits == {"draws"} and "draws" not in objective.traits
    model = make_model(TOKENS, "made", orders="uniform", **NETWORKS["made"])
    objective.check(model)
    own = objective.init(model, jax.random.key(0))
    rule = objective.optimizer()
    update = jax.jit(lambda params: rule.update(jax.tree.map(jnp.ones_like, params), rule.init(params), params))
    updates, _ = update(own.params)
    np.testing.assert_allclose(updates["1"]["scores"], -0.05, rtol=1e-4)
    batch, step = Batch(random_x(TOKENS, 4)), Step(jax.random.key(2))
    loss = jax.eval_shape(lambda params: objective.loss(model, params, own, batch, step), model.param_shapes)
    assert len(loss.terms) == 3 and set(loss.metrics.means) == {"1/order_nats"}


def test_weighted_token_priors_have_the_parameters_of_their_own_objectives():
    """Only one of the two has some; and their nats are those of tokens, in no units of the data."""
    priors = ("token_prior(of='learned_order')", "token_prior(of='order_agnostic')")
    objective = make_objective(f"weighted(of={priors}, weights=(1.0, 1.0))")
    params = {"0": {SCORES: np.zeros(4, np.float32)}}
    rule = objective.optimizer()
    updates, _ = rule.update(params, rule.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    one, log_scale = jnp.float32(1), (2.0,) * 4
    loss = Loss((Mean(one, one),), Metrics(one, one, one, one))
    for text, added in ((objective, 0), (make_objective("token_prior"), 0), (make_objective("teacher_forcing"), 8)):
        spec = SimpleNamespace(log_scale=log_scale, objective=text)
        assert _in_data_units(spec, loss, Batch(np.zeros((1, 4)))).metrics.nll == 1 + added


@pytest.mark.slow
def test_weighted_objectives_with_parameters_have_a_train_state_with_shardings():
    config = base_config()
    config.dataset = dataset_config("markov_chain", levels=3, length=4, num_examples=64)
    config.network, config.model.orders = network_config("made", hidden_sizes=(4,)), "uniform"
    config.train.steps = 1
    of = ("learned_order", "order_agnostic", "learned_order(learning_rate=0.1)")
    config.objective = f"weighted(of={of}, weights=(1, 1, 1))"
    own = build(config).abstract_state.objective
    assert set(own.params) == {"0", "2"} and all(leaf.sharding for leaf in jax.tree.leaves(own))
    scores = [{SCORES: np.float32(order)} for order in ([3, 2, 1, 0], [0, 1, 2, 3])]
    entries = make_objective(config.objective).report(ObjectiveState({"0": scores[0], "2": scores[1]}, {}))
    assert entries == {"learned_order": [0, 1, 2, 3], "2/learned_order": [3, 2, 1, 0]}
