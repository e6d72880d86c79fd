"""What a train step computes, against its equations: the average, the schedule, the clipping and the decay."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from loop_helpers import tiny_config

from arjax.config.build import build
from arjax.training.feed import make_feed
from arjax.training.optimizer import make_optimizer
from arjax.training.step import train_step

PARAMS = {"kernel": jnp.array([3.0, -4.0])}


def updates_of(optimizer, gradients) -> list[np.ndarray]:
    """The updates of the kernel, step by step, while the parameters stay."""
    update, state, found = jax.jit(optimizer.update), optimizer.init(PARAMS), []
    for gradient in gradients:
        updates, state = update({"kernel": jnp.asarray(gradient)}, state, PARAMS)
        found.append(np.asarray(updates["kernel"]))
    return found


def test_the_average_is_of_the_parameters_after_the_step():
    """a_1 = p_1 + d (a_0 - p_1) with d = min(decay, 1 / 10)."""
    setup = build(tiny_config())
    spec = dataclasses.replace(setup.spec, ema_decay=0.9)
    feed = make_feed(setup.dataset.splits["train"], setup.mesh, seed=0, batch_size=8, max_steps=1, on_device=True)
    init_key, key = setup.keys()
    before = setup.init_state(init_key)
    before = before.replace(ema=jax.tree.map(lambda p: p + 1, before.params))
    after, _ = jax.jit(functools.partial(train_step, spec))(before, feed.chunk(0, 1).batch(0), key)
    expected = jax.tree.map(lambda new, old: new + 0.1 * (old - new), after.params, before.ema)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.ema, expected)
    moved = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), after.params, before.params)
    assert min(jax.tree.leaves(moved)) > 1e-4


def test_the_cosine_begins_where_the_warm_up_ends():
    """rate = learning rate (1 + cos(pi r)) / 2, with r the part that is done of the steps after the warm-up."""
    optimizer = make_optimizer("sgd", 1.0, 14, schedule="cosine", warmup_steps=4, b1=0.0)
    rates = [-update[0] for update in updates_of(optimizer, [np.float32([1, 0])] * 14)]
    expected = [0.25, 0.5, 0.75, 1.0, *(1 + np.cos(np.pi * np.arange(10) / 10)) / 2]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_clipped_and_not_the_updates():
    """With momentum b the second update of a gradient that is clipped to norm 1 has norm 1 + b."""
    optimizer = make_optimizer("sgd", 1.0, 10, clip_norm=1.0, b1=0.5)
    first, second = updates_of(optimizer, [np.float32([30, 40])] * 2)
    np.testing.assert_allclose(first, [-0.6, -0.8], rtol=1e-5)
    np.testing.assert_allclose(second, [-0.9, -1.2], rtol=1e-5)


def test_adam_and_lion_are_their_equations():
    """Kingma & Ba (2015), algorithm 1, and Chen et al. ("Symbolic Discovery of Optimization Algorithms", 2023), program
    1, with decay that is decoupled: times the rate, and outside of the root and the sign.
    """
    gradients = np.random.default_rng(0).normal(size=(5, 2)) * (1, 0.1)
    (p, decay), (b1, b2) = (np.asarray(PARAMS["kernel"], np.float64), 0.5), (0.8, 0.95)
    for name, weight_decay in (("adam", 0.0), ("adamw", decay), ("lion", decay)):
        more = {} if name == "adam" else {"weight_decay": weight_decay}
        optimizer = make_optimizer(name, 0.1, 10, b1=b1, b2=b2, **more)
        m, v = np.zeros(2), np.zeros(2)
        for t, (g, found) in enumerate(zip(gradients, updates_of(optimizer, np.float32(gradients)), strict=True), 1):
            if name == "lion":
                update = np.sign(b1 * m + (1 - b1) * g)
                m = b2 * m + (1 - b2) * g
            else:
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
                update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
            np.testing.assert_allclose(found, -0.1 * (update + weight_decay * p), rtol=1e-4, err_msg=name)


def test_decay_of_gradient_descent_is_a_penalty():
    """The gradient of w |p|^2 / 2 goes through the momentum like every other."""
    optimizer = make_optimizer("sgd", 0.1, 10, weight_decay=0.5, b1=0.9)
    first, second = updates_of(optimizer, [np.zeros(2, np.float32)] * 2)
    np.testing.assert_allclose(first, -0.1 * 0.5 * PARAMS["kernel"], rtol=1e-5)
    np.testing.assert_allclose(second, 1.9 * first, rtol=1e-5)
