"""Temperatures at the ends of what float32 holds: the mode, or finite draws, or one sentence."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.conditionals import CONDITIONALS, make_conditional, truncate
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model

pytestmark = pytest.mark.usefixtures("quick_compilation")

EVENTS = {
    "binary": EventSpec((3,)),
    "levels": EventSpec((3,), (2,), "levels", 5),
    "tokens": EventSpec((3,), (), "tokens", 300),
    "real": EventSpec((3,), (2,), "real", 0),
}
KEY = jax.random.key(0)


def families() -> list:
    """Every family with every event that it can describe."""
    fitting = []
    for name, event in itertools.product(CONDITIONALS.names(), EVENTS):
        try:
            family = make_conditional(name, EVENTS[event])
            family = family.bind(family.init(KEY))
        except UserError:
            continue
        fitting.append(pytest.param(family, EVENTS[event], id=f"{name}-{event}"))
    return fitting


each_family = pytest.mark.parametrize(("family", "event"), families())
TINY = (1e-30, 1e-38, 1e-45, 1e-300)


def features_of(family, scale: float = 1.0) -> jax.Array:
    return scale * jax.random.normal(KEY, (20, family.num_params))


@each_family
def test_tiny_temperatures_draw_one_value_whatever_the_noise(family, event):
    features = jnp.repeat(features_of(family), 30, 0)
    for temperature in TINY:
        jitted = jax.jit(lambda t: family.sample(KEY, features, t))
        for drawn in (family.sample(KEY, features, temperature), jitted(temperature)):
            drawn = np.asarray(drawn, np.float64).reshape(20, 30, -1)
            np.testing.assert_allclose(drawn, drawn[:, :1] + np.zeros_like(drawn), rtol=1e-4)
            colder = family.sample(KEY, features, 1e-12)
            np.testing.assert_allclose(drawn, np.reshape(colder, drawn.shape), rtol=1e-4, atol=1e-4)
    if not (family.joint or "mixture" in type(family).__name__.lower() or type(family).__name__ == "Beta"):
        expected = np.repeat(np.asarray(family.mode(features_of(family)))[:, None], 30, 1)
        np.testing.assert_allclose(drawn, expected.reshape(drawn.shape), rtol=1e-5)


@each_family
def test_draws_at_the_highest_temperature_are_finite(family, event):
    for scale in (1.0, 100.0):
        drawn = np.asarray(family.sample(KEY, features_of(family, scale), 1e20))
        assert np.isfinite(drawn).all() and len(np.unique(drawn)) > 1
        if event.is_discrete:
            assert drawn.min() >= 0 and drawn.max() < event.num_levels


@each_family
def test_temperatures_out_of_range_are_told(family, event):
    for temperature in (1e21, 1e300, 0, -1.0, float("nan"), float("inf"), True, "1"):
        with pytest.raises(UserError, match="the temperature must be a positive number up to 1e\\+20, not"):
            family.sample(KEY, features_of(family), temperature)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "ordinal", "discretized_logistic_mixture"])
def test_tiny_parts_of_the_mass_leave_the_mode(name):
    event = EventSpec((3,), (), "levels", 5) if name != "bernoulli" else EventSpec((3,))
    call = name + ("(components=2)" if "mixture" in name else "")
    family = make_conditional(call, event)
    features, mode = features_of(family, 3.0), family.mode(features_of(family, 3.0))
    for top_p, top_k, temperature in itertools.product((1e-46, 1e-300, 1e-7), (0, 2), (1.0, 1e-40)):
        drawn = truncate(family, top_k, top_p).sample(KEY, features, temperature)
        np.testing.assert_array_equal(drawn, mode)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "ordinal"])
def test_high_temperatures_leave_the_most_probable_values_what_they_are(name):
    family = make_conditional(name, EVENTS["binary"])
    features, mode = features_of(family, 3.0), family.mode(features_of(family, 3.0))
    for top_p, top_k in ((1e-46, 0), (1.0, 1)):
        np.testing.assert_array_equal(truncate(family, top_k, top_p).sample(KEY, features, 1e20), mode)
    np.testing.assert_array_equal(
        truncate(family, 10**30).sample(KEY, features), truncate(family, 2).sample(KEY, features)
    )


def test_equally_probable_values_are_drawn_equally_often():
    family = make_conditional("categorical", EventSpec((3,), (), "levels", 4))
    drawn = np.asarray(family.sample(KEY, jnp.tile(jnp.array([1.0, 3, 3, 0]), (1000, 1)), 1e-38))
    assert set(np.unique(drawn)) == {1, 2} and abs((drawn == 1).mean() - 0.5) < 0.1


def test_values_of_no_probability_are_never_drawn():
    family = make_conditional("categorical", EventSpec((3,), (), "levels", 3))
    features = jnp.tile(jnp.array([-jnp.inf, 2e9, -3.0]), (100, 1))
    for temperature in (1e-40, 1.0):
        assert (np.asarray(family.sample(KEY, features, temperature)) == 1).all()


@pytest.mark.parametrize("temperature", [1e-38, 1e-300])
def test_models_draw_their_modes(temperature):
    model = make_model(EventSpec((2, 3), (), "tokens", 200), "made", hidden_sizes=(4,))
    params = jax.tree.map(lambda a: a + 0.3 * jax.random.normal(KEY, a.shape), model.init(KEY))
    expected = model.sample(params, KEY, 3, temperature=1e-6)
    np.testing.assert_array_equal(model.sample(params, KEY, 3, temperature=temperature), expected)
    assert len(np.unique(expected)) > 1
    with pytest.raises(UserError, match="the temperature must be"):
        model.sample(params, KEY, 3, temperature=1e300)
