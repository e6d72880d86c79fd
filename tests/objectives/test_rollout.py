"""Losses of rollouts against an oracle, of tables that are written down, and the windows that they are about."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.objectives import TRUTH, Companion, Step, make_objective, rollout

EVENT = EventSpec((3,))
MASK = np.array([[1, 1, 0], [0, 0, 1]])
P = np.log(np.array([[0.5, 0.25, 0.125], [0.5, 0.75, 0.875]])).T  # log p of both values of each site
Q = np.log(np.array([[0.25, 0.5, 0.5], [0.75, 0.5, 0.5]])).T


def model_of(table, log):
    def features(params, inputs, **how):
        log.append((params, how))
        return jnp.broadcast_to(table + 0.0 * params, (len(inputs), 3, 2))

    def head(params, *train_and_key):
        log.append(train_and_key)
        return types.SimpleNamespace(log_table=lambda each: each)

    def log_prob_per_site(params, x, *, context, mask):
        log.append((context, mask))
        return jnp.where(jnp.asarray(mask) > 0, jnp.where(x > 0, table[:, 1], table[:, 0]), 0.0)

    factorization = types.SimpleNamespace(step=np.arange(3), num_steps=3)
    return types.SimpleNamespace(
        event=EVENT, features=features, head=head, log_prob_per_site=log_prob_per_site, factorization=factorization
    )


def test_an_oracle_gives_the_cross_entropy_of_the_scored_sites():
    log, of_truth, key = [], [], jax.random.key(1)
    model, truth = model_of(P, log), model_of(Q, of_truth)
    batch = Batch(np.zeros((2, 3), int), {"label": np.zeros(2)}, MASK)
    nats = -(np.exp(Q) * P).sum(-1)

    def loss(params, frozen):
        return rollout._cross_entropy(model, params, truth, frozen, batch, batch.x, key)

    np.testing.assert_allclose(loss(1.0, 2.0), (nats * MASK).sum(-1), rtol=1e-6)
    assert log == [(True, key), (1.0, {"context": batch.context, "train": True, "key": key})]
    assert of_truth[0] == () and of_truth[1][1] == {"context": batch.context}


@pytest.mark.parametrize("target", ["oracle", "data"])
def test_prefixes_are_those_of_the_window(monkeypatch, target):
    """The loss reads the drawn values, and dropout has the rest of the key."""
    objective, batch = make_objective(f"rollout(length=1, target={target!r})"), Batch(np.zeros((2, 3), int))
    step = Step(jax.random.key(0), companions={TRUTH: Companion("truth", "frozen")})
    draws = {"window": "window", "inputs": "inputs", "key": "key"}
    monkeypatch.setattr(rollout.Rollout, "_draw", lambda *args: tuple(draws.values()))
    monkeypatch.setattr(rollout, "_cross_entropy", lambda *args: args)
    monkeypatch.setattr(rollout, "scored", lambda *args: np.array([[1.0, 2.0, 4.0]]))
    value, num = objective.costs("model", "params", batch, step)
    assert num is None
    if target == "oracle":
        assert value == ("model", "params", "truth", "frozen", batch, "inputs", "key")
    else:
        assert value.tolist() == [-7]


@pytest.mark.parametrize("target", ["match", "reverse_kl"])
def test_rewards_of_windows(monkeypatch, target):
    """Two windows of each of two examples, (0, 1, 1) and (1, 1, 0), whose last two steps are drawn."""
    objective = make_objective(f"rollout(prefix=1, length=2, target={target!r})")
    x, drawn = np.array([[0, 1, 0], [1, 0, 0]]), np.array([[0, 1, 1], [1, 1, 0]] * 2)
    log, window = [], np.array([[False, True, True]] * 4)
    model, truth = model_of(P, []), model_of(Q, log)
    batch = Batch(x, {"label": np.zeros(2)}, np.ones((2, 3)))
    step = Step(jax.random.key(0), companions={TRUTH: Companion(truth, 0.0)})
    monkeypatch.setattr(rollout.Rollout, "check_whole_steps", lambda *args: None)
    monkeypatch.setattr(rollout.Rollout, "_draw", lambda *args: (window, jnp.asarray(drawn), None))
    log_p = np.where(drawn, P[:, 1], P[:, 0])
    monkeypatch.setattr(rollout, "scored", lambda model, params, batch, inputs, key: jnp.asarray(log_p))
    value_B, num_B = objective.costs(model, {}, batch, step)
    if target == "match":
        assert value_B.tolist() == [-0.5, -0.5] and num_B.tolist() == [True, True]  # one of two values each
    else:
        log_q = np.where(drawn, Q[:, 1], Q[:, 0])
        np.testing.assert_allclose(value_B, (log_p - log_q)[:2, 1:].sum(-1), rtol=1e-6)
        assert num_B is None and len(log) == 1 and log[0][1].shape == (4, 3)


@pytest.mark.parametrize(("progress", "length"), [(0.0, 1), (0.24, 2), (0.5, 4), (1.0, 4)])
def test_windows_grow_to_their_length(monkeypatch, progress, length):
    objective, asked = make_objective("rollout(prefix=1, length=4, grow=0.5)"), []
    monkeypatch.setattr(rollout, "draw_in_steps", lambda *args: asked.append(args) or "inputs")
    factorization = types.SimpleNamespace(step=np.arange(6), num_steps=6)
    model = types.SimpleNamespace(event=EventSpec((6,)), factorization=factorization)
    batch = Batch(np.zeros((2, 6), int), {"label": np.zeros(2)})
    window, inputs, _ = objective._draw(model, {}, batch, Step(jax.random.key(0), jnp.float32(progress)))
    assert inputs == "inputs" and window.tolist() == [[0 < t <= length for t in range(6)]] * 2
    (*_, drawn, context, first, last) = asked[0]
    assert drawn is window and context == batch.context and (int(first), int(last)) == (1, 1 + length)


def test_options_that_contradict_one_another(capsys):
    for call, sentence in (
        ("rollout(target='match', samples=1)", "the target 'match' of rollout compares samples: it needs at least 2"),
        ("rollout(oracle='runs/a')", "the target 'data' of rollout has no oracle: take one of oracle, reverse_kl"),
    ):
        assert sentence in refusal(make_objective, call)
    for call, remark in (
        ("rollout(samples=3)", "samples=3 of rollout has no effect: the target 'data' compares none"),
        ("rollout(length=0, grow=0.5)", "grow=0.5 of rollout has no effect on a window of length=0"),
    ):
        make_objective(call)
        assert remark in capsys.readouterr().err
    make_objective("rollout(target='match', samples=3)")
    assert not capsys.readouterr().err
    assert make_objective("rollout(target='oracle', oracle='runs/a')").companions() == {TRUTH: "runs/a"}
    assert make_objective("rollout").companions() == {} and make_objective("rollout").check_companions(None, {}) is None
    assert "name a run as its oracle" in refusal(rollout.oracle_of, Step(jax.random.key(0)))
