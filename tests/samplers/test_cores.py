"""Parts of the examples of a draw on several cores: the same draws, and when there are no parts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import pytest
from refusals import refusal

from arjax.core import programs
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.samplers import Cached, cores, example_keys
from arjax.samplers.base import run_sampler
from arjax.samplers.cores import has_own_settings, num_parts, starts_of

LINE, LABEL = EventSpec((6,), (), "tokens", 4), ContextSpec("label", 3)
KEYS = example_keys(jax.random.key(1), 11)


@functools.cache
def labelled():
    model = make_model(LINE, "lstm", context=LABEL, hidden_size=8)
    return model, cases.params_of(model)


@pytest.fixture
def on(monkeypatch):
    return lambda num: monkeypatch.setattr(cores, "num_cores", lambda: num)


@pytest.mark.parametrize(
    ("num", "parts", "expected"),
    [(16, 2, (8, [0, 8])), (5, 2, (3, [0, 2])), (5, 4, (2, [0, 2, 3])), (7, 7, (1, [*range(7)])), (1, 1, (1, [0]))],
)
def test_parts_have_one_size_and_all_examples(num, parts, expected):
    assert starts_of(num, parts) == expected


def test_parts_draw_what_the_whole_draws(on):
    """Keys, observed values, contexts and statistics follow their examples; eleven examples make parts that overlap."""
    model, params = labelled()
    rng = np.random.default_rng(0)
    given, label = rng.integers(0, 4, (11, 6), np.int32), rng.integers(0, 3, 11)
    more = {"given": given, "observed": np.arange(6) < 1}
    on(1)
    whole, other = (model.draw(params, KEYS, context=context, **more) for context in (label, label[::-1]))
    assert (np.asarray(whole.x) != other.x).any(), "contexts that are mixed up would not be seen"
    on(2)
    parts = model.draw(params, KEYS, context=label, **more)
    np.testing.assert_array_equal(parts.x, whole.x)
    for name in whole.stats:
        np.testing.assert_array_equal(parts.stats[name], whole.stats[name])


def test_parts_share_one_program(on):
    model, params = labelled()
    on(2)
    before = run_sampler._cache_size()
    model.draw(params, KEYS, context=0)
    assert run_sampler._cache_size() - before == 1


def test_when_there_are_no_parts(on):
    """One core or one example, parameters beyond the caches, a trace, settings of this thread."""
    params = {"w": jnp.ones(3)}
    on(4)
    assert (num_parts(9, params), num_parts(3, params), num_parts(1, params)) == (4, 3, 1)
    assert num_parts(9, {"w": jax.ShapeDtypeStruct((cores.MOST_PARAMS // 4 + 1,), jnp.float32)}) == 1
    assert jax.jit(lambda p: p["w"] * num_parts(9, p))(params)[0] == 1
    assert not has_own_settings()
    with jax.default_matmul_precision("highest"):
        assert has_own_settings()
        assert num_parts(9, params) == 1
    on(1)
    assert num_parts(9, params) == 1


def test_the_memory_of_all_parts_must_be_there(on, monkeypatch):
    model = make_model(EventSpec((64,), (), "tokens", 4), "lstm", hidden_size=8)
    params, keys = cases.params_of(model), example_keys(jax.random.key(0), 64)
    on(8)
    monkeypatch.setattr(programs, "whole_bytes", lambda: 100_000)
    assert "the arrays of this draw take " in refusal(model.draw, params, keys)
    on(1)
    model.draw(params, keys[:8])
    on(8)
    assert "the arrays of this draw take" in refusal(model.draw, params, keys)


def test_subclasses_of_users_are_drawn_as_a_whole(on):
    """Their statistics may be of all examples together."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Mean(Cached):
        def draw(self, model, params, steps, canvas, context):
            drawn = super().draw(model, params, steps, canvas, context)
            return drawn._replace(stats={"mean": drawn.x.mean()})

    model, params = labelled()
    on(2)
    drawn = model.draw(params, KEYS, context=0, sampler=Mean())
    np.testing.assert_allclose(drawn.stats["mean"], np.mean(drawn.x), rtol=1e-6)
