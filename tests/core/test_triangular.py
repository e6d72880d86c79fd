"""Triangular systems: solutions and gradients beside those of numpy in double precision."""

import jax
import numpy as np
import pytest

from arjax.core.triangular import solve_lower, solve_unit_lower


@pytest.mark.parametrize("size", [1, 13, pytest.param(64, marks=pytest.mark.slow)])
def test_systems_with_ones_on_the_diagonal_are_solved(size):
    """Also for equal keys and beta = 2, where the powers of L are large and the inverse is not."""
    rng = np.random.default_rng(size)
    random = rng.normal(size=(2, 3, size, size)).astype(np.float32)
    b = rng.normal(size=(2, 3, size, 4)).astype(np.float32)
    for a in (random / size**0.5, np.full_like(random, 2)):
        exact = np.linalg.solve(np.eye(size) + np.tril(a.astype(np.float64), -1), b.astype(np.float64))
        found = jax.jit(solve_unit_lower)(a, b)
        np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * np.abs(exact).max())
        transpose = np.swapaxes(np.eye(size) + np.tril(a.astype(np.float64), -1), -1, -2)
        of_a, of_b = jax.jit(jax.grad(lambda a, b: (solve_unit_lower(a, b) ** 2).sum() / 2, (0, 1)))(a, b)
        expected = np.linalg.solve(transpose, exact)
        np.testing.assert_allclose(of_b, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        expected = -np.tril(expected @ np.swapaxes(exact, -1, -2), -1)
        np.testing.assert_allclose(of_a, expected, rtol=0, atol=1e-5 * max(np.abs(expected).max(), 1))


@pytest.mark.parametrize("size", [1, 11])
def test_systems_of_any_diagonal_are_solved(size):
    """The entries on the diagonal may be negative and of different sizes."""
    rng = np.random.default_rng(size)
    sizes = np.exp(rng.normal(0, 2, (3, size))) * rng.choice([-1, 1], (3, size))
    a = np.tril(rng.normal(0, 0.3, (3, size, size)), -1) * sizes[..., None] + sizes[..., None] * np.eye(size)
    b = rng.normal(size=(3, size, 2))
    exact = np.linalg.solve(a, b)
    rows = a.astype(np.float32), b.astype(np.float32)
    np.testing.assert_allclose(jax.jit(solve_lower)(*rows), exact, rtol=0, atol=2e-5 * np.abs(exact).max())
    of_b = jax.jit(jax.grad(lambda b: (solve_lower(rows[0], b) ** 2).sum() / 2))(rows[1])
    expected = np.linalg.solve(np.swapaxes(a, -1, -2), exact)
    np.testing.assert_allclose(of_b, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_systems_are_solved_where_jax_has_double_precision():
    rng = np.random.default_rng(0)
    a, b = np.tril(rng.normal(size=(2, 11, 11))) + 4 * np.eye(11), rng.normal(size=(2, 11, 1))
    exact = np.linalg.solve(a, b)
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            found = jax.jit(solve_lower)(a.astype(dtype), b.astype(dtype))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5 * np.abs(exact).max())
