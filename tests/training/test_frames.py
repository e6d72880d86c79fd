"""How many frames of the project lie between a train step and the call of the network."""

from __future__ import annotations

import traceback
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np

import arjax
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.networks.dense.made import MADE
from arjax.objectives import make_objective
from arjax.training.optimizer import make_optimizer
from arjax.training.state import StepSpec, fresh_state
from arjax.training.step import train_step

PACKAGE = str(Path(arjax.__file__).parent)


def test_few_frames_lie_between_a_train_step_and_the_network():
    """The score reads like its equation: checks stand at the edge, and nothing is there that only forwards."""
    model = make_model(EventSpec((8, 8), (), "levels", 17), "made", hidden_sizes=(9,))
    spec = StepSpec(model, make_objective("teacher_forcing"), make_optimizer("adam", 1e-3, 1), total_steps=1)
    key, batch, calls = jax.random.key(0), Batch(np.zeros((2, 8, 8), np.uint8)), []
    state = jax.eval_shape(lambda: fresh_state(spec, key))

    def note(method, args, kwargs, context):
        if isinstance(context.module, MADE) and context.method_name == "__call__":
            calls.append([frame.name for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)])
        return method(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda state: train_step(spec, state, batch, key), state)
    (frames,) = calls
    between = [*frames[frames.index("train_step") :], "__call__"]
    assert len(between) <= 12, between
