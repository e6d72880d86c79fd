"""Prompts: what is observed at the start of the order is read in chunks, and changes no value."""

import jax
import law_cases as cases
import numpy as np
import pytest
from families import FEW, fast_for

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.samplers import cores, example_keys
from arjax.samplers.base import run_sampler

KEYS = example_keys(jax.random.key(2), 4)
LINE = EventSpec((9,), (), "tokens", 5)


def prefix(model, num_steps: int, more: int = 0) -> np.ndarray:
    """bool[*grid]: the sites of the first steps, and some of those of the next."""
    order = np.argsort(np.asarray(model.factorization.index_in_blocks))
    num = int((np.asarray(model.factorization.step) < num_steps).sum()) + more
    return np.isin(np.arange(model.event.num_sites), order[:num]).reshape(model.event.grid_shape)


@pytest.mark.parametrize(
    "network", ["lstm", *(pytest.param(n, marks=pytest.mark.slow) for n in ("transformer", "made"))]
)
def test_a_prompt_of_any_length_gives_the_values_of_the_naive_sampler(network):
    """One program for all lengths; the last chunk is rarely full. By law 4 all networks read prompts."""
    model = cases.small_model(network, LINE, "random(seed=4)", "sizes(sizes=(1, 3, 2, 3))")
    params, given = cases.params_of(model), cases.random_x(LINE, 4)
    steps, size = model.factorization.num_steps, None
    for num_steps in range(steps + 1):
        for more in (0, 1) if 0 < num_steps < steps else (0,):
            given_all = {"given": given, "observed": prefix(model, num_steps, more)}
            found = model.draw(params, KEYS, sampler="cached(chunk=3)", **given_all)
            expected = model.draw(params, KEYS, sampler="naive", **given_all)
            np.testing.assert_array_equal(found.x, expected.x)
            np.testing.assert_array_equal(found.stats["steps"], expected.stats["steps"])
            carry = model.network.apply({"params": params}, 1, model.factorization, method="start")
            reads = bool(jax.tree.leaves(carry))
            calls = (-(-num_steps // 3) if reads else 0) + steps - num_steps
            assert found.stats["network_calls"].tolist() == [calls] * 4
            size = size or run_sampler._cache_size()
    assert run_sampler._cache_size() == size


@pytest.mark.parametrize("network", fast_for(FEW))
def test_the_carry_of_one_example_can_serve_all(network):
    """What is left of a prompt that all share is broadcast: no leaf of a carry folds the examples into another axis."""
    model = cases.supported_model(network, cases.EVENTS["tokens"], "raster", "sites")
    shapes = [
        jax.eval_shape(
            lambda params, n=n: model.network.apply({"params": params}, n, model.factorization, method="start"),
            model.param_shapes,
        )
        for n in (1, 3)
    ]
    for one, all_ in zip(*map(jax.tree.leaves, shapes), strict=True):
        assert np.broadcast_shapes(one.shape, all_.shape) == all_.shape


@pytest.mark.slow
def test_a_prompt_that_all_examples_share_is_read_once(monkeypatch):
    """In a context, too; where the examples have contexts of their own, it is read for each (on one core: at once)."""
    monkeypatch.setattr(cores, "num_cores", lambda: 1)
    model = make_model(LINE, "causal_conv", context=ContextSpec("label", 3), hidden_size=4, num_layers=1)
    params, given, read = cases.gentle_params_of(model), cases.random_x(LINE, 4), []
    extend = type(model.network).extend

    def counted(self, carry, x, *rest):
        read.append(len(x))
        return extend(self, carry, x, *rest)

    monkeypatch.setattr(type(model.network), "extend", counted)
    for of_given, of_context, readers in ((given[0], 2, 1), (given[0], [2, 0, 1, 1], 4)):
        request = {"given": of_given, "context": of_context, "observed": prefix(model, 5)}
        found = model.draw(params, KEYS, sampler="cached", **request)
        np.testing.assert_array_equal(found.x, model.draw(params, KEYS, sampler="naive", **request).x)
        assert read.pop() == readers and set(found.stats["network_calls"].tolist()) == {5}
        read.clear()
