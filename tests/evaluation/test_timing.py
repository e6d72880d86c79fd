"""Timing helpers: what is counted, in which turns, and what the ratios are made of."""

import time

import jax
import jax.numpy as jnp
import pytest


@pytest.fixture(scope="module")
def timing(load_script):
    return load_script("scripts/timing.py")


def test_functions_take_turns(timing):
    called = []
    functions = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    seconds = timing.time_in_turns(functions, rounds=3, min_seconds=0.0)
    assert {name: len(s) for name, s in seconds.items()} == {"a": 3, "b": 3}
    assert called[-6:] == ["a", "b"] * 3


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


def test_flops_of_matrix_product(timing):
    product, flops = timing.matrix_product(8)
    assert product().shape == (8, 8)
    assert flops == 2 * 8 * 8 * 8
