"""Small parts of evaluation by themselves: turns of a clock, keys of bounds, limits of numbers that users give."""

from __future__ import annotations

import inspect

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import make_dataset
from arjax.evaluation import speed
from arjax.evaluation.bounds import _key_of_transform
from arjax.evaluation.gaussian_mixtures import fit_gaussian_mixture
from arjax.evaluation.gradient_cost import gradient_cost
from arjax.evaluation.report import Measures
from arjax.models import make_model


def test_a_turn_has_as_many_calls_as_fill_its_seconds(monkeypatch):
    now = [0.0]

    def function():
        now[0] += 0.0625

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    assert speed._calls_per_turn(function, 0.2) == 4 and speed._calls_per_turn(function, 0.01) == 1
    assert speed._seconds_of(function, 3) == 3 * 0.0625
    now[0] = 0.0
    assert speed.time_in_turns({"a": function}, rounds=2) == {"a": [0.0625, 0.0625]}
    assert now[0] == (2 + 2 * 4) * 0.0625  # a fifth of a second in each turn


def test_ratios_are_medians():
    assert speed.ratio([2.0, 9.0, 8.0], [1.0, 3.0, 2.0]) == 3.0


def test_the_keys_of_transform_and_bound_are_apart():
    key = jax.random.key(3)
    first, second = jax.random.key_data(jax.random.split(key))
    found = jax.random.key_data(_key_of_transform(key))
    assert (found == first).all() and not (found == second).all()


def test_what_a_price_of_a_gradient_is_without_options():
    """At the beginning of a run, of 64 keys and five rounds of a fifth of a second."""
    defaults = {p.name: p.default for p in inspect.signature(gradient_cost).parameters.values()}
    assert {name: value for name, value in defaults.items() if value is not inspect.Parameter.empty} == {
        "num": 64,
        "rounds": 5,
        "min_seconds": 0.2,
        "progress": 0.0,
        "own": None,
        "companions": None,
    }


LEAST = {"batch_size": 1, "num_orders": 1, "steps": 0, "samples": 0, "exposure": 0, "length": 0, "examples": 0}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_limits_of_measures(name, least):
    Measures(**{name: least})
    for wrong in (least - 1, 1.5, True, "1"):
        with pytest.raises(UserError, match=f"^{name} must be a whole number, at least {least}"):
            Measures(**{name: wrong})


def test_measures_that_there_are_not():
    for name in ("schedule", "judge"):
        with pytest.raises(UserError, match=f"^{name} must be a text"):
            Measures(**{name: 3})
    dataset = make_dataset("noise", grid=(4,), num_levels=3, num_examples=8)
    one = make_model(dataset.event, "made")
    several = make_model(dataset.event, "masked_transformer", orders="uniform")
    Measures().check(one, dataset)
    Measures(num_orders=2, steps=4).check(several, dataset)
    for model, wrong in (
        (one, {"num_orders": 2}),
        (several, {"steps": 5}),
        (one, {"judge": "x"}),
        (one, {"length": 3}),
        (one, {"exposure": 2, "length": 3}),
    ):
        with pytest.raises(UserError):
            Measures(**wrong).check(model, dataset)


def test_numbers_of_components_are_those_of_rows():
    rows = np.random.default_rng(0).normal(size=(6, 2))
    fit = fit_gaussian_mixture(rows, rows, components=(1, 7))
    assert fit.components == 1
    for wrong in ((), (0, 1), (7,)):
        with pytest.raises(UserError, match="from 1 to the 6 rows"):
            fit_gaussian_mixture(rows, rows, components=wrong)


def test_one_key_has_no_variance():
    model = make_model(EventSpec((2,)), "made", hidden_sizes=(2,))
    with pytest.raises(UserError, match="at least 2 gradients, not 1"):
        gradient_cost(None, model, None, None, key=jax.random.key(0), num=1)
