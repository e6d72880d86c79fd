"""Sums of objectives: their losses, their parameters, their states."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from prefix_cases import NETWORKS, TOKENS, close, loss_and_gradient, model_and_params

from arjax.config import base_config, dataset_config, network_config
from arjax.config.build import build
from arjax.core.batch import Batch
from arjax.models import make_model
from arjax.objectives import Loss, Mean, Metrics, ObjectiveState, Step, make_objective
from arjax.objectives.likelihood import SCORES
from arjax.testing.examples import random_x
from arjax.training.step import _in_data_units


@pytest.mark.slow
def test_weighted_objectives_add_up():
    model, params = model_and_params("lstm")
    batch, key = Batch(random_x(TOKENS, 5)), jax.random.key(0)
    both = make_objective("weighted(of=('teacher_forcing', 'input_noise(rate=0.5)'), weights=(0.25, 2))")
    value, gradient, metrics = loss_and_gradient(both, model, params, batch, key)
    parts = [
        loss_and_gradient(make_objective(call), model, params, batch, k)
        for call, k in (("teacher_forcing", key), ("input_noise(rate=0.5)", jax.random.fold_in(key, 1)))
    ]
    value, gradient, parts = jax.tree.map(np.asarray, (value, gradient, parts))
    np.testing.assert_allclose(value, 0.25 * parts[0][0] + 2 * parts[1][0], rtol=1e-5)
    close(gradient, jax.tree.map(lambda a, b: 0.25 * a + 2 * b, parts[0][1], parts[1][1]))
    assert set(metrics.means) == {"1/input_noise"}


@pytest.mark.slow
def test_weighted_keeps_parameters_of_its_objectives():
    objective = make_objective("weighted(of=('order_agnostic', 'learned_order'), weights=(0.5, 0.5))")
    assert "needs_orders" in objective.traits and make_objective("weighted").traits == {"holes"}
    assert make_objective("weighted(of=('rollout',))").traits == {"draws"} and "draws" not in objective.traits
    model = make_model(TOKENS, "made", orders="uniform", **NETWORKS["made"])
    objective.check(model)
    own = objective.init(model, jax.random.key(0))
    rule = objective.optimizer()
    update = jax.jit(lambda params: rule.update(jax.tree.map(jnp.ones_like, params), rule.init(params), params))
    updates, _ = update(own.params)
    np.testing.assert_allclose(updates["1"]["scores"], -0.05, rtol=1e-4)
    batch, step = Batch(random_x(TOKENS, 4)), Step(jax.random.key(2))
    loss = jax.eval_shape(lambda params: objective.loss(model, params, own, batch, step), model.param_shapes)
    assert len(loss.terms) == 3 and set(loss.metrics.means) == {"1/order_nats"}


def test_weighted_token_priors_have_the_parameters_of_their_own_objectives():
    """Only one of the two has some; and their nats are those of tokens, in no units of the data."""
    priors = ("token_prior(of='learned_order')", "token_prior(of='order_agnostic')")
    objective = make_objective(f"weighted(of={priors}, weights=(1.0, 1.0))")
    params = {"0": {SCORES: np.zeros(4, np.float32)}}
    rule = objective.optimizer()
    updates, _ = rule.update(params, rule.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    one, log_scale = jnp.float32(1), (2.0,) * 4
    loss = Loss((Mean(one, one),), Metrics(one, one, one, one))
    for text, added in ((objective, 0), (make_objective("token_prior"), 0), (make_objective("teacher_forcing"), 8)):
        spec = SimpleNamespace(log_scale=log_scale, objective=text)
        assert _in_data_units(spec, loss, Batch(np.zeros((1, 4)))).metrics.nll == 1 + added


@pytest.mark.slow
def test_weighted_objectives_with_parameters_have_a_train_state_with_shardings():
    config = base_config()
    config.dataset = dataset_config("markov_chain", levels=3, length=4, num_examples=64)
    config.network, config.model.orders = network_config("made", hidden_sizes=(4,)), "uniform"
    config.train.steps = 1
    config.objective = (
        "weighted(of=('learned_order', 'order_agnostic', 'learned_order(learning_rate=0.1)'), weights=(1, 1, 1))"
    )
    own = build(config).abstract_state.objective
    assert set(own.params) == {"0", "2"} and all(leaf.sharding for leaf in jax.tree.leaves(own))
    scores = [{SCORES: np.float32(order)} for order in ([3, 2, 1, 0], [0, 1, 2, 3])]
    entries = make_objective(config.objective).report(ObjectiveState({"0": scores[0], "2": scores[1]}, {}))
    assert entries == {"learned_order": [0, 1, 2, 3], "2/learned_order": [3, 2, 1, 0]}
