"""Samplers that read several steps in one call, and what proposes to them: values or distribution of the naive one."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import of_model
from refusals import refusal
from scipy.special import log_softmax

from arjax.conditionals import make_conditional
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.evaluation.sampling import prepare_sampler
from arjax.models import make_model
from arjax.networks.attention.transformer import Transformer
from arjax.samplers import Request, Resources, Speculative, make_sampler
from arjax.samplers.base import Steps
from arjax.samplers.drafts import CountsDraft, OtherModel
from arjax.samplers.drafts.base import Place, Target, log_table
from arjax.samplers.drafts.counts import fit_count_model, table_of
from arjax.samplers.fixed_point import FixedPoint
from arjax.testing.examples import all_values, random_x
from arjax.testing.models import params_of
from arjax.testing.statistics import LEAST_P, chi_square

EVENT = EventSpec((3, 4), kind="levels", num_levels=5)
ORDER = "random(seed=3)"
NUM = 24
KEYS = jax.random.split(jax.random.key(2), NUM)


def model_of(network="transformer", event=EVENT, **options):
    model = make_model(event, network, ordering=ORDER, **options)
    return model, params_of(model)


MODEL, PARAMS = model_of(width=16, num_layers=1, num_heads=2)
OTHER, OTHER_PARAMS = model_of("gru", hidden_size=8)
DRAFT = OtherModel(model=OTHER, params=OTHER_PARAMS)
FIRST = np.isin(np.arange(12), np.asarray(MODEL.factorization.order)[:5]).reshape(3, 4)
GIVEN = random_x(EVENT, NUM)


def draw(sampler, model=MODEL, params=PARAMS, keys=KEYS, **options):
    return model.draw(params, keys, sampler=sampler, **options)


NAIVE = np.asarray(draw("naive").x)
OBSERVED = {"given": GIVEN, "observed": FIRST}
CALLS = {
    "passes": "fixed_point",
    "window": "fixed_point(window=4)",
    "scanned-draft": Speculative(source=DRAFT, window=4),
    "draft-in-one-pass": Speculative(source=OtherModel(model=MODEL, params=PARAMS), window=5),
    "start": FixedPoint(source=DRAFT),
}


#: Those that start otherwise are slow: the values do not depend on the start.
SLOW = ("start", "draft-in-one-pass", "passes")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CALLS])
def test_values_are_those_of_the_naive_sampler(name):
    drawn = draw(CALLS[name])
    np.testing.assert_array_equal(drawn.x, NAIVE)
    calls = np.asarray(drawn.stats["network_calls"])
    assert (calls >= 1).all() and calls.mean() < 12
    assert name in SLOW or len(set(calls.tolist())) > 1  # those that have ended are not counted


@pytest.mark.slow
def test_a_draft_reads_the_observed_sites():
    expected = np.asarray(draw("naive", **OBSERVED).x)
    np.testing.assert_array_equal(draw(CALLS["scanned-draft"], **OBSERVED).x, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["scanned-draft", "window"])
def test_a_single_example_has_no_batch_axis_to_map_over(name):
    np.testing.assert_array_equal(draw(CALLS[name], keys=KEYS[:1]).x, NAIVE[:1])


@pytest.mark.slow
def test_the_model_as_its_own_draft_is_always_right():
    """Every call commits a whole window, and nothing else is counted."""
    drawn = draw(CALLS["draft-in-one-pass"])
    assert drawn.stats["network_calls"].tolist() == [3] * NUM  # 12 steps in windows of 5
    assert drawn.stats["accepted"].tolist() == [9] * NUM
    assert drawn.stats["steps"].tolist() == [12] * NUM
    whole = draw(FixedPoint(source=OtherModel(model=MODEL, params=PARAMS)))
    assert whole.stats["network_calls"].tolist() == [1] * NUM


@pytest.mark.slow
def test_progress_differs_between_examples():
    stats = draw(CALLS["window"]).stats
    assert len(set(stats["network_calls"].tolist())) > 1
    assert (stats["network_calls"] <= stats["batch_rounds"]).all()
    assert (stats["accepted"] + stats["network_calls"] == 12).all()


def resources(rows):
    return Resources(lambda split, num: Batch(rows), None)


@pytest.mark.parametrize("coupling", ["keys", pytest.param("rejection", marks=pytest.mark.slow)])
def test_counts_as_a_draft(coupling):
    sampler = make_sampler(f"speculative(draft='counts(order=2)', window=4, coupling={coupling!r})")
    sampler = sampler.prepare(MODEL, PARAMS, resources(np.asarray(NAIVE)))
    x = np.asarray(draw(sampler).x)
    assert (x == NAIVE).all() == (coupling == "keys")


@pytest.mark.slow
@pytest.mark.parametrize("num", [1, NUM])
def test_caches_that_grow_change_nothing(monkeypatch, num):
    """Windows over the ends of the loops, and of the sequence."""
    model, params = model_of(width=24, num_layers=1, num_heads=4, num_kv_heads=2, rotary=True, position="learned")
    expected = draw("naive", model, params, keys=KEYS[:num]).x
    monkeypatch.setattr(Transformer, "FIRST_LOOP", 3)
    drawn = draw("fixed_point(window=5)", model, params, keys=KEYS[:num])
    np.testing.assert_array_equal(drawn.x, expected)
    assert drawn.stats["network_calls"].max() > 4


def test_a_start_of_the_model_itself_counts_the_calls_for_its_prompt():
    """One call that reads the prompt, one that proposes, and at least one pass."""
    model = make_model(EVENT, "deep_nade", ordering=ORDER, orders="uniform", hidden_sizes=(8,))
    params = params_of(model)
    drawn = draw("fixed_point(start='self')", model, params, **OBSERVED)
    np.testing.assert_array_equal(drawn.x, draw("cached", model, params, **OBSERVED).x)
    assert np.asarray(drawn.stats["network_calls"]).min() >= 3


@pytest.mark.parametrize("draft", [DRAFT, OtherModel(model=MODEL, params=PARAMS)], ids=["stacked", "read-again"])
def test_a_draft_goes_on_from_the_steps_that_are_kept(draft):
    steps = Steps(MODEL, PARAMS, KEYS[:1], Request())
    target = Target.of(MODEL, PARAMS, steps, draft)

    @jax.jit
    def both(n):
        start = Place(jnp.zeros((1, *EVENT.shape), jnp.int32), None, None, jnp.int32(0))
        state = draft.begin(target, start.canvas, None, 0)
        after, proposal = draft.propose(target, state, start, 4, steps.keys_SB[:, 0], False)
        committed = start._replace(canvas=steps.place(start.canvas, start.t, proposal.values))
        kept = draft.keep(target, state, after, committed, n, 5)
        form, _ = target.precomputed
        carries = kept, draft.begin(target, committed.canvas, None, n)
        return [form.step(carry, committed.canvas, n, None)[1] for carry in carries]

    for n in (0, 2, 5):
        kept, expected = both(np.int32(n))
        np.testing.assert_allclose(kept, expected, atol=1e-5)


@pytest.mark.slow
def test_contexts_are_read():
    context = ContextSpec("label", 3)
    model = make_model(EVENT, "gru", ordering=ORDER, context=context, hidden_size=8)
    params, labels = params_of(model), np.arange(NUM) % 3
    expected = draw("naive", model, params, context=labels).x
    np.testing.assert_array_equal(draw("fixed_point(window=4)", model, params, context=labels).x, expected)


@pytest.mark.slow
def test_nothing_is_read_without_a_carry():
    model, params = model_of("masked_transformer", width=8, num_layers=1, num_heads=2, orders="uniform")
    drawn = draw("fixed_point(window=4)", model, params, **OBSERVED)
    assert (drawn.stats["accepted"] + drawn.stats["network_calls"] == 7).all()


def test_a_sampler_that_cannot_work_is_refused_before_a_training():
    real = make_model(EventSpec((4,), kind="real"), "made")
    joint = make_model(EVENT, "made", partition="blocks(size=2)", conditional="mixture_of_products(components=2)")
    for text, model, sentence in (
        ("speculative(draft='runs/a', coupling='rejection')", real, "needs a list of the probabilities"),
        ("speculative(draft='self')", OTHER, "several at once"),
        ("fixed_point(start='counts(order=2)')", joint, "one discrete value"),
        ("best(sampler='speculative')", real, "one discrete value"),
        ("fixed_point(window=1)", MODEL, "at least 2 steps"),
    ):
        assert sentence in refusal(make_sampler(text).check, model)
    best = make_sampler("best(sampler=\"speculative(draft='nowhere')\")")
    assert "no such run" in refusal(best.opened, MODEL, refuse)
    assert "no counts" in refusal(draw, "speculative")
    for other, sentence in ((real, "their events differ"), (make_model(EVENT, "gru", hidden_size=8), "other orders")):
        sampler = Speculative(source=OtherModel(model=other, params=None))
        assert sentence in refusal(sampler.prepare, MODEL, PARAMS, resources(NAIVE))
    pair = EventSpec((4,), (2,), kind="levels", num_levels=5)
    coupled = make_model(pair, "made", conditional="discretized_logistic_mixture(components=1)")
    draft, listed = OtherModel(model=coupled, params=None), make_model(pair, "made", conditional="categorical")
    assert "the draft lacks the list" in refusal(draft.check, listed, True)


def refuse(workdir):
    raise UserError(f"no such run: {workdir}")


@pytest.mark.slow
def test_a_run_is_a_draft():
    sampler = make_sampler("speculative(draft='runs/other', window=4)")
    run = SimpleNamespace(model=OTHER, params=OTHER_PARAMS)
    sampler = sampler.prepare(MODEL, PARAMS, Resources(None, {"runs/other": run}.__getitem__))
    np.testing.assert_array_equal(draw(sampler).x, NAIVE)
    assert prepare_sampler("naive", MODEL, PARAMS, None, None) == make_sampler("naive")


@pytest.mark.parametrize(
    "draft", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("other", "self")), "counts"]
)
def test_rejection_has_the_distribution_of_the_model(draft, num=4096):
    """Chi-square against the enumerated joint; proposals stay, are replaced, and steps follow behind them."""
    event = EventSpec((4,), kind="tokens", num_levels=3)
    network, orders = ("masked_transformer", "uniform") if draft == "self" else ("made", "")
    model = make_model(event, network, ordering="random(seed=1)", orders=orders)
    params = params_of(model)
    values = all_values(event)
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
    """The first k values that a draft proposes, and log q of every value of each, [k, V]: from the beginning on and,
    likewise, behind the first of them.
    """

    @jax.jit
    def of(params, temperature, x, t):
        steps = Steps(model, params, KEYS[:1], Request(temperature=temperature))
        target = Target.of(model, params, steps, draft)
        state, place = draft.begin(target, x[None], None, t), Place(x[None], None, None, t)
        return draft.propose(target, state, place, k, target.steps.keys_SB[:, 0], True)[1]

    first = of(params, temperature, np.zeros(model.event.shape, np.int32), np.int32(0))
    for t in range(1, k):
        later = of(params, temperature, np.asarray(first.values).reshape(model.event.shape), np.int32(t))
        np.testing.assert_array_equal(later.values[: k - t], first.values[t:])
        np.testing.assert_allclose(later.log_q[: k - t], first.log_q[t:], rtol=1e-4, atol=1e-5)
    return np.asarray(first.values).ravel(), np.asarray(first.log_q).reshape(k, -1)


@pytest.mark.parametrize("draft", [pytest.param("other", marks=pytest.mark.slow), "counts"])
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
def test_counts_and_runs_propose_for_draws_that_are_longer_than_examples():
    event = EventSpec((8,), kind="tokens", num_levels=3)
    gru, made = make_model(event, "gru", hidden_size=4), make_model(event, "made")
    draft = CountsDraft(order=1).prepare(gru, None, resources(np.arange(15).reshape(3, 5) % 3))
    assert np.exp(draft.log_p_RV)[draft.row_H[1]].argmax() == 2

    def prepared(draft):
        open_run = {"runs/a": SimpleNamespace(model=draft, params=None)}.__getitem__
        return prepare_sampler("speculative(draft='runs/a')", gru, None, None, open_run, length=20)

    assert prepared(gru).source.model.event.grid_shape == (20,)
    assert "does not go on" in refusal(prepared, made)
