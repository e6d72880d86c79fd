"""PixelCNNs and locally masked convolution: what they read; PixelCNN++ and PixelSNAIL against their definitions in
plain loops over pixels, in float64.
"""

from __future__ import annotations

import types

import flax.linen as nn
import jax
import law_cases as cases
import numpy as np
import pytest
from families import operations, slow
from numpy_layers import celu, check, convolve, elu
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.networks.image.gated_pixelcnn import GatedLayer
from arjax.networks.image.gated_resnet import GatedResnet, dropout_masks
from arjax.networks.image.shifted_streams import ImageView, PixelView, RowView, State
from arjax.testing.network import check_autoregressive, check_steps

#: Kernels that reach one pixel far, so that pictures of few pixels show what a stack of layers reads.
NEAR = {"kernel_size": 3, "first_kernel": 3}
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


SMALL = {"num_filters": 4, "dropout": 0.0}
DOWN, DOWN_RIGHT = (-1, 0, 1), (-1, 0)  # columns of the kernels of the two streams, whose rows are -1 and 0


def weight(p) -> np.ndarray:
    """g v / |v|, feature by feature."""
    v = np.asarray(p["kernel"], float)
    return np.stack([g * v[..., f] / np.sqrt((v[..., f] ** 2).sum()) for f, g in enumerate(p["scale"])], -1)


def conv(p, x_HWC: np.ndarray, taps, stride: int = 1) -> np.ndarray:
    """With normalised weights, at every so-manieth pixel."""
    p = p.get("mix", p)
    return convolve({"mix": {"kernel": weight(p), "bias": p["bias"]}}, x_HWC, taps)[::stride, ::stride]


def kernel_taps(columns):
    return [(dy, dx) for dy in (-1, 0) for dx in columns]


def stretch(p, x_HWC: np.ndarray, grid) -> np.ndarray:
    """Every input adds its kernel to the output at twice its place, the middle column of three in the even one."""
    W, out = weight(p), np.tile(np.asarray(p["bias"], float), (*grid, 1))
    for r, c in np.ndindex(x_HWC.shape[:2]):
        for k, j in np.ndindex(W.shape[:2]):
            row, column = 2 * r + k, 2 * c + j - (W.shape[1] == 3)
            if row < grid[0] and 0 <= column < grid[1]:
                out[row, column] += x_HWC[r, c] @ W[k, j]
    return out


def resnet(p, x, columns, aux=None, e=None):
    taps = kernel_taps(columns) if columns else [(0, 0)]
    y = conv(p["conv_in"], celu(x), taps)
    if aux is not None:
        y = y + conv(p["aux"], celu(aux), [(0, 0)])
    y = conv(p["conv_out"], celu(y), taps)
    if e is not None:
        y = y + e @ np.asarray(p["context"]["kernel"], float)
    a, b = np.split(y, 2, -1)
    return x + a * special.expit(b)


def shifted(y_HWC: np.ndarray, axis: int) -> np.ndarray:
    """One row down (axis 0) or one column right: what enters is 0, without a bias."""
    y = np.roll(y_HWC, 1, axis)
    y[(slice(None),) * axis + (0,)] = 0
    return y


def first_layers(p, x_HWn):
    """The authors' first layers: convolutions of the image and a channel of ones, then shifted."""
    x = np.concatenate([x_HWn, np.ones((*x_HWn.shape[:2], 1))], -1)
    down = shifted(conv(p["first_down"], x, kernel_taps(DOWN)), 0) if "first_down" in p else None
    above = shifted(conv(p["first_above"], x, [(0, -1), (0, 0), (0, 1)]), 0)
    return down, above + shifted(conv(p["first_left"], x, [(-1, 0), (0, 0)]), 1)


def number(stack, i: int):
    """Layer i of a stack."""
    return jax.tree.map(lambda leaf: leaf[i], stack)


def pixelcnn_pp(p, x_HWn: np.ndarray, num_resnets: int, num_scales: int, e=None) -> np.ndarray:
    """The authors' program: lists of all values, taken from their ends on the way up.

    The stacks hold the layers from the highest resolution to the lowest, on the way up in the places of their mirror
    images on the way down.
    """
    num_ups = [num_resnets + (level + 1 < num_scales) for level in range(num_scales)]
    upper, lower = p["upper"], p["lower"]
    u, ul = first_layers(p, x_HWn)
    u_list, ul_list = [u], [ul]
    for level in range(num_scales):
        for i in range(level * num_resnets, (level + 1) * num_resnets):
            u_list.append(resnet(number(upper["down"]["layers"], i), u_list[-1], DOWN, None, e))
            ul_list.append(resnet(number(lower["down"]["layers"], i), ul_list[-1], DOWN_RIGHT, u_list[-1], e))
        if level + 1 < num_scales:
            u_list.append(conv(upper[f"shrink_{level}"], u_list[-1], kernel_taps(DOWN), 2))
            ul_list.append(conv(lower[f"shrink_{level}"], ul_list[-1], kernel_taps(DOWN_RIGHT), 2))
    u, ul = u_list.pop(), ul_list.pop()
    for level in reversed(range(num_scales)):
        for i in reversed(range(sum(num_ups[:level]), sum(num_ups[: level + 1]))):
            u = resnet(number(upper["up"]["layers"], i), u, DOWN, u_list.pop(), e)
            ul = resnet(number(lower["up"]["layers"], i), ul, DOWN_RIGHT, np.concatenate([u, ul_list.pop()], -1), e)
        if level:
            grid = u_list[-1].shape[:2]
            u = stretch(upper[f"stretch_{level - 1}"], u, grid)
            ul = stretch(lower[f"stretch_{level - 1}"], ul, grid)
    assert not u_list and not ul_list
    return conv(p["out"], elu(ul), [(0, 0)])


def pixelsnail(p, x_HWn: np.ndarray, num_blocks: int, num_resnets: int, key_size: int) -> np.ndarray:
    """Pixel by pixel: softmax over the earlier ones, nothing at the first."""
    height, width, _ = x_HWn.shape
    _, h = first_layers(p, x_HWn)
    row, column = np.indices((height, width))
    place = np.stack([(row - height / 2) / height, (column - width / 2) / width], -1)
    for i in range(num_blocks):
        block = number(p["blocks"], i)
        for j in range(num_resnets):
            h = resnet(number(block["resnets"]["layers"], j), h, DOWN_RIGHT)
        content = resnet(block["content"], np.concatenate([x_HWn, h, place], -1), None)
        both = conv(block["key_value"], content, [(0, 0)]).reshape(height * width, -1)
        k, v = both[:, :key_size], both[:, key_size:]
        asking = resnet(block["asking"], np.concatenate([h, place], -1), None)
        q = conv(block["query"], asking, [(0, 0)]).reshape(height * width, -1)
        mixed = np.zeros_like(v)
        for n in range(1, height * width):
            mixed[n] = special.softmax(k[:n] @ q[n] / np.sqrt(key_size)) @ v[:n]
        h = resnet(block["merge"], h, None, mixed.reshape(height, width, -1))
    return conv(p["out"], elu(h), [(0, 0)])


def params_of(model):
    """Half those of the laws, so that neither errors grow over many layers nor attention fixes on single pixels."""
    return jax.tree.map(lambda leaf: 0.5 * leaf, cases.params_of(model))


@pytest.mark.parametrize("grid", [slow((4, 6)), (5, 7)])
def test_pixelcnn_pp_is_its_definition(grid):
    model = make_model(EventSpec(grid, (3,), "levels", 256), "pixelcnn_pp", num_resnets=2, num_scales=3, **SMALL)
    params, sites = params_of(model), model.event.num_sites
    check(model, params, lambda x: pixelcnn_pp(params, x / 255, 2, 3).reshape(sites, -1), 1e-3)


@pytest.mark.slow
def test_context_enters_every_gate():
    event, spec = EventSpec((3, 4), (), "levels", 4), ContextSpec("label", 3)
    model = make_model(event, "pixelcnn_pp", context=spec, num_resnets=1, num_scales=2, **SMALL)
    params = params_of(model)
    table = np.asarray(params["context"]["table"]["embedding"], float)

    def definition(x, context):
        return pixelcnn_pp(params, x[..., None] / 3, 1, 2, table[context["label"]]).reshape(12, -1)

    check(model, params, definition, 1e-3)


def test_pixelsnail_is_its_definition():
    event, sizes = EventSpec((4, 5), (3,), "levels", 256), {"num_blocks": 2, "num_resnets": 1}
    model = make_model(event, "pixelsnail", key_size=3, value_size=5, **sizes, **SMALL)
    params = params_of(model)
    check(model, params, lambda x: pixelsnail(params, x / 255, 2, 1, 3).reshape(20, -1), 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pixelsnail", "pixelcnn_pp"])
def test_every_pixel_reads_all_before_it(network):
    """No blind spot on 6 x 6 pixels, in both forms."""
    model = make_model(EventSpec((6, 6), (), "real", 0), network, **NETWORKS.get(network).SMALL)
    params, mask = params_of(model), np.asarray(model.factorization.mask())
    np.testing.assert_array_equal(model.network.dependencies(model.factorization), mask)
    np.testing.assert_array_equal(cases.dependence(model.network, params, model.factorization), mask)


@pytest.mark.slow
def test_small_networks_declare_what_they_cannot_see():
    model = make_model(EventSpec((6, 12)), "pixelcnn_pp", num_resnets=1, num_scales=1, **SMALL)
    assert (np.asarray(model.factorization.mask()) & ~model.network.dependencies(model.factorization)).any()
    check_autoregressive(model, params_of(model))


COLOURED = {"ordering": "reversed", "num_layers": 2, "hidden_size": 18, "out_size": 9}


@pytest.mark.parametrize(
    ("network", "grid", "options"),
    [
        ("pixelcnn", (2, 3, 2), {"num_layers": 1, "hidden_size": 4, "out_size": 4}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                *((network, (3, 2, 3), COLOURED) for network in ("pixelcnn", "gated_pixelcnn")),
                *(("pixelcnn_pp", grid, {"num_scales": 3}) for grid in [(7, 5), (4, 4), (1, 3)]),
                ("pixelcnn_pp", (4, 3), {"num_scales": 2}),
            )
        ),
    ],
)
def test_steps_equal_the_picture(network, grid, options):
    """Channel by channel, and over all resolutions."""
    options = options if network != "pixelcnn_pp" else options | {"num_resnets": 1} | SMALL
    model = make_model(EventSpec(grid, (), "levels", 4), network, **options)
    check_steps(model, params_of(model))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["pixelcnn_pp", "pixelsnail"])
def test_programs_do_not_grow_with_the_number_of_layers(network):
    """Else they take minutes to compile at their default sizes."""

    def size(num_resnets: int) -> int:
        options = NETWORKS.get(network).SMALL | {"num_resnets": num_resnets, "dropout": 0.5}
        model, key = make_model(EventSpec((4, 4)), network, **options), jax.random.key(0)
        pass_with = lambda params: model.network.apply(  # noqa: E731
            {"params": params}, np.zeros((2, 4, 4), int), model.factorization, train=True, rngs={"dropout": key}
        )
        return len(list(operations(jax.make_jaxpr(pass_with)(cases.params_of(model)).jaxpr)))

    assert size(2) == size(4)


def test_lower_resolutions_are_due_at_every_second_row_and_column():
    """Views of the upper stream row by row, of the lower one pixel by pixel, and the vectors of a context there."""
    state, e = State([], None, None), np.arange(35.0).reshape(1, 5, 7, 1)
    vector = np.ones((1, 3))
    for r, c in np.ndindex(5, 7):
        row, pixel = RowView((5, 7), state, r), PixelView((5, 7), state, r, c)
        assert (row._due(), pixel._due()) == (r % 2 == 0, r % 2 == c % 2 == 0)
        low, lowest = pixel.half(state), pixel.half(state).half(state)
        for view, places in ((low, (r // 2, c // 2)), (lowest, (r // 4, c // 4)), (row.half(state), (r // 2,))):
            assert (view._r, *([view._c] if len(places) > 1 else [])) == places
        assert (row.stride, row.half(state).stride, low.stride, lowest.stride) == (1, 2, 2, 4)
        assert (low.grid, lowest.grid, row.half(state).grid) == ((3, 4), (2, 2), (3, 4))
    whole = ImageView((5, 7)).half(None)
    assert (whole.grid, whole.stride) == ((3, 4), 2)
    np.testing.assert_array_equal(whole.here(e), e[:, ::2, ::2])
    np.testing.assert_array_equal(RowView((5, 7), state, 2).half(state).here(e), e[:, 2, ::2])
    np.testing.assert_array_equal(PixelView((5, 7), state, 2, 4).half(state).here(e), e[:, 2, 4])
    for view in (whole, RowView((5, 7), state, 1), PixelView((5, 7), state, 1, 1)):
        assert view.here(None) is None and view.here(vector) is vector


def test_dropout_of_gated_layers_scales_what_it_keeps():
    layer = GatedResnet(1, ((0, 0),), False, False, 0.2, "float32", parent=None)
    y, masks = np.float32([[2, 4]]), np.array([[[True, True]], [[True, False]]])
    np.testing.assert_allclose(layer.drop(y, (masks, 1)), [[2.5, 0]])
    assert layer.drop(y, None) is y
    module = types.SimpleNamespace(make_rng=lambda name: jax.random.key(0))
    kept = dropout_masks(module, 0.2, True, (4, 1000))
    assert kept.shape == (4, 1000) and abs(kept.mean() - 0.8) < 0.03
    assert dropout_masks(module, 0.0, True, (4, 9)) is dropout_masks(module, 0.2, False, (4, 9)) is None
