"""Latent models: the terms of the bound in numpy, bounds against enumerated latents, draws, pictures, refusals."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from built import with_params
from compiled import of_model
from latent_cases import EVENT, HIDDEN, KEY, PARTS, X, latent_model, log_bernoulli, log_normal, through
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation.bounds import sampled_scores
from arjax.evaluation.splits import Scoring
from arjax.models import ModelChoice, extras, make_model
from arjax.models.draws import check_draws, opened
from arjax.models.latent import LATENT, expected_value
from arjax.objectives import Step, make_objective
from arjax.samplers import make_sampler
from arjax.testing.examples import all_values
from arjax.testing.statistics import chi_square
from arjax.training.start import Trained


def test_the_weights_are_their_equations():
    """log p(x | z) + log N(z; 0, 1) - log N(z; mean(x), scale(x)): Kingma & Welling (2014), equation 7, appendix C."""
    model, params = with_params(latent_model(), 0.5)
    found = jax.jit(lambda p: model.weights(p, Batch(X), KEY, 3))(params)
    z, x = np.asarray(found.latents), X.reshape(16, 4)
    assert z.shape == (3, 16, 2)
    assert z.std(0).min() > 0.01  # drawn, and apart
    of_q = through(params["posterior"], x.astype(np.float32)).reshape(16, 2, 2)
    np.testing.assert_allclose(found.log_posterior, log_normal(z, of_q[..., 0], of_q[..., 1]).sum(-1), atol=2e-5)
    np.testing.assert_allclose(found.log_prior, log_normal(z, 0, 0).sum(-1), atol=2e-5)
    logits = through(params["likelihood"], z.reshape(-1, 2)).reshape(3, 16, 4)
    np.testing.assert_allclose(found.reconstruction, log_bernoulli(x, logits).sum(-1), atol=2e-5)
    score = of_model(model, "score", params, Batch(X), key=KEY)
    np.testing.assert_allclose(score.terms["reconstruction"] + score.terms["kl"], -score.log_prob, atol=1e-5)


@functools.cache
def enumerated():
    """A model with three binary latents, and by enumeration in numpy log p(x) [16], log w and log q [8, 16]."""
    model, params = with_params(latent_model((3,), "binary", prior=ModelChoice(network="made")), 0.5)
    z = all_values(EventSpec((3,)))
    log_prior = np.asarray(of_model(model.prior, "log_prob", params["prior"], z))
    logits = through(params["likelihood"], z.astype(np.float32))
    log_x = log_bernoulli(X.reshape(1, 16, 4), logits[:, None]).sum(-1)
    of_q = through(params["posterior"], X.reshape(16, 4).astype(np.float32))
    log_q = log_bernoulli(z[:, None], of_q).sum(-1)
    joint = log_prior[:, None] + log_x
    return model, params, np.logaddexp.reduce(joint, 0), joint - log_q, log_q


@pytest.mark.slow
def test_bounds_against_the_enumerated_likelihood():
    model, params, log_x, log_w, log_q = enumerated()
    elbo = (np.exp(log_q) * log_w).sum(0)
    assert np.isclose(np.exp(log_x).sum(), 1, atol=1e-5)
    assert (elbo < log_x).all()
    many = Batch(np.repeat(X, 2000, 0))
    mean = np.asarray(jax.jit(lambda p: model.score(p, many, key=KEY).log_prob)(params)).reshape(16, -1)
    np.testing.assert_allclose(mean.mean(1), elbo, atol=5 * mean.std(1).max() / 2000**0.5)

    @functools.partial(jax.jit, static_argnums=1)
    def bound(p, k):
        return model.importance_bound(p, Batch(np.repeat(X, 50, 0)), KEY, k, at_once=7)

    gaps = [log_x.mean() - np.asarray(bound(params, k)).mean() for k in (2, 20, 1000)]
    assert (log_x - elbo).mean() > gaps[0] > gaps[1] > gaps[2] > -1e-3
    assert gaps[2] < 0.01


def test_the_importance_bound_counts_its_samples():
    """Five samples in calls of two: the weights of the first five, and no more."""
    model, params = with_params(latent_model(), 0.5)
    found = jax.jit(lambda p: model.importance_bound(p, Batch(X), KEY, 5, at_once=2))(params)
    weights = jax.jit(lambda p, i: model.weights(p, Batch(X), jax.random.fold_in(KEY, i), 2).log_weight)
    parts = [weights(params, i) for i in range(3)]
    log_w = np.concatenate(parts)[:5]
    np.testing.assert_allclose(found, np.logaddexp.reduce(log_w, 0) - np.log(5), atol=1e-5)


@pytest.mark.slow
def test_scores_of_several_samples():
    """Validation by the bound that `iwae` trains: L_k of the same weights, with terms that add up to it."""
    model, params = with_params(latent_model(), 0.5)
    model = dataclasses.replace(model, score_samples=4)
    found = of_model(model, "score", params, Batch(X), key=KEY)
    log_w = np.asarray(jax.jit(lambda p: model.weights(p, Batch(X), KEY, 4).log_weight)(params))
    np.testing.assert_allclose(found.log_prob, np.logaddexp.reduce(log_w, 0) - np.log(4), atol=1e-5)
    np.testing.assert_allclose(sum(found.terms.values()), -found.log_prob, atol=1e-5)
    assert (np.asarray(found.terms["importance"]) < 0).all()
    assert "importance" not in jax.eval_shape(lambda p: model.score(p, Batch(X), key=KEY, train=True), params).terms


@pytest.mark.slow
def test_two_stochastic_layers_weigh_both():
    """exp(log w) is an unbiased estimate of p(x), with latents below latents."""
    model, params = with_params(latent_model((3,), "binary", prior=latents_below("binary")), 0.5)
    z1, z2 = all_values(EventSpec((3,))), all_values(EventSpec((2,)))
    top = log_bernoulli(z1[None], through(params["prior"]["likelihood"], z2.astype(np.float32))[:, None]).sum(-1)
    log_z1 = np.logaddexp.reduce(top - np.log(4), 0)
    logits = through(params["likelihood"], z1.astype(np.float32))
    log_x = np.logaddexp.reduce(log_bernoulli(X.reshape(1, 16, 4), logits[:, None]).sum(-1) + log_z1[:, None], 0)
    found = np.asarray(jax.jit(lambda p: model.importance_bound(p, Batch(X), KEY, 20000, at_once=1000))(params))
    np.testing.assert_allclose(found, log_x, atol=0.05)
    assert np.isclose(np.exp(log_x).sum(), 1, atol=1e-5)


@pytest.mark.slow
def test_draws_follow_the_enumerated_joint():
    model, params, log_x, _, _ = enumerated()
    keys = jax.random.split(jax.random.key(5), 20_000)
    x = np.asarray(jax.jit(lambda p: model.draw(p, keys).x)(params)).reshape(-1, 4)
    counts = np.bincount(x @ (8, 4, 2, 1), minlength=16)
    order = X.reshape(16, 4) @ (8, 4, 2, 1)
    assert chi_square(counts[order], np.exp(log_x)) > 0.001


@pytest.mark.slow
def test_draws_from_given_latents_and_the_encoder():
    model, params = with_params(latent_model(), 0.5)
    z = np.float32([[3.0, -2.0], [0.0, 0.0]])
    draw = jax.jit(lambda p: model.draw(p, jax.random.split(KEY, 2), latents=z))(params)
    assert draw.x.shape == (2, 2, 2)
    of_q = through(params["posterior"], X.reshape(16, 4).astype(np.float32)).reshape(16, 2, 2)
    np.testing.assert_allclose(of_model(model, "encode", params, X), of_q[..., 0], atol=1e-5)


def test_units_that_tell_something_are_active():
    """The mean of the second unit varies with x by less than the threshold, .01 of a variance and not of a deviation.
    Divergences are E log q - log p: those of the formula for two Gaussians (Kingma & Welling, appendix B).
    """
    model, params = with_params(latent_model(), 1.0)
    readout = params["posterior"]["site"]["readout"]
    readout["kernel"] = np.asarray(readout["kernel"]) * np.float32([1, 1, 0.03, 0.3])  # mean, log-scale of each unit
    readout["bias"] = np.zeros(4, np.float32)
    mean, log_scale = through(params["posterior"], X.reshape(16, 4).astype(np.float32)).reshape(16, 2, 2).T
    variances = mean.var(1)
    assert variances[0] > 0.1 and 0.01**2 < variances[1] < 0.005
    units = np.asarray(of_model(model, "kl_by_unit", params, Batch(np.repeat(X, 100, 0)), KEY), np.float64)
    kl, exact = units.mean(0), (0.5 * (mean**2 + np.exp(2 * log_scale) - 1) - log_scale).mean(1)
    at_the_mean = (0.5 * mean**2 - log_scale).mean(1)
    error = 5 * units.std(0) / 1600**0.5
    assert (np.abs(kl - exact) < error).all() and (np.abs(at_the_mean - exact) > error).any()
    dataset = from_arrays(EVENT, train=X, test=X)
    found = sampled_scores(model, params, dataset, "test", 20, Scoring(16))
    assert found["active_units"] == 1
    np.testing.assert_allclose(found["kl_nats_by_unit"], kl, atol=0.5)
    bound = np.asarray(jax.jit(lambda p: model.importance_bound(p, Batch(X), KEY, 2000))(params)).mean()
    np.testing.assert_allclose(found["importance_bound_nats"], -bound, atol=0.3)
    bits = found["importance_bound_nats"] / 4 / np.log(2)
    np.testing.assert_allclose(found["importance_bound_bits_per_dim"], bits, rtol=1e-6)


ORDERLESS = ModelChoice(options={"orders": "uniform"}, network="masked_transformer")
MIXED_Q = ModelChoice(options={"conditional": "logistic_mixture"}, network="independent")


@pytest.mark.parametrize(
    ("part", "choice", "sentence"),
    [
        ("posterior", ModelChoice(network="made"), "sites are independent given x"),
        ("posterior", ModelChoice(network="constant"), "the posterior of the kind 'latent': its network reads no"),
        ("likelihood", ModelChoice(network="constant"), "the likelihood of the kind 'latent': its network reads no"),
        ("posterior", ModelChoice("latent"), "the posterior of the kind 'latent'"),
        ("posterior", MIXED_Q, "gradients"),
        ("prior", ModelChoice(), "the prior of the kind 'latent': the kind of model 'autoregressive' needs a network"),
        ("decoder", HIDDEN, "has prior, likelihood, posterior, not 'decoder'"),
        ("likelihood", ORDERLESS, "the likelihood of the kind 'latent': a part is trained and scored under one order"),
    ],
)
def test_parts_that_cannot_be(part, choice, sentence):
    assert sentence in refusal(latent_model, **{part: choice})


def test_exponentials_of_scores_that_are_biased_make_no_bound():
    """A chain as the prior: E[exp(score)] may be above p(z), so the log of the mean over several latents is no bound;
    with features of 0 the mean of L_2000 lies .12 nats below the -log p(x) of two binary sites.
    """
    chain = ModelChoice("discrete_chain", {"num_steps": 2}, "denoising_transformer", {"width": 8})
    made = ModelChoice(network="made")
    for prior, samples, kind in ((chain, 1, "bound"), (chain, 5, "estimate"), (made, 5, "bound")):
        model = dataclasses.replace(latent_model((2,), "binary", prior=prior), score_samples=samples)
        assert model.score_kind == kind


def test_refusals():
    model, params = with_params(latent_model(), 0.5)
    assert "give a random `key`" in refusal(model.score, params, Batch(X))
    assert "a random key is one key" in refusal(model.log_prob, params, X, key=0)
    given = {"given": X[0], "observed": np.ones((2, 2), bool)}
    assert "cannot draw with given" in refusal(model.draw, params, jax.random.split(KEY, 2), **given)
    assert "hidden_sizes of 'independent' are layers of its context" in refusal(make_model, EventSpec((2, 2)), HIDDEN)
    discrete = latent_model((2,), "binary")
    assert "needs samples of at least 2" in refusal(make_objective("elbo").check, discrete)
    refused = refusal(make_objective("iwae").check, make_model(EVENT, ModelChoice(network="made")))
    assert "needs a model with latents, of the kind latent, not AutoregressiveModel" in refused


def mixture_of(*members):
    return ModelChoice("mixture", parts={f"member {k}": member for k, member in enumerate(members)})


@pytest.mark.slow
def test_drafts_are_those_of_the_likelihood():
    """A draft of another run is compared with the likelihood, and none that has no conditionals is a draft."""
    plain = make_model(EVENT, ModelChoice(network="made"))
    model = latent_model(likelihood=ModelChoice(network="made"))
    sampler = make_sampler("speculative(draft='other')")
    assert "their contexts differ" in refusal(opened, sampler, model, lambda _: Trained(plain, {}, 0, None))
    refused = refusal(opened, sampler, plain, lambda _: Trained(model, {}, 0, None))
    assert "a draft needs the conditionals of an autoregressive model, and LatentModel has none" in refused
    mixture = make_model(EVENT, mixture_of(ModelChoice(network="made"), ModelChoice(network="gru")))
    assert "one sampler for all members" in refusal(check_draws, mixture, make_sampler("speculative"))
    check_draws(mixture, make_sampler("fixed_point"))


def mean_of(params, z):
    """p(x = 1 | z) of each pixel, in numpy."""
    return np.exp(log_bernoulli(1, through(params["likelihood"], np.asarray(z)))).reshape(-1, 2, 2)


@pytest.mark.slow
def test_pictures_of_latents():
    """Reconstructions are means given the latents of examples; a path goes from each to another; a plane of latents."""
    model, params = with_params(latent_model(), 1.0)
    pictures = dict(extras.pictures(model, params, Batch(X), KEY))
    assert list(pictures) == ["reconstructions", "interpolation", "latent_plane"]
    z = np.asarray(model.encode(params, jnp.asarray(X)))
    shown = pictures["reconstructions"]
    assert shown.columns == 10
    np.testing.assert_array_equal(shown.examples[:10], X[:10])
    np.testing.assert_allclose(shown.examples[10:], mean_of(params, z[:10]), atol=1e-5)
    path = np.linspace(z[:8], z[8:], 12, axis=1).reshape(-1, 2)
    along = pictures["interpolation"]
    assert along.columns == 12 and len(along.examples) == 8 * 12
    np.testing.assert_allclose(along.examples, mean_of(params, path), atol=1e-5)
    plane = pictures["latent_plane"]
    assert plane.columns == 20 and len(plane.examples) == 400
    parts = jax.scipy.stats.norm.ppf((np.arange(20) + 0.5) / 20)
    grid = np.array([(across, down) for down in parts for across in parts], np.float32)
    np.testing.assert_allclose(plane.examples, mean_of(params, grid), atol=1e-5)


@pytest.mark.slow
def test_pictures_that_there_are_not():
    few, params = with_params(latent_model(), 1.0)
    assert len(dict(extras.pictures(few, params, Batch(X[:5]), KEY))["interpolation"].examples) == 2 * 12
    binary, params = with_params(latent_model((2,), "binary"), 1.0)
    assert list(dict(extras.pictures(binary, params, Batch(X), KEY))) == ["reconstructions"]
    line, params = with_params(latent_model(event=EventSpec((4,))), 1.0)
    assert not list(extras.pictures(line, params, Batch(X.reshape(16, 4)), KEY))
    labels = {"label": np.arange(16, dtype=np.int32) % 3}
    given, params = with_params(latent_model(context=ContextSpec("label", 3)), 1.0)
    pictures = dict(extras.pictures(given, params, Batch(X, labels), KEY))
    assert list(pictures) == ["reconstructions", "interpolation"]  # a plane would need a context of its own
    assert pictures["interpolation"].examples.shape == (96, 2, 2)


@pytest.mark.slow
def test_the_mean_of_levels():
    model, params = with_params(latent_model(event=EventSpec((2, 2), kind="levels", num_levels=4)), 1.0)
    z, part = np.float32([[1, 2], [0, -1]]), model.likelihood
    features = part.features(params["likelihood"], X[:2], context={LATENT: z})
    tables = np.exp(np.asarray(part.head(params["likelihood"]).log_table(features)))
    found = expected_value(part, params["likelihood"], {LATENT: z}, KEY, 2)
    np.testing.assert_allclose(found, tables @ np.arange(4), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["elbo(samples=3)", "elbo(samples=2, beta=0.3)", "iwae(samples=3)"])
def test_the_gradient_through_discrete_latents_is_that_of_the_enumerated_bound(call):
    """One binary latent: all 2^k draws, and the gradient of their mean, against that of 40,000 draws."""
    model, params = with_params(latent_model((1,), "binary", event=EventSpec((1,))), 1.0)
    objective = make_objective(call)
    k, beta = objective.samples, getattr(objective, "beta", 1.0)
    x, num = np.int32([[1]]), 40_000

    def exact(params):
        z = jnp.asarray(all_values(EventSpec((1,))))
        log_prior = model.prior.log_prob(params["prior"], z)
        log_x = model.likelihood.log_prob(params["likelihood"], jnp.repeat(x, 2, 0), context={"z": z})
        log_q = model.posterior.log_prob(params["posterior"], z, context={"x": jnp.repeat(x, 2, 0)})
        draws = all_values(EventSpec((k,)))  # [2^k, k]
        weight = jnp.exp(log_q[draws].sum(1))
        if call.startswith("iwae"):
            value = jax.nn.logsumexp((log_x + log_prior - log_q)[draws], 1) - np.log(k)
        else:
            value = (log_x + beta * (log_prior - log_q))[draws].mean(1)
        return -(weight * value).sum()

    @jax.jit
    def estimates(params):
        def one(key):
            own = objective.init(model, key)
            return jax.grad(lambda p: objective.loss(model, p, own, Batch(x), Step(key)).value)(params)

        found = jax.vmap(one)(jax.random.split(KEY, num))
        return jax.tree.map(lambda leaf: (leaf.mean(0), leaf.std(0) / num**0.5), found)

    wanted = jax.jit(jax.grad(exact))(params)
    found = estimates(params)
    leaves, structure = jax.tree.flatten(wanted)
    for leaf, (mean, error) in zip(leaves, structure.flatten_up_to(found), strict=True):
        assert (np.abs(mean - leaf) < 5 * error + 1e-6).all()
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(wanted["posterior"])) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("call", ["elbo(samples=3, beta=0.3)", "iwae(samples=4)"])
def test_the_gradient_through_real_latents_is_that_of_finite_differences(call):
    """z = mean + scale * noise with the noise held (Kingma & Welling, 2014, section 2.4; Burda et al., 2016, equations
    12 to 14), in numpy and float64.
    """
    model, params = with_params(latent_model(), 1.0)
    objective, x = make_objective(call), X.reshape(16, 4).astype(np.float64)
    k = objective.samples

    @jax.jit
    def found(params):
        loss = lambda p: objective.loss(model, p, objective.init(model, KEY), Batch(X), Step(KEY)).value  # noqa: E731
        return *jax.value_and_grad(loss)(params), model.weights(params, Batch(X), KEY, k).latents

    def posterior(params):
        of_q = through(params["posterior"], x).reshape(16, 2, 2)
        return of_q[..., 0], of_q[..., 1]

    value, gradient, z = found(params)
    params, gradient = (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree) for tree in (params, gradient))
    mean, log_scale = posterior(params)
    noise = (np.asarray(z, np.float64) - mean) / np.exp(log_scale)

    def loss(params):
        mean, log_scale = posterior(params)
        z = mean + np.exp(log_scale) * noise
        log_q = log_normal(z, mean, log_scale).sum(-1)
        log_prior, log_x = log_normal(z, 0, 0).sum(-1), log_bernoulli(x, through(params["likelihood"], z)).sum(-1)
        if call.startswith("iwae"):
            return -(np.logaddexp.reduce(log_x + log_prior - log_q, 0) - np.log(k)).mean() / 4
        return -(log_x + 0.3 * (log_prior - log_q)).mean() / 4

    np.testing.assert_allclose(value, loss(params), rtol=1e-5)
    leaves, structure = jax.tree.flatten(params)
    for n, slope in enumerate(jax.tree.leaves(gradient)):
        direction = np.random.default_rng(n).normal(size=slope.shape)
        moved = [[*leaves[:n], leaves[n] + step * direction, *leaves[n + 1 :]] for step in (-1e-5, 1e-5)]
        low, high = (loss(jax.tree.unflatten(structure, each)) for each in moved)
        np.testing.assert_allclose((slope * direction).sum(), (high - low) / 2e-5, rtol=1e-3, atol=1e-5)


def latents_below(values):
    return ModelChoice("latent", {"latents": (2,), "values": values}, parts=PARTS)


def test_draws_of_discrete_latents_that_no_objective_follows():
    """A loss whose gradient lacks that of some draws would train, and be wrong."""
    discrete, below = latent_model((2,), "binary"), latent_model(prior=latents_below("binary"))
    mixed = make_model(EVENT, mixture_of(latents_below("binary"), ModelChoice(network="made")))
    for model in (discrete, below, mixed):
        refused = refusal(make_objective("teacher_forcing").check, model)
        assert "no gradient through draws of discrete latents" in refused
    for call in ("elbo(samples=2)", "iwae"):
        assert "the latents of its parts have to be real" in refusal(make_objective(call).check, below)
        make_objective(call).check(discrete)
        make_objective(call).check(latent_model(prior=latents_below("real")))
    make_objective("teacher_forcing").check(latent_model())


def test_scores_whose_exponentials_are_no_bound():
    """The score of a chain at random steps varies much: the log of a mean of exponentials is above log p(x)."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    chain = ModelChoice("discrete_chain", {"num_steps": 4, "score_steps": 1}, "denoising_transformer", sizes)
    model = latent_model(likelihood=chain)
    make_objective("elbo").check(model)
    assert "no bounds with chains" in refusal(make_objective("iwae").check, model)
    assert "no bounds with chains inside" in refusal(sampled_scores, model, None, None, "test", 2, Scoring(2))
    mixture = make_model(EVENT, mixture_of(chain, ModelChoice(network="made")))
    inside = latent_model(prior=mixture_of(ModelChoice("gaussian_chain", {}, "denoising_transformer", sizes)))
    assert (model.score_kind, mixture.score_kind, inside.score_kind) == ("bound", "estimate", "estimate")
