"""Objectives that replace prefixes: nothing replaced is teacher forcing, all replaced are the samplers' own draws, and
gradients through draws are those of the mean over all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.models.relaxed import relax, relaxed_values
from arjax.objectives import TRUTH, Companion, Own, Step, make_objective
from arjax.objectives.learned_order import SCORES
from arjax.objectives.scheduled_sampling import SCHEDULES
from arjax.testing.examples import random_like, random_x

TOKENS = EventSpec((6,), (), "tokens", 3)
NETWORKS = {"lstm": {"hidden_size": 6}, "made": {"hidden_sizes": (8,)}, "transformer": {"width": 8, "num_heads": 2}}


@functools.cache
def model_and_params(network, event=TOKENS, ordering="random(seed=1)", conditional=""):
    model = make_model(event, network, ordering=ordering, conditional=conditional, **NETWORKS.get(network, {}))
    return model, random_like(model.param_shapes)


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(objective, model, params, batch, key, progress=1.0, companions=None):
    def loss(params):
        step = Step(key, jnp.float32(progress), companions or {})
        found = objective.loss(model, params, Own(), batch, step)
        return found.value, found

    (value, found), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, gradient, found.metrics


def close(first, second, rtol=1e-5):
    floor = 0.1 * max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(second))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=floor * rtol), first, second)


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


@pytest.mark.parametrize(("call", "network"), NOTHING_OF)
def test_with_nothing_replaced_the_gradient_is_that_of_teacher_forcing(call, network):
    model, params = model_and_params(network)
    mask = np.float32(random_x(EventSpec((6,)), 5))
    batch = Batch(random_x(TOKENS, 5), mask=mask, weight=np.float32([1, 1, 0, 1, 1]))
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


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_rise_from_0_to_1(name):
    values = np.asarray(SCHEDULES[name](jnp.linspace(0, 1, 11)))
    start = 1 if name == "constant" else 0
    np.testing.assert_allclose(values[[0, -1]], [start, 1], atol=1e-6)
    assert (np.diff(values) >= 0).all()


# --- gradients through draws, on all values of four binary sites

BITS = EventSpec((4,))
ALL = jnp.asarray(list(itertools.product((0, 1), repeat=4)), jnp.int32)
DATA = jnp.asarray([[1, 0, 0, 1]])


def free_running(model, params):
    """E[-sum_t log p(x_t | z_<t)] over all z, in nats per site."""
    log_p = model.log_prob_per_site(params, jnp.broadcast_to(DATA, ALL.shape), inputs=ALL).sum(-1)
    return -(jnp.exp(model.log_prob(params, ALL)) * log_p).sum() / 4


def mean_gradient(objective, model, params, batch, companions=None, keys=50):
    """Mean and standard error of the gradient over keys, flat."""
    found = [
        jax.flatten_util.ravel_pytree(
            loss_and_gradient(objective, model, params, batch, jax.random.key(i), 1.0, companions)[1]
        )[0]
        for i in range(keys)
    ]
    found = np.stack([np.asarray(each, np.float64) for each in found])
    return found.mean(0), found.std(0, ddof=1) / keys**0.5


def within(mean, stderr, exact, errors=3.0):
    """All but the few of many entries that lie outside by chance, and none far."""
    off = np.abs(mean - exact) / np.maximum(stderr, 1e-7)
    assert (off > errors).mean() < 0.02 and off.max() < errors + 1.5, off
    assert np.abs(exact).max() > 5 * stderr.max()


@pytest.mark.parametrize("network", ["made", pytest.param("lstm", marks=pytest.mark.slow)])
def test_the_score_function_of_as_is_has_the_gradient_of_the_enumerated_mean(network):
    model, params = model_and_params(network, BITS, "raster")
    batch = Batch(jnp.broadcast_to(DATA, (1000, 4)))
    mean, stderr = mean_gradient(make_objective("as_is"), model, params, batch)  # 10^5 draws
    exact = jax.flatten_util.ravel_pytree(jax.jit(jax.grad(free_running, argnums=1))(model, params))[0]
    within(mean, stderr, np.asarray(exact, np.float64))


@pytest.fixture(scope="module")
def truth():
    model, _ = model_and_params("made", BITS, "raster")
    return Companion(model, random_like(model.param_shapes, seed=5))


def test_the_reverse_divergence_of_a_rollout_has_the_enumerated_gradient(truth):
    model, params = model_and_params("lstm", BITS, "raster")

    def divergence(params):
        after = ALL[:, 0] == DATA[0, 0]  # one value of the data, then three of the model
        log_p = model.log_prob_per_site(params, ALL)[:, 1:].sum(-1)
        log_q = truth.model.log_prob_per_site(truth.params, ALL)[:, 1:].sum(-1)
        return jnp.where(after, jnp.exp(log_p) * (log_p - log_q), 0).sum() / 4

    objective = make_objective("rollout(prefix=1, length=3, target='reverse_kl')")
    batch = Batch(jnp.broadcast_to(DATA, (1000, 4)))
    mean, stderr = mean_gradient(objective, model, params, batch, {TRUTH: truth})
    within(mean, stderr, np.asarray(jax.flatten_util.ravel_pytree(jax.jit(jax.grad(divergence))(params))[0]))


def test_matches_of_a_rollout_have_the_enumerated_gradient():
    model, params = model_and_params("lstm", BITS, "raster")

    def mismatch(params):
        after = ALL[:, 0] == DATA[0, 0]
        log_p = model.log_prob_per_site(params, ALL)[:, 1:].sum(-1)
        return -jnp.where(after, jnp.exp(log_p) * (ALL == DATA)[:, 1:].mean(-1), 0).sum()

    objective = make_objective("rollout(prefix=1, length=3, target='match')")
    batch = Batch(jnp.broadcast_to(DATA, (1000, 4)))
    mean, stderr = mean_gradient(objective, model, params, batch)
    within(mean, stderr, np.asarray(jax.flatten_util.ravel_pytree(jax.jit(jax.grad(mismatch))(params))[0]))


def test_matches_are_a_part_of_the_scored_values_of_the_window():
    model, params = model_and_params("lstm", BITS, "raster")
    params = jax.tree.map(jnp.zeros_like, params)  # half of all values match
    mask = jnp.zeros((1000, 4)).at[:500, 1:3].set(1)  # the other examples have no scored value
    batch = Batch(jnp.broadcast_to(DATA, (1000, 4)), mask=mask)
    objective = make_objective("rollout(prefix=1, length=3, target='match')")
    value = loss_and_gradient(objective, model, params, batch, jax.random.key(0))[0]
    np.testing.assert_allclose(value, -0.5, atol=4 * 0.5 / 1000**0.5)


def test_an_oracle_has_the_conditionals_that_the_loss_reads():
    event = EventSpec((4,), (2,), "levels", 3)
    model = make_model(event, "made", hidden_sizes=(4,))
    others = {
        "its own order": make_model(event, "made", hidden_sizes=(4,), ordering="reversed"),
        "the same context": make_model(event, "made", hidden_sizes=(4,), context=ContextSpec("label", 3)),
        "lists of probabilities": make_model(event, "made", hidden_sizes=(4,), conditional="mixture_of_products"),
        "the oracle is a model of": make_model(BITS, "made", hidden_sizes=(4,)),
    }
    objective = make_objective("rollout(length=2, target='oracle')")
    objective.check_companions(model, {TRUTH: Companion(model, {})})
    for sentence, other in others.items():
        assert sentence in refusal(objective, model, other)


def refusal(objective, model, oracle):
    """The sentence with which an oracle is refused; "" where it is not."""
    try:
        objective.check_companions(model, {TRUTH: Companion(oracle, {})})
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("call", ["as_is", pytest.param("rollout(length=3, target='match')", marks=pytest.mark.slow)])
def test_the_score_function_is_that_of_the_draws_which_have_no_dropout(call):
    batch, objective = Batch(jnp.broadcast_to(DATA, (50, 4))), make_objective(call)
    models = [make_model(BITS, "made", hidden_sizes=(8,), dropout=dropout) for dropout in (0.0, 0.9)]
    params = random_like(models[0].param_shapes)

    @jax.jit
    def gradients(params):
        step = Step(jax.random.key(0))
        return [jax.grad(lambda p, m=m: objective.loss(m, p, Own(), batch, step).value)(params) for m in models]

    close(*gradients(params))


def test_an_oracle_gives_the_cross_entropy_on_the_prefixes_of_the_window(truth):
    model, params = model_and_params("lstm", BITS, "raster")
    objective = make_objective("rollout(prefix=1, length=2, target='oracle')")
    batch = Batch(jnp.broadcast_to(DATA, (3, 4)))
    step = Step(jax.random.key(4), companions={TRUTH: truth})
    _, inputs, _ = jax.jit(lambda params: objective._draw(model, params, batch, step))(params)
    assert (inputs[:, [0, 3]] == DATA[:, [0, 3]]).all()
    logits = [jax.jit(m.features)(w, inputs)[..., 0] for m, w in ((model, params), (truth.model, truth.params))]
    p, q = (1 / (1 + np.exp(-np.asarray(each, np.float64))) for each in logits)
    nats = -(q * np.log(p) + (1 - q) * np.log(1 - p)).sum(-1)
    value, _, _ = loss_and_gradient(objective, model, params, batch, step.key, 1.0, {TRUTH: truth})
    np.testing.assert_allclose(value, nats.mean() / 4, rtol=1e-5)


def test_the_window_of_a_rollout_grows():
    model, params = model_and_params("made")
    objective = make_objective("rollout(prefix=1, length=4, grow=0.5)")
    batch = Batch(jnp.asarray(random_x(TOKENS, 2)))
    draw = jax.jit(lambda u: objective._draw(model, params, batch, Step(jax.random.key(0), u))[0])
    assert [int(draw(jnp.float32(u))[0].sum()) for u in (0, 0.124, 0.25, 0.49, 0.5, 0.9)] == [1, 1, 3, 4, 4, 4]


# --- relaxed draws


@pytest.mark.parametrize("network", ["transformer", pytest.param("made", marks=pytest.mark.slow)])
def test_a_relaxed_network_computes_the_features_of_the_network(network):
    model, params = model_and_params(network)

    @jax.jit
    def both(params, x):
        relaxed, own = relax(model, params)
        features = relaxed.apply({"params": own}, relaxed_values(TOKENS, x), model.factorization, None)
        return features, model.features(params, x)

    np.testing.assert_allclose(*both(params, random_x(TOKENS, 3)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("estimator", ["gumbel_softmax", "pathwise"])
def test_the_gradient_through_relaxed_and_real_draws_is_that_of_finite_differences(estimator):
    event = TOKENS if estimator == "gumbel_softmax" else EventSpec((5,), (), "real")
    model, params = model_and_params("lstm", event, "raster", "" if event == TOKENS else "gaussian")
    objective, batch = make_objective(f"as_is(estimator={estimator!r}, samples=1)"), Batch(random_x(event, 4))
    _, gradient, _ = loss_and_gradient(objective, model, params, batch, jax.random.key(0))
    direction = random_like(model.param_shapes, seed=2)
    slope = sum(float((a * b).sum()) for a, b in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True))
    moved = [jax.tree.map(lambda p, d, h=h: p + h * d, params, direction) for h in (-3e-3, 3e-3)]
    losses = [float(loss_and_gradient(objective, model, each, batch, jax.random.key(0))[0]) for each in moved]
    np.testing.assert_allclose((losses[1] - losses[0]) / 6e-3, slope, rtol=0.02, atol=2e-4)


def test_straight_through_has_the_gradient_of_the_probability():
    """Two sites: the loss is l_1 + l_2(z), and d z counts as d p(z = 1)."""
    event = EventSpec((2,))
    model, params = model_and_params("made", event, "raster")
    objective, key = make_objective("as_is(estimator='straight_through', samples=1)"), jax.random.key(1)
    batch = Batch(jnp.asarray([[1, 1]]))
    value, gradient, _ = loss_and_gradient(objective, model, params, batch, key)
    network, own = relax(model, params)

    def logits(params, z):
        return network.apply({"params": params}, jnp.asarray([[z, 0.0]]), model.factorization, None)[0, :, 0]

    def by_hand(params, z):
        p = jax.nn.sigmoid(logits(params, 0.0)[0])
        soft = z + p - jax.lax.stop_gradient(p)
        return -(jax.nn.log_sigmoid(logits(params, 0.0)[0]) + jax.nn.log_sigmoid(logits(params, soft)[1])) / 2

    fit = jax.jit(jax.value_and_grad(by_hand))
    fits = [fit(own, z) for z in (0.0, 1.0)]
    right = fits[int(np.argmin([abs(float(v) - float(value)) for v, _ in fits]))]
    close((value, gradient), right)


# --- sums of objectives, and refusals


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


def test_weighted_keeps_parameters_of_its_objectives():
    objective = make_objective("weighted(of=('order_agnostic', 'learned_order'), weights=(0.5, 0.5))")
    assert objective.NEEDS_ORDERS and not make_objective("weighted").NEEDS_ORDERS
    assert make_objective("weighted(of=('rollout',))").DRAWS and not objective.DRAWS
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


def test_weighted_objectives_with_parameters_have_a_train_state_with_shardings():
    config = base_config()
    config.dataset = dataset_config("markov_chain", levels=3, length=4, num_examples=64)
    config.network, config.model.orders = network_config("made", hidden_sizes=(4,)), "uniform"
    config.train.steps = 1
    config.objective = (
        "weighted(of=('learned_order', 'order_agnostic', 'learned_order(learning_rate=0.1)'), weights=(1, 1, 1))"
    )
    own = build(config).abstract_state.own
    assert set(own.params) == {"0", "2"} and all(leaf.sharding for leaf in jax.tree.leaves(own))
    scores = [{SCORES: np.float32(order)} for order in ([3, 2, 1, 0], [0, 1, 2, 3])]
    entries = make_objective(config.objective).report(Own({"0": scores[0], "2": scores[1]}, {}))
    assert entries == {"learned_order": [0, 1, 2, 3], "2/learned_order": [3, 2, 1, 0]}


@pytest.mark.parametrize(
    ("call", "network", "event", "sentence"),
    [
        ("rollout(length=7)", "lstm", TOKENS, "does not fit into the 6"),
        ("rollout(length=2, target='match')", "lstm", EventSpec((6,), (), "real"), "these are real"),
        ("as_is(estimator='pathwise')", "lstm", TOKENS, "functions of noise"),
        ("as_is(estimator='straight_through')", "lstm", EventSpec((6,), (), "real"), "discrete scalars"),
        ("as_is(estimator='gumbel_softmax')", "pixelcnn", EventSpec((3, 3), (), "levels", 4), "cannot read relaxed"),
    ],
)
def test_combinations_that_cannot_be_are_refused(call, network, event, sentence):
    model = make_model(
        event, network, conditional="gaussian" if event.kind == "real" else "", **NETWORKS.get(network, {})
    )
    with pytest.raises(UserError, match=sentence):
        make_objective(call).check(model)


@pytest.mark.parametrize(
    "call",
    [
        "scheduled_sampling(schedule='linar')",
        "scheduled_sampling(final=1.5)",
        "input_noise(values='no')",
        "rollout(target='dta')",
        "rollout(length=-2)",
        "rollout(oracle='somewhere')",
        "as_is(samples=1)",
        "as_is(temperature=0)",
        "weighted(weights=(1, 2))",
        "weighted(of=('teacher_forcing',), weights=(0,))",
    ],
)
def test_options_out_of_range_are_refused(call):
    with pytest.raises(UserError):
        make_objective(call)


def test_models_under_several_orders_are_refused():
    model = make_model(TOKENS, "made", orders="uniform", **NETWORKS["made"])
    for call in ("scheduled_sampling", "input_noise", "rollout", "as_is"):
        with pytest.raises(UserError, match="trains one order"):
            make_objective(call).check(model)
    without = dataclasses.replace(model, orders=None)
    with pytest.raises(UserError, match="reads the true conditionals"):
        loss_and_gradient.__wrapped__(
            make_objective("rollout(length=2, target='oracle')"),
            without,
            jax.tree.map(jnp.asarray, random_like(without.param_shapes)),
            Batch(random_x(TOKENS, 2)),
            jax.random.key(0),
        )


def test_score_functions_of_cut_blocks_are_refused():
    more = {"partition": "blocks(size=2)", "conditional": "mixture_of_products(components=2)"}
    model = make_model(TOKENS, "made", **more, **NETWORKS["made"])
    params, x = jax.tree.map(jnp.asarray, random_like(model.param_shapes)), random_x(TOKENS, 2)
    for call in ("as_is", "rollout(length=1, target='match')"):
        evaluate = loss_and_gradient.__wrapped__
        with pytest.raises(UserError, match="needs whole blocks, and the examples have masks"):
            evaluate(make_objective(call), model, params, Batch(x, mask=np.ones(x.shape)), jax.random.key(0))
        evaluate(make_objective(call), model, params, Batch(x), jax.random.key(0))
