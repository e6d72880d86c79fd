"""The laws of a quantizer: numbers and codes invert, codes become themselves, all of them occur, gradients pass."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arjax.quantizers import Quantizer, make_quantizer
from arjax.testing.laws import Law, LawTest, NotSupported, by_name, require

#: The grid of the vectors.
GRID = (4, 4)
NUM = 32
#: Codes of which all are tried, at most.
MOST = 2**14


@LawTest
def quantizer_laws(call: str, *, grid: tuple[int, ...] = GRID) -> list[Law]:
    """A pytest test of a registered quantizer of vectors on a grid, by its call string such as "my_codes(levels=3)"."""
    checks = by_name(check_tokens, check_reach, check_use, check_distances)
    checks |= by_name(_check_types, _check_gradients, _check_weights, check_state)
    return [Law(name, functools.partial(_run, check, call, grid)) for name, check in checks.items()]


@functools.partial(jax.jit, static_argnames=("quantizer", "method", "grid"))
def _of(quantizer: Quantizer, method: str, *args: Any, grid: tuple[int, ...] | None = None) -> Any:
    """Calls a method as one program, which is several times as fast as operation by operation."""
    return getattr(quantizer, method)(*args, *([] if grid is None else [grid]))


_loss = jax.jit(
    jax.value_and_grad(lambda h, quantizer, params, weight_B: quantizer.loss(params, h, weight_B)), static_argnums=1
)


def _run(check: Callable[..., None], call: str, grid: tuple[int, ...]) -> None:
    quantizer = make_quantizer(call)
    quantizer.check_grid(grid)
    check(quantizer, _of(quantizer, "init", jax.random.key(0)), grid)


def _vectors(quantizer: Quantizer, grid: tuple[int, ...], num: int = NUM, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (scale * rng.normal(size=(num, *grid, quantizer.width))).astype(np.float32)


def _numbers(quantizer: Quantizer, grid: tuple[int, ...]) -> np.ndarray:
    """Numbers of codes [B, T], all of them if they are not too many."""
    tokens = quantizer.num_tokens(grid)
    num = math.ceil(min(quantizer.num_codes, MOST) / tokens)
    return (np.arange(num * tokens).reshape(num, tokens) % quantizer.num_codes).astype(np.int32)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _there_and_back(quantizer: Quantizer, numbers: jax.Array, grid: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    tokens = quantizer.tokens_of(numbers, grid)
    return tokens, quantizer.numbers_of(tokens)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _passed(quantizer: Quantizer, params: Any, h: jax.Array, grid: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """The codes of vectors, the same with a gradient, and this gradient."""
    codes = quantizer.lookup(params, quantizer.assign(params, h).numbers, grid)
    passed, pull_back = jax.vjp(lambda h: quantizer.passed(params, h, codes), h)
    return codes, passed, *pull_back(jnp.ones_like(codes))


def check_tokens(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """Tokens are values of their event, and numbers of codes become tokens and the same numbers again."""
    numbers, event = _numbers(quantizer, grid), quantizer.token_event(grid)
    tokens, again = map(np.asarray, _there_and_back(quantizer, numbers, grid))
    require(tokens.shape[1:] == event.shape, f"tokens have the shape {tokens.shape[1:]}, their event {event.shape}")
    require(tokens.dtype == event.dtype, f"tokens are of type {tokens.dtype}, not {event.dtype}")
    require(tokens.min() >= 0 and tokens.max() < event.num_levels, "a token is no value of its event")
    require(np.array_equal(again, numbers), "tokens have other numbers of codes")
    codes = np.asarray(_of(quantizer, "lookup", params, numbers, grid=grid)).reshape(len(numbers), -1)
    require(codes.shape[1] == math.prod(grid) * quantizer.width, f"codes have the shape {codes.shape}")


def check_reach(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """Every code is the code of some vector, and the code of a code is itself."""
    if not quantizer.IDEMPOTENT:
        raise NotSupported("the codes of a sum of codes may be others")
    numbers = _numbers(quantizer, grid)
    again = _of(quantizer, "assign", params, _of(quantizer, "vectors", params, numbers, grid=grid)).numbers
    wrong = int((np.asarray(again) != numbers).sum())
    require(wrong == 0, f"the vectors of {wrong} codes of {numbers.size} have another code")


def check_use(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """Vectors have several codes, which are nearer to them than random ones."""
    h = _vectors(quantizer, grid)
    numbers = _of(quantizer, "assign", params, h).numbers
    require(len(np.unique(numbers)) > 1, "all vectors have one code")
    near = _error(quantizer, params, h, numbers, grid)
    rng = np.random.default_rng(1)
    at_random = [rng.integers(0, quantizer.num_codes, numbers.shape).astype(np.int32) for _ in range(3)]
    others = [_error(quantizer, params, h, each, grid) for each in at_random]
    require(near < min(others), f"the codes of vectors are {near:.3g} from them, random codes {min(others):.3g}")


def _error(quantizer: Quantizer, params: Any, h: np.ndarray, numbers: Any, grid: tuple[int, ...]) -> float:
    return float(np.mean((np.asarray(_of(quantizer, "lookup", params, numbers, grid=grid)) - h) ** 2))


def check_distances(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """The code of a vector is the nearest one, no distance is below 0, and a vector of a code is at 0 from it."""
    if type(quantizer).distances is Quantizer.distances:
        raise NotSupported(f"{quantizer!r} has no distances of its codes")
    h = _vectors(quantizer, grid)
    distances = np.asarray(_of(quantizer, "distances", params, h))
    shape = (NUM, quantizer.num_tokens(grid), quantizer.num_codes)
    require(distances.shape == shape, f"distances have the shape {distances.shape}, not {shape}")
    require(distances.min() > -1e-3, f"a distance is {distances.min()}")
    numbers = np.asarray(_of(quantizer, "assign", params, h).numbers)
    gap = np.take_along_axis(distances, numbers[..., None], 2)[..., 0] - distances.min(-1)
    require(gap.max() < 1e-3, f"the code of a vector is farther than another one, by {gap.max()}")
    of_code = _of(quantizer, "distances", params, _of(quantizer, "vectors", params, numbers, grid=grid))
    gap = np.take_along_axis(np.asarray(of_code), numbers[..., None], 2)
    require(np.abs(gap).max() < 1e-3, f"a code has the distance {np.abs(gap).max()} from itself")


def _check_types(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """The numbers of codes are int32 from 0 to K - 1, also for bfloat16 vectors, whose codes are those of the same
    values in float32, and for very large ones.
    """
    for scale in (1e-3, 1e4):
        h = _vectors(quantizer, grid, scale=scale).astype(jnp.bfloat16)
        few, same = (np.asarray(_of(quantizer, "assign", params, each).numbers) for each in (h, h.astype(np.float32)))
        require(few.dtype == np.int32, f"the numbers of codes are of type {few.dtype}")
        require(few.min() >= 0 and few.max() < quantizer.num_codes, "the number of a code is out of range")
        require(np.array_equal(few, same), "bfloat16 vectors have other codes than their values in float32")


def _check_gradients(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """Codes with a gradient have the values of the codes, and gradients reach every scalar of the vectors."""
    codes, passed, gradient = map(np.asarray, _passed(quantizer, params, _vectors(quantizer, grid, 2, 0.5), grid))
    require(np.array_equal(passed, codes), "codes with a gradient have other values")
    require(np.isfinite(gradient).all() and (gradient > 0).all(), "a scalar has no gradient of its code")


def _check_weights(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """The loss is finite, does not depend on examples of weight 0, and is 0 without examples."""
    h, weight_B = _vectors(quantizer, grid, 4), np.array([1, 1, 0, 0], np.float32)
    counted = weight_B.reshape(4, *[1] * (h.ndim - 1)) > 0
    losses = [float(_loss(each, quantizer, params, weight_B)[0]) for each in (h, np.where(counted, h, np.float32(3)))]
    same = np.isfinite(losses).all() and np.isclose(losses[0], losses[1])
    require(same, f"the loss depends on examples of weight 0: {losses}")
    loss, slope = _loss(h, quantizer, params, 0 * weight_B)
    require(loss == 0 and not np.asarray(slope).any(), "a batch of weight 0 has a loss")


def check_state(quantizer: Quantizer, params: Any, grid: tuple[int, ...]) -> None:
    """Statistics keep their structure, two micro-batches count as one batch of both, and examples of weight 0, or a
    step without examples, change nothing.
    """
    if not quantizer.LEARNS:
        raise NotSupported("the codes are fixed, or trained by gradients")
    h, fresh, key = _vectors(quantizer, grid), _of(quantizer, "init_state", jax.random.key(1)), jax.random.key(2)

    def after(state: Any, h: np.ndarray, weight: float = 1.0) -> Any:
        assigned = _of(quantizer, "assign", params, h)
        return _of(quantizer, "collect", params, state, assigned, np.full(len(h), weight, np.float32), key)

    whole, parts = after(fresh, h), after(after(fresh, h[: NUM // 2]), h[NUM // 2 :])
    for name in fresh:
        require(whole[name].shape == fresh[name].shape, f"{name} has another shape after a batch")
        if name not in ("kept", "priority"):  # drawn at random
            require(np.allclose(whole[name], parts[name], atol=1e-4), f"{name} of micro-batches differ from a batch")
    ignored = after(fresh, np.float32(1e9) * h, weight=0.0)
    require(all(np.array_equal(ignored[name], fresh[name]) for name in fresh), "examples of weight 0 count")
    same_params, same = _of(quantizer, "follow", params, fresh)
    unchanged = jax.tree.map(np.array_equal, (params, fresh), (same_params, same))
    require(all(jax.tree.leaves(unchanged)), "a step without examples changes codes or statistics")
    moved = _of(quantizer, "follow", params, whole)[0]
    before, near = (
        _error(quantizer, each, h, _of(quantizer, "assign", each, h).numbers, grid) for each in (params, moved)
    )
    require(near < before, f"the codes do not follow the vectors: their distance is {near:.3g} after {before:.3g}")
