"""The loops of a draw, cut where a cache grows, and prompts, read in chunks: they change no feature and no value."""

import functools
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from families import FEW, fast_for

from arjax.core import programs
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.networks import NETWORKS
from arjax.samplers import Cached, Request, cores, example_keys
from arjax.samplers.base import run_sampler
from arjax.samplers.loops import StepForm, loop_ends, num_calls
from arjax.testing.examples import EVENTS
from arjax.testing.forms import parallel
from arjax.testing.models import supported

LINE, KEYS = EventSpec((9,), (), "tokens", 5), example_keys(jax.random.key(2), 4)
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


@pytest.mark.parametrize("network", fast_for(("gru",)))
def test_parameters_that_are_cast_before_the_loop_change_no_bit(network, monkeypatch):
    """Where an accelerator draws. XLA for CPUs computes in float32, and by default leaves roundings out."""
    model = supported(network, EVENTS["tokens"], "raster", "sites", dtype="bfloat16")
    params = jax.jit(model.init)(jax.random.key(0))
    canvas = jnp.zeros((3, *model.event.shape), model.event.dtype)
    context = {name: jnp.zeros((3, *part.shape), part.dtype) for name, part in model.context_spec.parts} or None

    def features(params):
        form = StepForm.of(model, params)
        carry, _ = form.step(form.start(3, context), canvas, jnp.int32(0), context)
        return form.step(carry, canvas, jnp.int32(1), context)[1], form.variables

    def run():
        anew = lambda params: features(params)  # noqa: E731, a function that JAX has not traced yet
        return jax.jit(anew, compiler_options={"xla_allow_excess_precision": False})(params)

    plain, variables = run()
    monkeypatch.setattr(programs, "program_device", lambda: SimpleNamespace(platform="tpu"))
    cast, of_type = run()
    np.testing.assert_array_equal(plain, cast)
    kinds = [{leaf.dtype.name for leaf in jax.tree.leaves(each)} for each in (variables, of_type)]
    assert network != "transformer" or kinds == [{"float32"}, {"float32", "bfloat16"}]


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
@pytest.mark.parametrize(("partition", "num"), [("sites", 1), ("sizes(sizes=(1, 3, 2, 3))", 3)])
def test_loops_give_the_features_of_the_parallel_form(network, partition, num, monkeypatch):
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


@pytest.mark.parametrize(
    "network",
    [
        "transformer",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("transformer_xl", "two_stream", "local_transformer")),
    ],
)
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


def prefix(model, num_steps: int, more: int = 0) -> np.ndarray:
    """bool[*grid]: the sites of the first steps, and some of those of the next."""
    order = np.argsort(np.asarray(model.factorization.index_in_blocks))
    num = int((np.asarray(model.factorization.step) < num_steps).sum()) + more
    return np.isin(np.arange(model.event.num_sites), order[:num]).reshape(model.event.grid_shape)


@pytest.mark.parametrize(
    "network", ["made", *(pytest.param(n, marks=pytest.mark.slow) for n in ("transformer", "lstm"))]
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
    start = functools.partial(model.network.apply, method="start")
    starts = [lambda params, n=n: start({"params": params}, n, model.factorization) for n in (1, 3)]
    shapes = [jax.eval_shape(each, model.param_shapes) for each in starts]
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
