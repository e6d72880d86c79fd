"""Linear recurrences in chunks, in steps and in cuts, against loops over the steps in double precision."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import slow

from arjax.networks.recurrent.linear.mlstm import Exponential, Scaled
from arjax.networks.recurrent.linear.states import (
    Decayed,
    Delta,
    Diagonal,
    at_once,
    carried,
    in_turn,
    linear_recurrence,
    segment_sums,
)

BATCH, HEADS, LENGTH, KEYS, VALUES = 2, 2, 9, 3, 2
CHUNK, CUT = 4, 5  # the chunk divides neither the length nor the cut
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def qkv(length=LENGTH, heads=HEADS):
    q, k = normal(BATCH, heads, length, KEYS), normal(BATCH, heads, length, KEYS)
    return q, k, normal(BATCH, HEADS, length, VALUES)


def uniform(low, high, *shape):
    return rng.uniform(low, high, (BATCH, HEADS, *shape)).astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cases():
    """Terms by name, with decays from almost 0 to 1."""
    q, k, v = qkv()
    log_a, log_A = uniform(-5, 0, LENGTH), uniform(-5, 0, LENGTH, KEYS)
    log_a[..., 3], log_a[..., 5], log_A[..., 4, :] = 0, -20, -18
    sign = np.sign(uniform(-1, 1, LENGTH))
    shared = qkv(heads=1)
    log_i = 20 * normal(BATCH, HEADS, LENGTH)
    log_i[..., CUT + 1] = 100  # its exponential is infinite in float32
    return {
        "sums": Decayed(q, k, v),
        "decays": Decayed(q, k, v, log_a),
        "decays of features": Decayed(q, k, v, log_A),
        "decays with signs": Decayed(*shared, log_a, sign),
        "delta": delta(q),
        "delta with keys for all heads": delta(shared[0], heads=1),
        "delta with decays": delta(q, log_a),
        "exponential": Exponential(q, k, v, log_a, log_i),
        "exponential, growing": Exponential(q, k, v, uniform(-1, 1, LENGTH), log_i),
        "diagonal": Diagonal(np.exp(log_A[:, 0]), normal(BATCH, LENGTH, KEYS)),
        "delta product": delta(q, log_a, rules=3),  # a chunk holds the rules of one step
        "delta product without decays": delta(q, rules=2),  # and here those of two
    }


def delta(q, log_a=None, rules=1, heads=HEADS):
    length = q.shape[2]
    keys, values = normal(BATCH, heads, length, rules, KEYS), normal(BATCH, HEADS, length, rules, VALUES)
    return Delta(q, unit(keys), values, uniform(0, 2, length, rules), log_a)


CASES = cases()
#: Of the same formulas as others.
LIKE_OTHERS = (
    *("delta with keys for all heads", "delta", "delta with decays", "delta product without decays"),
    *("exponential", "sums"),
)


def by_loop(terms):
    """o of all steps and the state after each, from the definitions, for one example and head after another."""
    terms = type(terms)(*(None if x is None else np.asarray(x, np.float64) for x in terms))
    if isinstance(terms, Diagonal):
        states = [np.zeros_like(terms.b[:, 0])]
        for t in range(terms.b.shape[1]):
            states.append(terms.a[:, t] * states[-1] + terms.b[:, t])
        return np.stack(states[1:], 1), states
    length = terms.v.shape[2]
    o, states = (
        np.empty((BATCH, HEADS, length, VALUES)),
        [np.zeros((BATCH, HEADS, KEYS, VALUES)) for _ in range(length + 1)],
    )
    normalisers = [np.zeros((BATCH, HEADS, KEYS)) for _ in range(length + 1)]
    for b, n, t in np.ndindex(BATCH, HEADS, length):
        head = min(n, terms.k.shape[1] - 1)
        q, k, v, S = terms.q[b, head, t], terms.k[b, head, t], terms.v[b, n, t], states[t][b, n]
        if isinstance(terms, Exponential):
            f, i = np.exp(terms.log_forget[b, n, t]), np.exp(terms.log_input[b, n, t])
            states[t + 1][b, n] = f * S + i * np.outer(k, v)
            normalisers[t + 1][b, n] = f * normalisers[t][b, n] + i * k
            o[b, n, t] = states[t + 1][b, n].T @ q / max(abs(normalisers[t + 1][b, n] @ q), 1)
            continue
        a = 1.0 if terms.log_decay is None else np.exp(terms.log_decay[b, n, t])
        if isinstance(terms, Delta):
            S = a * S
            for beta, key, value in zip(terms.beta[b, n, t], k, v, strict=True):
                S = (np.eye(KEYS) - beta * np.outer(key, key)) @ S + beta * np.outer(key, value)
        else:
            a = a if terms.sign is None else a * terms.sign[b, n, t]
            S = np.expand_dims(a, -1) * S + np.outer(k, v)
        states[t + 1][b, n] = S
        o[b, n, t] = S.T @ q
    return o, [np.concatenate([S, n[..., None]], -1) for S, n in zip(states, normalisers, strict=True)]


def part(terms, start, stop):
    axis = 1 if isinstance(terms, Diagonal) else 2
    return type(terms)(*(None if x is None else jax.lax.slice_in_dim(x, start, stop, axis=axis) for x in terms))


def whole(state):
    """The state itself, from one that is kept times exp(-m)."""
    if isinstance(state, Scaled):
        both = np.concatenate([state.sums, state.normaliser[..., None]], -1).astype(np.float64)
        return both * np.exp(np.asarray(state.maximum, np.float64))[..., None, None]
    return np.asarray(state)


@jax.jit
def all_forms(terms, n):
    """In one piece; after a cut, and with only the first n steps of the rest; and step by step from the cut on."""
    after, o = terms.run(None, CHUNK)
    cut, first = part(terms, 0, CUT).run(None, CHUNK)
    rest = part(terms, CUT, LENGTH)
    again, second = rest.run(cut, CHUNK)
    kept, _ = rest.masked(jnp.arange(LENGTH - CUT) < n).run(cut, CHUNK)
    axis = 1 if isinstance(terms, Diagonal) else 2
    one_by_one = jax.tree.map(lambda x: jnp.expand_dims(jnp.moveaxis(x, axis, 0), axis + 1), rest)
    state, steps = jax.lax.scan(lambda state, one: one.step(state), cut, one_by_one)
    steps = jnp.moveaxis(steps.squeeze(axis + 1), 0, axis)
    return (o, *(jnp.concatenate([first, end], axis) for end in (second, steps))), (after, again, state), kept


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE_OTHERS)) for name in CASES]
)
def test_all_forms_are_the_recurrence(name):
    terms = CASES[name]
    o, states = by_loop(terms)
    size = states[-1].shape[-1] if isinstance(terms, (Exponential, Diagonal)) else VALUES
    outputs, ends, kept = all_forms(terms, 3)
    for found in outputs:
        np.testing.assert_allclose(found, o, rtol=0, atol=2e-5 * np.abs(o).max())
    for found, t in [*((end, LENGTH) for end in ends), (kept, CUT + 3)]:
        expected = states[t][..., :size]
        scale = np.abs(expected).max((-1, -2), keepdims=True) if expected.ndim > 2 else np.abs(expected).max()
        np.testing.assert_allclose(whole(found) / scale, expected / scale, rtol=0, atol=2e-5)
    none, _ = jax.jit(lambda terms, state: terms.masked(jnp.zeros(LENGTH, bool)).run(state, CHUNK))(terms, ends[0])
    jax.tree.map(np.testing.assert_array_equal, none, ends[0])


def test_states_without_decays_are_sums_over_chunks():
    updates, state = normal(2, HEADS, 3, KEYS, VALUES), normal(2, HEADS, KEYS, VALUES)
    for first in (None, state):
        before, after = carried(first, updates, None)
        sums = np.cumsum(updates, 2) + (0 if first is None else first[:, :, None])
        start = np.zeros_like(state) if first is None else first
        np.testing.assert_allclose(before, np.concatenate([start[:, :, None], sums[:, :, :-1]], 2), atol=1e-5)
        np.testing.assert_allclose(after, sums[:, :, -1], atol=1e-5)


def test_a_decay_of_nothing_clears_the_state():
    """As if the sequence began there, in chunks and step by step."""
    terms = CASES["delta with decays"]
    log_decay = terms.log_decay.copy()
    log_decay[..., CUT] = -1e30
    outputs, _, _ = all_forms(terms._replace(log_decay=log_decay), 3)
    _, fresh = jax.jit(lambda terms: terms.run(None, CHUNK))(part(terms, CUT, LENGTH))
    for o in outputs:
        np.testing.assert_allclose(o[:, :, CUT:], fresh, rtol=0, atol=2e-5 * np.abs(fresh).max())


def test_sums_of_segments_lose_no_digits():
    """A strong decay before two weak ones: a difference of cumulative sums would give them with an error of 1e-2."""
    x = np.array([-1e5, -0.1, -0.2, -0.3], np.float32)
    sums = np.asarray(jax.jit(segment_sums)(x))
    np.testing.assert_allclose(sums[3, 1], -0.5, rtol=1e-6)
    np.testing.assert_allclose(sums[3, 0], -0.6, rtol=1e-6)
    assert (np.triu(sums) == 0).all()


def test_terms_in_bfloat16_give_the_outputs_of_float32():
    """Also behind a gate that leaves nothing, whose logarithm would swallow the others in a cumulative sum."""
    terms = CASES["exponential"]
    narrow = {each: getattr(terms, each).astype(jnp.bfloat16) for each in ("q", "k", "v")}
    log_forget = terms.log_forget.copy()
    log_forget[..., 1] = -1e6
    o, expected = (terms._replace(log_forget=log_forget, **each).run(None, CHUNK)[1] for each in (narrow, {}))
    assert o.dtype == jnp.bfloat16
    np.testing.assert_allclose(o.astype(np.float32), expected, rtol=0, atol=0.03 * np.abs(expected).max())


LONG = 4096


@pytest.mark.parametrize(
    "name", ["exponential", *(slow(n) for n in ("delta with decays", "decays", "decays of features"))]
)
def test_long_sequences_neither_overflow_nor_lose_their_gradients(name):
    """Decays near 0 and near 1 in turn, and input gates from exp(-100) to exp(100)."""
    q, k, v = qkv(LONG)
    log_a = np.where(uniform(0, 1, LONG) < 0.5, -30.0, -1e-4).astype(np.float32)
    log_a[..., LONG // 2 :] = -1e-4
    terms = {
        "decays": lambda: Decayed(q, k, v, log_a),
        "decays of features": lambda: Decayed(q, k, v, np.repeat(log_a[..., None], KEYS, -1)),
        "delta with decays": lambda: delta(q, log_a),
        "exponential": lambda: Exponential(q, k, v, log_a, uniform(-100, 100, LONG)),
    }[name]()

    @jax.jit
    def value_and_gradients(terms):
        return jax.grad(lambda terms: ((o := terms.run(None, 16)[1]) ** 2).mean() + 0 * o.sum())(terms), terms.run(
            None, 16
        )

    gradients, (_, o) = value_and_gradients(terms)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((gradients, o)))
    if name != "exponential":
        expected, _ = by_loop(terms)
        np.testing.assert_allclose(o, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_input_gates_that_are_all_almost_closed_give_almost_nothing():
    """exp(-m) of a maximum far below 0 would be infinite, and its derivative no number."""
    q, k, v = qkv()
    terms = Exponential(q, k, v, np.full((BATCH, HEADS, LENGTH), -60, np.float32), uniform(-400, -300, LENGTH))
    o, gradients = jax.jit(
        lambda terms: (terms.run(None, CHUNK)[1], jax.grad(lambda t: t.run(None, CHUNK)[1].sum())(terms))
    )(terms)
    np.testing.assert_allclose(o, 0, atol=1e-30)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_queries_of_zeros_find_nothing_where_gates_have_grown():
    """exp(-m) rounds to 0 there, also in the steps that fill up the last chunk: 0 / 0, and NaN in all gradients."""
    q, k, v = qkv()
    q[:, :, 4] = 0
    terms = Exponential(q, k, v, np.full((BATCH, HEADS, LENGTH), 30, np.float32), uniform(0, 1, LENGTH))
    outputs, gradients = jax.jit(
        lambda terms: (all_forms(terms, 3)[0], jax.grad(lambda t: t.run(None, CHUNK)[1].sum())(terms))
    )(terms)
    expected, _ = by_loop(terms)
    for found in outputs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("form", [in_turn, at_once])
def test_both_forms_of_a_diagonal_recurrence_run_both_ways(form):
    """Processors take the one, accelerators the other."""
    a, b = (np.asarray(x, np.float64) for x in CASES["diagonal"])
    forth, back = by_loop(CASES["diagonal"])[0], np.zeros_like(b)
    for t in reversed(range(LENGTH)):
        back[:, t] = b[:, t] + (a[:, t] * back[:, t + 1] if t + 1 < LENGTH else 0)
    terms = [np.float32(x) for x in (a, b)]
    np.testing.assert_allclose(jax.jit(form)(*terms), forth, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(functools.partial(form, reverse=True))(*terms), back, rtol=1e-5, atol=1e-6)


def test_gradients_of_a_diagonal_recurrence_are_those_of_its_loop():
    terms, weight = CASES["diagonal"], normal(BATCH, LENGTH, KEYS)

    def loop(a, b):
        states = [jnp.zeros_like(b[:, 0])]
        for t in range(LENGTH):
            states.append(a[:, t] * states[-1] + b[:, t])
        return jnp.stack(states[1:], 1)

    def gradients(form):
        return jax.jit(jax.grad(lambda a, b: (weight * form(a, b)).sum(), (0, 1)))(*terms)

    for ours, theirs in zip(gradients(linear_recurrence), gradients(loop), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
