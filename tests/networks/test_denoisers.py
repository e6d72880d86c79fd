"""Denoisers against their equations in numpy, on grids of odd sizes, and with the mask token."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy_layers import attention, convolve, dense, gelu, layer_norm, layers, silu

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.networks import NETWORKS
from arjax.networks.denoisers import TIME, make_denoiser
from arjax.networks.denoisers.base import as_denoiser
from arjax.networks.layers.convolution import square_taps
from arjax.testing.examples import random_like

TRANSFORMER, LABEL = "denoising_transformer", ContextSpec("label", 3)
TIMES, CLASS = np.float32([0.25, 0.9]), np.int32([2, 0])


def features(denoiser, x, **options):
    """Random parameters, and the features of two noisy examples with a class, as numpy arrays."""
    context = {"label": CLASS} if denoiser.context_spec else {}
    shapes = jax.eval_shape(denoiser.init, jax.random.key(0), x, None, context | {TIME: TIMES})
    params = random_like(shapes["params"])
    apply = jax.jit(lambda x, t: denoiser.apply({"params": params}, x, None, context | {TIME: t}))
    return params, np.asarray(apply(x, TIMES)), lambda x, t: np.asarray(apply(x, t))


def condition(params, i):
    """Sinusoids of 1000 t, two layers, and the vector of the class."""
    half = params["time_in"]["kernel"].shape[0] // 2
    angle = 1000 * TIMES[i] * 1e4 ** (-np.arange(half) / half)
    vector = dense(params["time_out"], silu(dense(params["time_in"], np.concatenate([np.sin(angle), np.cos(angle)]))))
    return vector + params["context"]["table"]["embedding"][CLASS[i]] if "context" in params else vector


def modulation(params, vector, num):
    return np.split(dense(params["Dense_0"], silu(vector)), num)


def test_adaptive_mlp_is_its_definition():
    """All sites as one vector; the condition moves and scales each normalisation, and scales each branch."""
    event = EventSpec((3,), (2,), "real")
    denoiser = make_denoiser("adaptive_mlp", event, LABEL, 4, width=6, num_layers=2)
    x = np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)
    params, found, _ = features(denoiser, x)
    for i in range(2):
        vector = condition(params["condition"], i)
        h = dense(params["in"], x[i].ravel())
        for own in (params["layer_0"], params["layer_1"]):
            shift, scale, gate = modulation(own["modulation"], vector, 3)
            y = layer_norm(own["norm"], h) * (1 + scale) + shift
            h = h + (1 + gate) * dense(own["dense_out"], silu(dense(own["dense_in"], y)))
        shift, scale = modulation(params["modulation"], vector, 2)
        out = dense(params["out"], layer_norm(params["norm"], h) * (1 + scale) + shift)
        np.testing.assert_allclose(found[i], out.reshape(3, 4), rtol=2e-4, atol=2e-4)


def test_transformer_is_its_definition():
    """Tokens with the mask among them; the condition moves and scales each normalisation, and each branch."""
    event = EventSpec((4,), kind="tokens", num_levels=3)
    denoiser = make_denoiser(TRANSFORMER, event, LABEL, 5, **NETWORKS.get(TRANSFORMER).SMALL)
    x = np.int32([[0, 3, 2, 1], [3, 3, 1, 3]])
    params, found, _ = features(denoiser, x)
    everything = np.ones((4, 4), bool)
    for i in range(2):
        vector = condition(params["condition"], i)
        h = params["value"]["table"]["embedding"][x[i]] + params["site"]["table"]["embedding"][:4]
        for own in layers(params):
            shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation(own["modulation"], vector, 6)
            y = layer_norm(own["attention_norm"], h) * (1 + scale) + shift
            h = h + (1 + gate) * attention(own["attention"], y, y, everything, 2)
            y = layer_norm(own["mlp_norm"], h) * (1 + mlp_scale) + mlp_shift
            h = h + (1 + mlp_gate) * dense(own["down"], gelu(dense(own["up"], y)))
        shift, scale = modulation(params["modulation"], vector, 2)
        expected = dense(params["out"], layer_norm(params["norm"], h) * (1 + scale) + shift)
        np.testing.assert_allclose(found[i], expected, atol=2e-4 * np.abs(expected).max())


def group_norm(params, x_HWC, groups):
    """Wu & He (2018): over all pixels and the channels of a group."""
    grouped = x_HWC.reshape(-1, groups, x_HWC.shape[-1] // groups)
    mean, var = grouped.mean((0, 2), keepdims=True), grouped.var((0, 2), keepdims=True)
    return ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(x_HWC.shape) * params["scale"] + params["bias"]


def residual(params, x, vector, taps):
    h = convolve(params["conv_in"], silu(group_norm(params["norm_in"], x, 4)), taps)
    shift, scale = modulation(params["modulation"], vector, 2)
    h = convolve(params["conv_out"], silu(group_norm(params["norm_out"], h, 4) * (1 + scale) + shift), taps)
    return h + (convolve(params["match"], x, ((0, 0),)) if "match" in params else x)


def halved(x):
    """Means of 2 x 2 pixels, the last row and column of an odd size twice."""
    height, width, size = x.shape
    rows = [[2 * r, min(2 * r + 1, height - 1)] for r in range((height + 1) // 2)]
    columns = [[2 * c, min(2 * c + 1, width - 1)] for c in range((width + 1) // 2)]
    return np.array([[x[np.ix_(r, c)].reshape(4, size).mean(0) for c in columns] for r in rows])


@pytest.mark.parametrize(("grid", "out_kernel"), [((5, 3), 3), pytest.param((7,), 1, marks=pytest.mark.slow)])
def test_unet_is_its_definition(grid, out_kernel):
    """On 5 x 3 pixels: down to 3 x 2, attention there, and up again. A line is a plane of one row."""
    options = {"attention": True, "out_kernel": out_kernel} | NETWORKS.get("unet").SMALL
    denoiser = make_denoiser("unet", EventSpec(grid, kind="real"), LABEL, 1, **options)
    x = np.random.default_rng(0).normal(size=(2, *grid)).astype(np.float32)
    params, found, _ = features(denoiser, x)
    plane = grid if len(grid) == 2 else (1, *grid)
    taps = square_taps(3) if len(grid) == 2 else ((0, -1), (0, 0), (0, 1))
    for i in range(2):
        vector = condition(params["condition"], i)
        skip = residual(params["down_0_0"], convolve(params["conv_in"], x[i].reshape(*plane, 1), taps), vector, taps)
        h = residual(params["down_1_0"], halved(skip), vector, taps)
        tokens = group_norm(params["attention_norm"], h, 4).reshape(-1, h.shape[-1])
        mask = np.ones((len(tokens), len(tokens)), bool)
        h = h + attention(params["attention"], tokens, tokens, mask, 2).reshape(h.shape)
        h = residual(params["up_1_0"], h, vector, taps)
        h = np.concatenate([h.repeat(2, 0).repeat(2, 1)[: plane[0], : plane[1]], skip], -1)
        h = silu(group_norm(params["norm_out"], residual(params["up_0_0"], h, vector, taps), 4))
        expected = convolve(params["conv_out"], h, taps if out_kernel == 3 else ((0, 0),)).reshape(found[i].shape)
        np.testing.assert_allclose(found[i], expected, atol=2e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "event", "options"),
    [
        ("unet", EventSpec((7, 4, 2), (3,), "levels", 4), {"multipliers": (1, 2, 2)}),
        (TRANSFORMER, EventSpec((3, 2), (2,)), {"use_time": False}),
    ],
)
def test_every_site_reads_every_site_and_the_time_if_asked(name, event, options):
    """Also colour channels, values of several scalars, and the mask token of binary data."""
    denoiser = make_denoiser(name, event, ContextSpec(), 2, **NETWORKS.get(name).SMALL | options)
    x = np.zeros((2, *event.shape), np.int32)
    _, found, apply = features(denoiser, x)
    assert found.shape == (2, *event.grid_shape, 2) and found.dtype == np.float32
    masked = x.copy()
    masked[0].flat[-1] = event.num_levels
    change = np.abs(apply(masked, TIMES) - found).reshape(2, -1)
    assert (change[0] > 1e-6).all() and not change[1].any()
    later = np.abs(apply(x, TIMES + 0.05) - found)
    assert not later.any() if options.get("use_time") is False else (later > 1e-6).all()


def test_an_any_order_network_is_a_denoiser():
    """Its features are those given the sites without a mask, at any time."""
    event = EventSpec((4,), (2,), "levels", 3)
    denoiser = make_denoiser("masked_transformer", event, LABEL, 4, **NETWORKS.get("masked_transformer").SMALL)
    x_t = np.int32([[[0, 1], [3, 3], [2, 2], [3, 3]], [[3, 3], [1, 0], [3, 3], [3, 3]]])
    params, found, apply = features(denoiser, x_t)
    context = {"label": CLASS}
    given = jax.jit(lambda p, x, m: denoiser.network.apply({"params": p}, x, m, context, method="given"))
    np.testing.assert_array_equal(found, given(params["network"], x_t % 3, x_t[..., 0] < 3))
    np.testing.assert_array_equal(found, apply(x_t, 0 * TIMES))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_denoiser("unet", EventSpec((2, 2, 2, 2)), LABEL, 1), "a line, a plane"),
        (lambda: make_denoiser("unet", EventSpec((5,)), LABEL, 1, out_kernel=2), "out_kernel must be an odd number"),
        (lambda: make_denoiser(TRANSFORMER, EventSpec((5,)), LABEL, 1, num_heads=5), "num_heads=5 does not divide"),
        (lambda: make_denoiser("masked_transformer", EventSpec((5,), kind="real"), LABEL, 1), "needs discrete data"),
        (lambda: as_denoiser(NETWORKS.get("lstm")(EventSpec((5,)), LABEL, 1, "float32")), "only those of earlier"),
        (
            lambda: make_denoiser("unet", EventSpec((1,), kind="columns", columns=(EventSpec(()),)), LABEL, 1),
            "of one kind of data",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UserError, match=message):
        call()
