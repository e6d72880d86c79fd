"""Discrete chains against order-agnostic models: one site per step, rounds of several, and many absorbing steps."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chain_cases import KEY, SMALL, log_prob_at

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.models.discrete_chain import PROCESSES, DiscreteChain, masked_counts
from arjax.networks.denoisers.base import as_denoiser
from arjax.samplers.rounds import k_step_log_prob
from arjax.testing.examples import all_values, random_like


def order_agnostic(num_sites=3):
    """An order-agnostic model under random parameters, and the chains that have its network as their denoiser."""
    event = EventSpec((num_sites,), kind="tokens", num_levels=3)
    model = make_model(event, "masked_transformer", orders="uniform", steps_per_chunk=4, **SMALL)
    params = random_like(model.param_shapes)
    denoiser = as_denoiser(model.network)
    return model, params, denoiser, {"denoiser": {"network": params}}


def chain_of(denoiser, model, num_steps, process):
    """A chain with the conditional of the model."""
    return DiscreteChain(denoiser, PROCESSES[process](model.event, num_steps, model.conditional))


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
    model, params, denoiser, of_chain = order_agnostic()
    chain = chain_of(denoiser, model, 3, "rounds")
    x = all_values(model.event)[::5]
    orders = [make_factorization((3,), f"list(order={order})") for order in itertools.permutations(range(3))]
    score = jax.jit(lambda p, x, f: model.log_prob(p, x, factorization=f))
    expected = np.mean([score(params, x, order) for order in orders], 0)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(expected_bound(chain, of_chain, x), expected, rtol=1e-5)


@pytest.mark.slow
def test_fewer_rounds_are_the_k_step_bound():
    """Two rounds over three sites: the sizes of the schedule `uniform`."""
    model, params, denoiser, of_chain = order_agnostic()
    chain = chain_of(denoiser, model, 2, "rounds")
    x = all_values(model.event)[::9]
    orders = [make_factorization((3,), f"list(order={order})") for order in itertools.permutations(range(3))]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *orders)
    both = jax.jit(lambda b: k_step_log_prob(model, params, b, stacked, (1, 2)))
    expected = [np.mean(both(Batch(np.repeat(one[None], 6, 0)))) for one in x]
    np.testing.assert_allclose(expected_bound(chain, of_chain, x), expected, rtol=1e-5)


@pytest.mark.slow
def test_many_absorbing_steps_come_near_to_it():
    """With 1000 steps two sites are seldom masked in one."""
    model, _, denoiser, of_chain = order_agnostic()
    x = np.repeat(all_values(model.event)[7:8], 20_000, 0)
    found = {}
    for process, num_steps in (("rounds", 3), ("absorbing", 1000)):
        chain = chain_of(denoiser, model, num_steps, process)
        score, _ = jax.jit(lambda p, b, c=chain: c.estimate(p, b, key=KEY, num=1, train=False))(of_chain, Batch(x))
        found[process] = score.log_prob.mean()
    exact = expected_bound(chain_of(denoiser, model, 3, "rounds"), of_chain, x[:1])[0]
    np.testing.assert_allclose(found["rounds"], exact, rtol=0.02)
    np.testing.assert_allclose(found["absorbing"], exact, rtol=0.03)
