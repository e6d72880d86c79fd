"""Law 4: samples follow the model, and exact samplers give the samples of the naive one."""

import jax
import law_cases as cases
import numpy as np
import pytest
from scipy import stats

from arjax.core.spec import EventSpec
from arjax.networks import NETWORKS
from arjax.samplers import SAMPLERS

NUM = 4096
#: There are thousands of these tests, so one p-value of 1e-4 among them says nothing.
LEAST_P = 1e-6
EVENTS = {
    "binary": EventSpec((2, 2)),
    "levels_vector": EventSpec((2,), (2,), "levels", 2),
    "tokens": EventSpec((3,), (), "tokens", 3),
}


def chi_square(samples, event, log_prob):
    """p-value of the hypothesis that samples [N, ...] follow exp(log_prob) over all values of the event."""
    possible = np.isfinite(log_prob)
    base = event.num_levels ** np.arange(event.num_dims)[::-1]
    counts = np.bincount(samples.reshape(len(samples), -1) @ base, minlength=len(log_prob))
    assert counts[~possible].sum() == 0
    counts, log_prob = counts[possible], log_prob[possible]
    expected = np.exp(log_prob) / np.exp(log_prob).sum() * len(samples)
    rare = expected < 5
    if rare.any():  # too rare for the approximation: one class together
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return stats.chisquare(counts, expected).pvalue


#: Exact samplers draw the same values (see below), so one of them stands for all; the others are slow.
ONE_OF_ALL = [pytest.param(name, marks=() if name == "cached" else pytest.mark.slow) for name in SAMPLERS.names()]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("network", NETWORKS.names())
@pytest.mark.parametrize("sampler", ONE_OF_ALL)
def test_frequencies_match_probabilities(sampler, network, event):
    event = EVENTS[event]
    for conditional in cases.fitting_conditionals(event, network):
        model = cases.served_model(network, event, "random(seed=2)", "sites", conditional=conditional)
        if isinstance(model, str):
            return
        params = cases.params_of(model)
        samples = np.asarray(model.sample(params, jax.random.key(3), NUM, sampler=sampler))
        log_prob = cases.log_prob(model, cases.all_values(event))
        assert chi_square(samples, event, log_prob) > LEAST_P, conditional


def real_cases():
    """Every conditional with one network, and every network with one conditional; the rest of the product is slow."""
    for place, network in enumerate(NETWORKS.names()):
        for number, conditional in enumerate(cases.REAL_CONDITIONALS):
            runs = network in cases.THOROUGH or number == place % len(cases.REAL_CONDITIONALS)
            yield pytest.param(network, conditional, marks=() if runs else pytest.mark.slow)


@pytest.mark.parametrize(("network", "conditional"), [*real_cases()])
@pytest.mark.parametrize("sampler", ONE_OF_ALL)
def test_real_samples_follow_the_densities(sampler, network, conditional):
    """The conditional distribution function of each site, at its sample, is uniform (Rosenblatt, 1952)."""
    event = EventSpec((1, 3), (), "real", 0)
    model = cases.served_model(network, event, "random(seed=2)", "sites", conditional=conditional)
    if isinstance(model, str):
        return
    params = cases.gentle_params_of(model)
    samples = np.asarray(model.sample(params, jax.random.key(6), NUM // 8, sampler=sampler))
    features = cases.parallel(model.network, params, samples, model.factorization)
    t = np.linspace(0, 9, 121)  # below the sample, dense near it
    weights = np.cosh(t) * t[1]
    weights[0] /= 2
    below = samples.reshape(-1, 3, 1) - np.sinh(t).astype(np.float32)
    uniform = np.exp(np.asarray(model.conditional.log_prob(features[:, :, None], below), np.float64)) @ weights
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > LEAST_P


#: Every block structure, and every kind of data on the structure that has steps of different sizes.
STRUCTURES = [("levels_vector", partition) for partition in cases.PARTITION_CALLS if "(1, 3, 2)" not in partition] + [
    (event, "sizes(sizes=(1, 3, 2))") for event in cases.EVENTS
]


@pytest.mark.parametrize(("event", "partition"), STRUCTURES)
@pytest.mark.parametrize("network", NETWORKS.names())
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS.names() if name != "naive"])
def test_same_samples_as_naive(sampler, network, event, partition):
    order = "random(seed=3)" if partition != "rows" else "snake"
    model = cases.served_model(network, cases.EVENTS[event], order, partition)
    if isinstance(model, str):
        return
    params, key = cases.params_of(model), jax.random.key(4)
    draws = [np.asarray(model.sample(params, key, 32, sampler=name)) for name in (sampler, "naive")]
    assert draws[0].std() > 0
    if cases.EVENTS[event].is_discrete:
        np.testing.assert_array_equal(*draws)
    else:  # features differ in their last digits, and so do the samples
        np.testing.assert_allclose(*draws, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("network", NETWORKS.names())
@pytest.mark.parametrize("sampler", SAMPLERS.names())
def test_clamped_sites_condition_exactly(sampler, network):
    event = EventSpec((2, 2))
    model = cases.served_model(network, event, "list(order=(2, 0, 3, 1))", "sites")
    if isinstance(model, str):
        return
    first = np.asarray(model.factorization.order)[:2]  # 2 and 0 where the order is served
    given, observed = np.full(4, 9), np.isin(np.arange(4), first)
    given[first] = 0, 1
    params, given, observed = cases.params_of(model), given.reshape(2, 2), observed.reshape(2, 2)
    samples = np.asarray(model.sample(params, jax.random.key(5), NUM, sampler=sampler, given=given, observed=observed))
    assert (samples[:, observed] == given[observed]).all()
    values = cases.all_values(event)
    consistent = (values[:, observed] == given[observed]).all(1)
    log_prob = np.where(consistent, cases.log_prob(model, values), -np.inf)
    assert chi_square(samples, event, log_prob) > LEAST_P
