"""Schedule-Free AdamW: its sequences against their equations, and that its average is what is scored and kept."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from loop_helpers import assert_a_stop_changes_no_bit, assert_same_bits, final_state, tiny_config

from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.objectives import Loss, Mean, Metrics, Objective
from arjax.training.optimizer import make_optimizer
from arjax.training.schedule_free import average_of
from arjax.training.setup import restore_params
from arjax.training.state import TrainState, eval_params, fresh_state
from arjax.training.step import train_step

CHANGES = {"optimizer__name": "schedule_free_adamw", "optimizer__warmup_steps": 3, "train__ema_decay": 0.0}
CHANGES |= {"train__steps": 8, "train__eval_every": 4, "train__checkpoint_every": 4}


def test_the_three_sequences_are_their_equations():
    """Defazio et al. (2024), algorithm 1, with the decay at y and with weights of squared rates, during a warm-up."""
    (b1, b2, decay), y = (0.8, 0.9, 0.5), np.array([3.0, -4.0])
    optimizer = make_optimizer("schedule_free_adamw", 0.1, 10, warmup_steps=3, b1=b1, b2=b2, weight_decay=decay)
    params, update = {"kernel": np.float32(y)}, jax.jit(optimizer.update)
    state = optimizer.init(params)
    x, z, v, total = y, y, np.zeros(2), 0.0
    for t in range(5):
        g, rate = np.sin(y + t), 0.1 * min(1, (t + 1) / 3)
        updates, state = update({"kernel": np.float32(g)}, state, params)
        params = optax.apply_updates(params, updates)
        v = b2 * v + (1 - b2) * g**2
        z = z - rate * (g / (np.sqrt(v / (1 - b2 ** (t + 1))) + 1e-8) + decay * y)
        total += rate**2
        x = (1 - rate**2 / total) * x + rate**2 / total * z
        y = (1 - b1) * z + b1 * x
        np.testing.assert_allclose(params["kernel"], y, rtol=1e-5)
        scored = eval_params(TrainState(jnp.int32(t), params, state, {}))
        np.testing.assert_allclose(scored["kernel"], x, rtol=1e-5)
    # members of a population have a state each
    members = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), (params, state))
    averages = eval_params(TrainState(jnp.int32(5), members[0], members[1], {}))
    np.testing.assert_allclose(averages["kernel"][0], x, rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class Follows(Objective):
    """A quadratic of `w`, and `code`, which becomes the number of steps."""

    def loss(self, model, params, own, batch, step):
        value, one = jnp.square(params["w"]).sum() + params["code"].sum(), jnp.float32(1)
        return Loss((Mean(value, one),), Metrics(value, one, one, one))

    def init(self, model, key):
        return super().init(model, key)

    def after_step(self, model, params, state):
        return params | {"code": jnp.full(2, 7.0)}, state


def test_parameters_that_no_gradient_trains_are_scored_as_they_are():
    setup = build(tiny_config(**CHANGES))
    spec = dataclasses.replace(setup.spec, objective=Follows())
    model = dataclasses.make_dataclass("Model", ["param_shapes"])({"w": None, "code": None})
    spec = dataclasses.replace(spec, model=model)
    state = fresh_state(spec, jax.random.key(0), {"w": jnp.ones(2), "code": jnp.zeros(2)})
    step = jax.jit(functools.partial(train_step, spec))
    for _ in range(3):
        state, _ = step(state, Batch(np.zeros((2, 64), np.int32), {}), jax.random.key(1))
    scored = eval_params(state)
    np.testing.assert_allclose(scored["code"], 7.0, rtol=1e-6)
    assert np.abs(scored["w"] - state.params["w"]).min() > 1e-6


def test_frozen_parameters_are_their_average_to_the_bit():
    """Else a tokenizer that stays as it is would no longer be that of its prior."""
    params = {"w": jax.random.normal(jax.random.key(0), (1000,))}
    optimizer = make_optimizer("schedule_free_adamw", 0.1, 10)
    np.testing.assert_array_equal(average_of(optimizer.init(params), params)["w"], params["w"])


@pytest.mark.slow
def test_a_run_scores_and_keeps_the_average_and_resumes_bit_for_bit(tmp_path, monkeypatch):
    setup = build(tiny_config(**CHANGES, train__steps_per_dispatch=1))
    outcome, resumed = assert_a_stop_changes_no_bit(lambda: setup, tmp_path, monkeypatch, 5)
    final = final_state(tmp_path / "straight", **CHANGES)
    assert resumed.results["nll_nats"] == outcome.results["nll_nats"]
    params, step, _ = restore_params(setup, tmp_path / "straight")
    assert step == 8
    assert_same_bits(params, eval_params(final[1]))
    far = jax.tree.map(lambda scored, trained: float(np.abs(scored - trained).max()), params, final[1].params)
    assert min(jax.tree.leaves(far)) > 1e-6


def test_a_second_average_and_a_falling_rate_are_refused():
    for change, sentence in (
        ({"train__ema_decay": 0.9}, r"train\.ema_decay=0\.9 must be 0 with this optimizer"),
        ({"optimizer__schedule": "cosine"}, r"optimizer\.schedule='cosine' must be 'constant'"),
        ({"optimizer__b1": 0.0}, r"optimizer\.b1 must be above 0"),
    ):
        with pytest.raises(UserError, match=sentence):
            build(tiny_config(**CHANGES | change))
