"""Heads for real vectors: densities that integrate to 1, a bound below them, a proper score, losses by formula."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest
from built import built, with_params
from refusals import refusal

from arjax.api.trained_model import Fitted
from arjax.conditionals import make_conditional
from arjax.conditionals.base import CONDITIONAL
from arjax.conditionals.blocks import site_loss
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.evaluation.report import Measures, report
from arjax.models import Example, ModelChoice, make_model
from arjax.models.extras import sharper
from arjax.models.gaussian_chain import GaussianChain
from arjax.models.heads.flow_matching import runge_kutta
from arjax.objectives import Step, make_objective
from arjax.testing import model_laws
from arjax.testing.conditional import check_gradients, check_shapes
from arjax.testing.examples import random_like

PLANE = EventSpec((1,), (2,), "real")
EVENT = EventSpec((3,), (2,), "real")
SMALL = "features=3, width=8, layers=1"
CALLS = {
    "diffusion": f"diffusion(steps=3, {SMALL})",
    "simple": f"diffusion(steps=3, schedule='cosine', weighting='simple', prediction='velocity', {SMALL})",
    "flow_matching": f"flow_matching(steps=2, {SMALL})",
    "energy": f"energy({SMALL})",
}
KEY = jax.random.key(0)
LINE = EventSpec((4,), (2,), "real")


def bound_head(call: str, scale: float = 0.5, **bound):
    """A head of points of the plane with random parameters, and features of one site."""
    head = make_conditional(call, PLANE)
    params = jax.tree.map(lambda leaf: scale * leaf, random_like(jax.eval_shape(head.init, KEY)))
    return head.bind(params, **bound), np.float32([0.3, -1.0, 0.6])


def grid(half: float, num: int) -> tuple[np.ndarray, float]:
    """The centres of num x num cells of a square around 0, [N, 2], and the area of a cell."""
    side = 2 * half / num
    line = -half + side * (np.arange(num) + 0.5)
    return np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2).astype(np.float32), side**2


def small(network="made", head=""):
    options = {"conditional": CALLS[head]} if head else {}
    return ModelChoice(network=network, network_options={"hidden_sizes": (8,)}, options=options)


def many(features, num):
    return np.broadcast_to(features, (num, len(features)))


def in_cells(x: np.ndarray, half: float, num: int) -> np.ndarray:
    edges = np.linspace(-half, half, num + 1)
    return np.histogram2d(x[:, 0], x[:, 1], [edges, edges])[0]


MODELS = {
    name: Example(ModelChoice(options={"conditional": call}, network="made"), EVENT) for name, call in CALLS.items()
}
test_laws = model_laws("autoregressive", {"energy": MODELS["energy"]})
test_slow_laws = pytest.mark.slow(
    model_laws("autoregressive", {name: model for name, model in MODELS.items() if name != "energy"})
)


#: Every head; the second form of diffusion is slow.
each_head = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "simple")) for name in CALLS]
)


@pytest.mark.parametrize("name", ["energy", *(pytest.param(n, marks=pytest.mark.slow) for n in CALLS if n != "energy")])
def test_shapes(name):
    check_shapes(CALLS[name], "real_vector", 0.3)


@pytest.mark.slow
@each_head
def test_losses_and_their_gradients_are_finite(name):
    check_gradients(CALLS[name], "real_vector", 0.3)


@pytest.mark.slow
def test_flow_matching_is_a_density_and_samples_follow_it():
    """The integral over the plane, and the mass of each cell of a grid against the part of the draws in it."""
    head, features = bound_head(f"flow_matching(steps=8, {SMALL})")
    points, area = grid(6.0, 96)
    p = np.exp(np.float64(jax.jit(head.log_prob)(many(features, len(points)), points))) * area
    assert abs(p.sum() - 1) < 5e-3, p.sum()
    num = 20_000
    x = np.asarray(jax.jit(head.sample)(KEY, many(features, num)))
    expected = num * p.reshape(12, 8, 12, 8).sum((1, 3))
    error = np.abs(in_cells(x, 6.0, 12) - expected) / np.sqrt(expected + 1)
    assert error.max() < 5
    apart = np.abs(in_cells(x + 0.5, 6.0, 12) - expected) / np.sqrt(expected + 1)
    assert apart.max() > 5  # it can fail


def test_the_divergence_is_the_trace_of_the_jacobian():
    """The change of log p along a path, against the determinant of the whole map from noise to value."""
    head, features = bound_head(f"flow_matching(steps=16, {SMALL})")
    z = np.float32([0.4, -0.7])

    def moved(z):
        contexts = head.contexts(features)
        return runge_kutta(lambda t, x: head.velocity(t, x, contexts), z.reshape(1, 1, 2), 0.0, 1.0, 16).reshape(2)

    jacobian, found = jax.jit(lambda z: (jax.jacfwd(moved)(z), head.log_prob(features, moved(z))))(z)
    expected = -0.5 * float(z @ z) - np.log(2 * np.pi) - np.linalg.slogdet(np.asarray(jacobian))[1]
    assert abs(float(found) - expected) < 1e-4


def test_the_method_of_runge_and_kutta_is_of_order_4():
    """dx/dt = x t has x(1) = x(0) exp(1/2): half the step has a sixteenth of the error."""
    error = [abs(float(runge_kutta(lambda t, x: x * t, np.float32(1), 0.0, 1.0, n)) - np.exp(0.5)) for n in (1, 2)]
    assert error[1] < error[0] / 10
    assert error[0] < 5e-3


def test_the_error_of_a_solver_is_measured_by_a_sharper_one():
    assert make_conditional("flow_matching(steps=3)", PLANE).sharper().steps == 6


def test_flow_matching_is_regression_on_straight_paths():
    """|v(t, (1 - t) z + t x) - (x - z)|^2, a mean over the draws of each value; times are spread over the draws."""
    head, features = bound_head(f"flow_matching(draws=3, {SMALL})", train=True, key=jax.random.key(4))
    x = np.float32([[0.5, -1.0], [2.0, 0.1]])
    found = np.asarray(jax.jit(head.loss)(many(features, 2), x))
    velocity = jax.jit(lambda t, x: head.velocity(t, x, head.contexts(features)))
    time_key, key = jax.random.split(jax.random.key(4))
    t = (np.arange(3)[:, None] + np.asarray(jax.random.uniform(time_key, (3, 2)))) / 3
    z = np.asarray(jax.random.normal(key, (6, 1, 2))).reshape(3, 2, 2)
    expected = np.zeros(2)
    for k in range(3):
        for n in range(2):
            at = (1 - t[k, n]) * z[k, n] + t[k, n] * x[n]
            v = velocity(np.float32(t[k, n]), np.float32(at).reshape(1, 1, 2))
            expected[n] += ((np.asarray(v).ravel() - (x[n] - z[k, n])) ** 2).sum() / 3
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_the_bound_of_the_diffusion_head_is_below_the_density_of_its_draws():
    """exp(bound) integrated over each cell of a grid is at most the part of the draws in it; so is the whole. Small
    velocities are nearly those of normal values, so the bound is not far below.
    """
    head, features = bound_head(f"diffusion(steps=8, schedule='cosine', prediction='velocity', {SMALL})", 0.1)
    points, area = grid(4.0, 24)

    @jax.jit
    def mean_bound(keys):
        def one(key):
            return head.bind(head.params, key=key).log_prob(many(features, len(points)), points)

        return jax.lax.map(one, keys).mean(0)

    p = np.exp(np.float64(mean_bound(jax.random.split(KEY, 64)))) * area
    assert 0.1 < p.sum() < 1
    num = 20_000
    x = np.asarray(jax.jit(head.sample)(KEY, many(features, num)))
    least, counts = num * p.reshape(6, 4, 6, 4).sum((1, 3)), in_cells(x, 4.0, 6)
    assert ((least - counts) / np.sqrt(least + 1)).max() < 4


def test_an_entropy_is_that_of_values_drawn_without_the_noise_of_their_score(monkeypatch):
    """Else the score of a part of the steps, as in training, meets the noise of the draw at those steps."""
    head, _ = bound_head(f"diffusion(steps=6, score_steps=2, {SMALL})", key=KEY)
    seen, normal = [], jax.random.normal

    def noted(key, *shape):
        jax.debug.callback(lambda data: seen.append(tuple(data.tolist())), jax.random.key_data(key))
        return normal(key, *shape)

    monkeypatch.setattr(jax.random, "normal", noted)
    jax.jit(head.entropy)(np.float32([[0.3, -1.0, 0.6], [0.1, 0.2, 0.3]])).block_until_ready()
    jax.effects_barrier()
    assert len(seen) >= 2 * 8 and len(set(seen)) == len(seen)


def test_the_diffusion_head_is_a_chain_of_each_value():
    """Its score is the bound of a Gaussian chain with the features as context, and the simple loss the error of the
    noise; in training both are means over `draws` steps whose mean is that of all steps.
    """
    head, features = bound_head(
        f"diffusion(steps=5, schedule='cosine', draws=2, prediction='velocity', {SMALL})", 0.2, key=jax.random.key(2)
    )
    x = np.float32([[0.5, -1.0], [1.0, 0.2], [0.0, 0.0]])
    assert isinstance(head.chain, GaussianChain)
    batch = Batch(x.reshape(3, 1, 2), {"vector": many(features, 3)})
    bound = lambda: head.chain.bound(head.params, batch, jax.random.key(2)).log_prob  # noqa: E731
    np.testing.assert_allclose(*jax.jit(lambda: (head.log_prob(many(features, 3), x), bound()))(), rtol=1e-5)
    draws = 2000
    trained = head.bind(head.params, train=True, key=jax.random.key(3))
    simple = dataclasses.replace(trained, weighting="simple")
    rows, value = many(features, draws), np.broadcast_to(x[0], (draws, 2))
    losses = jax.jit(lambda: (trained.loss(rows, value), simple.loss(rows, value), -head.log_prob(rows, value)))
    bounds, errors, whole = map(np.asarray, losses())
    assert abs(bounds.mean() - whole.mean()) < 4 * (bounds.std() + whole.std()) / draws**0.5
    assert errors.min() > 0 and head.chain.num_steps == 5


def test_the_energy_score_is_that_of_its_draws_and_proper():
    """The formula in numpy; values drawn from the generator itself have a lower score than others, on average."""
    head, features = bound_head(f"energy(beta=1.5, draws=3, score_draws=4, {SMALL})", key=jax.random.key(5))
    y = np.float32([[0.5, -1.0], [2.0, 0.1]])
    for train, num in ((True, 3), (False, 4)):
        z = jax.random.normal(jax.random.key(5), (2 * num, 1, 2))
        apply, bound = jax.jit(head.apply), head.bind(head.params, train=train, key=jax.random.key(5))
        t = np.zeros(2 * num, np.float32)
        x = np.asarray(apply(z, t, head.contexts(many(features, 2 * num)))).reshape(num, 2, 2)
        found = jax.jit(bound.loss)(many(features, 2), y)
        for n in range(2):
            near = np.mean([np.linalg.norm(x[k, n] - y[n]) ** 1.5 for k in range(num)])
            pairs = [np.linalg.norm(x[i, n] - x[j, n]) ** 1.5 for i in range(num) for j in range(num) if i != j]
            np.testing.assert_allclose(found[n], near - np.mean(pairs) / 2, rtol=1e-4, atol=1e-5)
    rows = many(features, 4000)
    own = np.asarray(jax.jit(head.sample)(jax.random.key(6), rows))
    true, moved = (np.asarray(jax.jit(head.loss)(rows, each)) for each in (own, own + 0.5))
    assert (moved - true).mean() > 3 * (moved - true).std() / 4000**0.5


def test_energy_has_no_likelihood():
    (model, params), x = built(EVENT, conditional=CALLS["energy"], hidden_sizes=(8,)), np.zeros((2, 3, 2), np.float32)
    assert model.score_kind == "none"
    score = jax.jit(lambda p: model.score(p, Batch(x), key=KEY))(params)
    np.testing.assert_allclose(-score.log_prob, score.terms["energy"])
    for call in (model.log_prob, model.conditionals):
        with pytest.raises(UserError, match=r"no (likelihood|density)"):
            call(params, x)
    part = {"a": ModelChoice(network="made", options={"conditional": CALLS["energy"]})}
    assert "needs a likelihood" in refusal(make_model, EVENT, kind="mixture", parts=part)
    data = from_arrays(EVENT, train=x[:1], test=x)
    assert "`log_prob` needs a likelihood" in refusal(Fitted(model, params, data).log_prob, x)
    rows = {"nll": np.array([1.0, 2.0]), "sites": np.array([3.0, 3.0])}
    found = report(model, params, data, "test", Measures(), mesh=None, seed=0, open_run=None, rows=rows)
    about = {"dataset": "arrays", "split": "test", "kind": "none"}
    assert found.scores == about | {"sample_score": 1.5, "sample_score_stderr": 0.5, "num_examples": 2}


@each_head
def test_the_temperature_scales_the_noise(name):
    head, features = bound_head(CALLS[name], 0.3)
    rows = many(features, 4)
    mode, draw = np.asarray(jax.jit(head.mode)(rows)), jax.jit(head.sample)
    cold, warm = (np.asarray(draw(KEY, rows, t)) for t in (1e-4, 1.0))
    np.testing.assert_allclose(cold, mode, atol=1e-2)
    assert np.abs(warm - mode).max() > 0.05


@each_head
def test_objectives_train_by_the_loss_of_the_conditional(name):
    """In any order from one pass, and by teacher forcing; nats are reported only where the loss is in nats."""
    call = CALLS[name]
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    batch, step = Batch(x), Step(jax.random.key(7))
    model, params = built(EVENT, "made", 0.3, conditional=call, hidden_sizes=(8,))
    objective = make_objective("teacher_forcing")

    @functools.partial(jax.value_and_grad, has_aux=True)
    def with_metrics(p):
        found = objective.loss(model, p, None, batch, step)
        return found.value, (found.metrics, model.per_site(site_loss, p, batch, train=True, key=step.key).sum() / 24)

    (loss, (found, expected)), gradient = jax.jit(with_metrics)(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(jax.tree.leaves(gradient[CONDITIONAL])[0]).max() > 0
    has_nats = name == "diffusion"
    assert (found.nll is not None) == has_nats
    assert sorted(found.means) == ([] if has_nats else [name])
    if not has_nats:
        assert "this conditional has another loss" in refusal(make_objective("input_noise").check, model)


def test_the_loss_of_a_head_reaches_the_parts_of_a_cascade():
    x, key = np.random.default_rng(0).normal(size=(4, 4, 2)).astype(np.float32), jax.random.key(3)
    parts = {"1": small(head="flow_matching"), "2": small()}
    model = make_model(LINE, kind="cascade", stages="subsampled", parts=parts)
    first, second = model.parts

    @jax.jit
    def both(p):
        of_first = first.per_site(site_loss, p["1"], Batch(x[:, ::2]), train=True, key=jax.random.fold_in(key, 0))
        by_hand = of_first.sum(1) - second.log_prob(p["2"], x[:, 1::2], context={"coarse": x[:, ::2]})
        return model.score(p, Batch(x), key=key, train=True), by_hand

    _, params = with_params(model, 0.3)
    found, by_hand = both(params)
    np.testing.assert_allclose(found.terms["sum_of_losses"], by_hand, rtol=1e-4)
    np.testing.assert_array_equal(found.log_prob, -np.asarray(found.terms["sum_of_losses"]))
    assert (found.kind, model.score_kind) == ("none", "exact")
    objective = make_objective("teacher_forcing")
    assert jax.eval_shape(lambda: objective.loss(model, params, None, Batch(x), Step(key))).metrics.nll is None
    assert sharper(model).parts[1] is second
    assert sharper(model).parts[0].conditional == sharper(first).conditional != first.conditional


@pytest.mark.slow
def test_models_that_train_their_parts_by_log_p_refuse_other_losses():
    """The loss of the head would never be used, and nothing would tell."""
    head, plain = small("independent", head="simple"), small("independent")
    latent = {"prior": ModelChoice(network="constant"), "likelihood": head, "posterior": plain}
    plain, head = (dataclasses.replace(part, network_options={"width": 4}) for part in (plain, head))
    tokens = {"encoder": plain, "decoder": head, "prior": small()}
    mixture = ModelChoice("mixture", parts={"a": small(), "b": small(head="simple")})
    inside = {"1": small(), "2": mixture}
    cases = [
        ("teacher_forcing", make_model(LINE, mixture)),
        ("teacher_forcing", make_model(LINE, kind="cascade", stages="subsampled", parts=inside)),
        ("elbo", make_model(LINE, kind="latent", latents=(2,), parts=latent)),
        ("tokenizer", make_model(LINE, kind="tokens", quantizer="fsq(levels=(2,))", grid=(2,), parts=tokens)),
    ]
    for name, model in cases:
        sentence = refusal(make_objective(name).check, model)
        assert "has a training loss of its own, and" in sentence and f"by log p with the objective '{name}'" in sentence
    bound = make_model(LINE, kind="mixture", parts={"a": small(), "b": small(head="diffusion")})
    make_objective("teacher_forcing").check(bound)


@pytest.mark.slow
def test_given_values_and_blocks():
    small = {"width": 8, "num_layers": 1, "num_heads": 1}
    model = make_model(EVENT, "masked_transformer", conditional=CALLS["flow_matching"], orders="uniform", **small)
    params = jax.jit(model.init)(KEY)
    observed = np.bool_([False, False, True])
    x = np.broadcast_to(np.float32([[9.0, 8.0]]), (2, 3, 2))
    drawn = np.asarray(model.sample(params, KEY, 2, given=x, observed=observed))
    np.testing.assert_array_equal(drawn[:, 2], x[:, 2])
    assert np.abs(drawn[:, :2]).max() < 8
    query = {"query": np.bool_([True, False, False]), "evidence": observed}
    assert np.isfinite(model.conditional_log_prob(params, x, **query)).all()
    blocks = make_model(EVENT, "made", conditional=CALLS["diffusion"], partition="blocks(size=3)", hidden_sizes=(8,))
    of_blocks = jax.jit(blocks.init)(KEY)
    assert blocks.sample(of_blocks, KEY, 2).shape == (2, 3, 2)
    assert jax.eval_shape(lambda: blocks.score(of_blocks, Batch(x), key=KEY)).kind == "bound"


def test_a_nested_model_of_a_block_has_the_kind_and_the_loss_of_its_conditional():
    call = f"nested(network='made', hidden_sizes=(8,), features=4, conditional='{CALLS['flow_matching']}')"
    model = make_model(EVENT, "made", conditional=call, partition="blocks(size=3)", hidden_sizes=(8,))
    params, x = jax.jit(model.init)(KEY), np.zeros((2, 3, 2), np.float32)
    assert (model.score_kind, model.conditional.training_loss) == ("exact", "flow_matching")
    loss = -jax.jit(lambda p: model.score(p, Batch(x), key=KEY, train=True).log_prob)(params)
    assert loss.shape == (2,) and (np.asarray(loss) > 0).all()
    assert model.head(params, True, KEY).training_loss == "flow_matching" and sharper(model) is not model


@pytest.mark.parametrize("name", ["diffusion", "flow_matching", "energy"])
def test_refusals(name):
    """One value a site has exact densities; the sentence names them."""
    assert "gaussian_mixture or spline" in refusal(make_conditional, name, EventSpec((4,), (), "real"))
    assert "needs real values" in refusal(make_conditional, name, EventSpec((4,), (2,), "levels", 5))
    assert "parameters of its own" in refusal(make_conditional, f"mixture_of_products(base='{name}')", PLANE)
    assert "by the bound" in refusal(make_conditional, "diffusion(weighting='simple')", PLANE)
