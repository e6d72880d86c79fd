"""PixelCNN++ and PixelSNAIL against their definitions in plain loops over pixels, in float64."""

from __future__ import annotations

import jax
import law_cases as cases
import numpy as np
import pytest
from families import operations, slow
from numpy_layers import convolve, elu
from scipy import special

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.testing.network import check_autoregressive, check_steps

rng = np.random.default_rng(0)
DOWN, DOWN_RIGHT = (-1, 0, 1), (-1, 0)  # columns of the kernels of the two streams, whose rows are -1 and 0


def concat_elu(x: np.ndarray) -> np.ndarray:
    return elu(np.concatenate([x, -x], -1))


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
    y = conv(p["conv_in"], concat_elu(x), taps)
    if aux is not None:
        y = y + conv(p["aux"], concat_elu(aux), [(0, 0)])
    y = conv(p["conv_out"], concat_elu(y), taps)
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


def features(model, x, context=None):
    return np.asarray(cases.parallel(model.network, params_of(model), x, model.factorization, context))


@pytest.mark.parametrize("grid", [slow((4, 6)), (5, 7)])
def test_pixelcnn_pp_is_its_definition(grid):
    event = EventSpec(grid, (3,), "levels", 256)
    model = make_model(event, "pixelcnn_pp", num_filters=4, num_resnets=2, num_scales=3, dropout=0.0)
    x = cases.random_x(event, 2)
    expected = [pixelcnn_pp(params_of(model), one / 255, 2, 3) for one in x]
    np.testing.assert_allclose(features(model, x), np.reshape(expected, (2, event.num_sites, -1)), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_context_enters_every_gate():
    event, spec = EventSpec((3, 4), (), "levels", 4), ContextSpec("label", 3)
    model = make_model(event, "pixelcnn_pp", context=spec, num_filters=4, num_resnets=1, num_scales=2, dropout=0.0)
    params, x, context = params_of(model), cases.random_x(event, 3), np.arange(3)
    table = np.asarray(params["context"]["table"]["embedding"], float)
    expected = [pixelcnn_pp(params, one[..., None] / 3, 1, 2, table[c]) for one, c in zip(x, context, strict=True)]
    np.testing.assert_allclose(
        features(model, x, {"label": context}), np.reshape(expected, (3, 12, -1)), rtol=1e-3, atol=1e-3
    )


def test_pixelsnail_is_its_definition():
    event = EventSpec((4, 5), (3,), "levels", 256)
    options = {"num_filters": 4, "num_blocks": 2, "num_resnets": 1, "key_size": 3, "value_size": 5, "dropout": 0.0}
    model = make_model(event, "pixelsnail", **options)
    x = cases.random_x(event, 2)
    expected = [pixelsnail(params_of(model), one / 255, 2, 1, 3) for one in x]
    np.testing.assert_allclose(features(model, x), np.reshape(expected, (2, 20, -1)), rtol=1e-3, atol=1e-3)


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
    model = make_model(EventSpec((6, 12)), "pixelcnn_pp", num_filters=4, num_resnets=1, num_scales=1, dropout=0.0)
    assert (np.asarray(model.factorization.mask()) & ~model.network.dependencies(model.factorization)).any()
    check_autoregressive(model, params_of(model))


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "num_scales"), [((4, 3), 2), ((7, 5), 3), ((4, 4), 3), ((1, 3), 3)])
def test_steps_equal_the_picture_over_all_resolutions(grid, num_scales):
    event = EventSpec(grid, (), "levels", 4)
    model = make_model(event, "pixelcnn_pp", num_filters=4, num_resnets=1, num_scales=num_scales, dropout=0.0)
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
