"""Prompts: what is observed at the start of the order is read in chunks, and changes no value."""

from __future__ import annotations

import itertools

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.networks import NETWORKS
from arjax.samplers import example_keys
from arjax.samplers.base import run

KEYS = example_keys(jax.random.key(2), 4)
LINE = EventSpec((9,), (), "tokens", 5)


def prefix(model, num_steps: int, more: int = 0) -> np.ndarray:
    """bool[*grid]: the sites of the first steps, and some of those of the next."""
    order = np.argsort(np.asarray(model.factorization.slot))
    num = int((np.asarray(model.factorization.step) < num_steps).sum()) + more
    return np.isin(np.arange(model.event.num_sites), order[:num]).reshape(model.event.grid_shape)


SIZES = "sizes(sizes=(1, 3, 2, 3))"
#: One that extends in one pass and one that does not, of single sites and of blocks; law 4 reads prompts with each.
FAST = [("transformer", "sites"), ("tcn", SIZES), ("made", SIZES), ("lstm", "sites")]


def prompted():
    networks = [name for name in NETWORKS.names() if NETWORKS.get(name).CHUNK > 1] + ["lstm", "made"]
    for case in itertools.product(networks, ["sites", SIZES]):
        yield pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)


@pytest.mark.parametrize(("network", "partition"), [*prompted()])
def test_a_prompt_of_any_length_gives_the_values_of_the_naive_sampler(network, partition):
    """One program for all lengths; the last chunk is rarely full."""
    model = cases.served_model(network, LINE, "random(seed=4)", partition)
    params, given = cases.params_of(model), cases.random_x(LINE, 4)
    steps, size = model.factorization.num_steps, None
    for num_steps in range(0, steps + 1, 1 if steps < 5 else 2):
        for more in (0, 1) if 0 < num_steps < steps and partition != "sites" else (0,):
            given_all = {"given": given, "observed": prefix(model, num_steps, more)}
            found = model.draw(params, KEYS, sampler="cached(chunk=3)", **given_all)
            expected = model.draw(params, KEYS, sampler="naive", **given_all)
            np.testing.assert_array_equal(found.x, expected.x)
            np.testing.assert_array_equal(found.stats["steps"], expected.stats["steps"])
            calls = -(-num_steps // 3) + steps - num_steps
            assert found.stats["network_calls"].tolist() == [calls] * 4
            size = size or run._cache_size()
    assert run._cache_size() == size
