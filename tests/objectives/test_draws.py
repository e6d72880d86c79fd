"""Gradients through draws are those of the mean over all of them, on all values of four binary sites."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import ALL, BITS, DATA, TOKENS, close, loss_and_gradient, model_and_params
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.objectives import TRUTH, Companion, ObjectiveState, Step, make_objective
from arjax.objectives.as_is import relax, relaxed_values
from arjax.testing.examples import random_like, random_x


def free_running(model, params):
    """E[-sum_t log p(x_t | z_<t)] over all z, in nats per site."""
    log_p = model.log_prob_per_site(params, np.broadcast_to(DATA, ALL.shape), inputs=ALL).sum(-1)
    return -(jnp.exp(model.log_prob(params, ALL)) * log_p).sum() / 4


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def mean_gradient(objective, model, params, batch, companions=None, keys=50):
    """Mean and standard error of the gradient over keys, flat."""
    of_key = lambda key: loss_and_gradient(objective, model, params, batch, key, 1.0, companions)[1]  # noqa: E731
    found = np.stack([flat(of_key(jax.random.key(i))) for i in range(keys)])
    return found.mean(0), found.std(0, ddof=1) / keys**0.5


def within(mean, stderr, exact, errors=3.0):
    """All but the few of many entries that lie outside by chance, and none far."""
    off = np.abs(mean - exact) / np.maximum(stderr, 1e-7)
    assert (off > errors).mean() < 0.02 and off.max() < errors + 1.5, off
    assert np.abs(exact).max() > 5 * stderr.max()


@pytest.mark.parametrize("network", ["made", pytest.param("lstm", marks=pytest.mark.slow)])
def test_the_score_function_of_as_is_has_the_gradient_of_the_enumerated_mean(network):
    model, params = model_and_params(network, BITS, "raster")
    batch = Batch(np.broadcast_to(DATA, (1000, 4)))
    mean, stderr = mean_gradient(make_objective("as_is"), model, params, batch)  # 10^5 draws
    exact = jax.jit(jax.grad(free_running, argnums=1))(model, params)
    within(mean, stderr, flat(exact))


@pytest.fixture(scope="module")
def truth():
    model, _ = model_and_params("made", BITS, "raster")
    return Companion(model, random_like(model.param_shapes, seed=5))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["reverse_kl", "match"])
def test_the_score_function_of_a_rollout_has_the_enumerated_gradient(truth, target):
    model, params = model_and_params("lstm", BITS, "raster")

    def mean(params):
        log_p = model.log_prob_per_site(params, ALL)[:, 1:].sum(-1)
        if target == "match":
            value = -(ALL == DATA)[:, 1:].mean(-1)
        else:
            value = (log_p - truth.model.log_prob_per_site(truth.params, ALL)[:, 1:].sum(-1)) / 4
        return jnp.where(ALL[:, 0] == DATA[0, 0], jnp.exp(log_p) * value, 0).sum()

    objective = make_objective(f"rollout(prefix=1, length=3, target={target!r})")
    batch = Batch(np.broadcast_to(DATA, (1000, 4)))
    drawn, stderr = mean_gradient(objective, model, params, batch, {TRUTH: truth})
    within(drawn, stderr, flat(jax.jit(jax.grad(mean))(params)))


def test_matches_are_a_part_of_the_scored_values_of_the_window():
    model, params = model_and_params("lstm", BITS, "raster")
    params = jax.tree.map(np.zeros_like, params)  # half of all values match
    mask = np.zeros((1000, 4), np.float32)
    mask[:500, 1:3] = 1  # the other examples have no scored value
    batch = Batch(np.broadcast_to(DATA, (1000, 4)), mask=mask)
    objective = make_objective("rollout(prefix=1, length=3, target='match')")
    value = loss_and_gradient(objective, model, params, batch, jax.random.key(0))[0]
    np.testing.assert_allclose(value, -0.5, atol=4 * 0.5 / 1000**0.5)


def test_an_oracle_has_the_conditionals_that_the_loss_reads():
    event = EventSpec((4,), (2,), "levels", 3)
    model = make_model(event, "made", hidden_sizes=(4,))
    others = {
        "its own order": {"ordering": "reversed"},
        "the same context": {"context": ContextSpec("label", 3)},
        "lists of probabilities": {"conditional": "mixture_of_products"},
        "the oracle is a model of": {"event": BITS},
    }
    objective = make_objective("rollout(length=2, target='oracle')")
    objective.check_companions(model, {TRUTH: Companion(model, {})})
    for sentence, options in others.items():
        other = make_model(**{"event": event, "network": "made", "hidden_sizes": (4,)} | options)
        assert sentence in refusal(objective.check_companions, model, {TRUTH: Companion(other, {})})


@pytest.mark.parametrize("call", ["as_is", pytest.param("rollout(length=3, target='match')", marks=pytest.mark.slow)])
def test_the_score_function_is_that_of_the_draws_which_have_no_dropout(call):
    batch, objective = Batch(np.broadcast_to(DATA, (50, 4))), make_objective(call)
    models = [make_model(BITS, "made", hidden_sizes=(8,), dropout=dropout) for dropout in (0.0, 0.9)]
    params = random_like(models[0].param_shapes)

    @jax.jit
    def gradients(params):
        value = lambda p, m: objective.loss(m, p, ObjectiveState(), batch, Step(jax.random.key(0))).value  # noqa: E731
        return [jax.grad(value)(params, model) for model in models]

    close(*gradients(params))


@pytest.mark.slow
def test_an_oracle_gives_the_cross_entropy_on_the_prefixes_of_the_window(truth):
    model, params = model_and_params("lstm", BITS, "raster")
    objective = make_objective("rollout(prefix=1, length=2, target='oracle')")
    batch = Batch(np.broadcast_to(DATA, (3, 4)))
    step = Step(jax.random.key(4), companions={TRUTH: truth})
    _, inputs, _ = jax.jit(lambda params: objective._draw(model, params, batch, step))(params)
    assert (inputs[:, [0, 3]] == DATA[:, [0, 3]]).all()
    logits = [jax.jit(m.features)(w, inputs)[..., 0] for m, w in ((model, params), (truth.model, truth.params))]
    p, q = (1 / (1 + np.exp(-np.asarray(each, np.float64))) for each in logits)
    nats = -(q * np.log(p) + (1 - q) * np.log(1 - p)).sum(-1)
    value, _, _ = loss_and_gradient(objective, model, params, batch, step.key, 1.0, {TRUTH: truth})
    np.testing.assert_allclose(value, nats.mean() / 4, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["transformer", "made"])
def test_a_relaxed_network_computes_the_features_of_the_network(network):
    model, params = model_and_params(network)

    @jax.jit
    def both(params, x):
        relaxed, own = relax(model, params)
        features = relaxed.apply({"params": own}, relaxed_values(TOKENS, x), model.factorization, None)
        return features, model.features(params, x)

    np.testing.assert_allclose(*both(params, random_x(TOKENS, 3)), rtol=1e-5, atol=1e-5)


def relaxed_draw(estimator, features_BF, keys_B, t, fixed):
    """z_t of all examples by its definition, [B, ...]; `fixed` has the probabilities that a gradient does not see."""
    noise = lambda key, draw, *shape: draw(jax.random.fold_in(key, t), (1, *shape))[0]  # noqa: E731
    if estimator == "pathwise":  # mean + deviation times noise
        e_B = jax.vmap(lambda key: noise(key, jax.random.normal))(keys_B)
        return features_BF[:, 0] + jnp.exp(features_BF[:, 1]) * e_B
    log_p = features_BF - jax.scipy.special.logsumexp(features_BF, -1, keepdims=True)
    noisy = log_p + jax.vmap(lambda key: noise(key, jax.random.gumbel, features_BF.shape[1]))(keys_B)
    if estimator == "gumbel_softmax":
        weight = jnp.exp(noisy / 0.3)
        return weight / weight.sum(-1, keepdims=True)
    one_hot = (noisy == noisy.max(-1, keepdims=True)).astype(jnp.float32)
    return one_hot + jnp.exp(log_p) - fixed


@pytest.mark.parametrize(
    "estimator",
    [*(pytest.param(name, marks=pytest.mark.slow) for name in ("straight_through", "gumbel_softmax")), "pathwise"],
)
def test_gradients_through_draws_are_those_of_the_recursion_written_out(estimator):
    """One parallel pass of the network for each step, over the draws before it: values, masked ones, and gradients.

    Jang, Gu & Poole (2017), equation 2, with a temperature of 0.3; Bengio, Leonard & Courville (2013), section 4.
    """
    event = EventSpec((4,), (), "real") if estimator == "pathwise" else EventSpec((4,), (), "tokens", 3)
    model, params = model_and_params("made", event, conditional="gaussian" if estimator == "pathwise" else "")
    objective = make_objective(f"as_is(estimator={estimator!r}, samples=1, temperature=0.3)")
    mask = np.float32([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0]])
    batch, key = Batch(jnp.asarray(random_x(event, 3)), mask=mask), jax.random.key(1)
    keys_B, order = jax.random.split(key, 3), np.asarray(model.factorization.order)
    network, own = (model.network, params) if estimator == "pathwise" else relax(model, params)
    data = batch.x if estimator == "pathwise" else jax.nn.one_hot(batch.x, 3)

    def by_hand(own, fixed):
        canvas, nats, probabilities = data, 0.0, []
        for t, site in enumerate(order):
            features = network.apply({"params": own}, canvas, model.factorization, None)[:, site]
            nats -= (mask[:, site] * model.conditional.log_prob(features, batch.x[:, site])).sum()
            probabilities.append(jax.nn.softmax(features))
            drawn = relaxed_draw(estimator, features, keys_B, t, fixed[t])
            counts = mask[:, site].reshape(3, *[1] * (drawn.ndim - 1))
            canvas = canvas.at[:, site].set(jnp.where(counts > 0, drawn, canvas[:, site]))
        return nats / mask.sum(), probabilities

    @jax.jit
    def written_out(own):
        # probabilities of earlier steps change the features of later ones: each is fixed in turn
        fixed = [jnp.zeros(())] * 4
        for t in range(4 if estimator == "straight_through" else 0):
            fixed[t] = by_hand(own, fixed)[1][t]
        return jax.value_and_grad(lambda own: by_hand(own, fixed)[0])(own)

    value, gradient, _ = loss_and_gradient(objective, model, params, batch, key)
    expected, of_expected = written_out(own)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    found = gradient if estimator == "pathwise" else relax(model, gradient)[1]
    close(found, of_expected, 1e-3)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(found)) > 1e-2


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
