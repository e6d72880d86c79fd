"""The last values that options of conditionals take, and the first that they refuse."""

import math

import numpy as np
import pytest

from arjax.conditionals import make_conditional
from arjax.conditionals.numerics import check_temperature, stratified_points
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

LEVELS = EventSpec((3,), kind="levels", num_levels=5)
NO_NUMBERS = (True, "1", math.nan, 10**400)


def test_the_lower_bound_of_a_beta_is_below_the_upper():
    real = EventSpec((3,), kind="real")
    for bounds in ("low=0.9", "high=0.1", "low=-1e9, high=-1e8"):
        make_conditional(f"beta({bounds})", real)
    for bounds in ("low=1", "high=0", "low=2, high=1", "low=1e999"):
        with pytest.raises(UserError, match=r"(low|high)\b"):
            make_conditional(f"beta({bounds})", real)


def test_limits_of_the_temperature():
    assert [check_temperature(value) for value in (1e20, 1, 1e-30, 1e-31)] == [1e20, 1.0, 1e-30, 1e-30]
    for value in (0, -1, 1.1e20, *NO_NUMBERS):
        with pytest.raises(UserError, match=r"^the temperature must be"):
            check_temperature(value)


def test_components_of_products_begin_apart_and_one_is_the_base():
    one, two = (make_conditional(f"mixture_of_products(components={num})", LEVELS, 3) for num in (1, 2))
    assert not one._apart(3).any() and np.abs(two._apart(3)).min() > 0
    assert two._apart(3).shape == (3, 2, 5) and two._apart(3).dtype == np.float32
    # Runs that are stored were trained with these offsets.
    expected = 0.5 * np.random.default_rng(0).normal(size=(3, 2, 5))
    np.testing.assert_array_equal(two._apart(3), expected.astype(np.float32))


def test_points_of_quadrature_are_those_of_an_additive_recurrence():
    """Roberts (2018): of two axes the golden ratio, of three the root of g^3 = g + 1."""
    for dims, g in ((1, 1.0), (2, (1 + 5**0.5) / 2), (3, 1.3247179572447460)):
        points, n = stratified_points(7, dims), np.arange(7)
        assert points.shape == (7, dims) and (points > 0).all() and (points < 1).all()
        np.testing.assert_allclose(points[:, 0], (n + 0.5) / 7)
        for j in range(1, dims):
            np.testing.assert_allclose(points[:, j], (0.5 + n * g**-j) % 1, atol=1e-9)
