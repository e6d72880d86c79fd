"""The loops of a draw: cut where a cache grows, they change no feature, and no step copies a cache."""

import functools
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.samplers import Cached, Request, example_keys
from arjax.samplers.base import run_sampler
from arjax.samplers.loops import StepForm, loop_ends, num_calls
from arjax.testing.forms import parallel

LINE = EventSpec((9,), (), "tokens", 5)
#: Networks whose caches grow, with options that matter to them.
GROWING = {
    "transformer": {"num_heads": 4, "num_kv_heads": 2, "rotary": True},
    "transformer_xl": {"segment": 4, "memory": 3, "position": "learned"},
    "two_stream": {},
}


def test_loops_end_where_the_caches_are_full():
    assert [loop_ends(first, 8) for first in (0, 8, 7, 2, 3)] == [[8], [8], [7, 8], [2, 4, 8], [3, 6, 8]]
    carry = jnp.zeros(())
    assert [num_calls(carry, prompt, 4) for prompt in (0, 1, 4, 5)] == [0, 1, 1, 2] and num_calls((), 5, 4) == 0


def test_every_network_whose_caches_grow_is_tested():
    assert {name for name in NETWORKS.names() if getattr(NETWORKS.get(name), "FIRST_LOOP", 0)} == set(GROWING)


@functools.partial(jax.jit, static_argnums=0)
def features_of_loops(network, params, x, factorization, context, start):
    """Features [B, D, F] of the steps from `start` on, in loops; 0 of the sites before."""
    form = StepForm.of(SimpleNamespace(network=network, factorization=factorization), params)
    carry = form.read_prompt(x, context, start, 2)

    def body(t, state):
        carry, features_SBMF = state
        canvas = jnp.where((factorization.step < t)[:, None], x.reshape(len(x), 9, 1), 3).reshape(x.shape)
        carry, features = form.step(carry, canvas, t, context)
        return carry, features_SBMF.at[t].set(features)

    shape = factorization.num_steps, len(x), factorization.block_size, network.num_features
    _, found = form.loop(start, body, carry, jnp.zeros(shape))
    return jnp.swapaxes(found, 0, 1).reshape(len(x), -1, shape[-1])[:, factorization.index_in_blocks]


@pytest.mark.slow
@pytest.mark.parametrize("network", GROWING)
@pytest.mark.parametrize(
    ("partition", "num"), [pytest.param("sites", 1, marks=pytest.mark.slow), ("sizes(sizes=(1, 3, 2, 3))", 3)]
)
def test_loops_give_the_features_of_the_parallel_form(network, partition, num, monkeypatch):
    """From the first step on, and from any other after a prompt."""
    frames = ContextSpec(frames=EventSpec((3,), (2,), "real"))
    of_order = {"ordering": "random(seed=4)", "partition": partition, "context": frames}
    model = make_model(LINE, network, **of_order, width=16, num_layers=1, **GROWING[network])
    monkeypatch.setattr(type(model.network), "FIRST_LOOP", 1 if num > 1 else 2)
    params, x = cases.params_of(model), cases.random_x(LINE, num)
    context = cases.random_context(frames, num)
    expected = np.asarray(parallel(model.network, params, x, model.factorization, context))
    for start in (0, 1, model.factorization.num_steps - 1):
        found = features_of_loops(model.network, params, x, model.factorization, context, jnp.int32(start))
        drawn = np.asarray(model.factorization.step) >= start
        np.testing.assert_allclose(found[:, drawn], expected[:, drawn], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", [*GROWING, pytest.param("local_transformer", marks=pytest.mark.slow)])
def test_no_step_of_one_example_copies_a_cache(network):
    """XLA does where examples have an axis of their own and there is but one."""
    event, size = EventSpec((37,), (), "tokens", 5), 8
    model = make_model(event, network, width=3 * size, num_layers=1, num_heads=3)
    canvas = jnp.zeros((1, 37), jnp.int32)
    arguments = cases.params_of(model), example_keys(jax.random.key(0), 1), Request(canvas)
    program = run_sampler.lower(Cached(), model, *arguments).compile().as_text()
    loops = [part for part in program.split("\n\n") if not part.strip().startswith("ENTRY")]
    lines = [line for part in loops for line in part.splitlines() if ".start" not in line]
    cache = rf"= f32\[[\d,]*3,{38 if network == 'two_stream' else 37},(?:1,)?8\]"
    assert any(re.search(cache, line) for line in lines)
    assert not [line for line in lines if re.search(rf"{cache}\S* copy\(", line)]
