"""Discrete chains against Austin et al. (2021) by enumeration and against order-agnostic models, their draws, and what
they refuse.
"""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from built import built
from refusals import each_refused

from arjax.conditionals import make_conditional
from arjax.core.batch import Batch
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.models.block_diffusion import BlockDiffusion, BlockRounds
from arjax.models.discrete_chain import PROCESSES, Absorbing, Between, DiscreteChain, masked_counts
from arjax.networks.denoisers import Denoiser
from arjax.networks.denoisers.base import as_denoiser
from arjax.samplers.rounds import k_step_log_prob
from arjax.testing.examples import all_values
from arjax.testing.statistics import LEAST_P, chi_square

#: Two sites of three values; a state of the chain may have the mask, 3, too.
EVENT = EventSpec((2,), kind="tokens", num_levels=3)
X = all_values(EVENT)
STATES = np.array(list(itertools.product(range(4), repeat=2)), np.int32)
CASES = {"uniform": "cosine", "absorbing": "linear", "rounds": "linear"}
SMALL = {"width": 12, "num_layers": 1, "num_heads": 1}
KEY = jax.random.key(0)


@jax.jit
def log_prob_at(model, params, x, x_t, t_N):
    return model.noise(params).log_prob_at(x, x_t, t_N, model.features(params, x, x_t, t_N))


def each_of(*fast):
    """Parameters: all processes, those that are not `fast` marked slow."""
    marks = [pytest.param(name, marks=[pytest.mark.slow] * (name not in fast)) for name in CASES]
    return pytest.mark.parametrize("process", marks)


def build(process, event=EVENT, **options):
    options = {"num_steps": 3} | SMALL | options
    return built(event, "denoising_transformer", kind="discrete_chain", process=process, **options)


def transitions(process, num_steps):
    """q(x_t | x_{t-1}) of both sites together, [T, from, to] over all states."""
    t = np.arange(num_steps + 1) / num_steps
    a = np.cos(np.pi * t / 2) ** 2 if CASES[process] == "cosine" else 1 - t
    matrices = []
    for before, after in itertools.pairwise(a):
        keep, one = after / before, np.zeros((4, 4))
        if process == "uniform":
            one[:3, :3] = keep * np.eye(3) + (1 - keep) / 3
            one[3, 3] = 1
        else:
            one[:3, :3], one[:3, 3], one[3, 3] = keep * np.eye(3), 1 - keep, 1
        matrices.append(np.kron(one, one))
    return np.array(matrices)


def rounds_transitions():
    """Each of two steps masks one more site, either of two at first."""
    first, second = np.zeros((16, 16)), np.zeros((16, 16))
    for i, state in enumerate(STATES):
        open_sites = np.flatnonzero(state < 3)
        if not len(open_sites):
            first[i, i] = second[i, i] = 1
        for site in open_sites:
            after = state.copy()
            after[site] = 3
            for matrix in (first, second):
                matrix[i, after[0] * 4 + after[1]] += 1 / len(open_sites)
    return np.array([first, second])


def index(x):
    return x[:, 0] * 4 + x[:, 1]


@jax.jit
def predictions(model, params, t_N):
    """log p(x_0 | x_t) of each site at all states, [16, 2, 3]."""
    features = model.features(params, None, jnp.asarray(STATES), t_N)
    return model.process.conditional.log_table(features)


@functools.cache
def enumerated(process):
    """A chain with its transitions q, marginals q(x_t | x_0) and reverse conditionals p(x_{t-1} | x_t) by Bayes' rule
    and sums over x_0, from the predictions of its network alone.
    """
    num_steps = 2 if process == "rounds" else 3
    model, params = build(process, num_steps=num_steps, schedule=CASES[process])
    q = rounds_transitions() if process == "rounds" else transitions(process, num_steps)
    marginal = [np.eye(16)[index(X)]]
    for matrix in q:
        marginal.append(marginal[-1] @ matrix)
    reverse = []
    for t in range(1, num_steps + 1):
        p_0 = np.exp(np.asarray(predictions(model, params, jnp.full(16, t)), np.float64))
        # sites are independent given x_t: their joint over x_0, [16 states, 9 values]
        joint = np.einsum("sa,sb->sab", p_0[:, 0], p_0[:, 1]).reshape(16, 9)
        reverse.append((joint, posterior(q[t - 1], marginal[t - 1], marginal[t])))
    return model, params, q, marginal, reverse


def posterior(q_t, before, after):
    """q(x_{t-1} | x_t, x_0) by Bayes' rule, [x_0, x_t, x_{t-1}]; 0 where x_t cannot come of x_0."""
    joint = before[:, None, :] * q_t.T[None]
    return joint / np.where(after > 0, after, 1.0)[..., None]


def p_reverse(process, joint, post):
    """sum over x_0 of q(x_{t-1} | x_t, x_0) p(x_0 | x_t), [x_t, x_{t-1}]; sites without a mask keep their value."""
    if process != "uniform":
        fits = np.array([[((s == 3) | (s == x)).all() for x in X] for s in STATES])
        joint = np.where(fits, joint, 0.0)
        joint = joint / joint.sum(1, keepdims=True)
    return np.einsum("sx,xsr->sr", joint, post)


@each_of("uniform")
def test_the_marginals_are_the_closed_form_of_the_steps(process):
    """q(x_t | x_0): draws of `noisy`, by chi-square, against the product of the transitions."""
    model, _, _, marginal, _ = enumerated(process)

    @jax.jit
    def noisy(t):
        keys = jax.random.split(jax.random.fold_in(KEY, t), 4000)
        return model.process.corrupt(jnp.tile(X[5], (4000, 1)), jnp.full(4000, t), keys)

    for t in range(1, model.num_steps + 1):
        counts = np.bincount(index(np.asarray(noisy(t))), minlength=16)
        assert chi_square(counts, marginal[t][5]) > LEAST_P, t


@pytest.mark.parametrize("process", ["uniform", pytest.param("absorbing", marks=pytest.mark.slow)])
def test_chains_of_many_steps_have_finite_terms_and_gradients(process):
    """At the first steps of a cosine 1 - a_t is below the rounding of a_t; what is masked after step 1 is revealed."""
    model, params = build(process, num_steps=100_000, schedule="cosine")
    x, x_t = np.repeat(X[4:5], 4, 0), np.array([[1, 1], [1, 0], [1, 1], [2, 0]], np.int32)
    if process == "absorbing":
        x_t = np.where(x_t == x, x, 3)
    t_B = np.array([1, 2, 100_000, 99_999])

    @jax.jit
    def terms(params):
        def total(params):
            each_B = log_prob_at(model, params, x, x_t, t_B)
            return each_B.sum(), each_B

        return jax.grad(total, has_aux=True)(params)

    gradient, each_B = terms(params)
    assert np.isfinite(each_B).all() and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    found = Between.of(model.process.kept, np.array([1, 2, 100_000]), np.array([0, 1, 99_999]))
    np.testing.assert_allclose(found.revealed, [1, 3 / 4, np.sin(np.pi / 2e5) ** 2], rtol=1e-4)


@each_of("absorbing")
def test_the_bound_is_below_the_likelihood_over_all_paths(process):
    """Each term against the divergence of the enumerated conditionals; their mean is at most log p(x_0), which sums to
    one; and draws follow p(x_0).
    """
    model, params, _, marginal, reverse = enumerated(process)
    every = [p_reverse(process, joint, post) for joint, post in reverse]
    last = marginal[-1][0]
    np.testing.assert_allclose(last, marginal[-1][8], atol=1e-12)  # x_T says nothing of x_0
    p = last
    for matrix in every[::-1]:
        np.testing.assert_allclose(matrix.sum(1)[p > 0], 1, rtol=1e-6)
        p = p @ matrix
    p = p[index(X)]
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-6)
    bound = np.zeros(9)
    for t, ((_, post), matrix) in enumerate(zip(reverse, every, strict=True), 1):
        x, x_t = np.repeat(X, 16, 0), np.tile(STATES, (9, 1))
        found = np.asarray(log_prob_at(model, params, x, x_t, jnp.full(144, t))).reshape(9, 16)
        reachable = marginal[t] > 0
        ratio = np.where(post > 0, post / np.where(matrix > 0, matrix, 1.0)[None], 1.0)
        np.testing.assert_allclose(found[reachable], -(post * np.log(ratio)).sum(-1)[reachable], rtol=1e-3, atol=1e-5)
        bound += np.where(reachable, marginal[t] * found, 0.0).sum(1)
    gap = np.log(p) - bound
    assert (gap > -1e-5).all() and gap.max() > 0.005
    x = np.asarray(model.sample(params, KEY, 20_000))
    assert chi_square(np.bincount(x @ [3, 1], minlength=9), p) > LEAST_P


VECTORS = EventSpec((2,), (3,), "levels", 4)


test_refusals = each_refused(
    (lambda: build("rounds", num_steps=3), "2 sites are revealed in as many rounds"),
    (lambda: build("absorbing", EventSpec((2,), kind="real")), "needs binary data, levels or tokens"),
    (lambda: build("absorbing", conditional="mixture_of_products"), "cannot be a joint one"),
    (lambda: build("uniform", VECTORS, conditional="discretized_logistic_mixture"), "take categorical"),
    (lambda: make_model(EVENT, "masked_transformer", kind="discrete_chain", process="uniform"), "has no masks"),
    (lambda: build("rounds", num_steps=2, schedule="cosine"), "rounds have equal sizes, and no schedule 'cosine'"),
    (lambda: build("absorbing")[0].draw(build("absorbing")[1], jax.random.split(KEY), steps=4), "1 to 3 steps"),
    (lambda: build("absorbing")[0].sample(build("absorbing")[1], KEY, 2, top_p=0.5), "cannot draw with top_p"),
)


#: Three sites of three values, and all their orders.
TRIPLE = EventSpec((3,), (), "tokens", 3)
ORDERS = [make_factorization((3,), f"list(order={order})") for order in itertools.permutations(range(3))]


@functools.cache
def order_agnostic():
    """An order-agnostic model under random parameters, and those of the chains that have its network."""
    model, params = built(TRIPLE, "masked_transformer", orders="uniform", steps_per_chunk=4, **SMALL)
    return model, params, {"denoiser": {"network": params}}


def chain_of(model, num_steps, process):
    return DiscreteChain(as_denoiser(model.network), PROCESSES[process](TRIPLE, num_steps, model.conditional))


def expected_bound(chain, params, x):
    """The bound of `rounds`, with the mean over all sets of masked sites in place of random ones."""
    num_sites, total = chain.event.num_sites, np.zeros(len(x))
    for t, count in enumerate(masked_counts(num_sites, chain.num_steps)[1:], 1):
        sets = list(itertools.combinations(range(num_sites), count))
        for masked in sets:
            x_t = x.copy()
            x_t[:, list(masked)] = 3
            total += np.asarray(log_prob_at(chain, params, x, x_t, jnp.full(len(x), t))) / len(sets)
    return total


def test_one_site_per_step_is_the_order_agnostic_model():
    """Hoogeboom et al. (2022), section 3: the bound is the mean over all orders of log p(x | order)."""
    model, params, of_chain = order_agnostic()
    chain = chain_of(model, 3, "rounds")
    x = all_values(model.event)[::5]
    score = jax.jit(lambda p, x, f: model.log_prob(p, x, factorization=f))
    expected = np.mean([score(params, x, order) for order in ORDERS], 0)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(expected_bound(chain, of_chain, x), expected, rtol=1e-5)


@pytest.mark.slow
def test_fewer_rounds_are_the_k_step_bound():
    model, params, of_chain = order_agnostic()
    chain = chain_of(model, 2, "rounds")
    x = all_values(model.event)[::9]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ORDERS)
    both = jax.jit(lambda b: k_step_log_prob(model, params, b, stacked, (1, 2)))
    expected = [np.mean(both(Batch(np.repeat(one[None], 6, 0)))) for one in x]
    np.testing.assert_allclose(expected_bound(chain, of_chain, x), expected, rtol=1e-5)


class Nothing(Denoiser):
    """All values are equally probable."""

    def __call__(self, x_t, factorization=None, context=None, *, train=False):
        return jnp.zeros((*x_t.shape, self.num_features))


def test_chains_without_parameters_score_and_draw():
    head, blocks = make_conditional("", TRIPLE), make_factorization((3,), "raster", "sizes(sizes=(1, 2))")
    denoiser = Nothing(TRIPLE, NO_CONTEXT, head.num_params, "float32")
    chain = DiscreteChain(denoiser, Absorbing(TRIPLE, 2, head))
    for model in (chain, BlockDiffusion(denoiser, BlockRounds(TRIPLE, 1, head), factorization=blocks)):
        params = model.init(jax.random.key(0))
        assert params == {"denoiser": {}} and model.num_params == 0
    score = jax.jit(lambda x, key: chain.log_prob(params, x, key=key).mean())
    # each site is revealed once, at log 3 nats
    assert score(np.tile([0, 1, 2], (1000, 1)), KEY) == pytest.approx(-3 * np.log(3), rel=0.05)
    assert chain.sample(params, KEY, 4).shape == (4, 3)
