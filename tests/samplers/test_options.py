"""Samplers from call strings: options are checked before anything compiles."""

import dataclasses

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.config import base_config, dataset_config, network_config
from arjax.config.validate import validate
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.models import KINDS, Model, make_model
from arjax.models.draws import check_draws
from arjax.samplers import SAMPLERS, Cached, Draw, DrawOptions, Sampler, make_sampler
from arjax.testing.examples import random_like

MISTAKES = {
    "cashed": "^unknown sampler 'cashed', did you mean 'cached'",
    "cached(chunks=3)": "^sampler 'cached' has no option 'chunks', did you mean 'chunk'",
    "cached(chunk='3')": "^the option 'chunk' of the sampler 'cached' must be an integer, not '3'$",
    "cached(chunk=-1)": "^the option 'chunk' of the sampler 'cached' must be at least 0, not -1$",
    "cached(3)": "^cannot read",
}


def test_a_sampler_and_a_kind_that_are_no_pytrees_are_one_sentence(scope):
    """A subclass does not inherit the registration of its base."""
    of_class = {"__doc__": "No pytree.", "__module__": __name__, "make": classmethod(lambda cls, recipe: cls())}
    for registry, base in ((SAMPLERS, Cached), (KINDS, Model)):
        scope(registry)
        registry.register("leaf")(type("Leaf", (base,), of_class))
    for call in (lambda: make_sampler("leaf"), lambda: make_model(EventSpec((2,)), kind="leaf")):
        with pytest.raises(UserError, match=r"'leaf' is no pytree: write @jax.tree_util.register_dataclass .* Leaf$"):
            call()


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_are_one_sentence_in_a_config_and_in_a_call(text):
    config = base_config()
    config.dataset, config.network = dataset_config("digits"), network_config("made")
    config.train.steps = 1
    validate(config)
    config.sample.sampler = text
    model = cases.small_model("made", EventSpec((2,)))
    for call in (
        lambda: make_sampler(text),
        lambda: validate(config),
        lambda: model.sample(cases.params_of(model), jax.random.key(0), 2, sampler=text),
    ):
        with pytest.raises(UserError, match=MISTAKES[text]):
            call()


@pytest.mark.parametrize("name", SAMPLERS.names())
def test_a_sampler_is_a_value_and_a_pytree_without_leaves(name):
    sampler = make_sampler(name)
    assert sampler == make_sampler(name + "()") and hash(sampler) == hash(make_sampler(name))
    assert not jax.tree.leaves(sampler)


def test_a_sampler_of_ones_own_has_options_and_may_hold_arrays(scope):
    """One that draws the values of another array: arrays are arguments of its program, and compile nothing anew."""
    scope(SAMPLERS)

    @SAMPLERS.register("constant")
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Constant(Sampler):
        value: int = opt(1)
        added: jax.Array | float = 0

        def draw(self, model, params, steps, canvas, context):
            return Draw(canvas * 0 + self.value + self.added, {})

    model = cases.small_model("made", EventSpec((2,), (), "levels", 9))
    params, keys = cases.params_of(model), jax.random.split(jax.random.key(0), 3)
    assert model.sample(params, jax.random.key(0), 3, sampler="constant(value=4)").tolist() == [[4, 4]] * 3
    canvas = np.zeros((3, 2), np.int32)
    sampler = dataclasses.replace(make_sampler("constant"), added=np.int32(2))
    x, stats = sampler(model, params, keys, canvas, DrawOptions())
    assert x.tolist() == [[3, 3]] * 3 and stats["steps"].tolist() == [2] * 3


def test_a_sampler_that_is_built_already_is_taken_as_it_is():
    sampler, model = make_sampler("cached(chunk=3)"), cases.small_model("made", EventSpec((2,)))
    assert make_sampler(sampler) is sampler
    drawn = model.sample(cases.params_of(model), jax.random.key(0), 2, sampler=sampler)
    np.testing.assert_array_equal(drawn, model.sample(cases.params_of(model), jax.random.key(0), 2))


def test_the_options_of_a_draw_are_one_value_or_arguments():
    model = cases.small_model("made", EventSpec((4,), (), "tokens", 5))
    params, keys = cases.params_of(model), jax.random.split(jax.random.key(0), 3)
    given, observed = np.array([2, 0, 0, 0]), np.array([True, False, False, False])
    short = {"given": given, "observed": observed, "temperature": 0.7, "top_k": 2}
    one, other = model.draw(params, keys, DrawOptions(**short)), model.draw(params, keys, **short)
    assert (np.asarray(one.x) == np.asarray(other.x)).all() and (np.asarray(one.x)[:, 0] == 2).all()
    greedy = np.asarray(model.draw(params, keys, **(short | {"top_k": 1})).x)
    assert (greedy == greedy[0]).all() and (np.asarray(one.x)[:, 1:] != np.asarray(one.x)[:1, 1:]).any()
    with pytest.raises(UserError, match="one value or keyword arguments, not both"):
        model.draw(params, keys, DrawOptions(), temperature=0.7)
    assert DrawOptions(**short).used() == ["given", "observed", "temperature", "top_k"] and DrawOptions().used() == []


@pytest.mark.parametrize("kind", ["mixture", "discrete_chain", "flow"])
def test_kinds_refuse_the_options_that_they_cannot_take(kind):
    """By the short form, as one value, and before a training."""
    case = next(iter(KINDS[kind].EXAMPLES.values()))
    model = make_model(case.event, case.choice, context=case.context)
    params, keys = random_like(model.param_shapes), jax.random.split(jax.random.key(0), 3)
    for options in ({"top_k": 2}, {"given": 0, "observed": 0}, {"min_p": 0.1}):
        for call in (
            lambda: model.draw(params, keys, **options),  # noqa: B023
            lambda: model.draw(params, keys, DrawOptions(**options)),  # noqa: B023
            lambda: check_draws(model, make_sampler("cached"), DrawOptions(**options)),  # noqa: B023
        ):
            with pytest.raises(UserError, match=f"cannot draw with {min(options)}"):
                call()
    with pytest.raises(UserError, match="draw takes no 'temprature', did you mean 'temperature'"):
        model.draw(params, keys, temprature=0.5)
