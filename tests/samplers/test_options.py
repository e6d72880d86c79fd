"""Samplers from call strings: options are checked before anything compiles."""

import dataclasses

import jax
import law_cases as cases
import numpy as np
import pytest

from arjax.config import base_config, dataset_config, network_config
from arjax.config.validate import validate
from arjax.core import programs
from arjax.core.errors import UserError
from arjax.core.options import opt
from arjax.core.spec import EventSpec
from arjax.models import KINDS, Model, make_model
from arjax.models.draws import check_draws
from arjax.samplers import SAMPLERS, Cached, Draw, Request, Sampler, make_sampler
from arjax.samplers.drafts.base import Draft
from arjax.testing.examples import random_like

MISTAKES = {
    "cashed": "^unknown sampler 'cashed', did you mean 'cached'",
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


def test_a_program_of_one_class_never_serves_another():
    """Their fields are equal; without a field for the class, jaxlib 0.10 confuses a few of these."""

    def of_class(base, number):
        value = {"__annotations__": {"size": int}, "size": opt(1), "number": number, "__abstractmethods__": frozenset()}
        made = dataclasses.dataclass(frozen=True)(type("Mine", (base,), value))
        made.__abstractmethods__ = frozenset()
        return jax.tree_util.register_dataclass(made)

    number_of = jax.jit(lambda value, x: x + value.number)
    for base in (Sampler, Draft, Model):
        values = [of_class(base, number)() for number in range(40)]
        assert [int(number_of(value, np.int32(0))) for value in values] == list(range(40))
    assert len(set(map(jax.tree.structure, (make_sampler(name) for name in SAMPLERS)))) == len(SAMPLERS)
    assert jax.tree.structure(make_sampler("cached")) != jax.tree.structure(make_sampler("greedy"))
    assert repr(make_sampler("cached")) == "Cached(chunk=0)" and make_sampler("cached") != make_sampler("greedy")


def test_the_memory_of_a_program_is_looked_at_for_other_options_of_a_sampler(monkeypatch):
    compiled = []
    monkeypatch.setattr(
        programs, "compile_if_it_fits", lambda what, program, beam, x, times: compiled.append(beam.width)
    )
    program = jax.jit(lambda beam, x: x * beam.width)
    for width in (2, 3, 2):
        assert programs.call_if_it_fits("the arrays", program, make_sampler(f"beam(width={width})"), 5) == 5 * width
    assert compiled == [2, 3]


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
    x, stats = sampler(model, params, keys, Request(canvas))
    assert x.tolist() == [[3, 3]] * 3 and stats["steps"].tolist() == [2] * 3


def test_a_sampler_that_is_built_already_is_taken_as_it_is():
    sampler, model = make_sampler("cached(chunk=3)"), cases.small_model("made", EventSpec((2,)))
    assert make_sampler(sampler) is sampler
    drawn = model.sample(cases.params_of(model), jax.random.key(0), 2, sampler=sampler)
    np.testing.assert_array_equal(drawn, model.sample(cases.params_of(model), jax.random.key(0), 2))


def test_the_first_values_of_sequences_are_observed_at_the_first_sites():
    model = cases.small_model("made", EventSpec((4,), (), "tokens", 5))
    params, keys = cases.params_of(model), jax.random.split(jax.random.key(0), 3)
    given, observed = np.array([2, 1, 0, 0]), np.array([True, True, False, False])
    x = np.asarray(model.draw(params, keys, given=given, observed=observed).x)
    np.testing.assert_array_equal(model.draw(params, keys, given=[2, 1]).x, x)
    np.testing.assert_array_equal(model.draw(params, keys, given=x[:, :2]).x, x)
    assert (x[:, :2] == [2, 1]).all() and (x[0] != x[1]).any()
    for wrong in (given, [[2, 1]], 2, []):
        with pytest.raises(UserError, match=r"the first sites of 3 sequences of length 4 have shape \('P',\) or"):
            model.draw(params, keys, given=wrong)
    image = cases.small_model("made", EventSpec((2, 2), (), "tokens", 5))
    with pytest.raises(UserError, match="go together: pass both or neither"):
        image.draw(cases.params_of(image), keys, given=[2, 1])


@pytest.mark.parametrize("kind", ["mixture", "discrete_chain", "flow"])
def test_kinds_refuse_the_options_that_they_cannot_take(kind):
    """In a draw, and before a training."""
    case = next(iter(KINDS[kind].EXAMPLES.values()))
    model = make_model(case.event, case.choice, context=case.context)
    params, keys = random_like(model.param_shapes), jax.random.split(jax.random.key(0), 3)
    for options in ({"top_k": 2}, {"given": 0, "observed": 0}, {"min_p": 0.1}):
        for call in (
            lambda: model.draw(params, keys, **options),  # noqa: B023
            lambda: check_draws(model, make_sampler("cached"), Request(**options)),  # noqa: B023
        ):
            with pytest.raises(UserError, match=f"cannot draw with {min(options)}"):
                call()
    with pytest.raises(UserError, match="draw takes no 'temprature', did you mean 'temperature'"):
        model.draw(params, keys, temprature=0.5)
