"""The laws of every registered quantizer, and each beside the equations of its paper, written directly in numpy."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_family
from registries import within

from arjax.core.errors import UserError
from arjax.quantizers import QUANTIZERS, Assigned, make_quantizer
from arjax.quantizers.base import Quantizer
from arjax.quantizers.scalar import Fsq
from arjax.quantizers.vq import FEWEST, KEPT, Vq, k_means
from arjax.testing import check_quantizer
from arjax.testing.laws import LawBroken, as_test
from arjax.testing.quantizer import quantizer_laws

#: Small ones of every name, and options with a way of their own, which are slow.
CALLS = {
    "fsq": ("fsq(levels=(8, 6, 5))", "fsq(levels=(2, 3, 4), digits=True)", "fsq(levels=(9,))"),
    "vq": ("vq(codes=300, dims=3)",),
    "lfq": ("lfq(bits=10)",),
    "residual": (
        "residual(scales=(1, 2, 4), of='vq(codes=16, dims=3)')",
        "residual(scales=(1, 4), of='fsq(levels=(5, 5), digits=True)', convolutions=0)",
    ),
}


def test_every_quantizer_has_its_laws():
    assert set(CALLS) == set(QUANTIZERS.names())


def laws(some: slice):
    """The laws of the first call of each name, or of the others."""
    for call in [call for calls in CALLS.values() for call in calls[some]]:
        for law in quantizer_laws.of(call):
            yield dataclasses.replace(law, name=f"{call}-{law.name}")


test_quantizer = as_test(laws(slice(1)))
test_slow_laws_of_quantizer = pytest.mark.slow(as_test(laws(slice(1, None))))


@pytest.mark.slow
def test_a_quantizer_that_loses_a_code_is_noticed(monkeypatch):
    """Digits that are clipped too early, and numbers in bfloat16."""
    digits = Fsq._digits
    monkeypatch.setattr(Fsq, "_digits", lambda self, numbers: jnp.minimum(digits(self, numbers), 3))
    with pytest.raises(LawBroken, match="have another code"):
        check_quantizer("fsq(levels=(5, 3))")
    monkeypatch.undo()
    assign = Fsq.assign

    def rounded(self, params, h):
        found = assign(self, params, h)
        return found._replace(numbers=found.numbers.astype(jnp.bfloat16).astype(jnp.int32))

    monkeypatch.setattr(Fsq, "assign", rounded)
    with pytest.raises(LawBroken):
        check_quantizer("fsq(levels=(8, 6, 7))")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("fsq(levels=(4096, 4096, 2))", "make more than 16777216 codes"),
        ("residual(scales=(2, 2))", "must grow"),
        ("residual(of='residual')", "which is no residual one"),
    ],
)
def test_options_out_of_range_are_refused_in_a_sentence(call, words):
    with pytest.raises(UserError, match=words):
        make_quantizer(call)


def test_a_grid_must_be_the_last_scale():
    with pytest.raises(UserError, match="end with a grid of 4 x 4 vectors, not 3 x 4"):
        make_quantizer("residual(scales=(1, 2, 4))").check_grid((3, 4))


@pytest.mark.slow
def test_a_quantizer_with_one_method_more_than_the_contract_is_enough():
    """Signs of one scalar: a quantizer of another package needs five members."""

    @dataclasses.dataclass(frozen=True)
    class Sign(Quantizer):
        num_codes = 2
        width = 1

        def assign(self, params, h):
            return Assigned(h.reshape(len(h), -1, 1), (h.reshape(len(h), -1) > 0).astype(jnp.int32))

        def lookup(self, params, numbers, grid):
            return (2.0 * numbers - 1).reshape(len(numbers), *grid, 1)

    with within(QUANTIZERS):
        QUANTIZERS.register("sign")(Sign)
        assert check_quantizer("sign")["reach"] == "kept"
    assert jax.tree.leaves(Sign().init(jax.random.key(0))) == []


def test_codes_that_follow_nothing_have_no_statistics():
    class Fixed(Quantizer):
        def __str__(self):
            return "the quantizer 'fixed'"

    fixed = Fixed()
    assert (fixed.init(KEY), fixed.init_state(KEY), fixed.loss({}, 1.0, 1.0)) == ({}, {}, 0)
    assert fixed.collect({}, {"n": 1}, None, None, KEY) == {"n": 1} and fixed.follow({"e": 1}, {}) == ({"e": 1}, {})
    with pytest.raises(UserError, match=r"^the quantizer 'fixed' has no distances of vectors to its codes$"):
        fixed.distances({}, 1.0)
    assert str(Fsq()) == "the quantizer 'fsq'"


KEY = jax.random.key(0)


def vectors(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def test_fsq_is_a_bound_a_rounding_and_a_mixed_base():
    """Mentzer et al. (2023), section 3.1, and their listing; zero is in the middle bin, or on its lower border."""
    levels, quantizer = np.array([4, 3, 6]), Fsq((4, 3, 6))
    h = vectors(50, 5, 3, scale=3.0)
    half, offset = (levels - 1) * 1.001 / 2, np.array([0.5, 0.0, 0.5])
    f = np.tanh(h + np.arctanh(offset / half)) * half - offset
    z = np.round(f)
    np.testing.assert_allclose(of_family(quantizer, "bounded", h), f, atol=1e-5)
    np.testing.assert_allclose(of_family(quantizer, "bounded", 0 * h), 0 * h, atol=1e-6)
    assert [sorted(set(z[..., i].ravel())) for i in range(3)] == [[-2, -1, 0, 1], [-1, 0, 1], [-3, -2, -1, 0, 1, 2]]

    @jax.jit
    def of_quantizer(h):
        numbers = quantizer.assign({}, h).numbers
        slope = jax.grad(lambda h: quantizer.passed({}, h, jnp.zeros_like(h)).sum())(h)
        return numbers, quantizer.lookup({}, numbers, (5,)), slope

    numbers, codes, slope = of_quantizer(h)
    np.testing.assert_array_equal(numbers, ((z + levels // 2) * np.array([1, 4, 12])).sum(-1))
    np.testing.assert_allclose(codes, z / (levels // 2), atol=1e-6)
    inner = np.tanh(h + np.arctanh(offset / half))
    np.testing.assert_allclose(slope, half * (1 - inner**2) / (levels // 2), atol=1e-5)


def test_values_of_a_prior_beyond_the_levels_of_a_digit_are_its_largest():
    quantizer = Fsq((2, 4), digits=True)
    assert quantizer.token_event((1,)).num_levels == 4
    np.testing.assert_array_equal(of_family(quantizer, "numbers_of", np.int32([[[3, 2]]])), [[1 + 2 * 2]])


def averages(hits, sums, h, codebook, decay):
    """van den Oord et al. (2017), appendix A.1: equations 6 to 8, and the nearest codes of equation 1."""
    nearest = ((h[:, None] - codebook) ** 2).sum(-1).argmin(-1)
    one = np.eye(len(codebook))[nearest]
    return nearest, decay * hits + (1 - decay) * one.sum(0), decay * sums + (1 - decay) * one.T @ h


def test_codes_of_vq_are_moving_averages_of_their_vectors():
    quantizer = Vq(codes=4, dims=2, decay=0.75, expiry=0.0, commitment=0.5)
    params = of_family(quantizer, "init", KEY)
    state = of_family(quantizer, "init_state", KEY) | {"begun": np.float32(1)}
    hits, codebook = np.array([3.0, 1, 2, 1]), np.asarray(params["codebook"])
    sums = hits[:, None] * codebook
    state |= {"hits": hits.astype(np.float32), "sums": sums.astype(np.float32)}
    for step in range(3):
        h = vectors(2, 5, 2, seed=step)
        assigned = of_family(quantizer, "assign", params, h)
        nearest, hits, sums = averages(hits, sums, h.reshape(-1, 2), codebook, 0.75)
        np.testing.assert_array_equal(np.ravel(assigned.numbers), nearest)
        commitment = 0.5 * ((h.reshape(-1, 2) - codebook[nearest]) ** 2).mean()
        loss = of_family(quantizer, "loss", params, h, np.ones(2, np.float32))
        np.testing.assert_allclose(loss, commitment, rtol=1e-5)
        state = of_family(quantizer, "collect", params, state, assigned, np.ones(2, np.float32), KEY)
        params, state = of_family(quantizer, "follow", params, state)
        codebook = sums / hits[:, None]
        np.testing.assert_allclose(params["codebook"], codebook, rtol=1e-5)
    assert np.sum(state["step_hits"]) == 0 and np.max(state["priority"]) < 0


def test_the_gradient_of_the_commitment_moves_vectors_to_their_codes():
    quantizer, h = Vq(codes=4, dims=2), vectors(1, 3, 2)
    params = of_family(quantizer, "init", KEY)

    @jax.jit
    def of_quantizer(h, params):
        codes = quantizer.lookup(params, quantizer.assign(params, h).numbers, (3,))
        return codes, *jax.grad(lambda h, p: quantizer.loss(p, h, jnp.ones(1)), (0, 1))(h, params)

    codes, of_h, of_codes = of_quantizer(h, params)
    np.testing.assert_allclose(of_h, 0.25 * 2 * (h - codes) / h.size, rtol=1e-4)
    assert not np.asarray(of_codes["codebook"]).any()


def test_the_first_codes_are_the_means_of_clusters():
    """Three clusters far apart: their means, whatever the vectors that k-means begins with."""
    centres = np.array([[10.0, 0], [-10, 0], [0, 10]], np.float32)
    h = (centres[np.arange(60) % 3] + vectors(60, 2, scale=0.1)).reshape(4, 15, 2)
    quantizer = Vq(codes=3, dims=2, expiry=0.0)
    params = of_family(quantizer, "init", KEY)
    assigned, fresh = of_family(quantizer, "assign", params, h), of_family(quantizer, "init_state", KEY)
    state = of_family(quantizer, "collect", params, fresh, assigned, np.ones(4, np.float32), KEY)
    assert state["kept"].shape == (KEPT * 3, 2) and np.min(state["priority"]) >= 0
    kept = np.asarray(state["kept"])
    assert all((np.abs(h.reshape(-1, 2) - row).max(-1) < 1e-6).any() for row in kept)  # of the vectors themselves
    found, after = of_family(quantizer, "follow", params, state)
    means = np.asarray(found["codebook"])
    expected = np.stack([kept[((kept - c) ** 2).sum(-1) < 25].mean(0) for c in centres])
    matched = ((means[:, None] - expected) ** 2).sum(-1)
    assert (matched.min(0) < 1e-8).all()
    np.testing.assert_allclose(np.sum(after["hits"]), 60, rtol=1e-5)  # as many as the batch has


def test_k_means_keeps_the_mean_of_an_empty_cluster():
    points, counts = np.float32([[0], [0], [8], [9], [50]]), np.array([True, True, True, True, False])
    means, sizes = jax.jit(k_means, static_argnums=2)(points, counts, 3)
    np.testing.assert_allclose(np.sort(means, 0)[:, 0], [0, 0, 8.5])
    np.testing.assert_allclose(np.sort(sizes), [0, 2, 2])


def test_k_means_has_ten_rounds():
    points = np.sort([*np.random.default_rng(0).random((60, 1)) ** 3, [5.0]], 0)
    means = points[:6]
    for _ in range(10):  # not at rest by then
        cluster = ((points[:, None] - means) ** 2).sum(-1).argmin(1)
        means = np.stack([points[cluster == k].mean(0) for k in range(6)])
    found, sizes = jax.jit(k_means, static_argnums=2)(np.float32(points), np.ones(61, bool), 6)
    np.testing.assert_allclose(found, means, rtol=1e-4)
    assert means[-1] == 5 and sizes[-1] == 1


def test_dead_codes_begin_again_at_vectors_of_the_step():
    quantizer = Vq(codes=4, dims=2, decay=0.5, expiry=0.4)
    far, twice = np.float32([[0, 0], [100, 100], [200, 200], [300, 300]]), np.full(4, 2, np.float32)
    state = of_family(quantizer, "init_state", KEY) | {"begun": np.float32(1), "hits": twice, "sums": 2 * far}
    h = vectors(2, 4, 2)
    params = {"codebook": far}
    for _ in range(3):  # 8 hits for the first code; the others halve: 1, .5, .25 of a mean of 2.75, 2.4, ...
        assigned = of_family(quantizer, "assign", params, h)
        state = of_family(quantizer, "collect", params, state, assigned, np.ones(2, np.float32), KEY)
        params, state = of_family(quantizer, "follow", params, state)
    codebook = np.asarray(params["codebook"])
    near = np.abs(codebook[:, None] - h.reshape(-1, 2)).max(-1).min(-1)
    assert np.abs(codebook).max() < 10 and (near < 3).all()
    assert np.min(state["hits"]) > FEWEST


def test_dead_codes_share_the_vectors_that_were_kept():
    """In their order, the first again after the last; live ones are the means of theirs."""
    quantizer = Vq(codes=6, dims=1, expiry=0.5)
    hits, codebook = np.float32([0, 8, 1, 0, 4, 1]), np.zeros((6, 1), np.float32)
    sums = hits[:, None] * np.float32([[0], [3], [0], [0], [5], [0]])
    state = {"kept": np.float32([[10], [20], [30], [0]]), "priority": np.float32([0.9, 0.5, 0.0, -1])}
    e, n, m = jax.jit(quantizer._revived)(codebook, hits, sums, state)
    np.testing.assert_allclose(e[:, 0], [10, 3, 20, 30, 5, 10])
    least = 0.5 * 14 / 6
    np.testing.assert_allclose(n, [least, 8, least, least, 4, least], rtol=1e-6)
    np.testing.assert_allclose(m, n[:, None] * e, rtol=1e-6)


def test_residual_scales_without_convolutions_are_enlarged_and_added():
    quantizer = make_quantizer("residual(scales=(1, 2), of='fsq(levels=(3, 5))', convolutions=0)")
    assert set(quantizer.init(KEY)) == {"of"} and not quantizer.LEARNS
    params, numbers = {"of": {}}, np.array([[14, 0, 2, 4, 7]])
    codes = np.stack([numbers % 3 - 1, (numbers // 3 - 2) / 2], -1)
    found = of_family(quantizer, "lookup", params, numbers, (2, 2))
    np.testing.assert_allclose(found, codes[:, :1, None] + codes[:, 1:].reshape(1, 2, 2, 2), atol=1e-6)


def test_lfq_has_the_entropies_of_all_its_codes():
    """Yu et al. (2024), equations 4 and 5, summed over the 2^bits codes."""
    quantizer, h, weight = make_quantizer("lfq(bits=3, temperature=1.5)"), vectors(4, 2, 3), np.array([1.0, 1, 1, 0])
    codes = np.array([bits[::-1] for bits in itertools.product((-1, 1), repeat=3)])  # the first bit varies fastest
    lookup = jax.jit(quantizer.lookup, static_argnums=2)
    np.testing.assert_array_equal(lookup({}, np.arange(8)[None], (8,))[0], codes)
    nearest = ((h[:, :, None] - codes) ** 2).sum(-1).argmin(-1)
    np.testing.assert_array_equal(of_family(quantizer, "assign", {}, h).numbers, nearest)
    counted = h[:3].reshape(-1, 3)
    q = np.exp(-((counted[:, None] - codes) ** 2).sum(-1) / 1.5)
    q /= q.sum(1, keepdims=True)
    of_one, mean = -(q * np.log(q)).sum(1).mean(), q.mean(0)
    entropies = of_one + (mean * np.log(mean)).sum()
    commitment = ((counted - np.sign(counted)) ** 2).mean()
    expected = 0.1 * entropies + 0.25 * commitment
    loss = of_family(quantizer, "loss", {}, h, weight.astype(np.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    loss = of_family(dataclasses.replace(quantizer, entropy=0.0), "loss", {}, h, weight.astype(np.float32))
    np.testing.assert_allclose(loss, 0.25 * commitment, rtol=1e-5)


def area(full, side):
    """Means over equal parts, by hand: each place cut into `side` pieces."""
    pieces = np.repeat(np.eye(full), side, axis=1) / full  # [full, full * side]
    return pieces.reshape(full, side, full).sum(-1).T * 1.0


def test_residual_scales_are_algorithm_1_of_var():
    """Tian et al. (2024), algorithm 1: the rest is reduced, quantized, enlarged, smoothed and subtracted."""
    quantizer = make_quantizer("residual(scales=(1, 2, 3), of='vq(codes=8, dims=2)', convolutions=2)")
    params, h = jax.jit(quantizer.init)(KEY), vectors(2, 3, 3, 2)
    codebook, kernels = np.asarray(params["of"]["codebook"]), np.asarray(params["kernels"])
    rest, total, numbers, losses = h.astype(np.float64), np.zeros(h.shape), [], []
    for k, side in enumerate((1, 2, 3)):
        mean = area(3, side)
        np.testing.assert_allclose(mean.sum(1), np.ones(side))
        small = np.einsum("sh,tw,bhwe->bste", mean, mean, rest)
        nearest = ((small[..., None, :] - codebook) ** 2).sum(-1).argmin(-1)
        numbers.append(nearest.reshape(2, -1))
        large = np.asarray(jax.image.resize(codebook[nearest], (2, 3, 3, 2), "cubic"), np.float64)
        kernel, padded = kernels[(0, 0, 1)[k]], np.pad(large, ((0, 0), (1, 1), (1, 1), (0, 0)))
        smooth = sum(
            padded[:, dy : dy + 3, dx : dx + 3] @ kernel[dy, dx] for dy, dx in itertools.product(range(3), repeat=2)
        )
        added = 0.5 * large + 0.5 * smooth
        rest, total = rest - added, total + added
        losses.append(1.25 * ((total - h) ** 2).mean())

    @jax.jit
    def of_quantizer(params, h):
        found = quantizer.assign(params, h).numbers
        loss = jax.value_and_grad(lambda p: quantizer.loss(p, h, jnp.ones(2)))(params)
        return found, quantizer.lookup(params, found, (3, 3)), *loss

    found, vectors_found, loss, slopes = of_quantizer(params, h)
    np.testing.assert_array_equal(found, np.concatenate(numbers, 1))
    np.testing.assert_allclose(vectors_found, total, atol=1e-4)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-4)
    assert np.asarray(slopes["kernels"]).any() and not np.asarray(slopes["of"]["codebook"]).any()
