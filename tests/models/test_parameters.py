"""Parameters that are not those of the model end in one sentence, whichever of its methods gets them."""

import jax
import numpy as np
import pytest
from law_cases import random_like
from real_cases import REAL, C, Z, model_of_reals

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def real_model():
    return model_of_reals()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "params must be the nested dict of arrays that model.init makes, not of type NoneType"),
        ({}, "these are not the parameters of this model: they lack '"),
        (
            random_like(make_model(REAL, "made", hidden_sizes=(4,), context=ContextSpec("vector", 3)).param_shapes),
            "has the shape .*, not ",
        ),
    ],
)
def test_parameters_of_something_else(real_model, wrong, message):
    model, _ = real_model
    calls = (
        lambda: model.log_prob(wrong, Z, context=C),
        lambda: model.sample(wrong, KEY, 2, context=C),
        lambda: model.conditional_log_prob(wrong, Z, query=[1, 0, 0], evidence=[0, 0, 0], context=C),
    )
    for call in calls:
        with pytest.raises(UserError, match=message):
            call()


def test_a_call_without_parameters_says_where_they_come_from(real_model):
    model, _ = real_model
    calls = (
        lambda: model.log_prob(Z, context=C),
        lambda: model.log_prob(x=Z, context=C),
        lambda: model.conditionals(Z),
        lambda: model.sample(KEY, 2),
        lambda: model.conditional_log_prob(Z, query=[1, 0, 0], evidence=[0, 0, 0]),
    )
    for call in calls:
        with pytest.raises(UserError, match=r"of its own: model\.init\(key\) or arjax\.fit_arrays gives them"):
            call()


def test_parameters_of_joint_conditionals_are_looked_at_too():
    event = EventSpec((2,), (2,))
    model = make_model(event, "made", hidden_sizes=(4,), conditional="nested(hidden_sizes=(4,), features=2)")
    params, x = random_like(model.param_shapes), np.zeros((1, 2, 2), int)
    assert np.isfinite(jax.jit(model.log_prob)(params, x)).all()
    inner = {**params["conditional"], "more": np.ones(2)}
    for wrong in ({**params, "conditional": inner}, {k: v for k, v in params.items() if k != "conditional"}):
        with pytest.raises(UserError, match=r"they (lack|hold) 'conditional"):
            model.log_prob(wrong, x)


def test_parameters_are_looked_at_without_a_pass(real_model):
    """Shapes are read once; after that a check neither traces nor reads values."""
    model, params = real_model
    shapes = model.param_shapes
    assert model.param_shapes is shapes
    assert jax.tree.map(lambda a: a.shape, shapes) == jax.tree.map(lambda a: a.shape, params)
