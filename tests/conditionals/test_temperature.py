"""Temperatures at the ends of what float32 holds: the mode, or finite draws, or one sentence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_family import each_family

from arjax.conditionals import CONDITIONALS, Categorical, make_conditional, truncate
from arjax.conditionals.numerics import check_temperature
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

EVENTS = {
    "binary": EventSpec((3,)),
    "levels": EventSpec((3,), (2,), "levels", 5),
    "tokens": EventSpec((3,), (), "tokens", 300),
    "real": EventSpec((3,), (2,), "real", 0),
}
KEY = jax.random.key(0)
_SIZES = "width=8, layers=1, features=4"
#: Heads with networks of their own, at a small size.
SMALL = {
    "diffusion": f"diffusion(steps=10, {_SIZES})",
    "flow_matching": f"flow_matching(steps=3, {_SIZES})",
    "energy": f"energy({_SIZES})",
}
#: Families that are dear, with events whose like is in the everyday suite.
OTHERS = (
    *(("mixture_of_products", event) for event in ("binary", "tokens", "real")),
    *(("nested", event) for event in ("real", "levels")),
    *(("student_t_mixture", "real"), ("gaussian_mixture", "real")),
)


def bound(family):
    """The family with parameters of its own, where it has any."""
    return family.bind(family.init(KEY))


each_family = each_family([SMALL.get(name, name) for name in CONDITIONALS.names()], EVENTS, OTHERS)
TINY = (1e-30, 1e-38, 1e-45, 1e-300)


def features_of(family, scale: float = 1.0) -> np.ndarray:
    return np.float32(scale) * np.random.default_rng(0).normal(size=(20, family.num_params)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def draw(family, features, temperature):
    """Draws at features [B, F], and the mode of every thirtieth."""
    family = bound(family)
    return family.sample(KEY, features, temperature), family.mode(features[::30])


@pytest.mark.slow
@each_family
def test_tiny_temperatures_draw_one_value_whatever_the_noise(family, event):
    features = np.repeat(features_of(family), 30, 0)
    mode = draw(family, features, 1.0)[1]
    colder = draw(family, features, 1e-12)[0]
    for temperature in TINY:
        drawn = np.asarray(draw(family, features, temperature)[0], np.float64).reshape(20, 30, -1)
        np.testing.assert_allclose(drawn, drawn[:, :1] + np.zeros_like(drawn), rtol=1e-4)
        np.testing.assert_allclose(drawn, np.reshape(colder, drawn.shape), rtol=1e-4, atol=1e-4)
    others = ("Beta", "SplineNormal")  # these go to a value of their own, as mixtures do
    if not (family.joint or "mixture" in type(family).__name__.lower() or type(family).__name__ in others):
        np.testing.assert_allclose(drawn, np.reshape(mode, (20, 1, -1)) + np.zeros_like(drawn), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@each_family
def test_draws_at_the_highest_temperature_are_finite(family, event):
    features = np.concatenate([np.repeat(features_of(family, scale), 15, 0) for scale in (1.0, 100.0)])
    drawn = np.asarray(draw(family, features, 1e20)[0])
    assert np.isfinite(drawn).all() and min(len(np.unique(half)) for half in np.split(drawn, 2)) > 1
    if event.is_discrete:
        assert drawn.min() >= 0 and drawn.max() < event.num_levels


@each_family
def test_temperatures_out_of_range_are_told(family, event):
    """All of them to one family, one to each of the others."""
    wrong = (1e21, 1e300, 0, -1.0, float("nan"), float("inf"), True, "1")
    for temperature in wrong if isinstance(family, Categorical) else wrong[:1]:
        with pytest.raises(UserError, match="the temperature must be a positive number up to 1e\\+20, not"):
            jax.eval_shape(lambda f, t=temperature: bound(family).sample(KEY, f, t), features_of(family))


def test_arrays_of_temperatures_are_told():
    family = make_conditional("categorical", EVENTS["tokens"])
    features = features_of(family)
    for temperature in (jnp.ones(family.num_params), jnp.ones(3)):
        with pytest.raises(UserError, match=r"a draw has one temperature, not an array of shape \("):
            family.sample(KEY, features, temperature)
    for temperature in (-1.0, float("nan")):
        with pytest.raises(UserError, match="the temperature must be a positive number up to 1e\\+20, not"):
            family.sample(KEY, features, jnp.float32(temperature))
    assert (family.sample(KEY, features, jnp.float32(0.5)) == family.sample(KEY, features, 0.5)).all()


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "ordinal", "discretized_logistic_mixture"])
def test_tiny_parts_of_the_mass_leave_the_mode(name):
    event = EventSpec((3,), (), "levels", 5) if name != "bernoulli" else EventSpec((3,))
    call = name + ("(components=2)" if "mixture" in name else "")
    family = make_conditional(call, event)
    features = features_of(family, 3.0)

    @jax.jit
    def draws(features):
        numbers = ((1e-46, 0, 1.0), (1e-300, 0, 1e-40), (1e-300, 2, 1.0), (1e-7, 2, 1e-40))
        return family.mode(features), [truncate(family, k, p).sample(KEY, features, t) for p, k, t in numbers]

    mode, drawn = draws(features)
    for sample in drawn:
        np.testing.assert_array_equal(sample, mode)


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "ordinal"])
def test_high_temperatures_leave_the_most_probable_values_what_they_are(name):
    family = make_conditional(name, EVENTS["binary"])

    @jax.jit
    def draws(features):
        hot = [truncate(family, k, p).sample(KEY, features, 1e20) for p, k in ((1e-46, 0), (1.0, 1))]
        return family.mode(features), hot, [truncate(family, k).sample(KEY, features) for k in (10**7, 2)]

    mode, hot, all_of_them = draws(features_of(family, 3.0))
    for sample in hot:
        np.testing.assert_array_equal(sample, mode)
    np.testing.assert_array_equal(*all_of_them)


def test_equally_probable_values_are_drawn_equally_often():
    family = make_conditional("categorical", EventSpec((3,), (), "levels", 4))
    drawn = np.asarray(draw(family, np.tile(np.float32([1.0, 3, 3, 0]), (1000, 1)), 1e-38)[0])
    assert set(np.unique(drawn)) == {1, 2} and abs((drawn == 1).mean() - 0.5) < 0.1


def test_values_of_no_probability_are_never_drawn():
    family = make_conditional("categorical", EventSpec((3,), (), "levels", 3))
    features = np.tile(np.float32([-np.inf, 2e9, -3.0]), (100, 1))
    for temperature in (1e-40, 1.0):
        assert (np.asarray(draw(family, features, temperature)[0]) == 1).all()


def test_limits_of_the_temperature():
    assert [check_temperature(value) for value in (1e20, 1, 1e-30, 1e-31)] == [1e20, 1.0, 1e-30, 1e-30]
    for value in (0, -1, 1.1e20, True, "1", float("nan"), 10**400):
        with pytest.raises(UserError, match=r"^the temperature must be"):
            check_temperature(value)
