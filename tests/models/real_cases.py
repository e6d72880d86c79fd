"""Three real numbers, a context, and a small model of them, which is made once."""

from __future__ import annotations

import functools

import numpy as np
from law_cases import random_like

from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model

REAL = EventSpec((3,), kind="real")
Z = np.random.default_rng(0).normal(size=(2, 3))
C = np.ones((2, 2))


@functools.cache
def model_of_reals():
    model = make_model(REAL, "made", hidden_sizes=(4,), context=ContextSpec("vector", 2))
    return model, random_like(model.param_shapes)
