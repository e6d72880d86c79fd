"""Tokenizers with a prior: their two terms, the sum over all tokens, draws, priors of every form, and refusals."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from built import with_params
from compiled import of_model
from latent_cases import EVENT, HIDDEN, KEY, PARTS, X, log_bernoulli, through
from refusals import each_refused, refusal

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.interop.model_file import SavedModel, load_model, save_model
from arjax.models import ModelChoice, draws, make_model
from arjax.models.extras import check_trained, examples_of_part, sampled_bound
from arjax.models.tokens import FINGERPRINT, fingerprint
from arjax.objectives import make_objective
from arjax.samplers import Resources, make_sampler
from arjax.testing.examples import all_values, random_x

LOCAL = ModelChoice(network="independent", network_options={"width": 6, "num_blocks": 1})
RESIDUAL = {"quantizer": "residual(scales=(1, 2), of='vq(codes=3, dims=2)')", "decoder": LOCAL, "encoder": LOCAL}


def tokens_model(
    quantizer="fsq(levels=(3, 2))", grid=(2,), event=EVENT, prior=None, decoder=HIDDEN, encoder=HIDDEN, **more
):
    parts = {"encoder": encoder, "decoder": decoder, "prior": prior or ModelChoice(network="made")}
    return make_model(event, ModelChoice("tokens", {"quantizer": quantizer, "grid": grid}, parts=parts), **more)


@pytest.fixture(scope="module")
def small():
    return with_params(tokens_model(), 1.0)


def score_of(model, params):
    return np.asarray(of_model(model, "score", params, Batch(X)).log_prob)


def over_tokens(model, params):
    """log p(x) of all examples, by the sum over all values of the tokens."""
    values = all_values(model.prior.event)

    @jax.jit
    def joint(params, tokens):
        tokens = jnp.broadcast_to(tokens, (len(X), *tokens.shape))
        codes = model.quantizer.lookup(params["quantizer"], model.quantizer.numbers_of(tokens), model.grid)
        return model.prior.log_prob(params["prior"], tokens) + model.log_likelihood(params, codes, Batch(X))

    return np.logaddexp.reduce([joint(params, value) for value in values])


def test_the_terms_are_those_of_its_equations(small):
    """h, the digits of FSQ, the codes and the pixels in numpy; the prior scores the tokens as it does alone."""
    model, params = small
    h = through(params["encoder"], X.reshape(16, -1)).reshape(16, 2, 2, 2)[..., 0]  # means, beside log-scales
    levels = np.array([3, 2])
    half, offset = (levels - 1) * 1.001 / 2, np.array([0.0, 0.5])
    z = np.round(np.tanh(h + np.arctanh(offset / half)) * half - offset)
    tokens = ((z + levels // 2) * np.array([1, 3])).sum(-1)
    assert len(np.unique(tokens)) > 2
    logits = through(params["decoder"], (z / (levels // 2)).reshape(16, -1))
    distortion = -log_bernoulli(X.reshape(16, -1), logits).sum(-1)
    rate = -np.asarray(of_model(model.prior, "log_prob", params["prior"], tokens.astype(np.int32)))
    score = of_model(model, "score", params, Batch(X))
    np.testing.assert_array_equal(of_model(model, "tokens", params, X), tokens)
    np.testing.assert_allclose(score.terms["distortion"], distortion, rtol=1e-4)
    np.testing.assert_allclose(score.terms["rate"], rate, rtol=1e-5)
    np.testing.assert_allclose(score.log_prob, -rate - distortion, rtol=1e-4)
    assert score.kind == model.score_kind == "bound" and "biased" not in model.traits


def test_the_sum_over_all_tokens_holds_the_bound_to_account(small):
    """It is a distribution over x, the bound is below it, and meets it where the prior has one value of the tokens."""
    model, params = small
    exact, bound = over_tokens(model, params), of_model(model, "score", params, Batch(X)).log_prob
    assert abs(np.exp(exact).sum() - 1) < 1e-5
    assert (np.asarray(bound) < np.asarray(exact)).all()
    certain = tokens_model(prior=ModelChoice(network="independent"))
    params = with_params(certain, 1.0)[1]
    params["encoder"] = jax.tree.map(np.zeros_like, params["encoder"])  # one value of the tokens for all x
    number = int(np.asarray(of_model(certain, "tokens", params, X))[0, 0])
    params["prior"] = jax.tree.map(np.zeros_like, params["prior"])
    params["prior"]["site"]["bias"][..., number] = 60.0
    found = over_tokens(certain, params), of_model(certain, "score", params, Batch(X)).log_prob
    np.testing.assert_allclose(*found, atol=1e-5)


def test_the_sum_over_digits_has_those_that_count_as_the_largest():
    """Where the levels of the digits differ, several values of the tokens are one code, and draws have all of them."""
    digits = tokens_model("fsq(levels=(2, 3), digits=True)", (1,))
    params = with_params(digits, 1.0)[1]
    exact = over_tokens(digits, params)
    assert abs(np.exp(exact).sum() - 1) < 1e-5
    assert (score_of(digits, params) < np.asarray(exact)).all()


def test_the_importance_bound_lies_between_the_score_and_the_sum_over_all_tokens(small):
    """With one token its posterior is the true one: the bound is log p(x). With two, its weights are unbiased. A
    posterior of one code gives the most probable z.
    """
    model, params = with_params(tokens_model("fsq(levels=(3, 2))", (1,)), 1.0)
    of_one = model.importance_bound(params, Batch(X), KEY, 1)
    np.testing.assert_allclose(of_one, over_tokens(model, params), atol=1e-4)

    model, params = small
    exact, score = np.asarray(over_tokens(model, params)), score_of(model, params)
    many = np.asarray(model.importance_bound(params, Batch(X), KEY, 2000))
    np.testing.assert_allclose(many, exact, atol=0.2)
    assert abs((many - exact).mean()) < 0.02
    best = np.asarray(model.importance_bound(params, Batch(X), KEY, 3, 1))
    np.testing.assert_allclose(best, score, atol=1e-4)


@pytest.mark.slow
def test_the_importance_bound_grows_with_its_draws(small):
    model, params = small
    exact, score = np.asarray(over_tokens(model, params)), score_of(model, params)
    one = np.asarray(model.importance_bound(params, Batch(X), KEY, 1))
    assert score.mean() < one.mean() < exact.mean()
    few = np.asarray(model.importance_bound(params, Batch(X), KEY, 500, 2))
    assert score.mean() < few.mean() < exact.mean()


def test_gradients_of_the_distortion_reach_the_encoder_and_those_of_the_rate_the_prior_alone(small):
    model, params = small

    def term(params, name):
        return model.score(params, Batch(X), train=True, key=KEY).terms[name].mean()

    slopes = jax.jit(jax.grad(term), static_argnums=1)
    moves = {
        name: {part for part, slope in slopes(params, name).items() if any(map(np.any, jax.tree.leaves(slope)))}
        for name in ("rate", "distortion")
    }
    assert moves == {"rate": {"prior"}, "distortion": {"encoder", "decoder"}}


@pytest.mark.slow
def test_draws_are_tokens_of_the_prior_then_pixels(small):
    model, params = small
    keys = jax.random.split(KEY, 64)
    drawn = model.draw(params, keys)
    assert drawn.stats["prior_calls"].tolist() == [2] * 64 and drawn.stats["network_calls"].min() > 2
    tokens = jnp.asarray(np.arange(64)[:, None] % 6 * [[1, 1]], jnp.int32)
    fixed = model.draw(params, keys, tokens=tokens, temperature=1e-6)
    assert "prior_calls" not in fixed.stats
    z = model.quantizer.lookup({}, tokens, (2,))
    mode = model.decoder.guess(params["decoder"], jnp.zeros((64, 2, 2), jnp.int32), {"z": z})
    np.testing.assert_array_equal(fixed.x, mode)
    cold = np.asarray(model.draw(params, keys, temperature=1e-6).x)
    assert len(np.unique(cold.reshape(64, -1), axis=0)) == 1  # the temperature is that of the prior, too
    top = np.asarray(model.draw(params, keys, top_k=1).x)
    assert len(np.unique(top.reshape(64, -1), axis=0)) > 1  # one value of the tokens, any pixels given these


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantizer", "grid", "prior"),
    [
        ("fsq(levels=(3, 3), digits=True)", (2, 2), ModelChoice(options={"conditional": "nested(features=4)"})),
        ("fsq(levels=(4, 2), digits=True)", (2,), ModelChoice(options={"conditional": "ordinal"})),
        ("lfq(bits=2)", (2, 2), ModelChoice(network="masked_transformer", options={"orders": "uniform"})),
        ("vq(codes=3, dims=2)", (2, 2), ModelChoice(options={"ordering": "random(seed=2)"})),
        (RESIDUAL["quantizer"], (2, 2), ModelChoice(options={"partition": "sizes(sizes=(1, 4))"})),
    ],
)
def test_priors_of_every_form(quantizer, grid, prior):
    """Digits under nested and ordinal conditionals, any order, another order, one scale after the other."""
    options = {"width": 8, "num_layers": 1, "num_heads": 2} if prior.network else {"hidden_sizes": (8,)}
    prior = ModelChoice(network=prior.network or "made", options=prior.options, network_options=options)
    sizes = HIDDEN if len(grid) == 1 else LOCAL
    model, params = with_params(tokens_model(quantizer, grid, prior=prior, encoder=sizes, decoder=sizes), 0.5)
    assert np.isfinite(jax.jit(lambda p: model.score(p, Batch(X)).log_prob)(params)).all()
    drawn = model.sample(params, KEY, 3)
    assert drawn.shape == (3, 2, 2) and set(np.unique(drawn)) <= {0, 1}
    agnostic = make_objective("token_prior(of='order_agnostic')")
    forcing, joint = map(make_objective, ("token_prior", "tokenizer(rate=1)"))
    if model.prior.orders is None:
        forcing.check(model)
        joint.check(model)
        with pytest.raises(UserError, match=r"the prior of the kind 'tokens': .* needs model\.orders"):
            agnostic.check(model)
    else:  # one of the orders would be trained, and all of them promised
        agnostic.check(model)
        make_objective("tokenizer").check(model)
        for objective in (forcing, joint):
            with pytest.raises(UserError, match=r"one of the orders|of which teacher_forcing trains one"):
                objective.check(model)
    if "residual" in quantizer:  # the sites of a scale are independent given coarser ones
        reads = model.prior.network.dependencies(model.prior.factorization)
        np.testing.assert_array_equal(reads, [[False] * 5] + [[True] + [False] * 4] * 4)


@pytest.mark.slow
def test_codes_near_their_pixels_and_colour_channels_and_a_decoder_with_own_reading():
    """A Gated PixelCNN of 4 x 4 pixels with 2 x 2 codes as local context reads them; encoders read colours."""
    decoder = ModelChoice(network="gated_pixelcnn", network_options={"num_layers": 2, "hidden_size": 4})
    model, params = with_params(
        tokens_model("fsq(levels=(3, 3))", (2, 2), EventSpec((4, 4)), decoder=decoder, encoder=LOCAL)
    )
    assert model.decoder.context_spec.local == ("z",) and model.encoder.context_spec.local == ("x",)
    x = random_x(model.event, 3)
    one, other = (model.log_likelihood(params, jnp.full((3, 2, 2, 2), value), Batch(x)) for value in (-1.0, 1.0))
    assert np.isfinite(one).all() and not np.allclose(one, other)
    colours = tokens_model("fsq(levels=(3, 3))", (2, 2), EventSpec((4, 4, 3)), decoder=LOCAL, encoder=LOCAL)
    assert colours.encoder.context_spec.local == ("x",)


def test_a_prior_refuses_another_tokenizer(small, tmp_path):
    model, params = small
    trained = params | {FINGERPRINT: fingerprint(params)}
    check_trained(model, trained)
    other = jax.tree.map(lambda leaf: leaf + 1e-3, params)
    words = "the prior was trained for the tokens of another encoder or quantizer"
    assert words in refusal(check_trained, model, trained | {"encoder": other["encoder"]})
    decoder_alone = trained | {"decoder": other["decoder"]}
    for name, kept in (("fine", decoder_alone), ("mixed", trained | {"encoder": other["encoder"]})):
        save_model(tmp_path / name, SavedModel(model, kept, None, None, {}))
    load_model(tmp_path / "fine")
    assert words in refusal(load_model, tmp_path / "mixed")
    marks = np.asarray(fingerprint(params))
    assert marks.max() < 2**16 and (marks == np.round(marks)).all()
    swapped = params | {"encoder": jax.tree.map(lambda leaf: leaf[::-1], params["encoder"])}
    assert not np.array_equal(fingerprint(swapped), marks)  # the places of numbers count


def test_samplers_read_the_tokens_of_the_examples(small, monkeypatch):
    """All of them, as the prior does in training: no masks."""
    monkeypatch.setattr("arjax.models.tokens.TOGETHER", 10)
    model, params = small
    tokens, given = np.asarray(of_model(model, "tokens", params, X)), Batch(X, mask=0 * X)
    assert examples_of_part(model, params, given).mask is None
    asked, sampler = [], make_sampler("speculative(draft='counts(order=1)')")

    def prepared(model, params, batch):
        resources = Resources(lambda *what: asked.append(what) or batch, None)
        return draws.prepared(sampler, model, params, resources).source

    found, expected = prepared(model, params, given), prepared(model.prior, params["prior"], Batch(tokens))
    np.testing.assert_array_equal(found.row_H, expected.row_H)
    np.testing.assert_array_equal(found.log_p_RV, expected.log_p_RV)
    assert len(asked) == 4 and asked[:2] == asked[2:]


@pytest.mark.slow
def test_rounds_of_an_optimal_schedule_are_measured_on_tokens():
    network = {"width": 8, "num_layers": 1, "num_heads": 2}
    prior = ModelChoice(network="masked_transformer", options={"orders": "uniform"}, network_options=network)
    model, params = with_params(tokens_model(grid=(3,), prior=prior, context=ContextSpec("label", 3)), 0.5)
    read = Resources(lambda *what: Batch(X, {"label": np.arange(16) % 3}), None)
    sampler = draws.prepared(make_sampler("parallel(steps=2, schedule='optimal')"), model, params, read)
    assert sum(sampler.sizes) == 3 and len(sampler.sizes) == 2
    assert model.sample(params, KEY, 2, sampler=sampler, context=1).shape == (2, 2, 2)


def check(call, model):
    make_objective(call).check(model)


BITS = ModelChoice("latent", {"latents": (2,), "values": "binary"}, parts=PARTS)
BOTH = "weighted(of=('tokenizer', 'token_prior'), weights=(1.0, 1.0))"
SEVEN = EventSpec((3,), (), "tokens", 7)
Z = ContextSpec(z=EventSpec((), (2,), "real"))
test_what_cannot_be_is_refused = each_refused(
    (lambda m, p: m.sample(p, KEY, 1, given=X[0], observed=np.ones((2, 2), bool)), "its tokens depend on all of it"),
    (lambda m, p: sampled_bound(tokens_model(grid=(2, 2), **RESIDUAL), 5), "has no distances of its codes"),
    (lambda m, p: check("tokenizer(rate=1)", tokens_model(prior=BITS)), "the prior of .* draws discrete latents"),
    (lambda m, p: check("teacher_forcing", m), "the kind tokens has tokenizer and token_prior"),
    (lambda m, p: check("tokenizer", make_model(EVENT, "made")), "of the kind tokens, not AutoregressiveModel"),
    (lambda m, p: check(BOTH, m), r"cannot be added \(tokenizer\(rate=1\)"),
    (lambda m, p: tokens_model(prior=make_model(SEVEN, "made")), "the prior .*, not of 3 sites, 7 tokens"),
    (lambda m, p: tokens_model("fsqq"), "unknown quantizer 'fsqq'"),
    (lambda m, p: tokens_model(encoder=ModelChoice(network="made")), "the encoder .* its sites are independent"),
    (lambda m, p: tokens_model(decoder=ModelChoice(network="constant")), "the decoder .* its network reads no context"),
    (lambda m, p: tokens_model(context=Z), "needs the part 'z'|called z and x, and 'z' is there"),
    (lambda m, p: tokens_model("residual(scales=(1, 4))"), "a grid of 4 x 4 vectors, not 2"),
    given=lambda: with_params(tokens_model()),
)


def test_tokenizers_alone_may_have_priors_of_discrete_latents():
    check("tokenizer", tokens_model(prior=BITS))
