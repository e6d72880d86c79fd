"""Small parts of models by themselves: words, defaults of all kinds, refusals, and draws of parts."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_cases import latent_model
from refusals import refusal

from arjax.core.batch import Batch, Score
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models import Model, ModelChoice, draws, extras, latent, make_model, recipe_of, tokens
from arjax.models.cascade import CascadeModel, _loss_name
from arjax.models.gaussian_mixture import GaussianMixtureModel
from arjax.models.kinds import KINDS
from arjax.models.latent import LATENT, LatentModel
from arjax.models.nested import Nested
from arjax.samplers import Cached, Draw, Request

KEY = jax.random.key(5)
MADE = ModelChoice(network="made", network_options={"hidden_sizes": (2,)})


def stub(**fields):
    return types.SimpleNamespace(**fields)


def example(kind, name):
    of_kind = KINDS.get(kind).EXAMPLES[name]
    return make_model(of_kind.event, of_kind.choice, context=of_kind.context)


def test_models_in_words(monkeypatch):
    monkeypatch.setattr(Model, "num_params", 1234)
    made = make_model(EventSpec((3,)), MADE, context=ContextSpec("label", 3))
    words = EventSpec((3,)).in_words
    given = f"1,234 parameters; {words}; given label; raster order; bernoulli"
    assert repr(made) == f"AutoregressiveModel(made; {given})"
    several = make_model(EventSpec((3,)), "made", hidden_sizes=(2,), orders="pool(num=2)")
    assert repr(several).endswith(" and others; bernoulli)") and "given" not in repr(several)
    assert extras.model_in_words(made) == "made in raster order"
    mixture = make_model(EventSpec((3,)), kind="mixture", parts={"a": MADE, "b": MADE})
    assert repr(mixture) == f"MixtureModel({mixture.members[0]!r}, {mixture.members[1]!r})"
    assert extras.model_in_words(mixture) == repr(mixture), "by default"
    hidden = latent_model()
    parts = f"prior={hidden.prior!r}, likelihood={hidden.likelihood!r}, posterior={hidden.posterior!r}"
    assert repr(hidden) == f"LatentModel({parts})"
    gaussians = example("gaussian_mixture", "real")
    assert extras.model_in_words(gaussians) == "mixture of 3 Gaussians"
    in_words = f"mixture of 3 Gaussians; 1,234 parameters; {gaussians.event.in_words}"
    assert repr(gaussians) == f"GaussianMixtureModel({in_words})"
    stages = example("cascade", "subsampled")
    one, two = stages.parts
    assert repr(stages) == f"CascadeModel({stages.stages}; 1={one!r}, 2={two!r})"
    assert extras.model_in_words(stages) == f"cascade of {stages.stages}: made in raster order; made in raster order"
    flow = example("flow", "binary")
    assert repr(flow) == f"FlowModel(2 blocks; 1,234 parameters; {flow.blocks[0]!r})"
    chain = example("discrete_chain", "uniform")
    start = f"{type(chain.denoiser).__name__}; 1,234 parameters; 3 steps; {chain.event.in_words}"
    assert repr(chain) == f"DiscreteChain({start})"
    coder = example("tokens", "fsq")
    names = ("encoder", "decoder", "prior", "quantizer")
    assert repr(coder) == f"TokensModel({', '.join(f'{name}={getattr(coder, name)!r}' for name in names)})"


def test_functions_of_models_that_only_some_kinds_have():
    assert extras.in_sequence(object()) is False and extras.sampled_part(object()) == ""
    assert extras.report_of_examples(object(), None, None, None) == {} and extras.code_numbers(object(), 1, 2) is None
    assert extras.examples_of_part(object(), None, "batch") == "batch" and extras.check_trained(object(), None) is None
    assert list(extras.pictures(object(), None, None, None)) == []
    assert "object gives no probabilities of the values of its steps" in refusal(extras.step_members, object(), None)
    assert "needs a model of the kind latent or tokens, or a chain" in refusal(extras.sampled_bound, object(), 3)


@pytest.mark.parametrize(
    ("ordering", "partition", "orders", "expected"),
    [
        ("raster", "sites", "", True),
        ("reversed", "sites", "", False),
        ("raster", "blocks(size=2)", "", True),
        ("raster", "sites", "pool(num=2)", False),
    ],
)
def test_what_lies_in_sequence(ordering, partition, orders, expected):
    model = make_model(EventSpec((4,)), MADE.network, ordering=ordering, partition=partition, orders=orders)
    assert extras.in_sequence(model) is expected
    mixture = stub(members=[model, make_model(EventSpec((4,)), MADE)])
    assert extras.in_sequence.dispatch(KINDS.get("mixture"))(mixture) is expected
    assert extras.in_sequence.dispatch(LatentModel)(stub(likelihood=model)) is expected
    assert extras.in_sequence.dispatch(tokens.TokensModel)(stub(decoder=model)) is expected


def test_an_order_within_a_step_counts_where_its_sites_depend_on_one_another():
    for inner, expected in (("raster", True), ("reversed", False)):
        model = make_model(
            EventSpec((4,)),
            **{"network": "made", "hidden_sizes": (4,), "partition": "blocks(size=2)"},
            conditional=f"nested(features=2, ordering={inner!r}, hidden_sizes=(4,))",
        )
        assert extras.in_sequence(model) is expected


def test_options_that_no_file_can_hold():
    recipe = recipe_of(make_model(EventSpec((3,)), MADE))
    assert recipe.as_json()["network"]["hidden_sizes"] == (2,)
    other = recipe.choice.__class__("autoregressive", {"ordering": object}, "made", {})
    said = refusal(recipe.__class__(recipe.event, choice=other).as_json)
    assert said == f"a model with the option ordering={object!r} cannot be saved: it is no plain value"


def test_em_needs_the_examples_that_a_file_does_not_hold():
    model = example("gaussian_mixture", "real")
    by_em = GaussianMixtureModel(model.event, 3, -3.0, "em", 1, 10, -1)
    said = refusal(by_em.init, KEY)
    assert said.startswith("EM needs training examples, and a model from a file holds none: give them to make_model")


def drawn(number):
    return Draw(np.full((2, 2, 2), number), {"network_calls": jnp.full(2, number), "steps": jnp.full(2, 1)})


@pytest.mark.parametrize("given", [False, True])
def test_latents_are_drawn_or_given(given, monkeypatch):
    log, model, keys = [], latent_model(), jax.random.split(KEY, 2)
    made = [Draw(np.ones((2, 2), np.float32), {"network_calls": jnp.full(2, 5), "steps": jnp.full(2, 7)}), drawn(3)]

    def draw_part(part, params, keys, sampler, options):
        log.append((part, params, keys, sampler, options))
        return made[-1] if part is model.likelihood else made[0]

    monkeypatch.setattr(latent, "draw_part", draw_part)
    params, options = {"prior": "p", "likelihood": "l"}, Request(temperature=0.5)
    more = {"latents": np.zeros((2, 2), np.float32)} if given else {}
    found = model.draw_examples(params, keys, "sampler", options, **more)
    assert found.x is made[-1].x and len(log) == 2 - given
    of_prior, of_likelihood = (jax.vmap(jax.random.split)(keys)[:, i] for i in range(2))
    part, of_part, part_keys, sampler, asked = log[-1]
    assert (part, of_part, sampler, asked.temperature) == (model.likelihood, "l", "sampler", 0.5)
    assert (part_keys == of_likelihood).all() and asked.context[LATENT].tolist() == [[1 - given] * 2] * 2
    assert found.stats["network_calls"].tolist() == [3 if given else 8] * 2
    if not given:
        part, of_part, part_keys, sampler, asked = log[0]
        assert (part, of_part, sampler, asked.temperature) == (model.prior, "p", Cached(), 1.0)
        assert (part_keys == of_prior).all()
    wrong = refusal(model.draw_examples, params, keys, "sampler", options, latents=np.zeros((2, 3)))
    assert wrong == "latents has shape (2, 3), but must have (B, 2)"


def test_statistics_of_parts_add_up():
    both = draws.added_stats({"a": 1, "member": 2}, {"a": 5, "b": 3, "member": 4})
    assert both == {"a": 6, "b": 3} and draws.added_stats({}, {"member": 4}) == {"member": 4}


def test_a_sampler_reads_the_part_whose_steps_it_goes_through(monkeypatch):
    outer, inner = latent_model(), []
    sampler = stub(
        opened=lambda model, open_run: inner.append(("opened", model, open_run)),
        prepare=lambda model, params, resources: inner.append((model, params, resources.examples("train", 3))),
    )
    draws.opened(sampler, outer, "open")
    resources = draws.Resources(lambda split, num: (split, num), "open")
    draws.prepared(sampler, outer, {"likelihood": "l"}, resources)
    assert inner == [("opened", outer.likelihood, "open"), (outer.likelihood, "l", ("train", 3))]
    assert draws.prepared(sampler, example("discrete_chain", "absorbing"), None, resources) is sampler


def test_names_of_losses():
    score, plain = (lambda name: Score(None, "none", {name: 0})), Score(None, "exact", {"stage_1": 0})
    assert _loss_name([score("simple"), score("simple")]) == "simple"
    assert _loss_name([score("simple"), score("energy")]) == _loss_name([score("simple"), plain]) == "sum_of_losses"


@pytest.mark.parametrize("loss", [False, True])
def test_some_stages_stand_for_all(loss):
    """Stage k of each example has the score k + 1: two of three stages stand for three halves of their sum."""
    asked = []

    class Part:
        def score(self, params, batch, *, key, train):
            asked.append((params, key, train))
            terms = {"simple": -batch.x} if loss else {}
            return Score(batch.x, "none" if loss else "exact", terms)

    self = stub(
        **{"train_stages": 2, "score_kind": "bound", "traits": {"training_loss"} if loss else set()},
        **{"model_of": lambda k: Part(), "params_of": lambda k, params: (k, params)},
    )
    stages = [Batch(jnp.full(6, k + 1.0)) for k in range(3)]
    score = CascadeModel._score_of_some(self, "params", stages, KEY)
    assert set(np.asarray(score.log_prob).tolist()) <= {1.5 * 3, 1.5 * 4, 1.5 * 5} and len(score.log_prob) == 6
    assert (score.kind, list(score.terms)) == (("none", ["simple"]) if loss else ("bound", []))
    assert asked == [((0, "params"), jax.random.fold_in(KEY, i), True) for i in range(2)]
    if loss:
        np.testing.assert_array_equal(score.terms["simple"], -score.log_prob)


def test_the_entropy_of_a_nested_value_is_that_along_a_draw():
    self = stub(
        **{"key": None, "sample": lambda key, features: ("drawn", key, features), "block_entropy": "entropy"},
        _of_one=lambda *args: args,
    )
    number, features, (word, key, read) = Nested.entropy(self, "features")
    assert (number, features, word, read) == ("entropy", "features", "drawn", "features")
    assert key == jax.random.key(0)
    self.key = KEY
    assert Nested.entropy(self, "features")[2][1] is KEY
