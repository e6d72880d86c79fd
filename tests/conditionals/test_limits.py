"""The last values that options of conditionals take, and the first that they refuse."""

import math

import numpy as np
import pytest

from arjax.conditionals import CONDITIONALS, make_conditional, truncate
from arjax.conditionals.quadrature import stratified_points
from arjax.conditionals.temperature import check_temperature
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec

REAL, LEVELS = EventSpec((3,), kind="real"), EventSpec((3,), kind="levels", num_levels=5)
NO_NUMBERS = (True, "1", math.nan, 10**400)
#: The event, the conditional, the option, the last values that it takes, the first that it refuses.
CASES = [
    *((REAL, name, "min_log_scale", (-20, 19.9), (-20.1, 20, *NO_NUMBERS)) for name in ("gaussian", "spline")),
    *((REAL, name, "scale_bound", (0, 20), (-0.1, 20.1, *NO_NUMBERS)) for name in ("gaussian", "spline")),
    *((REAL, f"{name}_mixture", "components", (1,), (0, 1.5, True)) for name in ("gaussian", "logistic", "student_t")),
    (LEVELS, "discretized_logistic_mixture", "components", (1,), (0, 1.5, True)),
    (LEVELS, "discretized_logistic_mixture", "min_log_scale", (-20, 19.9), (-20.1, 20, *NO_NUMBERS)),
    (REAL, "student_t_mixture", "dof", (2, 1000), (1.9, 1000.1, *NO_NUMBERS)),
    (REAL, "beta", "low", (0.9, -1e9), (1, 1.1, math.inf, *NO_NUMBERS)),
    (REAL, "beta", "high", (0.1, 1e9), (0, -0.1, math.inf, *NO_NUMBERS)),
    (REAL, "beta", "min_log_shape", (-5, 8.9), (-5.1, 9, *NO_NUMBERS)),
    (REAL, "spline", "bins", (1, 100), (0, 101, 1.5, True)),
    (REAL, "spline", "bound", (0.1, 1000), (0.09, 1000.1, *NO_NUMBERS)),
    (LEVELS, "ordinal", "size", (1, 4), (0, 1.5, True)),
    (LEVELS, "categorical", "soft_cap", (0, 0.5, 1000), (-0.1, 1000.1, *NO_NUMBERS)),
]


@pytest.mark.parametrize(
    ("event", "name", "option", "taken", "refused"), CASES, ids=[f"{name}-{option}" for _, name, option, _, _ in CASES]
)
def test_limits(event, name, option, taken, refused):
    family = CONDITIONALS.get(name)
    for value in taken:
        family.for_event(event, **{option: value})
    for value in refused:
        with pytest.raises(UserError, match=option):
            family.for_event(event, **{option: value})


def test_limits_of_truncation():
    base = make_conditional("categorical", LEVELS)
    for option, taken, refused in (
        ("top_k", (0, 5, 99), (-1, 1.5, True)),
        ("top_p", (1e-9, 1), (0, 1.01, *NO_NUMBERS)),
        ("min_p", (0, 1), (-0.01, 1.01, *NO_NUMBERS)),
    ):
        every = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
        for value in taken:
            truncate(base, **(every | {option: value}))
        for value in refused:
            with pytest.raises(UserError, match=f"^{option} must be"):
                truncate(base, **(every | {option: value}))


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
