"""Timing helpers: what is counted, in which turns, and what the ratios are made of."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.spec import EventSpec
from arjax.models import make_model


@pytest.fixture(scope="module")
def timing(load_script):
    return load_script("scripts/timing.py")


def test_functions_take_turns(timing):
    called = []
    functions = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    seconds = timing.time_in_turns(functions, rounds=3, min_seconds=0.0)
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}
    assert called[-6:] == ["a", "b"] * 3


def test_a_turn_has_as_many_calls_as_fill_its_seconds(timing, monkeypatch):
    now = [0.0]

    def function():
        now[0] += 0.0625

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert timing.time_in_turns({"a": function}, rounds=2) == {"a": [0.0625, 0.0625]}
    assert now[0] == (2 + 2 * 4) * 0.0625  # a fifth of a second in each turn


def test_seconds_are_those_of_one_call(timing):
    seconds = timing.time_in_turns({"nap": lambda: time.sleep(0.01)}, rounds=3, min_seconds=0.05)
    assert 0.01 <= min(seconds["nap"]) < 0.045  # a turn of five calls, taken for one, would be 0.05


def test_dispatched_work_is_waited_for(timing):
    def slow(x):
        return jax.lax.fori_loop(0, 100, lambda _, y: jnp.tanh(y @ y), x)

    program = jax.jit(slow)
    x = jnp.full((256, 256), 1e-3)
    seconds = timing.time_in_turns({"slow": lambda: program(x)}, rounds=1, min_seconds=0.0)
    started = time.perf_counter()
    program(x)
    dispatched = time.perf_counter() - started
    assert seconds["slow"][0] > dispatched


def test_ratio_compares_within_rounds(timing):
    # The machine slows down threefold in the second round: the ratio of medians would be 2, or 6.
    assert timing.ratio([2.0, 6.0, 2.0], [1.0, 3.0, 1.0]) == 2.0
    assert timing.ratio([2.0, 6.0], [1.0, 2.0]) == 2.5
    with pytest.raises(ValueError, match="shorter"):
        timing.ratio([1.0, 2.0], [1.0])


def test_compiled_program_computes_the_same(timing):
    compiled, seconds = timing.compile_seconds(jax.jit(lambda x: 2 * x), jnp.arange(3))
    np.testing.assert_array_equal(compiled(jnp.arange(3)), [0, 2, 4])
    assert seconds > 0


def test_flops_of_matrix_product(timing):
    product, flops = timing.matrix_product(8)
    assert product().shape == (8, 8)
    assert flops == 2 * 8 * 8 * 8


@pytest.mark.slow
def test_naive_steps_draw_what_the_naive_sampler_draws(timing):
    model = make_model(EventSpec((3,)), "made", hidden_sizes=(8,))
    params = jax.jit(model.init)(jax.random.key(1))
    forms, steps = timing._some_naive_steps(model, params, num=5, seconds=100.0)  # time enough for all steps
    expected = model.sample(params, jax.random.key(0), 5, sampler="naive")
    assert steps == 3
    for draw in forms.values():
        np.testing.assert_array_equal(draw(), expected)


@pytest.mark.slow
def test_sampling_speed_extrapolates(timing):
    model = make_model(EventSpec((40,)), "lstm", hidden_size=8)
    speed = timing.sampling_speed(model, jax.jit(model.init)(jax.random.key(0)), num=2, rounds=2)
    assert 2 <= speed.naive_steps <= 40
    assert speed.naive_form in ("one program for all steps", "one program per step")
    assert speed.speedup > 0 and speed.naive_seconds > 0 and speed.cached_seconds > 0
