"""The first parameters of a run: one program, traced once."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import make_objective
from arjax.parallel.sharding import make_mesh, replicated
from arjax.training.optimizer import make_optimizer
from arjax.training.state import Recipe, abstract_state, fresh_state, init_state


def test_the_program_of_the_first_state_finds_what_its_shapes_have_traced():
    model = make_model(EventSpec((5,), (), "levels", 3), "made", hidden_sizes=(13,))  # no other test has this one
    recipe = Recipe(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    mesh, traced = make_mesh(1, 1, 1, jax.devices()[:1]), []

    def count(method, args, kwargs, context):
        traced.append(context.method_name)
        return method(*args, **kwargs)

    key = jax.device_put(jax.random.key(0), replicated(mesh))
    with nn.intercept_methods(count):
        shapes = abstract_state(recipe, mesh)
        calls = len(traced)
        state = init_state(recipe, key, mesh)
    assert calls and len(traced) == calls
    assert jax.tree.map(lambda leaf: leaf.shape, state) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    expected = jax.jit(lambda key: fresh_state(recipe, key))(jax.random.key(0))
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
