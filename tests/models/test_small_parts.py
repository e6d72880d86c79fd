"""Small parts of models by themselves: pictures of latents, pieces of draws, schedules, sets of rounds."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_cases import KEY, latent_model, log_bernoulli, through, with_params

from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import extras, make_model
from arjax.models.discrete_chain import lowest, masked_counts
from arjax.models.latent import LATENT
from arjax.models.longer import join_pieces
from arjax.models.noise_schedules import init_learned, learned_gammas
from arjax.samplers import Draw, Request
from arjax.testing.models import random_like

X = np.array(list(itertools.product([0, 1], repeat=4)), np.int32).reshape(16, 2, 2)


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
def test_reports_of_latents():
    model, params = with_params(latent_model(), 1.0)
    report = extras.report_of_examples(model, params, Batch(X), KEY)
    means = np.asarray(model.encode(params, jnp.asarray(X)))
    assert report["active_units"] == (means.var(0) > 0.01).sum() and len(report["kl_nats_by_unit"]) == 2


@pytest.mark.slow
def test_the_mean_of_levels():
    model, params = with_params(latent_model(event=EventSpec((2, 2), kind="levels", num_levels=4)), 1.0)
    z, part = np.float32([[1, 2], [0, -1]]), model.likelihood
    features = part.features(params["likelihood"], X[:2], context={LATENT: z})
    tables = np.exp(np.asarray(part.head(params["likelihood"]).log_table(features)))
    np.testing.assert_allclose(model.expected(params, z, {}, KEY), tables @ np.arange(4), rtol=1e-5)


def test_pieces_are_joined_and_filled_up():
    pieces = [
        Draw(jnp.full((2, n), n), {"steps": jnp.full(2, n), "network_calls": jnp.full(2, 10 * n)}) for n in (3, 2)
    ]
    whole = join_pieces(pieces, Request(length=5))
    assert np.asarray(whole.x).tolist() == [[3, 3, 3, 2, 2]] * 2
    assert np.asarray(whole.stats["steps"]).tolist() == [5, 5]
    assert np.asarray(whole.stats["network_calls"]).tolist() == [50, 50]
    filled = join_pieces(pieces, Request(length=8, end=9))
    assert np.asarray(filled.x).tolist() == [[3, 3, 3, 2, 2, 9, 9, 9]] * 2


def test_learned_schedules_are_their_equation():
    """Kingma et al. (2021), appendix H: l_1(t) + sum w sigmoid(...), scaled to the end points; slopes count."""

    def softplus(x):
        return np.log1p(np.exp(np.asarray(x, np.float64)))

    params = dict(jax.jit(init_learned)(KEY)) | {"low": np.float32(-8.0), "range": np.float32(12.0)}
    gammas = jax.jit(learned_gammas, static_argnums=1)
    for slope in (-1.0, 0.0, 2.0):
        place = np.linspace(0, 1, 9)[:, None]
        hidden = 1 / (1 + np.exp(-(softplus(params["rate"]) * place + np.asarray(params["bias"]))))
        rising = softplus(slope) * place[:, 0] + (softplus(params["weight"]) * hidden).sum(-1)
        share = (rising - rising[0]) / (rising[-1] - rising[0])
        found = gammas(params | {"slope": np.float32(slope)}, 9)
        np.testing.assert_allclose(found, -8 + 12 * share, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_noise_of_discrete_chains_has_all_values():
    """x_T of the process `uniform` is uniform over all levels, the lowest and the highest too."""
    event = EventSpec((40,), kind="tokens", num_levels=5)
    options = {"kind": "discrete_chain", "num_steps": 2, "process": "uniform"}
    model = make_model(event, "denoising_transformer", **options, width=4, num_heads=1, num_layers=1)
    params = random_like(model.param_shapes)
    draw = jax.jit(lambda params: model.draw(params, jax.random.split(KEY, 50), frames=2))(params)
    first = np.asarray(draw.stats["path"])[:, 0]
    counts = np.bincount(first.ravel(), minlength=6)
    assert counts[5] == 0 and (np.abs(counts[:5] - 400) < 5 * np.sqrt(320)).all()


def test_sets_of_rounds():
    assert masked_counts(6, 3).tolist() == [0, 2, 4, 6] and masked_counts(5, 1).tolist() == [0, 5]
    among = np.array([True, False, True, True])
    for num in range(4):
        chosen = np.asarray(lowest(KEY, among, jnp.int32(num)))
        assert chosen.sum() == num and not (chosen & ~among).any()
