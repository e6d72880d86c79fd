"""Keys: the noise of an example is that of its own key, however many are drawn with it."""

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import make_model
from arjax.samplers import example_keys

KEY = jax.random.key(0)
TOKENS, REAL, VECTORS = EventSpec((2, 3), (), "tokens", 4), EventSpec((2, 3), (), "real", 0), EventSpec((3,), (4,))
#: Network, event, and what else a model is made of.
MODELS = {
    "blocks": ("made", TOKENS, {"partition": "sizes(sizes=(1, 3, 2))", "ordering": "random(seed=1)"}),
    "pixels": ("gated_pixelcnn", TOKENS, {}),
    "real": ("nade", REAL, {"conditional": "student_t_mixture(components=2)"}),
    "products": ("made", VECTORS, {"conditional": "mixture_of_products(components=3)"}),
    "nested": ("rnn", VECTORS, {"conditional": "nested(network='nade', hidden_size=6, features=4)"}),
    "nested_block": ("made", TOKENS, {"partition": "rows", "conditional": "nested(hidden_sizes=(6,), features=4)"}),
}


def build(name: str):
    network, event, choice = MODELS[name]
    model = cases.small_model(network, event, **choice)
    return model, cases.gentle_params_of(model) if event is REAL else cases.params_of(model)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("blocks", "products"))) for name in MODELS]
)
def test_an_example_depends_on_its_own_key_whatever_is_drawn_with_it(name):
    model, params = build(name)
    keys = example_keys(KEY, 12)
    rows = np.arange(7), np.array([5, 8, 0, 3, 9, 10, 11])
    many, others = (np.asarray(model.draw(params, keys[some]).x) for some in rows)
    tolerance = {} if model.event.is_discrete else {"rtol": 1e-4, "atol": 1e-5}  # shapes round differently
    np.testing.assert_allclose(others[[0, 2, 3]], many[[5, 0, 3]], **{"rtol": 0} | tolerance)
    assert len(np.unique(many.reshape(7, -1), axis=0)) > 3


@pytest.mark.slow
def test_an_example_has_its_own_noise_in_every_step():
    """Uniform conditionals: the draws are the noise, and equal keys draw equal examples."""
    event = EventSpec((40,), (), "tokens", 97)
    model = make_model(event, "independent")
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.param_shapes)
    keys = example_keys(KEY, 50)
    x = np.asarray(model.draw(params, keys).x)
    assert (x[:, None] == x[None]).mean() < 0.05  # the diagonal, and chance
    assert (x[:, :, None] == x[:, None]).mean() < 0.05
    twice = np.resize([3, 1, 3], 50)
    np.testing.assert_array_equal(model.draw(params, keys[twice]).x, x[twice])


@pytest.mark.parametrize("keys", [KEY, np.zeros((3, 2), np.uint32), example_keys(KEY, 4).reshape(2, 2), None])
def test_keys_that_are_none_are_refused(keys):
    model = cases.small_model("made", TOKENS)
    with pytest.raises(UserError, match=r"^the keys of a draw are as from"):
        model.draw(cases.params_of(model), keys)


def test_a_key_of_the_old_style_is_a_key():
    model = cases.small_model("made", TOKENS, context=ContextSpec("label", 3))
    params = cases.params_of(model)
    drawn = [model.sample(params, key, 3, context=1) for key in (jax.random.PRNGKey(7), jax.random.key(7))]
    np.testing.assert_array_equal(*drawn)
