"""Law 4: samples follow the model, and exact samplers give the samples of the naive one."""

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from choice import each_network

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.networks.base import chunk_of
from arjax.samplers import PLAIN_DRAW, SAMPLERS, example_keys
from arjax.samplers.base import Steps
from arjax.testing.laws import check_laws
from arjax.testing.models import autoregressive_networks
from arjax.testing.sampler import ready_sampler, sampler_laws
from arjax.testing.statistics import LEAST_P, require_follows, uniform

NUM = 4096
#: Changes of features that count as rounding, relative to the largest, and how many are tried.
ROUNDING, CHANGES = 2e-5, 256
EVENTS = {
    "binary": EventSpec((2, 2)),
    "levels_vector": EventSpec((2,), (2,), "levels", 2),
    "tokens": EventSpec((3,), (), "tokens", 3),
}


def check_follows(samples, event, log_prob):
    """Samples [N, ...] follow exp(log_prob) over all values of the event."""
    base = event.num_levels ** np.arange(event.num_dims)[::-1]
    codes = np.asarray(samples).reshape(len(samples), -1) @ base
    require_follows(np.bincount(codes, minlength=len(log_prob)), log_prob)


#: Event and conditional, and of each conditional one.
DISCRETE = [(event, conditional) for event in EVENTS for conditional in cases.fitting_conditionals(EVENTS[event])]
ONE_OF_EACH = [*{conditional: (event, conditional) for event, conditional in DISCRETE}.values(), DISCRETE[0]]
#: Those that follow the model, and those that say that they do not.
EXACT = [name for name in SAMPLERS.names() if SAMPLERS.get(name).exact]
OTHERS = [name for name in SAMPLERS.names() if name not in EXACT]
#: Of those that some networks cannot do, one that can.
NETWORK_OF = {"parallel": "deep_nade"}
#: Exact samplers draw the same values (see below), so one of them stands for all; the others are slow.
ONE_OF_ALL = [pytest.param(name, marks=() if name == "cached" else pytest.mark.slow) for name in EXACT]


def no_other(network):
    """`made` alone: the samples of all others are those of the naive sampler, too."""
    return False


def drawn(model, params, key, num, sampler, **options):
    """Samples; skips the test where the sampler cannot draw from the model."""
    try:
        return model.sample(params, key, num, sampler=ready_sampler(sampler, model, params), **options)
    except UserError as error:
        return pytest.skip(str(error))


@each_network(["event", "conditional"], DISCRETE, thorough=ONE_OF_EACH[::3], takes=no_other)
@pytest.mark.parametrize("sampler", ONE_OF_ALL)
def test_frequencies_match_probabilities(sampler, network, event, conditional):
    event = EVENTS[event]
    model = cases.supported_model(network, event, "random(seed=2)", "sites", conditional=conditional)
    if isinstance(model, str):
        return
    samples = drawn(model, cases.params_of(model), jax.random.key(3), NUM, sampler)
    check_follows(samples, event, cases.log_prob(model, cases.all_values(event)))


@jax.jit
def log_densities(model, params, x, values):
    """Of other values [B, D, N] of each site, given the sites of x before it."""
    features = model.features(params, x).reshape(len(x), model.event.num_sites, 1, -1)
    return model.conditional.log_prob(features, values)


@each_network(["conditional"], cases.EACH_REAL, thorough=cases.EACH_REAL[:1], takes=no_other)
@pytest.mark.parametrize("sampler", ONE_OF_ALL)
def test_real_samples_follow_the_densities(sampler, network, conditional):
    """The conditional distribution function of each site, at its sample, is uniform (Rosenblatt, 1952)."""
    event = EventSpec((1, 3), (), "real", 0)
    model = cases.supported_model(network, event, "random(seed=2)", "sites", conditional=conditional)
    if isinstance(model, str):
        return
    params = cases.gentle_params_of(model)
    samples = np.asarray(drawn(model, params, jax.random.key(6), NUM // 8, sampler))
    t = np.linspace(0, 9, 121)  # below the sample, dense near it
    weights = np.cosh(t) * t[1]
    weights[0] /= 2
    below = samples.reshape(-1, 3, 1) - np.sinh(t).astype(np.float32)
    shares = np.exp(np.asarray(log_densities(model, params, samples, below), np.float64)) @ weights
    assert uniform(shares.ravel()) > LEAST_P


@cases.each_structure(thorough=cases.STRUCTURES[1::8], takes=cases.IN_DRAWS.__contains__)
def test_same_samples_as_naive(network, event, partition):
    """Free, and given prompts of any length, which are read in chunks. By law 1 the passes of the naive sampler give
    the features of what is drawn, which one pass gives at once.
    """
    for model in cases.models_of(network, event, partition)[:2]:
        sampler = "cached(chunk=2)" if chunk_of(model.network) > 1 else "cached"
        params, keys = cases.params_of(model), example_keys(jax.random.key(4), cases.BATCH)
        given = cases.random_x(model.event, cases.BATCH)
        for num_steps in range(model.factorization.num_steps):
            check_observed_steps(sampler, model, params, keys, given, num_steps)


#: Samplers that read several steps at once: by passes, in windows, and with a draft.
SEVERAL_STEPS = ("fixed_point", "fixed_point(window=3)", "speculative(window=3, draft='counts(order=1)')")


@each_network(["event", "partition"], cases.STRUCTURES, thorough=cases.STRUCTURES[:1], takes=no_other)
@pytest.mark.parametrize("sampler", SEVERAL_STEPS)
def test_several_steps_at_once_give_the_samples_of_naive(sampler, network, event, partition):
    """Under all orders of the slow suite; free, and given the first steps."""
    for model in cases.models_of(network, event, partition)[:2]:
        params, keys = cases.params_of(model), example_keys(jax.random.key(4), cases.BATCH)
        try:
            ready = ready_sampler(sampler, model, params)
        except UserError:  # counts have no real values, vectors or blocks
            continue
        given = cases.random_x(model.event, cases.BATCH)
        for num_steps in (0, 2):
            check_observed_steps(ready, model, params, keys, given, num_steps)


@pytest.mark.slow
@pytest.mark.parametrize("network", autoregressive_networks())
def test_no_sample_of_ten_thousand_differs(network):
    """Five orders of a small event, which share their programs, where the network supports them."""
    orders = [f"random(seed={seed})" for seed in range(5)]
    models = [cases.supported_model(network, EventSpec((2, 3), (), "tokens", 4), order, "sites") for order in orders]
    models = [model for model in models if not isinstance(model, str)]
    if not models:
        models = [cases.supported_model(network, EventSpec((2, 4), (), "tokens", 4), "raster", "sites")]
    num = 10_000 // len(models)
    for i, model in enumerate(models):
        params, keys = cases.params_of(model), example_keys(jax.random.key(i), num)
        expected = np.asarray(model.draw(params, keys, sampler="naive").x)
        for sampler in ("cached", *SEVERAL_STEPS):
            x = np.asarray(model.draw(params, keys, sampler=ready_sampler(sampler, model, params)).x)
            for b in np.flatnonzero((x != expected).reshape(num, -1).any(1)):
                # Windows and steps are other programs than the pass: their features differ in the last digits.
                assert sampler != "fixed_point", f"sample {b} in {orders[i]} order"
                assert within_rounding(model, params, keys[b], x[b], expected[b]), f"{sampler}, sample {b}, {orders[i]}"


def within_rounding(model, params, key, first, second):
    """Whether two samples [*grid, *value] from one key differ first in a draw that rounding may decide: both values
    come out of features that differ by less than two programs may.
    """
    factorization = model.factorization
    flat = [np.asarray(x).reshape(model.event.num_sites, -1) for x in (first, second)]
    differ_D = (flat[0] != flat[1]).any(1)
    t = int(np.asarray(factorization.step)[differ_D].min())
    sites = np.asarray(factorization.blocks)[t]
    sites = sites[sites < model.event.num_sites]
    features = model.features(params, jnp.asarray(first)[None]).reshape(model.event.num_sites, -1)
    padded = jnp.minimum(jnp.asarray(factorization.blocks)[t], model.event.num_sites - 1)
    change = (
        ROUNDING
        * float(jnp.abs(features).max())
        * jax.random.uniform(jax.random.key(0), (CHANGES, len(padded), features.shape[-1]), minval=-1)
    )
    steps = Steps(model, params, key[None], PLAIN_DRAW)
    draw = jax.vmap(steps.value, (None, None, None, 0))
    drawn = np.asarray(draw(steps.keys_SB[t, 0], jnp.int32(t), jnp.asarray(flat[0]), features[padded] + change))
    drawn = drawn[:, : len(sites)]
    return all((drawn == x[sites]).all((1, 2)).any() for x in flat)


def check_observed_steps(sampler, model, params, keys, given, num_steps):
    """Draws given the first steps: these stay, the others are those of the naive sampler."""
    observed = np.asarray(model.factorization.step) < min(num_steps, model.factorization.num_steps - 1)
    options = {"given": given, "observed": observed.reshape(model.event.grid_shape)}
    x = np.asarray(model.draw(params, keys, sampler=sampler, **options).x)
    flat = (x.reshape(cases.BATCH, model.event.num_sites, -1) for x in (x, given))
    np.testing.assert_array_equal(*(values[:, observed] for values in flat))
    check_draw(model, params, keys, x, observed)


def check_draw(model, params, keys, x, observed):
    """The values x are those that the naive sampler draws."""
    features = cases.parallel(model.network, params, x, model.factorization)
    canvas = np.where(observed.reshape(1, *model.event.grid_shape, *[1] * len(model.event.value_shape)), x, 0)
    expected = np.asarray(cases.drawn_from(model.conditional, features, keys, canvas, observed, model.factorization))
    if model.event.is_discrete:
        np.testing.assert_array_equal(x, expected)
    else:  # features differ in their last digits, and so do the samples
        np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-3)
    # in a single step, random features may leave one value
    assert observed.any() or x.std(0).max() > 0 or model.factorization.num_steps == 1


@cases.each_structure(thorough=cases.STRUCTURES[:1], takes=no_other)
def test_the_naive_sampler_passes_over_what_it_drew(network, event, partition):
    for model in cases.models_of(network, event, partition)[:2]:
        params, keys = cases.params_of(model), example_keys(jax.random.key(4), cases.BATCH)
        x = np.asarray(model.draw(params, keys, sampler="naive").x)
        check_draw(model, params, keys, x, np.zeros(model.event.num_sites, bool))


@each_network([], [()], takes=no_other)
@pytest.mark.parametrize("sampler", ONE_OF_ALL)
def test_clamped_sites_condition_exactly(sampler, network):
    event = EventSpec((2, 2))
    model = cases.supported_model(network, event, "list(order=(2, 0, 3, 1))", "sites")
    if isinstance(model, str):
        return
    first = np.asarray(model.factorization.order)[:2]  # 2 and 0 where the order is supported
    given, observed = np.full(4, 9), np.isin(np.arange(4), first)
    given[first] = 0, 1
    params, given, observed = cases.params_of(model), given.reshape(2, 2), observed.reshape(2, 2)
    samples = np.asarray(drawn(model, params, jax.random.key(5), NUM, sampler, given=given, observed=observed))
    assert (samples[:, observed] == given[observed]).all()
    values = cases.all_values(event)
    consistent = (values[:, observed] == given[observed]).all(1)
    log_prob = np.where(consistent, cases.log_prob(model, values), -np.inf)
    check_follows(samples, event, log_prob)


@pytest.mark.parametrize("sampler", [pytest.param(s, marks=[pytest.mark.slow] * (s != "greedy")) for s in OTHERS])
def test_what_samplers_keep_that_do_not_follow_the_model(sampler):
    """Observed sites, own keys, true statistics; real values and blocks, which are slow, they may refuse."""
    laws = sampler_laws.of(sampler, network=NETWORK_OF.get(sampler, "made"))
    least = {"statistics", "observed-binary", "own-key"}
    kept = check_laws(law for law in laws if sampler != "greedy" or law.name in least)
    assert least <= {law for law, found in kept.items() if found == "kept"}
