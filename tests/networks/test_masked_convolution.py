"""PixelCNN, Gated PixelCNN and locally masked convolution against their definitions: what they read and compute."""

from __future__ import annotations

import flax.linen as nn
import jax
import law_cases as cases
import numpy as np
import pytest
from families import slow

from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.networks.image.gated_pixelcnn import GatedLayer
from arjax.testing.network import check_steps

rng = np.random.default_rng(0)
#: Kernels that reach one pixel far, so that pictures of few pixels show what a stack of layers reads.
NEAR = {"kernel_size": 3, "first_kernel": 3}
COLOUR = EventSpec((3, 2, 3))
COLOUR_ORDERS = ["raster", "reversed", f"list(order={tuple(np.arange(18).reshape(3, 2, 3)[:, ::-1].ravel().tolist())})"]


def real_model(grid, network, **options):
    """A model of real values, any of which is another one after a change."""
    return make_model(EventSpec(grid, kind="real", num_levels=0), network, conditional="gaussian", **options)


def check_dependencies(model) -> np.ndarray:
    """The declared dependencies, after comparing them with what changes when a value does."""
    declared = model.network.dependencies(model.factorization)
    reads = cases.dependence(model.network, cases.params_of(model), model.factorization, num=4)
    np.testing.assert_array_equal(reads, declared)
    return declared


def test_pixelcnn_has_its_blind_spot_and_says_so():
    model = real_model((6, 6), "pixelcnn", hidden_size=24, num_layers=4, out_size=16, **NEAR)
    reads = check_dependencies(model).reshape(6, 6, 6, 6)
    mask = np.asarray(model.factorization.mask()).reshape(6, 6, 6, 6)
    # Of the row above, any pixel to the right but the next; with each row further up the cone is one pixel wider.
    assert not reads[3, 1, 2, 3:].any() and reads[3, 1, 2, :3].all()
    assert not reads[3, 1, 1, 4:].any() and reads[3, 1, 1, :4].all()
    assert (mask & ~reads)[:, :4].any((0, 2, 3)).all() and not (mask & ~reads)[:, 5].any()


@pytest.mark.slow
def test_blind_spot_turns_with_the_picture():
    model = real_model((5, 5), "pixelcnn", hidden_size=16, num_layers=2, ordering="column_major", **NEAR)
    upright = real_model((5, 5), "pixelcnn", hidden_size=16, num_layers=2, **NEAR)
    turned = check_dependencies(model).reshape(5, 5, 5, 5).transpose(1, 0, 3, 2).reshape(25, 25)
    np.testing.assert_array_equal(turned, upright.network.dependencies(upright.factorization))


@pytest.mark.parametrize(("size", "num_layers"), [(6, 2), slow(8, 4)])
def test_gated_pixelcnn_has_no_blind_spot(size, num_layers):
    """Layers that reach the borders (3 pixels the first, 1 each of the others) read every earlier pixel."""
    model = real_model((size, size), "gated_pixelcnn", hidden_size=16, num_layers=num_layers, out_size=8)
    np.testing.assert_array_equal(check_dependencies(model), model.factorization.mask())


@pytest.mark.slow
def test_gated_pixelcnn_reads_a_window():
    model = real_model((6, 6), "gated_pixelcnn", hidden_size=16, num_layers=1, out_size=8, **NEAR)
    r, c = np.divmod(np.arange(36), 6)
    # Two layers: two pixels in each direction. The vertical stack of the first layer does not see its own row.
    window = (np.abs(r[:, None] - r) <= 2) & (np.abs(c[:, None] - c) <= 2)
    np.testing.assert_array_equal(check_dependencies(model), window & np.asarray(model.factorization.mask()))


@pytest.mark.parametrize("ordering", COLOUR_ORDERS)
@pytest.mark.parametrize("network", ["pixelcnn", "gated_pixelcnn"])
def test_colour_channels_come_one_after_the_other(network, ordering):
    """The window covers this picture, so every site is read by all later ones: G reads R, and B reads R and G."""
    model = real_model((3, 2, 3), network, ordering=ordering, num_layers=2, hidden_size=30, out_size=18)
    reads = check_dependencies(model)
    np.testing.assert_array_equal(reads, model.factorization.mask())
    own_pixel = reads.reshape(6, 3, 6, 3)[2, :, 2]
    np.testing.assert_array_equal(own_pixel, np.tri(3, k=-1) if ordering != "reversed" else np.tri(3, k=-1).T)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pixelcnn", "gated_pixelcnn"])
def test_colour_channels_step_by_step(network):
    event = EventSpec((3, 2, 3), kind="levels", num_levels=4)
    model = make_model(event, network, ordering="reversed", num_layers=2, hidden_size=18, out_size=9)
    params = cases.params_of(model)
    check_steps(model, params)
    if network == "gated_pixelcnn":
        draw = jax.jit(lambda key: [model.sample(params, key, 8, sampler=name) for name in ("cached", "naive")])
        np.testing.assert_array_equal(*draw(jax.random.key(0)))


@pytest.mark.slow
@pytest.mark.parametrize("ordering", ["spiral", "random(seed=2)"])
def test_locally_masked_convolution_reads_earlier_sites_in_reach(ordering):
    model = real_model((6, 6), "lmconv", ordering=ordering, hidden_size=16, num_groups=2)
    reads = check_dependencies(model)
    assert not reads[np.asarray(model.factorization.order)[0]].any()


def test_locally_masked_convolution_is_one_program_for_all_orders():
    model = make_model(EventSpec((3, 3)), "lmconv", hidden_size=8, num_groups=1)
    x, features = cases.random_x(model.event, 2), jax.jit(model.features)
    params = cases.params_of(model)
    for seed in range(3):
        features(params, x, factorization=make_factorization((3, 3), f"random(seed={seed})"))
    assert features._cache_size() == 1


@pytest.mark.slow
def test_the_vertical_stack_of_gated_pixelcnn_keeps_its_scale():
    """It has no residual connections: were each gate to halve it, nothing would be left to learn from."""
    model = make_model(EventSpec((12, 12)), "gated_pixelcnn", num_layers=6)
    x = np.random.default_rng(0).integers(0, 2, (8, 12, 12))

    @jax.jit
    def scales_of_layers(key):
        scales = []

        def watch(next_function, args, kwargs, context):
            out = next_function(*args, **kwargs)
            if isinstance(context.module, GatedLayer) and context.method_name == "__call__":
                scales.append(out[0].std())
            return out

        params = model.init(key)
        with nn.intercept_methods(watch):
            model.network.apply({"params": params}, x, model.factorization)
        return scales

    scales = scales_of_layers(jax.random.key(0))
    assert len(scales) == 7 and scales[-1] > scales[0] / 4
