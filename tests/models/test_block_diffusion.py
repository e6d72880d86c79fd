"""Block diffusion against Arriola et al. (2025) by enumeration of all masks, and its network against its mask."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from built import built
from numpy_layers import block, dense, layer_norm, layers
from refusals import each_refused

from arjax.core.arrays import filled_behind_end, up_to_end
from arjax.core.batch import Batch
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models.block_diffusion import BlockDiffusion
from arjax.networks.denoisers.block_transformer import block_mask
from arjax.samplers import example_keys
from arjax.testing.examples import all_values, random_x
from arjax.testing.statistics import LEAST_P, chi_square

KEY, EVENT = jax.random.key(0), EventSpec((4,), kind="tokens", num_levels=3)
X = all_values(EVENT)
SMALL = {"width": 12, "num_layers": 2, "num_heads": 2}
ORDER = "list(order=(2, 0, 3, 1))"
#: Blocks, and T.
CASES = {"pairs": ("blocks(size=2)", 2), "uneven": ("sizes(sizes=(1, 3))", 2), "one": ("blocks(size=4)", 4)}
#: Every set of masked sites.
SETS = np.array(list(itertools.product([False, True], repeat=4)))


def build(partition, num_steps=0, event=EVENT, ordering=ORDER, network="block_transformer", **options):
    options = SMALL | {"partition": partition, "num_steps": num_steps, "ordering": ordering} | options
    return built(event, network, kind="block_diffusion", **options)


@jax.jit
def tables(model, params):
    """Under every set of masks log p of the value of each site, [16, 81, 4], and the terms of the blocks at each step,
    [16, T, 81, S].
    """
    x, num_steps, noise = jnp.asarray(X), model.num_steps, model.noise(params)

    def of_set(masked):
        x_t = jnp.where(masked, 3, x)
        features = model.features(params, x, x_t, None)
        at = lambda t: noise.log_prob_at(x, x_t, jnp.full((81, *model.times_shape), t), features)  # noqa: E731
        log_p = model.process.conditional.log_prob(features, x)
        return log_p, jnp.stack([at(t) for t in range(1, num_steps + 1)])

    return jax.lax.map(of_set, jnp.asarray(SETS))


@functools.cache
def enumerated(case):
    """A model, log p[81] over all paths of its reverse chains, its bound[81], and the scores of blocks that differ from
    their definition.
    """
    model, params = build(*CASES[case], num_layers=1)
    log_p, found = (np.asarray(leaf, np.float64) for leaf in tables(model, params))
    number = {tuple(masks): n for n, masks in enumerate(SETS.tolist())}
    total, bound, wrong = np.zeros(81), np.zeros(81), 0.0
    for b in range(model.factorization.num_steps):
        sites = [int(site) for site in np.asarray(model.factorization.blocks)[b] if site < 4]
        counts = [int(np.ceil(len(sites) * t / model.num_steps)) for t in range(model.num_steps + 1)]

        def at(masked):
            return number[tuple(site in masked for site in range(4))]

        @functools.cache
        def p(t, masked, counts=counts, at=at):
            """Over all ways to reveal a set of masked sites from step t on."""
            if not t:
                return np.ones(81)
            parts = list(itertools.combinations(masked, counts[t] - counts[t - 1]))
            each = [np.exp(log_p[at(masked), :, list(part)].sum(0)) for part in parts]
            rest = [p(t - 1, tuple(site for site in masked if site not in part)) for part in parts]
            return np.mean([one * other for one, other in zip(each, rest, strict=True)], 0)

        total += np.log(p(model.num_steps, tuple(sites)))
        for t in range(1, model.num_steps + 1):
            sets = list(itertools.combinations(sites, counts[t]))
            share = (counts[t] - counts[t - 1]) / counts[t]
            expected = np.array([share * log_p[at(masked), :, list(masked)].sum(0) for masked in sets])
            own = np.array([found[at(masked), t - 1, :, b] for masked in sets])
            wrong = max(wrong, np.abs(own - expected).max())
            bound += expected.mean(0)
    return model, params, total, bound, wrong, (log_p, number)


#: Blocks of different sizes are the general case.
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_bound_is_below_the_likelihood_over_all_paths(case):
    """Each term is its definition; the mean of random ones is their sum; it is at most log p(x), which sums to one; and
    draws follow p(x).
    """
    model, params, log_p, bound, wrong, _ = enumerated(case)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)
    assert wrong < 1e-4
    assert (log_p - bound > -1e-5).all() and (log_p - bound).max() > 0.005
    rare = np.argsort(bound)[[0, 40]]
    batch = Batch(np.repeat(X[rare], 2000, 0))
    score = jax.jit(lambda p, b: model.estimate(p, b, key=KEY, num=1, train=False)[0])
    check_mean(score(params, batch), bound[rare])
    x = np.asarray(model.sample(params, KEY, 20_000))
    assert chi_square(np.bincount(x @ [27, 9, 3, 1], minlength=81), np.exp(log_p)) > LEAST_P


def check_mean(score, expected):
    """Of the scores of two examples, 2,000 times each."""
    drawn = np.asarray(score.log_prob, np.float64).reshape(2, 2000)
    error = drawn.std(1) / 2000**0.5
    assert (np.abs(drawn.mean(1) - expected) < 4 * error + 1e-4).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_mean_of_whole_sums_is_the_bound(case):
    model, params, _, bound, _, _ = enumerated(case)
    rare = np.argsort(bound)[[0, 40]]
    score = jax.jit(lambda p, b: model.bound(p, b, KEY))
    check_mean(score(params, Batch(np.repeat(X[rare], 2000, 0))), bound[rare])


@pytest.mark.slow
def test_one_block_is_the_order_agnostic_model():
    """Hoogeboom et al. (2022), section 3: the mean over all orders of log p(x | order)."""
    _, _, _, bound, _, (log_p, number) = enumerated("one")
    every = []
    for order in itertools.permutations(range(4)):
        left = [number[tuple(site not in order[:n] for site in range(4))] for n in range(4)]
        every.append(sum(log_p[left[n], :, site] for n, site in enumerate(order)))
    np.testing.assert_allclose(bound, np.mean(every, 0), rtol=1e-6)


@pytest.mark.parametrize("partition", ["sites", pytest.param("sizes(sizes=(1, 3))", marks=pytest.mark.slow)])
def test_strings_are_drawn_as_they_are_scored(partition):
    """A draw up to its end has the probability that is scored up to there: blocks of one site are scored exactly, and
    of others the whole block with an end is, which is a bound.
    """
    end, draws, times = 2, 20_000, 1 if partition == "sites" else 200
    x = X[(np.asarray(filled_behind_end(X, end)) == X).all(1)]
    model, params = build(partition, ordering="raster", num_layers=1)
    mask = np.repeat(up_to_end(x, end), times, 0)
    log_p = np.asarray(jax.jit(model.log_prob)(params, np.repeat(x, times, 0), mask=mask, key=KEY), np.float64)
    log_p = log_p.reshape(len(x), times).mean(1)
    drawn = np.asarray(model.draw(params, example_keys(KEY, draws), end=end).x) @ [27, 9, 3, 1]
    counts = np.bincount(drawn, minlength=81)[x @ [27, 9, 3, 1]]
    assert counts.sum() == draws and len(x) == 31
    if partition == "sites":
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)
        assert chi_square(counts, np.exp(log_p)) > LEAST_P
    else:
        least = draws * np.exp(log_p)
        assert (counts > least - 4 * np.sqrt(least) - 1).all() and least.sum() < 0.99 * draws


@pytest.mark.slow
def test_blocks_with_a_site_of_a_mask_are_scored_whole():
    """And the others not at all: of a window whose beginning is context, the blocks of the rest."""
    model, params = build("blocks(size=2)", num_layers=1)
    batch = Batch(X[5:8], mask=np.ones((3, 4), bool))
    asked = np.array([[True] * 4, [False] * 4, [False, False, False, True]])  # the second block is of the sites 3 and 1
    score = jax.jit(BlockDiffusion.score, static_argnames="train")
    for train in (False, True):
        whole = np.asarray(score(model, params, batch, key=KEY, train=train).log_prob)
        if train:
            np.testing.assert_array_equal(score(model, params, Batch(X[5:8]), key=KEY, train=train).log_prob, whole)
        found = np.asarray(score(model, params, batch.replace(mask=asked), key=KEY, train=train).log_prob)
        np.testing.assert_allclose(found[0], whole[0], rtol=1e-6)
        assert found[1] == 0 and whole[2] < found[2] < 0
    # the first block does not depend on the sites 1 and 3, the second one counts them
    batch = batch.replace(mask=np.tile([True, False, False, False], (3, 1)))
    other = batch.replace(x=np.where([[False, True, False, True]], (batch.x + 1) % 3, batch.x))
    first, same = (score(model, params, each, key=KEY, train=False) for each in (other, batch))
    np.testing.assert_allclose(first.log_prob, same.log_prob, rtol=1e-6)


def test_the_mask_is_that_of_the_paper():
    """Appendix B.6: causal over clean blocks, diagonal over noisy ones, and from noisy to earlier clean blocks."""
    found = np.asarray(jax.jit(block_mask, static_argnums=(0, 1))(6, 2))
    for q, k in itertools.product(range(12), repeat=2):
        b_q, b_k = q % 6 // 2, k % 6 // 2
        expected = [[b_k <= b_q, False], [b_k < b_q, b_k == b_q]][q // 6][k // 6]
        assert found[q, k] == expected, (q, k)


CONTEXT = ContextSpec("label", 3)
WIDE = EventSpec((3, 2), kind="levels", num_levels=4)


def uneven(**options):
    """Six pixels in blocks of 1, 2 and 3, with a class."""
    model, params = build("sizes(sizes=(1, 2, 3))", event=WIDE, ordering="reversed", context=CONTEXT, **options)
    x, x_t = random_x(WIDE, 5), random_x(WIDE, 5, seed=1)
    x_t = np.where(np.random.default_rng(0).random(x.shape) < 0.5, 4, x_t).astype(np.int32)
    return model, params, x, x_t, {"label": np.int32([0, 1, 2, 0, 1])}


def test_the_network_is_its_definition():
    """In numpy: tokens of values and places, the same layers for clean and noisy ones, and the mask of the paper."""
    model, params, x, x_t, context = uneven()
    found = np.asarray(jax.jit(BlockDiffusion.features)(model, params, x, x_t, None, context)).reshape(5, 6, -1)
    params = params["denoiser"]
    mask = np.asarray(jax.jit(block_mask, static_argnums=(0, 1))(9, 3))
    # padding is a masked token at no site, index 6
    places = np.array([5, 6, 6, 4, 3, 6, 2, 1, 0])
    for i in range(5):
        streams = [np.append(each[i].ravel(), 4)[places] for each in (x, x_t)]
        value, site = (params[name]["table"]["embedding"] for name in ("value", "site"))
        h = np.concatenate([value[stream] + site[places] for stream in streams])
        h = h + params["context"]["table"]["embedding"][context["label"][i]]
        for own in layers(params):
            h = block(own, h, h, mask, 2)
        expected = dense(params["out"], layer_norm(params["norm"], h[9:]))
        expected = np.array([expected[list(places).index(site)] for site in range(6)])
        np.testing.assert_allclose(found[i], expected, atol=1e-4 * np.abs(expected).max())


def test_the_cache_gives_the_features_of_the_parallel_pass():
    model, params, x, x_t, context = uneven()
    blocks = model.factorization

    @jax.jit
    def both(params, x, x_t, context):
        call, found = functools.partial(model.denoiser.apply, {"params": params["denoiser"]}), []
        cache = call(5, blocks, method="start")
        for t in range(3):
            found.append(call(cache, x_t, t, blocks, context, method="denoise"))
            cache = call(cache, x, t, blocks, context, method="write")
        return model.features(params, x, x_t, None, context), found

    whole, found = both(params, x, x_t, context)
    whole = np.asarray(whole).reshape(5, 6, -1)
    for t in range(3):
        sites = [site for site in blocks.blocks[t] if site < 6]
        np.testing.assert_allclose(found[t][:, : len(sites)], whole[:, sites], rtol=1e-4, atol=1e-5)


def test_every_block_has_its_own_time_and_a_random_set_of_masks():
    model, _ = build("blocks(size=4)", event=EventSpec((8,), kind="tokens", num_levels=3), ordering="raster")
    t_BS = np.tile([3, 1], (3000, 1))
    corrupt = jax.jit(lambda model, *arguments: model.noise({}).corrupt(*arguments))
    noisy = corrupt(model, np.zeros((3000, 8), np.int32), t_BS, jax.random.split(KEY, 3000))
    masked = np.asarray(noisy == 3)
    np.testing.assert_array_equal(masked.reshape(-1, 2, 4).sum(-1), t_BS)
    counts = np.concatenate([3000 - masked[:, :4].sum(0), masked[:, 4:].sum(0)])
    assert chi_square(counts[:4], np.full(4, 0.25)) > LEAST_P and chi_square(counts[4:], np.full(4, 0.25)) > LEAST_P
    assert abs(np.corrcoef(masked[:, 0], masked[:, 4])[0, 1]) < 0.08


test_refusals = each_refused(
    (lambda: build("blocks(size=2)", 3), "blocks of 2 sites have as many steps at most"),
    (lambda: build("blocks(size=3)"), "do not divide 4 sites"),
    (lambda: build("sites", event=EventSpec((4,), kind="real")), "need binary data, levels or tokens"),
    (lambda: build("sites", conditional="mixture_of_products"), "cannot be a joint one"),
    (lambda: build("sites", num_heads=5), "does not divide"),
    (lambda: build("sites", position="none"), "learned, sinusoidal"),
    (lambda: build("sites", network="transformer"), "'transformer' does not denoise block by block"),
)
