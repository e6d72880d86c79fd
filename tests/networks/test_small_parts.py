"""Small parts of networks by themselves: sizes of chunks, contexts that are read by their kinds, local parts of
contexts (their encoder against its equations, grids that fit, and how sites are picked).
"""

from __future__ import annotations

import contextlib
import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import slow
from flax.errors import ScopeParamShapeError
from numpy_layers import convolve, gelu

from arjax.core.spec import ContextSpec, EventSpec, class_label
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.networks import NETWORKS, Network
from arjax.networks.attention.linear_attention import quotient, with_one
from arjax.networks.beside import Beside
from arjax.networks.denoisers import NOISY, TIME, make_block_denoiser, make_denoiser
from arjax.networks.denoisers.base import Modulation
from arjax.networks.denoisers.block_transformer import block_mask
from arjax.networks.dense.made import places
from arjax.networks.layers import local_context as lc
from arjax.networks.layers.causal import all_taps, queue_length, step_taps, window_taps
from arjax.networks.layers.embedding import ContextEncoder, SequenceEncoder
from arjax.networks.layers.grids import raster_context, raster_like_orders, to_raster
from arjax.networks.layers.steps import StepTokens
from arjax.networks.recurrent.linear.states import Decayed
from arjax.networks.recurrent.seq2seq_lstm import SourceEncoder
from arjax.networks.recurrent.stack import elementwise
from arjax.testing import EVENTS
from arjax.testing.examples import random_context, random_like


@pytest.mark.parametrize(("block", "chunk", "size"), [(2, 8, 8), (3, 8, 6), (4, 1, 4), (1, 5, 5)])
def test_chunks_of_linear_attention_are_whole_blocks_of_about_their_size(block, chunk, size):
    """Its largest product has chunks x size x size entries: its memory is linear in the length."""
    length = 24
    q = k = jnp.ones((1, 1, length, 2))
    v = jax.random.normal(jax.random.key(0), (1, 1, length, 2))
    attend = lambda q, k, v: quotient(Decayed(q, k, with_one(v)).run(None, chunk, block)[1])  # noqa: E731
    program = jax.make_jaxpr(attend)(q, k, v)
    shapes = [v.aval.shape for eqn in program.eqns for v in eqn.outvars]
    assert (1, 1, -(-length // size), size, size) in shapes
    # Equal weights: the mean of all values of the block and of earlier blocks.
    ends = np.minimum((np.arange(length) // block + 1) * block, length)
    expected = np.cumsum(np.asarray(v)[0, 0], 0)[ends - 1] / ends[:, None]
    np.testing.assert_allclose(jax.jit(attend)(q, k, v)[0, 0], expected, atol=1e-5)


def test_units_of_a_structured_network_cycle_through_all_sites_but_the_first():
    for num_sites in (1, 2, 5, 8):
        ranks = places(3 * max(num_sites - 1, 1), num_sites)
        assert set(ranks) == (set(range(1, num_sites)) or {0})
        assert (np.bincount(ranks, minlength=num_sites)[1:] == 3).all()
    # the ranks of 0, .618, .236, .854, .472, .090, .708, .326: multiples of the golden ratio without their whole parts
    np.testing.assert_array_equal(places(8, 9), [1, 6, 3, 8, 5, 2, 7, 4])


def test_without_a_condition_nothing_is_modulated():
    assert Modulation(4, 3, "float32").apply({}, None, 3) == [0.0] * 3


def test_mixed_columns_of_a_context_are_read_by_their_kinds():
    """Tokens and levels as one-hot vectors, in a linear map that all columns share; their position tells them apart."""
    spec = ContextSpec(row=EVENTS["columns"])
    encoder, context = SequenceEncoder(spec, 4, "float32"), random_context(spec, 3)
    params = random_like(jax.eval_shape(encoder.init, jax.random.key(0), context)["params"])
    encoded, valid = jax.jit(lambda params: encoder.apply({"params": params}, context))(params)
    assert valid.all() and valid.shape == (3, 6)
    for b, d in np.ndindex(3, 6):
        kind, value = EVENTS["columns"].columns[d].kind, context["row"][b, d]
        inputs = np.eye(5)[int(value)] if kind in ("tokens", "levels") else value * np.eye(5)[0]
        h = inputs @ params["linear"]["kernel"] + params["linear"]["bias"]
        h = h + np.concatenate([np.sin(d * np.array([1, 0.01])), np.cos(d * np.array([1, 0.01]))])
        np.testing.assert_allclose(encoded[b, d], nn.gelu(h), atol=1e-5)
    source = SourceEncoder(spec, 4, 3, 1, 0.0, True, "float32")
    shapes = jax.eval_shape(lambda: source.init(jax.random.key(0), context, False))["params"]
    assert shapes["linear"]["kernel"].shape == (5, 4)


def test_parameters_of_another_shape_are_refused_though_shapes_are_remembered():
    """tests/conftest.py remembers the shapes of initialisers, which flax compares with those of parameters."""
    x, params = jnp.zeros((1, 2)), {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}
    for init in (nn.initializers.lecun_normal(), lambda key, shape, dtype: jnp.zeros(shape, dtype)):
        for _ in range(2):
            assert nn.Dense(3, kernel_init=init).apply({"params": params}, x).shape == (1, 3)
            with pytest.raises(ScopeParamShapeError):
                nn.Dense(4, kernel_init=init).apply({"params": params}, x)
            for size in (3, 5):  # of two functions with one code
                given = nn.Dense(3, kernel_init=lambda key, shape, dtype, size=size: jnp.zeros((2, size)))
                with contextlib.nullcontext() if size == 3 else pytest.raises(ScopeParamShapeError):
                    given.apply({"params": params}, x)


def test_elementwise_functions_keep_one_array_per_argument():
    """Values, and first and second derivatives, are those of the function itself, which keeps more arrays."""

    def gate(a, b, c):
        return jax.nn.sigmoid(a) * jnp.tanh(b) + jax.nn.sigmoid(b) * c

    def derivatives(function, *xs):
        total = lambda *xs: (weight * function(*xs)).sum()  # noqa: E731
        gradient = jax.grad(total, argnums=(0, 1, 2))
        return total(*xs), gradient(*xs), jax.jvp(gradient, xs, xs[::-1]), jax.jvp(total, xs, xs[::-1])

    def num_kept(function):
        return len(jax.tree.leaves(jax.eval_shape(lambda *xs: jax.vjp(function, *xs)[1], *arrays)))

    weight, *arrays = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    got, expected = (
        jax.jit(functools.partial(derivatives, function))(*arrays) for function in (elementwise(gate), gate)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, expected)
    assert num_kept(elementwise(gate)) == 3 < num_kept(gate)


def conv(params, x_HWC):
    """y[r, c] = b + sum_k x[r + dy_k, c + dx_k] W_k, zero outside: 3 x 3, without the outer taps on a single row."""
    taps = [(dy, dx) for dy in ((-1, 0, 1) if len(x_HWC) > 1 else (0,)) for dx in (-1, 0, 1)]
    return convolve(params, x_HWC, taps)


def residual(params, h):
    inner = gelu(conv(params["conv"], gelu(h)))
    return h + inner @ params["mix"]["kernel"] + params["mix"]["bias"]


def up(params, h, s, t):
    """A transposed convolution: pixel (s r + i, t c + j) is the block (i, j) of the 3x3 convolution at (r, c)."""
    blocks = conv(params["conv"], h)
    features, out = blocks.shape[-1] // (s * t), np.zeros((h.shape[0] * s, h.shape[1] * t, blocks.shape[-1] // (s * t)))
    for r, c in np.ndindex(out.shape[:2]):
        first = (r % s * t + c % t) * features
        out[r, c] = blocks[r // s, c // t, first : first + features]
    return out


def down(params, h, s, t):
    """Kernel row k in 0..2s-1 is row k % s of block k // s: y[r] = sum_k x[s r - s // 2 + k] W_k."""
    size = h.shape[-1]
    kernel = params["conv"]["mix"]["kernel"].reshape(2, 2, s, t, size, -1)
    out = np.zeros((h.shape[0] // s, h.shape[1] // t, kernel.shape[-1])) + params["conv"]["mix"]["bias"]
    for r, c, k, m in itertools.product(range(len(out)), range(out.shape[1]), range(2 * s), range(2 * t)):
        y, x = s * r - s // 2 + k, t * c - t // 2 + m
        if 0 <= y < h.shape[0] and 0 <= x < h.shape[1]:
            out[r, c] += h[y, x] @ kernel[k // s, m // t, k % s, m % t]
    return out


def encoded(spec, event, width=3, num=2):
    """The encoder, random parameters of it, a context and what it says."""
    encoder, context = lc.LocalEncoder(spec, event, width, "float32"), random_context(spec, num)
    params = random_like(jax.eval_shape(encoder.init, jax.random.key(0), context)["params"])
    return params, context, np.asarray(jax.jit(encoder.apply)({"params": params}, context))


def test_encoder_by_its_equations():
    """Parts of every grid add up: the same, a coarser one by 4 and 3, a finer one by 2 and 3; then a residual block."""
    spec = ContextSpec(
        coarse=EventSpec((1, 2), (), "levels", 5),
        fine=EventSpec((8, 18), (2,), "real"),
        same=EventSpec((4, 6), (), "tokens", 3),
        style=class_label(3),
        local=("coarse", "fine", "same"),
    )
    params, context, found = encoded(spec, EventSpec((4, 6)))
    for b in range(2):
        coarse, own = context["coarse"][b], params["part_coarse"]
        h = own["table"]["embedding"][coarse] + coarse[..., None] / 4 @ own["intensity"]["kernel"]
        h = up(own["up_1"], gelu(up(own["up_0"], h, 2, 3)), 2, 1)
        own = params["part_fine"]
        fine = context["fine"][b] @ own["linear"]["kernel"] + own["linear"]["bias"]
        h = h + down(own["down_0"], fine, 2, 3) + params["part_same"]["table"]["embedding"][context["same"][b]]
        h = h + params["whole"]["table"]["embedding"][context["style"][b]]
        np.testing.assert_allclose(found[b], residual(params["block_0"], h), rtol=2e-4, atol=2e-4)


@pytest.mark.slow
def test_lines_channels_and_precision():
    """On a line a kernel is three places; colour channels are values of a pixel; -1 is nothing; bfloat16 is near."""
    line = ContextSpec(c=EventSpec((4,), (), "tokens", 3), local=("c",))
    params, _, found = encoded(line, EventSpec((8,)))
    assert found.shape == (2, 8, 3) and params["part_c"]["up_0"]["conv"]["mix"]["kernel"].shape == (3 * 3, 2 * 3)
    short = {"c": np.array([[1, 2, -1, -1]], np.int32)}
    encoder = lc.LocalEncoder(line, EventSpec((8,)), 3, "float32", num_blocks=0)
    ends = encoder.apply({"params": {"part_c": params["part_c"]}}, short)[0]
    np.testing.assert_allclose(ends[6], params["part_c"]["up_0"]["conv"]["mix"]["bias"][:3], rtol=1e-5)
    colour = ContextSpec(c=EventSpec((2, 2, 3), (), "levels", 4), local=("c",))
    params, _, found = encoded(colour, EventSpec((4, 4, 3)))
    assert found.shape == (2, 4, 4, 3) and params["part_c"]["table"]["embedding"].shape == (3 * 4, 3)
    low = lc.LocalEncoder(colour, EventSpec((4, 4, 3)), 3, "bfloat16").apply(
        {"params": params}, random_context(colour, 2)
    )
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(low, np.float32), found, atol=0.05 * np.abs(found).max())


def test_missing_places_of_a_local_part_are_zeros():
    table = np.arange(1.0, 7).reshape(3, 2)
    part = lc.PartAtPixels(EventSpec((4,), (), "tokens", 3), (1, 4), 2, "float32")
    found = part.apply({"params": {"table": {"embedding": table}}}, np.array([[2, 0, -1, -1]]))
    np.testing.assert_array_equal(found, [[[[5, 6], [1, 2], [0, 0], [0, 0]]]])


def test_vectors_of_sites_rows_and_pixels():
    """Channels share the vector of their pixel; a vector of the whole context is the same everywhere."""
    e = np.arange(2 * 3 * 2, dtype=np.float32).reshape(1, 2, 3, 2)
    event = EventSpec((2, 3, 2), (), "levels", 4)

    @jax.jit
    def vectors(e):
        return lc.of_sites(e, np.array([[0, 1], [11, 12]]), event), lc.of_pixel(e, 1, 2), lc.of_row(e, 1)

    of_sites, of_pixel, of_row = map(np.asarray, vectors(e))
    np.testing.assert_array_equal(of_sites[0, :, :, 0], [[0, 0], [10, 10]])
    np.testing.assert_array_equal(of_pixel[0], [10, 11])
    np.testing.assert_array_equal(of_row[0, :, 0], [6, 8, 10])
    vector = np.ones((4, 2), np.float32)
    assert lc.of_sites(vector, np.zeros((3, 5), int), event).shape == (4, 1, 1, 2)
    assert lc.of_pixel(vector, 0, 0) is vector
    for ndim in (2, 3, 4, 5):  # of a site, a line, an image, a film
        assert lc.everywhere(vector, ndim).shape == (4, *(1,) * (ndim - 2), 2)


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), slow(2, 1), slow(3, 1), slow(2, 3), (3, 2)])
def test_steps_and_windows_read_the_past_of_a_convolution(size, dilation):
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    whole = all_taps(x, size, dilation)
    queue = jnp.zeros((2, queue_length(size, dilation), 3))
    for t in range(7):
        _, window = window_taps(queue, x[:, t : t + 3], t, size, dilation)
        queue, step = step_taps(queue, x[:, t], t, size, dilation)
        for k, expected in enumerate(whole):
            np.testing.assert_array_equal(window[k], expected[:, t : t + 3])
            np.testing.assert_array_equal(step[k], expected[:, t])


def test_tokens_have_the_context_of_the_site_that_they_predict():
    """In all forms, in any order; a site that does not exist has that of the last one."""
    event, e = EventSpec((2, 3), (), "tokens", 3), np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
    factorization = make_factorization((2, 3), "random(seed=1)", "sizes(sizes=(1, 3, 2))")
    blocks_SM, x = np.minimum(np.asarray(factorization.blocks), 5), np.zeros((1, 2, 3), int)
    tokens = StepTokens(event, ContextSpec(c=EventSpec((2, 3)), local=("c",)), 2, "none", "float32")
    params = random_like(jax.eval_shape(tokens.init, jax.random.key(0), x, np.arange(3), factorization, None))
    forms = [
        ((np.arange(3),), blocks_SM),
        ((1,), blocks_SM[1]),
        ((np.arange(1, 4),), blocks_SM[[1, 2, 2]]),
        ((np.arange(1, 3), np.zeros(2, int)), blocks_SM[1:]),
    ]

    @jax.jit
    def differences(params, e):
        def of(each, steps, *before):
            return tokens.apply(params, x, steps, factorization, each, *before)

        return [of(e, *steps) - of(None, *steps) for steps, _ in forms]

    for (_, sites), difference in zip(forms, differences(params, e), strict=True):
        np.testing.assert_allclose(difference, e.reshape(1, 6, 2)[:, sites], rtol=1e-4, atol=1e-5)


def test_maps_are_flipped_with_their_image():
    """Under every raster-like order, colour channels included."""
    for grid, ordering in itertools.product(((3, 3), (2, 3, 2)), ("raster", "reversed", "column_major")):
        if len(grid) == 3 and ordering == "column_major":
            continue
        event, factorization = EventSpec(grid, (), "tokens", 99), make_factorization(grid, ordering)
        place = np.arange(np.prod(grid[:2])).reshape(1, *grid[:2])
        x = place if len(grid) == 2 else np.repeat(place[..., None], grid[2], -1)

        @jax.jit
        def both(x, place, event=event, factorization=factorization):
            return to_raster(x, event, factorization), raster_context(place, factorization)

        raster, context = map(np.asarray, both(x, place[..., None]))
        np.testing.assert_array_equal(context, raster.reshape(1, *grid[:2], -1)[..., :1])
    assert raster_context(e := np.ones((2, 3)), factorization) is e


DENOISED = EventSpec((4, 6), (), "tokens", 3)


@pytest.mark.parametrize(
    "name", ["adaptive_mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("unet", "denoising_transformer"))]
)
def test_denoisers_read_local_parts(name):
    """Features of each pixel depend on its own place of a finer part, beside a part as a whole."""
    spec = ContextSpec(c=EventSpec((8, 6), (), "tokens", 3), label=class_label(2), local=("c",))
    denoiser = make_denoiser(name, DENOISED, spec, 3, **NETWORKS.get(name).SMALL)
    x, context = np.zeros((24, 4, 6), int), random_context(spec, 1)
    context = {key: np.repeat(value, 24, 0) for key, value in context.items()} | {TIME: np.full(24, 0.5, np.float32)}
    params = random_like(jax.eval_shape(denoiser.init, jax.random.key(0), x, None, context)["params"])
    other = context | {"c": context["c"].copy()}
    for i, (r, c) in enumerate(np.ndindex(4, 6)):
        other["c"][i, 2 * r, c] = (other["c"][i, 2 * r, c] + 1) % 3
    apply = jax.jit(lambda p, c: denoiser.apply({"params": p}, x, None, c))
    features = np.asarray(apply(params, context)).reshape(24, 24, 3)
    change = np.abs(np.asarray(apply(params, other)).reshape(24, 24, 3) - features).max(-1)
    assert (np.diagonal(change) > 0).all()
    if name == "adaptive_mlp":  # features are added at each site
        out = params["at_sites"]["out"]
        moved = params | {"at_sites": params["at_sites"] | {"out": out | {"bias": out["bias"] + 1}}}
        np.testing.assert_allclose(apply(moved, context).reshape(24, 24, 3) - features, 1, atol=1e-4)


@pytest.mark.slow
def test_block_denoiser_reads_local_parts():
    """The same features in one pass and block by block."""
    spec = ContextSpec(c=EventSpec((2, 3), (), "tokens", 3), local=("c",))
    factorization = make_factorization((4, 6), "random(seed=1)", "blocks(size=8)")
    denoiser = make_block_denoiser("block_transformer", DENOISED, spec, 3, width=12, num_layers=1, num_heads=2)
    x, x_t = np.random.default_rng(0).integers(0, 3, (2, 24, 4, 6))
    context = random_context(spec, 24)
    noisy = context | {NOISY: x_t}
    params = random_like(jax.eval_shape(denoiser.init, jax.random.key(0), x, factorization, noisy)["params"])
    apply = jax.jit(lambda method, *args: denoiser.apply({"params": params}, *args, method=method), static_argnums=0)
    features = np.asarray(apply("__call__", x, factorization, noisy)).reshape(24, 24, 3)
    carry = denoiser.apply({"params": params}, len(x), factorization, method="start")
    for t in range(3):
        found = apply("denoise", carry, x_t, t, factorization, context)
        np.testing.assert_allclose(found, features[:, np.asarray(factorization.blocks)[t]], atol=2e-5)
        carry = apply("write", carry, x, t, factorization, context)


def test_a_plane_has_the_orders_of_its_flips_and_a_square_those_of_its_transposes_too():
    orders = [tuple(order) for order in raster_like_orders((2, 3))]
    assert orders == [(0, 1, 2, 3, 4, 5), (3, 4, 5, 0, 1, 2), (2, 1, 0, 5, 4, 3), (5, 4, 3, 2, 1, 0)]
    assert len({tuple(order) for order in raster_like_orders((3, 3))}) == 8


def test_grids_of_a_context_stand_one_after_another():
    """Positions and whether they are valid; of several parts the summaries add up."""
    spec = ContextSpec(a=EventSpec((2,), (), "tokens", 3), b=EventSpec((2, 2), kind="real"), c=EventSpec((1,)))
    context = {"a": np.array([[1, -1]]), "b": np.zeros((1, 2, 2), np.float32), "c": np.array([[1]])}

    def whole_and_parts(encoder):
        module = encoder(spec, 4, "float32")
        params = random_like(jax.eval_shape(module.init, jax.random.key(0), context)["params"])
        alone = {name: encoder(ContextSpec(**{name: part}), 4, "float32") for name, part in spec.parts}
        return jax.jit(
            lambda params: (
                module.apply({"params": params}, context),
                [each.apply({"params": params[f"parts_{name}"]}, context) for name, each in alone.items()],
            )
        )(params)

    (together, valid), parts = whole_and_parts(SequenceEncoder)
    np.testing.assert_allclose(together, np.concatenate([x for x, _ in parts], 1), rtol=1e-5)
    assert valid.tolist() == [[True, False, *[True] * 5]]
    summary, parts = whole_and_parts(ContextEncoder)
    np.testing.assert_allclose(summary, sum(parts), rtol=1e-5, atol=1e-5)


def test_which_clean_and_noisy_tokens_see_each_other():
    """Of two blocks of two, clean tokens first: rows are queries."""
    expected = [
        *["11000000"] * 2,
        *["11110000"] * 2,
        *["00001100"] * 2,
        *["11000011"] * 2,
    ]
    found = np.asarray(block_mask(4, 2)).astype(int)
    assert ["".join(map(str, row)) for row in found] == expected


def test_cores_are_given_the_context_of_their_steps():
    """Positions of a sequence spread over 5 steps, and the sum of the local vectors of a block's sites."""
    network = make_model(EventSpec((5,)), "wavenet", **NETWORKS.get("wavenet").SMALL).network
    by_site, blocks = make_factorization((5,), "reversed"), make_factorization((5,), "reversed", "sizes(sizes=(2, 3))")
    e, whole = np.arange(5.0)[None, :, None], np.array([[[10.0], [20], [30]]])
    (found,) = network._condition(whole, None, np.arange(5), by_site)
    assert found[0, :, 0].tolist() == [10, 10, 20, 20, 30]  # floor(s 3 / 5)
    (found,) = network._condition(None, e, np.arange(5), by_site)
    assert found[0, :, 0].tolist() == [4, 3, 2, 1, 0]
    (found,) = network._condition(whole[:, :1], e, np.arange(2), blocks)
    assert found[0, :, 0].tolist() == [10 + 4 + 3, 10 + 2 + 1 + 0]
    assert network._condition(None, None, np.arange(5), by_site) == (None,)


def test_local_features_are_added_at_each_site_in_all_forms():
    """Another bias of their last layer moves all features by as much."""
    event, spec = EventSpec((2, 2)), ContextSpec(c=EventSpec((2, 2), (), "tokens", 3), local=("c",))
    model = make_model(event, "deep_nade", context=spec, hidden_sizes=(3,), steps_per_chunk=2)
    params, context = random_like(model.param_shapes), random_context(spec, 2)
    x, form, observed = np.zeros((2, 2, 2), int), model.factorization, np.eye(2, dtype=bool)[None].repeat(2, 0)
    moved = jax.tree.map(lambda leaf: leaf, params)
    moved["local"]["out"]["bias"] = moved["local"]["out"]["bias"] + 1

    @jax.jit
    def forms(params):
        apply = functools.partial(model.network.apply, {"params": params})
        carry = apply(2, form, context, method="start")
        _, step = apply(carry, x, 1, form, context, method="step")
        return (
            *(apply(x, form, context), apply(x, observed, context, method="given")),
            *(apply(x, observed, jnp.int32(2), context, method="given_at"), step),
            apply(carry, x, 1, 4, form, context, method="ahead"),
        )

    for before, after in zip(forms(params), forms(moved), strict=True):
        np.testing.assert_allclose(after - before, 1, atol=1e-5)
    separate = make_model(event, "separate", context=spec, hidden_sizes=(3,)).param_shapes["context"]
    assert separate["out"]["kernel"].shape == (32, 3 * 1) and set(separate["encoder"]) == {"part_c", "block_0"}


class Ahead(Network):
    """Features are the number of the step, and read nothing."""

    def dependencies(self, factorization):
        return np.zeros((4, 4), bool)

    def ahead(self, carry, canvas, t, k, factorization, context=None):
        return jnp.broadcast_to(t + jnp.arange(k)[None, :, None, None], (len(canvas), k, 2, 1))


def test_values_beside_the_features_of_steps_ahead():
    context, form = ContextSpec(v=EventSpec((4,), kind="real")), make_factorization((4,), "reversed", "blocks(size=2)")
    inner = Ahead(EventSpec((4,)), ContextSpec(), 1, "float32")
    beside = Beside.of(inner, "v", context, 1)
    assert (beside.num_features, beside.CHUNK, beside.FIRST_LOOP) == (2, 1, 0)
    values = {"v": np.float32([[10, 11, 12, 13]])}
    found = beside.apply({}, (), np.zeros((1, 4)), 0, 2, form, values, method="ahead")
    np.testing.assert_array_equal(found[0], [[[0, 13], [0, 12]], [[1, 11], [1, 10]]])
    assert not beside.dependencies(form).any()
