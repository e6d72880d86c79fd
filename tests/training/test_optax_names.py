"""Transformations of optax by their full names: what is found, with which options, and what is refused."""

import jax
import numpy as np
import optax
import pytest
from loop_helpers import tiny_config

from arjax.config import optimizer_config
from arjax.config.validate import validate
from arjax.core.errors import UserError
from arjax.training.optimizer import make_optimizer

PARAMS = {"layer": {"kernel": np.float32([[1, -2], [3, 4]]), "bias": np.float32([1, 1])}}
GRADIENTS = jax.tree.map(lambda leaf: leaf / 3, PARAMS)


def checked(name: str, **options):
    """The rule of a config with this section."""
    config = tiny_config()
    config.optimizer = optimizer_config(name, **options)
    return config.optimizer, validate(config).optimizer


def test_they_take_their_steps_with_their_own_options():
    options = {"momentum": 0.9, "weight_decay_rate": 0.1, "learning_rate": 0.5}  # two whose defaults are None
    section, rule = checked("optax.adafactor", **options)
    assert section.decay_rate == 0.8 and section.momentum == 0.9 and "weight_decay_mask" not in section
    assert checked("optax.lion")[0].b2 == 0.99  # not that of every config
    cases = [
        (make_optimizer(rule, 0.5, 10), optax.adafactor(0.5, momentum=0.9, weight_decay_rate=0.1)),
        (make_optimizer(checked("optax.contrib.prodigy")[1], 1.0, 10), optax.contrib.prodigy(1.0)),
        # without a rate of its own
        (make_optimizer(checked("optax.trace", decay=0.5)[1], 0.1, 10), optax.sgd(0.1, momentum=0.5)),
    ]

    @jax.jit
    def updates(gradients, params):
        return [[o.update(gradients, o.init(params), params)[0] for o in pair] for pair in cases]

    for found, expected in updates(GRADIENTS, PARAMS):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("os.system", "unknown optimizer 'os.system'"),
        ("optax._src.alias.adam", "no public function of optax"),
        ("optax.contrib._muon.muon", "no public function of optax"),
        ("optax.jax.jit", "no public function of optax"),
        ("optax.adam.__call__", "no public function of optax"),
        ("optax.__builtins__", "no public function of optax"),
        ("optax.global_norm", "no public function of optax"),
        ("optax.GradientTransformation", "no public function of optax"),
        ("optax.contrib", "no public function of optax"),
        ("optax.", "no public function of optax"),
        ("optax.chain", "'optax.chain' takes other transformations"),
        ("optax.masked", "needs the option 'inner'"),
        ("optax.polyak_sgd", "'optax.polyak_sgd' cannot train with these options: .*value"),
        ("optax.sm3", "'optax.sm3' cannot train with these options"),
    ],
)
def test_all_else_is_refused_in_one_sentence(name, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        checked(name)
    assert "\n" not in str(refusal.value)


def test_wrong_options_are_refused():
    for options, sentence in (
        ({"decay_rat": 0.9}, "has no option 'decay_rat', did you mean 'decay_rate'"),
        ({"decay_rate": "high"}, "'decay_rate' of the optimizer 'optax.adafactor' must be a number"),
        ({"weight_decay_mask": print}, r"config\.optimizer\.weight_decay_mask must be true or false"),
        ({"momentum": "much"}, "'optax.adafactor' cannot train with these options"),
    ):
        with pytest.raises(UserError, match=sentence):
            checked("optax.adafactor", **options)
    config = tiny_config(optimizer__name="optax.adafactor")
    with pytest.raises(UserError, match=r"lacks optimizer\.\w+.*optimizer_config\('optax.adafactor'\)"):
        validate(config)
