"""Samplers that read several steps in one call: the values of the naive one, and how many calls they need."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.evaluation.sampling import prepare_sampler
from arjax.models import make_model
from arjax.networks.attention.transformer import Transformer
from arjax.samplers import FixedPoint, Request, Resources, Speculative, make_sampler
from arjax.samplers.base import Steps
from arjax.samplers.drafts import OtherModel
from arjax.samplers.drafts.base import Place, target_of_draft
from arjax.testing.examples import random_x
from arjax.testing.models import params_of

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
SLOW = ("start", "draft-in-one-pass")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in CALLS])
def test_values_are_those_of_the_naive_sampler(name):
    drawn = draw(CALLS[name])
    np.testing.assert_array_equal(drawn.x, NAIVE)
    calls = np.asarray(drawn.stats["network_calls"])
    assert (calls >= 1).all() and calls.mean() < 12


@pytest.mark.slow
def test_a_draft_reads_the_observed_sites():
    """Law 4 tries passes and windows on what is observed."""
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


def resources(rows, open_run=None):
    return Resources(lambda split, num: Batch(rows), open_run)


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


@pytest.mark.slow
def test_a_start_of_the_model_itself_counts_the_calls_for_its_prompt():
    """One call that reads the prompt, one that proposes, and at least one pass."""
    model = make_model(EVENT, "deep_nade", ordering=ORDER, orders="uniform", hidden_sizes=(8,))
    params = params_of(model)
    drawn = draw("fixed_point(start='self')", model, params, **OBSERVED)
    np.testing.assert_array_equal(drawn.x, draw("cached", model, params, **OBSERVED).x)
    assert np.asarray(drawn.stats["network_calls"]).min() >= 3


def test_a_draft_goes_on_from_the_steps_that_are_kept():
    steps = Steps(MODEL, PARAMS, KEYS[:1], Request())
    target = target_of_draft(MODEL, PARAMS, steps, DRAFT)

    @jax.jit
    def both(n):
        start = Place(jnp.zeros((1, *EVENT.shape), jnp.int32), None, None, jnp.int32(0))
        state = DRAFT.begin(target, start.canvas, None, 0)
        after, proposal = DRAFT.propose(target, state, start, 4, steps.keys_SB[:, 0], False)
        committed = start._replace(canvas=steps.place(start.canvas, start.t, proposal.values))
        kept = DRAFT.keep(target, state, after, committed, n, 5)
        return kept, DRAFT.begin(target, committed.canvas, None, n)

    for n in (0, 2, 5):
        kept, expected = both(np.int32(n))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), kept, expected)


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
    cannot = {
        "speculative(draft='runs/a', coupling='rejection')": (real, "needs a list of the probabilities"),
        "speculative(draft='self')": (OTHER, "several at once"),
        "fixed_point(start='counts(order=2)')": (joint, "one discrete value"),
        "best(sampler='speculative')": (real, "one discrete value"),
        "fixed_point(window=1)": (MODEL, "at least 2 steps"),
    }
    for text, (model, match) in cannot.items():
        with pytest.raises(UserError, match=match):
            make_sampler(text).check(model)
    with pytest.raises(UserError, match="no such run"):
        make_sampler("best(sampler=\"speculative(draft='nowhere')\")").opened(MODEL, refuse)
    with pytest.raises(UserError, match="no counts"):
        draw("speculative")
    for other, sentence in ((real, "their events differ"), (make_model(EVENT, "gru", hidden_size=8), "other orders")):
        with pytest.raises(UserError, match=sentence):
            Speculative(source=OtherModel(model=other, params=None)).prepare(MODEL, PARAMS, resources(NAIVE))
    pair = EventSpec((4,), (2,), kind="levels", num_levels=5)
    coupled = make_model(pair, "made", conditional="discretized_logistic_mixture(components=1)")
    with pytest.raises(UserError, match="the draft lacks the list"):
        OtherModel(model=coupled, params=None).check(make_model(pair, "made", conditional="categorical"), True)


def refuse(workdir):
    raise UserError(f"no such run: {workdir}")


@pytest.mark.slow
def test_a_run_is_a_draft():
    class Other:
        model, params = OTHER, OTHER_PARAMS

    sampler = make_sampler("speculative(draft='runs/other', window=4)")
    sampler = sampler.prepare(MODEL, PARAMS, Resources(None, {"runs/other": Other}.__getitem__))
    np.testing.assert_array_equal(draw(sampler).x, NAIVE)
    assert prepare_sampler("naive", MODEL, PARAMS, None, None) == make_sampler("naive")
