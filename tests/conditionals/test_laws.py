"""The laws of a conditional, for every registered family; those that are models are in tests/models."""

from collections.abc import Iterable

import pytest

from arjax.testing import conditional_laws
from arjax.testing.laws import Law, as_test

UNCOUPLED = "discretized_logistic_mixture(components=3, coupling='none')"
#: Of each family one kind of values; the others say it in the slow suite. Densities are such that a grid sees them.
FAST = [
    ("bernoulli", "binary_vector"),
    ("categorical", "tokens_vector"),
    ("ordinal", "levels"),
    ("discretized_logistic_mixture", "levels_vector"),
    ("mixture_of_products", "levels_vector"),
    ("gaussian", "real"),
    ("gaussian_mixture", "real"),
    ("spline(bins=2, bound=2, min_log_scale=1.0)", "real"),
]
SLOW = [
    *(("bernoulli", "binary"), ("categorical", "levels"), ("categorical", "binary_vector")),
    *(("ordinal", "binary"), ("ordinal", "levels_vector")),
    *(("discretized_logistic_mixture", "levels"), (UNCOUPLED, "levels"), (UNCOUPLED, "levels_vector")),
    *(("mixture_of_products", values) for values in ("binary", "levels", "tokens_vector", "real")),
    *(("logistic_mixture", "real"), ("student_t_mixture", "real"), ("gaussian", "real_vector")),
    *(("nested(hidden_sizes=(12,), features=6)", values) for values in ("binary_vector", "tokens_vector")),
]


def laws(cases: Iterable[tuple[str, str]]):
    """Laws of families alone: those of models with them are in tests/laws."""
    return as_test(
        Law(f"{call}-{law.name}", law.check)
        for call, values in cases
        for law in conditional_laws.of(call, values=(values,))
        if law.name != "in-a-model"
    )


test_laws = laws(FAST)
test_laws_of_other_values = pytest.mark.slow(laws(SLOW))
