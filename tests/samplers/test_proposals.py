"""Proposals: tables of counts, rejection that keeps the distribution, and drafts of draws longer than examples."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_model
from scipy.special import log_softmax

from arjax.conditionals import make_conditional
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.evaluation.sampling import prepare_sampler
from arjax.models import make_model
from arjax.samplers import Request, Resources, Speculative, make_sampler
from arjax.samplers.base import Steps
from arjax.samplers.drafts import CountsDraft, OtherModel
from arjax.samplers.drafts.base import Place, log_table, target_of_draft
from arjax.samplers.drafts.counts import fit_count_model, table_of
from arjax.testing.models import params_of
from arjax.testing.statistics import LEAST_P, chi_square

KEYS = jax.random.split(jax.random.key(2))


def resources(rows):
    return Resources(lambda split, num: Batch(rows), None)


@pytest.mark.parametrize(
    "draft", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("other", "self")), "counts"]
)
def test_rejection_has_the_distribution_of_the_model(draft, num=4096):
    """Chi-square against the enumerated joint; proposals stay, are replaced, and steps follow behind them."""
    event = EventSpec((4,), kind="tokens", num_levels=3)
    network, orders = ("masked_transformer", "uniform") if draft == "self" else ("made", "")
    model = make_model(event, network, ordering="random(seed=1)", orders=orders)
    params = params_of(model)
    values = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
    p = np.exp(np.asarray(of_model(model, "log_prob", params, values), np.float64))
    drawn = model.draw(params, jax.random.split(jax.random.key(8), num), sampler=rejection(draft, event, model, params))
    counts = np.bincount(np.asarray(drawn.x) @ 3 ** np.arange(4)[::-1], minlength=81)
    assert chi_square(counts, p / p.sum()) > LEAST_P
    accepted = np.asarray(drawn.stats["accepted"])
    assert 0 < accepted.mean() < 3 and accepted.max() > 1


def rejection(draft, event, model, params):
    if draft == "other":
        other = make_model(event, "fvsbn", ordering="random(seed=1)")
        return Speculative(source=OtherModel(model=other, params=params_of(other)), window=3, coupling="rejection")
    text = "self" if draft == "self" else "counts(order=1)"
    sampler = make_sampler(f"speculative(draft={text!r}, window=3, coupling='rejection')")
    return sampler.prepare(model, params, resources(np.arange(160).reshape(-1, 4) ** 2 % 3))


def test_a_table_of_counts_is_the_count_model():
    """Every conditional of some rows, the first ones with fewer values before them."""
    rows = np.random.default_rng(0).integers(0, 3, (20, 6)) ** 2 % 3
    counted = fit_count_model((rows, np.ones(rows.shape, bool)), (rows[:5], np.ones((5, 6), bool)), 3, 2)
    row_H, log_p_RV = table_of(counted)
    before = np.concatenate([np.full((20, 2), 3), rows], 1)  # 3 stands for no value
    history = before[:, :-2] * 4 + before[:, 1:-1]
    found = np.take_along_axis(log_p_RV[row_H[history]], rows[..., None], -1)[..., 0]
    np.testing.assert_allclose(found, counted.log_prob(rows, np.ones(rows.shape, bool)), rtol=1e-5)


def test_counts_leave_out_masked_sites():
    """Padding behind short examples is no data."""
    event = EventSpec((6,), kind="tokens", num_levels=3)
    x, mask = np.zeros((30, 6), int), np.arange(6) < 3
    x[:, :3] = 1, 2, 1
    batch = Batch(x, mask=np.broadcast_to(mask, x.shape).astype(np.float32))
    model = make_model(event, "lstm", hidden_size=4)
    draft = CountsDraft(order=1).prepare(model, None, Resources(lambda *args: batch, None))
    p = np.exp(draft.log_p_RV)[np.asarray(draft.row_H)]  # after 0, 1, 2, and at the beginning
    assert p[1].argmax() == 2 and p[2].argmax() == 1 and p[:, 0].max() < 0.3


@pytest.mark.slow
def test_proposals_have_the_probabilities_that_they_are_drawn_with():
    """At a temperature, too, at which a mixture of logistics draws from another distribution than p^(1/T)."""
    head = make_conditional("discretized_logistic_mixture(components=2)", EventSpec((1,), kind="levels", num_levels=6))
    features = np.array([0.3, -0.3, -0.6, 0.6, -2.5, -1.0], np.float32)

    @jax.jit
    def drawn(temperature):
        x = jax.vmap(head.sample, (0, None, None))(jax.random.split(KEYS[0], 4096), features, temperature)
        return x, log_table(head, features, temperature)

    for temperature in (1.0, 0.4, 3.0):
        x, log_p = drawn(temperature)
        p = np.exp(np.asarray(log_p, np.float64))
        assert chi_square(np.bincount(x, minlength=6), p / p.sum()) > LEAST_P


def proposal_of(model, params, draft, temperature, k):
    """The first k values that a draft proposes, and log q of every value of each, [k, V]."""

    @jax.jit
    def of(params, temperature):
        steps = Steps(model, params, KEYS[:1], Request(temperature=temperature))
        target = target_of_draft(model, params, steps, draft)
        place = Place(jnp.zeros((1, *model.event.shape), jnp.int32), None, None, jnp.int32(0))
        state = draft.begin(target, place.canvas, None, 0)
        return draft.propose(target, state, place, k, target.steps.keys_SB[:, 0], True)[1]

    found = of(params, temperature)
    return np.asarray(found.values).ravel(), np.asarray(found.log_q).reshape(k, -1)


@pytest.mark.parametrize("draft", ["other", "counts"])
def test_log_q_of_proposals_is_that_of_the_draft_at_the_temperature(draft):
    """With a wrong q rejection draws from another distribution. Tables sharpen as p^(1/T), with the history so far."""
    event, temperature = EventSpec((4,), kind="tokens", num_levels=3), 0.4
    model = make_model(event, "made", hidden_sizes=(4,))
    params = params_of(model)
    if draft == "other":
        other = make_model(event, "gru", hidden_size=4)
        source = OtherModel(model=other, params=params_of(other))
        values, log_q = proposal_of(model, params, source, temperature, 4)
        table = of_model(other, "features", source.params, values[None])[0]
    else:
        source = CountsDraft(order=2).prepare(model, None, resources(np.arange(160).reshape(-1, 4) ** 2 % 3))
        values, log_q = proposal_of(model, params, source, temperature, 4)
        before = np.concatenate([[3, 3], values])  # 3 stands for no value
        table = source.log_p_RV[source.row_H[before[:4] * 4 + before[1:5]]]
        assert np.abs(table[0] - source.log_p_RV[source.row_H[0]]).max() > 0.1  # no value is not the value 0
    np.testing.assert_allclose(log_q, log_softmax(np.asarray(table) / temperature, -1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_counts_propose_for_draws_that_are_longer_than_examples():
    model = make_model(EventSpec((8,), kind="tokens", num_levels=3), "gru", hidden_size=4)
    draft = CountsDraft(order=1).prepare(model, None, resources(np.arange(15).reshape(3, 5) % 3))
    assert np.exp(draft.log_p_RV)[draft.row_H[1]].argmax() == 2


@pytest.mark.slow
def test_a_run_proposes_for_draws_that_are_longer_than_its_examples():
    event = EventSpec((8,), kind="tokens", num_levels=3)
    gru, made = make_model(event, "gru", hidden_size=4), make_model(event, "made")

    def prepared(draft):
        open_run = {"runs/a": SimpleNamespace(model=draft, params=None)}.__getitem__
        return prepare_sampler("speculative(draft='runs/a')", gru, None, None, open_run, length=20)

    assert prepared(gru).source.model.event.grid_shape == (20,)
    with pytest.raises(UserError, match="does not go on"):
        prepared(made)
