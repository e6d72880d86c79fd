"""Kinds of models in configs: sections, parts, overrides, refusals."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from refusals import each_refused, refusal

from arjax.config import base_config, dataset_config, model_config, network_config, part
from arjax.config.build import build
from arjax.config.files import apply_overrides, from_json, to_json
from arjax.config.validate import validate
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.core.traits import ABILITIES, OTHERS, require
from arjax.models import KINDS, ModelChoice, make_model
from arjax.models.latent import LatentModel
from arjax.models.mixture import MixtureModel
from arjax.training.plan import model_flops


def config(**changes):
    found = base_config()
    found.dataset = dataset_config("digits")
    found.train.steps = 10
    hidden = {"hidden_sizes": (8,)}
    found.model = model_config("latent", latents=(3,))
    found.parts = {
        "prior": part("constant"),
        "likelihood": part("independent", **hidden),
        "posterior": part("independent", **hidden),
    }
    found.update(changes)
    return found


def test_parts_of_parts():
    deep = dict(config().parts) | {"prior": part(model=model_config("latent", latents=(2,)), parts=config().parts)}
    both = {"plain": part("made", {"ordering": "snake"}), "deep": part(model=model_config("latent"), parts=deep)}
    found = config()
    found.model, found.parts = model_config("mixture"), both
    validate(found)
    model = build(found).model
    assert isinstance(model, MixtureModel) and model.score_kind == "bound"
    inner = next(member for member in model.members if isinstance(member, LatentModel))
    assert inner.latent_event.shape == (50,) and inner.prior.latent_event.shape == (2,)
    again = from_json(to_json(found))
    validate(again)
    assert to_json(again) == to_json(found)


def test_a_part_under_two_names_is_two_parts():
    """Also in the parts of parts, in another config with the same part, and where the parts are merged in."""
    hidden = part("independent", hidden_sizes=(8,))
    both = {"prior": part("constant"), "likelihood": hidden, "posterior": hidden}
    deep = part(model=model_config("latent", latents=(2,)), parts=both)
    merged, first, other = config(), config(), config()
    merged.parts = {}
    with merged.parts.unlocked():
        merged.update(parts=both | {"prior": deep})
    first.parts, other.parts = both | {"prior": deep}, both
    changes = {"parts.likelihood": "(5, 6)", "parts.prior.parts.likelihood": "(6,)"}
    for found in (first, merged):
        apply_overrides(found, [(f"{name}.network.hidden_sizes", sizes) for name, sizes in changes.items()])
        apply_overrides(found, [("model.latents", "(4,)")])
        validate(found)
        model = build(found).model
        assert model.likelihood.network.hidden_sizes == (5, 6) and model.latent_event.shape == (4,)
        assert model.prior.likelihood.network.hidden_sizes == (6,)
        assert model.posterior.network.hidden_sizes == model.prior.posterior.network.hidden_sizes == (8,)
    assert other.parts.likelihood.network.hidden_sizes == hidden.network.hidden_sizes == (8,)


OVERRIDES = {
    "model.kind=flow": "config.model.kind cannot be changed on the command line",
    "parts.prior.network.name=made": "config.parts.prior.network.name cannot be changed on the command line",
    "parts.prio.network.name=made": "unknown config field 'parts.prio.network.name'",
    "parts.likelihood.network.hidden_sizes=many": "config.parts.likelihood.network.hidden_sizes",
    "model.latents=3.5": "config.model.latents",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_overrides_that_cannot_be(override):
    assert OVERRIDES[override] in refusal(apply_overrides, config(), [tuple(override.split("=", 1))])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.parts.__delitem__("prior"), "needs the part 'prior'"),
        (lambda c: c.parts.prior.network.update(name=""), "config.parts.prior names no network"),
        (lambda c: c.parts.prior.model.update(ordering="rastr"), "unknown ordering 'rastr', did you mean 'raster'"),
        (
            lambda c: c.parts.__setitem__("prior", ConfigDict({"network": {"name": "made"}})),
            "config.parts.prior lacks the section 'model'",
        ),
        (lambda c: c.__setitem__("parts", {"prior": "made"}), "config.parts.prior must be a part, made with part"),
        (lambda c: c.parts.prior.model.__delitem__("graph"), "lacks the field 'parts.prior.model.graph'"),
        (lambda c: c.parts.prior.network.__delitem__("name"), "config.parts.prior.network has no name"),
        (lambda c: c.parts.prior.__setitem__("dtype", "bfloat16"), "config.parts.prior has no field 'dtype'"),
        (lambda c: c.model.update(kind="latnt"), "unknown kind of model 'latnt', did you mean 'latent'"),
        (lambda c: c.model.update(size=3), "has no option 'size'"),
        (lambda c: c.network.update(network_config("made")), "has no network of its own, but 'made' is named"),
        (lambda c: c.update(objective="order_agnostic"), "needs config.model.orders.* and the kind 'latent' has none"),
        (lambda c: c.sample.update(length=20), "config.sample.length needs a model of the kind autoregressive"),
        (lambda c: c.evaluate.update(num_orders=2), "num_orders above 1 needs config.model.orders"),
        (lambda c: c.evaluate.update(steps=2), "config.evaluate.steps needs the conditionals"),
    ],
)
def test_configs_that_cannot_be(change, sentence):
    found = config()
    with found.unlocked(), found.parts.unlocked():
        change(found)
    with pytest.raises(UserError, match=sentence):
        validate(found)
        build(found)


def test_samples_of_latents_need_latents():
    found = config()
    found.model, found.parts, found.network = model_config("autoregressive"), {}, network_config("made")
    found.evaluate.samples = 5
    assert "needs a model of the kind latent" in refusal(build, found)


def test_denoisers_are_the_networks_of_chains():
    found = config(objective="denoising")
    found.model, found.parts = model_config("discrete_chain", num_steps=4), {}
    found.network = network_config("masked_transformer", width=8, num_layers=1, num_heads=2)
    validate(found)
    assert build(found).model.num_steps == 4
    found.network = network_config("lstm")
    assert "'lstm' only those of earlier steps: choose one of adaptive_mlp, " in refusal(build, found)
    found.model, found.network = model_config("autoregressive"), network_config("unet")
    assert "'unet' denoises the examples of a chain" in refusal(build, found)


@pytest.mark.parametrize(
    ("network", "products"), [("mamba2", 2), pytest.param("gated_delta_net", 3, marks=pytest.mark.slow)]
)
def test_recurrences_have_the_flops_of_their_steps(network, products):
    """Chunks compare all of their pairs and solve systems in place of steps: no utilisation counts this as work."""
    options = {"hidden_size": 16, "num_heads": 2, "num_layers": 2, "kernel_size": 0}
    sizes = {"state_size": 8} if network == "mamba2" else {"num_householder": 1}
    counted = []
    for chunk_size in (4, 16):
        model = make_model(
            EventSpec((16,), kind="tokens", num_levels=5), network, chunk_size=chunk_size, **options, **sizes
        )
        leaves = jax.tree.leaves_with_path(model.param_shapes)
        kernels = sum(leaf.size for path, leaf in leaves if path[-1].key == "kernel")
        counted.append(model_flops(model, model.param_shapes) / 3 - 2 * 16 * kernels)
    width, state = (32, 8) if network == "mamba2" else (16, 8)
    assert counted == [2 * products * 16 * 2 * width * state] * 2


def test_scores_that_are_drawn_have_a_plan():
    """Its forward pass needs a key."""
    model = build(config()).model
    assert model_flops(model, model.param_shapes) > 3 * 2 * 64 * 8


REAL, BITS = EventSpec((2,), kind="real"), EventSpec((2, 2))


def test_one_function_makes_models_of_every_kind():
    """Options are divided between the kind and its network; a choice says the same as names, and a part may be made."""
    flow = make_model(REAL, "made", kind="flow", num_blocks=1, hidden_sizes=(3,))
    choice = ModelChoice("flow", {"num_blocks": 1}, "made", {"hidden_sizes": (3,)})
    assert repr(make_model(REAL, choice)) == repr(flow) and flow.blocks[0].network.hidden_sizes == (3,)
    assert isinstance(flow, KINDS.get("flow")) and flow.base is None
    base = make_model(REAL, "made", conditional="gaussian_mixture(components=2)")
    assert make_model(REAL, "made", kind="flow", parts={"base": base}).base is base
    for case in KINDS.get("latent").EXAMPLES.values():
        assert make_model(case.event, case.choice, context=case.context).context_spec == case.context


made = functools.partial(make_model, BITS)
test_models_that_cannot_be_made = each_refused(
    (lambda: made("made", num_block=2, kind="flow"), "takes no 'num_block', did you mean 'num_blocks'"),
    (lambda: made("made", hidden_size=(3,)), "did you mean 'hidden_sizes'"),
    (lambda: made(ModelChoice(network="made"), ordering="snake"), "leave them out beside it"),
    (lambda: made(kind="mixture", parts={"a": "made"}), "a part is a ModelChoice or a model, not 'made'"),
    (lambda: made(kind="mixture", size=3), "has no option 'size', and no network is named"),
    (lambda: made("made", kind="mixtur"), "unknown kind of model 'mixtur', did you mean 'mixture'"),
    (lambda: made("made", parts={"a": ModelChoice()}), "'autoregressive' has no parts, not 'a'"),
    (lambda: made(kind="flow"), "the kind of model 'flow' needs a network"),
    (lambda: made("made", kind="latent"), "has no network of its own, but 'made' is named"),
    (lambda: require(made("made"), "latents", "this"), "this needs a model with latents, of the kind latent"),
    (lambda: require(made("made"), "wings", "this"), "this needs the ability 'wings', and Auto"),
)


def test_models_have_the_methods_of_their_abilities():
    """Each ability is that of a kind, which `require` returns with the methods that the ability stands for."""
    methods = {
        "conditionals": ("features", "head", "log_prob_per_site", "conditionals"),
        "queries": ("conditional_log_prob",),
        "guesses": ("guess",),
        "length": ("conditionals",),
        "latents": ("weights", "latent_event", "reparameterised"),
        "tokens": ("encoded", "log_prior", "log_likelihood"),
        "noise_levels": ("estimate", "train_steps"),
    }
    assert methods.keys() == ABILITIES.keys()
    known = set()
    for name in KINDS.names():
        example = next(iter(KINDS.get(name).EXAMPLES.values()))
        model = make_model(example.event, example.choice, context=example.context)
        assert model.traits <= ABILITIES.keys() | OTHERS.keys()
        known |= model.traits
        for word in model.traits & ABILITIES.keys():
            assert all(hasattr(require(model, word, "a test"), method) for method in methods[word]), (name, word)
    assert ABILITIES.keys() <= known


def test_call_strings_of_all_kinds_are_read_when_a_config_is_checked():
    found = config(objective="denoising")
    found.model, found.parts = model_config("block_diffusion", partition="blocks(size=8)"), {}
    found.network = network_config("block_transformer", width=8, num_layers=1, num_heads=2)
    assert build(found).about == "block_diffusion: block_transformer in raster order, in blocks blocks(size=8)"
    for option in ("ordering", "partition", "conditional"):
        found.model[option] = "cat"
        assert f"unknown {option} 'cat'" in refusal(validate, found)
        found.model[option] = model_config("block_diffusion")[option]


def test_orders_that_are_read_off_data_get_it_by_site():
    """Also those of blocks on a plane, from an array or from a function that is called where it is needed alone."""
    x = np.random.default_rng(0).integers(0, 2, (50, 2, 2))
    x[:, 1, 1] = 1 - x[:, 0, 0]
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    plain = make_model(BITS, "made", ordering="chow_liu", data=x)
    blocks = make_model(BITS, "block_transformer", kind="block_diffusion", ordering="chow_liu", data=lambda: x, **sizes)
    assert blocks.factorization.order.tolist() == plain.factorization.order.tolist()
    make_model(BITS, "made", data=lambda: pytest.fail("not needed"))
