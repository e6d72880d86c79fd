"""Recipes: each model is made again of its own, in whatever way it was made; and no recipe splits compiled programs."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal
from registries import within

from arjax.core.batch import Score
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.interop import load_huggingface, save_huggingface
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.models import KINDS, Model, ModelChoice, Recipe, make, make_model, recipe_of
from arjax.models.kinds import arrays_of
from arjax.samplers import Draw
from arjax.testing.examples import random_like

BITS, REAL = EventSpec((4,)), EventSpec((3,), (), "real")
MADE = {"hidden_sizes": (5,)}


def again(model):
    recipe = recipe_of(model)
    return make(Recipe.from_json(json.loads(json.dumps(recipe.as_json())), recipe.arrays))


def assert_same(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, one, two)))
    assert recipe_of(one).as_json() == recipe_of(two).as_json()


@pytest.mark.parametrize(
    "options",
    [
        {"ordering": "chow_liu"},
        {"ordering": "chow_liu", "graph": "chow_liu_tree", "network": "structured_made"},
        {"orders": "weighted(of=('chow_liu', 'uniform'), weights=(3, 1))"},
    ],
)
def test_orders_that_were_read_off_data_come_back_without_the_data(options):
    x = np.random.default_rng(0).integers(0, 2, (50, 4))
    x[:, 3] = x[:, 0]
    model = make_model(BITS, **({"network": "made", "data": x, **MADE} | options))
    assert_same(again(model), model)
    assert "read off" in refusal(make, dataclasses.replace(recipe_of(model), arrays=None))


def test_an_order_is_passed_as_arrays():
    arrays = {"factorization/order": np.array([2, 0, 3, 1]), "factorization/sizes": [2, 2]}
    recipe = Recipe(BITS, choice=ModelChoice(network="made", network_options=MADE), arrays=arrays)
    model = make(recipe)
    assert np.asarray(model.factorization.blocks).tolist() == [[2, 0], [3, 1]]
    assert_same(again(model), model)
    for changes, sentence in (
        ({"factorization/order": [0, 1, 2, 2]}, "not a permutation"),
        ({"factorization/order": [[0, 1, 2, 3]]}, "the type int32 and 1 axes, not int64[1, 4]"),
        ({"factorization/order": [0.5, 1, 2, 3]}, "the type int32 and 1 axes, not float64"),
        ({"factorization/sizes": [2, 1]}, "add up to 3"),
        ({"factorization/parents": np.ones((4, 4), bool)}, "no graph of edges from earlier steps"),
    ):
        assert sentence in refusal(make, dataclasses.replace(recipe, arrays=arrays | changes))
    order_alone = dataclasses.replace(recipe, arrays={"factorization/order": np.arange(4)})
    assert "there is no array 'factorization/sizes'" in refusal(make, order_alone)


def test_whole_models_are_parts_with_recipes_of_their_own():
    """As runs in a mixture: of other compute types, and a start by EM."""
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    parts = {
        "runs/b": make_model(REAL, "made", dtype="bfloat16", ordering="reversed", **MADE),
        "runs/a": make_model(REAL, kind="gaussian_mixture", components=2, data=x),
        "new": ModelChoice(network="gru", network_options={"hidden_size": 4}),
    }
    model = make_model(REAL, kind="mixture", parts=parts)
    assert model.members[:2] == tuple(parts[name] for name in ("runs/b", "runs/a"))
    other = again(model)
    assert other.members[0].network.dtype == "bfloat16" and other.members[1].start == "em"
    assert recipe_of(other).as_json() == recipe_of(model).as_json()
    arrays = dict(arrays_of(model))
    assert {"0/factorization/order", "2/factorization/order"} < arrays.keys()
    assert all(np.array_equal(array, arrays[name]) for name, array in arrays_of(other))


def test_a_model_that_was_changed_has_no_recipe():
    model = make_model(BITS, "made", **MADE)
    for changed in (dataclasses.replace(model, orders=None), jax.tree.map(lambda leaf: leaf, model)):
        assert "has no recipe, as it was put together or changed by hand" in refusal(recipe_of, changed)
        mixed = make_model(BITS, kind="mixture", parts={"a": changed})
        assert "this AutoregressiveModel has no recipe" in refusal(recipe_of, mixed)


def test_call_strings_and_options_are_complete():
    """So a recipe says the same under other defaults, and that of a config is that of a notebook."""
    options = recipe_of(make_model(BITS, "made", ordering="random", **MADE)).choice.options
    assert options["ordering"] == "random(seed=0)" and options["conditional"] == "bernoulli"
    calls = "gaussian_mixture(components=10)", "gaussian_mixture()"
    one, two = (make_model(REAL, "made", conditional=call) for call in calls)
    assert recipe_of(one).as_json() == recipe_of(two).as_json()


def test_a_folder_of_another_library_is_saved_as_a_model_file(tmp_path):
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2, "position": "learned", "target_position": False}
    model = make_model(EventSpec((5,), (), "tokens", 7), "transformer", tie_embeddings=True, **sizes)
    save_huggingface(tmp_path / "gpt2", model, random_like(model.param_shapes))
    model, params = load_huggingface(tmp_path / "gpt2", length=4)
    found = load_model(save_model(tmp_path / "m.safetensors", SavedModel(model, params, None, None, {})))
    assert_same(found.model, model)


@dataclasses.dataclass(frozen=True)
class Weird:
    """A value of a type that no file knows."""

    base: int


def test_a_kind_with_fields_of_new_types_is_one_class(tmp_path):
    """A static object that is made of an option, and an array that was drawn when the model was made."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True, eq=False)
    class Offset(Model):
        base: Weird = dataclasses.field(metadata={"static": True})
        offset: jax.Array

        event, context_spec, kind = EventSpec((2,), (), "real"), NO_CONTEXT, "exact"

        @classmethod
        def make(cls, recipe, *, base: int = 3):
            recipe.only()
            is_new = recipe.arrays is None
            return cls(Weird(base), np.random.rand(2) if is_new else recipe.array("offset", np.float64, 1))

        def init(self, key):
            return {"scale": jnp.ones(())}

        def score(self, params, batch, *, key=None, train=False):
            return Score(-((batch.x - self.offset) ** 2).sum(-1), "exact")

        def draw_examples(self, params, keys, sampler, options):
            ones = jnp.ones(len(keys), jnp.int32)
            return Draw(jnp.zeros((len(keys), 2)), {"network_calls": ones, "steps": ones})

    with within(KINDS):
        KINDS.register("offset")(Offset)
        model = make_model(Offset.event, kind="offset", base=5)
        saved = SavedModel(model, {"scale": np.float32(1)}, None, None, {})
        found = load_model(save_model(tmp_path / "m.safetensors", saved))
    assert_same(found.model, model)
    assert found.model.base.base == 5 and found.model.offset.tolist() == model.offset.tolist()
