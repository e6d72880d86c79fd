"""Small parts of samplers by themselves: drafts, prompts, keys and rounds around networks that are written down."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import refusal

from arjax.core import programs
from arjax.core.batch import Batch
from arjax.models import longer
from arjax.samplers import SAMPLERS, Resources, cores, fixed_point, make_sampler, rounds
from arjax.samplers.cores import num_cores
from arjax.samplers.drafts import Ahead, CountsDraft, OtherModel, make_draft, other_model
from arjax.samplers.drafts.base import Draft, Place, Proposal
from arjax.samplers.drafts.counts import Table
from arjax.samplers.loops import StepForm
from arjax.samplers.parallel import Parallel

KEY = jax.random.key(6)


def stub(**fields):
    return types.SimpleNamespace(**fields)


def test_the_cores_of_this_process(monkeypatch):
    monkeypatch.setattr(cores.sys, "platform", "linux")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: {3, 5, 7} if process == 0 else set())
    assert num_cores() == 3
    monkeypatch.setattr(cores.sys, "platform", "darwin")
    for known, number in ((4, 4), (None, 1)):
        monkeypatch.setattr(cores.os, "cpu_count", lambda known=known: known)
        assert num_cores() == number


def test_a_table_without_keys_has_seen_nothing():
    assert Table.of(np.array([], np.int64))[np.array([[3, 1]])].tolist() == [[0, 0]]
    table = Table.of(np.array([5, 2, 5]))
    assert table[np.array([5, 2, 3, 9])].tolist() == [2, 1, 0, 0]


def test_drafts_by_name():
    assert refusal(make_draft, "") == "a draft is the folder of a run, or one of: counts, run, self"
    assert make_draft("counts(order=2)") == CountsDraft(order=2) and make_draft("self") == Ahead()
    assert make_draft("runs/a") == OtherModel(workdir="runs/a") and make_draft("counts (order=1)").order == 1
    assert "unknown draft 'count'" in refusal(make_draft, "count(order=2)")


class Plain(Draft):
    def propose(self, *args): ...


def test_a_draft_needs_nothing_by_default():
    draft = Plain()
    assert draft.check(None) is None and draft.opened(None, None) is draft and draft.prepare(None, None, None) is draft
    assert not draft.has_arrays and draft.precompute(None) is None and draft.begin(None, None, None, 3) == ()
    assert draft.keep(None, "before", "after", None, 1, 2) == "after" and draft.target_calls == 0


def test_runs_are_opened_before_and_read_once(monkeypatch):
    asked = []
    monkeypatch.setattr(OtherModel, "check", lambda draft, model, with_log_q=False: asked.append((model, with_log_q)))
    draft, opened = OtherModel(workdir="runs/a"), []

    def open_run(workdir):
        opened.append(workdir)
        return stub(model="model of the draft", params="its params")

    found = draft.opened("model", open_run)
    assert (found.model, found.params, asked) == ("model of the draft", "its params", [("model", False)])
    assert found.prepare("model", None, Resources(None, None)) == found and opened == ["runs/a"]
    sampler = make_sampler("speculative(draft='runs/a', coupling='rejection')")
    monkeypatch.setattr(type(sampler), "check", lambda sampler, model: None)
    asked.clear()
    prepared = sampler.prepare("model", None, Resources(None, open_run))
    assert prepared.source.params == "its params" and asked[0] == ("model", True)
    monkeypatch.setattr(fixed_point.FixedPoint, "check", lambda sampler, model: None)
    assert make_sampler("fixed_point(start='runs/a')").prepare("model", None, Resources(None, open_run)).source.params
    plain = make_sampler("naive")
    assert plain.prepare("model", None, Resources(None, open_run)) is plain and not plain.has_arrays


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_draft_keeps_the_carry_of_the_steps_that_are_committed(chunk):
    log = []

    def extend(*args):
        log.append(args)
        return "carries", "features"

    form = stub(network=stub(CHUNK=chunk), extend=extend, keep=lambda carries, n: (carries, n))
    target = stub(precomputed=(form, None))
    place = Place("canvas", "context", None, 5)
    before, after = jnp.array([0.0]), jnp.array([[1.0], [2.0], [3.0]])
    if chunk > 1:
        assert OtherModel().keep(target, "state", None, place, 2, 3) == ("carries", 2)
        assert log == [("state", "canvas", 5, 3, "context")]
        return
    kept = [OtherModel().keep(target, before, after, place, n, 3).tolist() for n in range(4)]
    assert kept == [[0], [1], [2], [3]] and not log


@pytest.mark.parametrize("with_log_q", [False, True])
def test_a_model_proposes_for_itself(with_log_q, monkeypatch):
    monkeypatch.setattr(other_model, "log_table", lambda *args: args)
    steps = stub(window_values=lambda *args: args, head="head", temperature=0.5)
    target = stub(steps=steps, form=stub(ahead=lambda *args: (args,)))
    place = Place("canvas", "context", "carry", 5)
    features = ("carry", "canvas", 5, 3, "context")
    state, proposal = Ahead().propose(target, "state", place, 3, "keys", with_log_q)
    assert state == "state" and proposal.values == ("keys", "canvas", 5, features)
    assert proposal.log_q == (("head", features, 0.5) if with_log_q else None)


@pytest.mark.parametrize("calls", [0, 1])
def test_a_draft_proposes_all_steps_behind_the_prompt(calls, monkeypatch):
    """Example b has the key b in each step; proposals are that key plus the canvas, by which a carry is told."""

    class Proposes(Draft):
        target_calls = calls

        def begin(self, target, canvas, context, prompt):
            return canvas.sum() + context.sum() + prompt

        def propose(self, target, state, place, k, keys, with_log_q):
            assert (k, with_log_q) == (6, False) and (place.carry != ()) == bool(calls)
            carry = place.carry[0] if calls else 0
            return state, Proposal(keys + state + 100 * place.t + 1000 * carry, None)

    form = stub(chunk=3, start=lambda num, context: (jnp.zeros(num),))
    form.read_prompt = lambda canvas, context, prompt, chunk: (canvas.sum() + 10 * chunk + prompt,)
    monkeypatch.setattr(fixed_point, "Target", stub(of=lambda *args: stub(form=form)))
    steps = stub(
        prompt=lambda: 2, keys_SB=jnp.arange(2)[None].repeat(6, 0), place=lambda canvas, t, values: values[None]
    )
    model, canvas, context = stub(factorization=stub(num_steps=6)), jnp.array([[1], [3]]), jnp.array([[20], [40]])
    drafted, number = fixed_point.draft_whole(Proposes(), model, None, steps, canvas, context)
    expected = [b + at + given + 2 + 200 + calls * 1000 * (at + 60 + 2) for b, at, given in ((0, 1, 20), (1, 3, 40))]
    assert drafted.tolist() == [[value] * 6 for value in expected] and number == (2 if calls else 0)


def test_parameters_are_cast_where_reading_them_takes_time(monkeypatch):
    variables = {"cast": jnp.ones(2), "kept": jnp.ones(2)}
    for is_cpu, dtype in ((True, "float32"), (False, "bfloat16")):
        monkeypatch.setattr(programs, "is_for_cpu", lambda is_cpu=is_cpu: is_cpu)
        found = programs.cast_before(lambda v: (v["cast"].astype("bfloat16"), v["kept"]), variables, "bfloat16")
        assert found["cast"].dtype == dtype and found["kept"].dtype == "float32"
    assert StepForm(stub(dtype="float32"), None, None).advance((), None, None, 3, 3, None) == ()


@pytest.mark.parametrize("joint", [False, True])
def test_steps_are_scored_whole_where_their_sites_depend_on_one_another(joint, monkeypatch):
    """Two steps of two sites, of which the last has one: its padding has the value of the last site."""
    monkeypatch.setattr(rounds, "scores_blocks", lambda head, factorization: joint)
    asked = []

    def block_log_prob(features, values, valid):
        asked.append(valid.tolist())
        return features[..., 0] + 10 * values

    at = lambda sites: stub(log_prob=lambda features, values: features[:, 0] + 10 * values + 100 * sites)  # noqa: E731
    head = stub(block_log_prob=block_log_prob, at=at)
    factorization = stub(num_sites=3, grid_shape=(3,))
    features, sites = jnp.arange(4.0).reshape(2, 2, 1), jnp.array([[2, 0], [1, 3]])
    found = rounds.step_log_prob(head, factorization, jnp.array([4.0, 5.0, 6.0]), features, sites)
    plain = np.array([[60, 41], [52, 63]])
    if joint:
        assert asked == [[[True, True], [True, False]]] and found.tolist() == plain.tolist()
    else:
        assert found.tolist() == (plain + 100 * np.asarray(sites)).tolist()


def test_losses_are_measured_under_four_seeds(monkeypatch):
    asked = []

    def of_rest(model, params, batch, points, seed):
        asked.append((points, seed))
        return -np.array([[6.0, 3.0, 4.0]]) * (seed + 1), np.array([[3.0, 2.0, 1.0]])

    monkeypatch.setattr(rounds, "log_prob_of_rest", of_rest)
    losses = rounds.measure_losses(stub(factorization=stub(num_steps=3)), None, None)
    assert asked == [((0, 1, 2), seed) for seed in range(4)]
    # 5, 3.75 and 10 nats a site, of which the last two may not rise: their mean by the numbers of sites is 5.83
    np.testing.assert_allclose(losses, [5.41666667] * 3)


def test_noise_of_rounds_has_the_keys_of_examples():
    keys = rounds._noise_keys(None, 3)
    assert (keys == rounds.example_keys(jax.random.key(0), 3)).all()
    assert (rounds._noise_keys(KEY, 3) == rounds.example_keys(KEY, 3)).all()
    assert rounds._counted(Batch(np.zeros((2, 2))), 4).all()
    assert rounds._counted(Batch(None, mask=np.array([[1, 0], [0, 1]])), 4).tolist() == [True, False, False, True]


@pytest.mark.parametrize(("steps", "rounds_made"), [(0, 16), (5, 5), (40, 40)])
def test_so_many_rounds_are_usual(steps, rounds_made):
    sizes = Parallel(steps=steps)._sizes(40)
    assert len(sizes) == rounds_made and sum(sizes) == 40
    assert Parallel()._sizes(7) == (1,) * 7 and Parallel(sizes=(3, 4))._sizes(9) == (3, 4)
    assert "schedule='optimal' is measured on validation data" in refusal(Parallel(schedule="optimal")._sizes, 7)
    assert Parallel(schedule="optimal").has_arrays and not Parallel().has_arrays and "parallel" in SAMPLERS


def test_the_first_step_of_a_cosine_is_the_smallest():
    assert rounds.cosine_sizes(10, 1) == (10,) and rounds.cosine_sizes(3, 3) == (1, 1, 1)
    assert rounds.cosine_sizes(16, 4) == (1, 4, 5, 6) and rounds.cosine_sizes(100, 3) == (13, 37, 50)


def test_calls_for_a_prompt_are_those_of_the_first_piece(monkeypatch):
    """Of 70 sites, 3 of them given: pieces of 32 values, the last of them of 3, each with a call for every value."""
    canvas = jnp.arange(70)[None].repeat(2, 0)
    request = stub(given=canvas, end=None, context=None)
    asked = []

    def go_on(model, params, keys, carry, canvas, request, start, num):
        asked.append((int(start), num, carry))
        return carry + 1, canvas, jnp.zeros((2, num), int) + start

    monkeypatch.setattr(longer, "go_on", go_on)
    monkeypatch.setattr(longer, "begin", lambda *args: args[-1])
    monkeypatch.setattr(longer, "num_calls", lambda carry, prompt, chunk: (carry, prompt, chunk) == (5, 3, 5) and 7)
    monkeypatch.setattr(longer.dataclasses, "replace", lambda value, **changes: value)
    sampler = stub(head=lambda conditional: conditional, chunk=5)
    pieces = list(longer._carried(stub(network=None, conditional=None), None, None, sampler, request, 3))
    assert asked == [(3, 32, 5), (35, 32, 6), (67, 32, 7)]
    assert [piece.x.shape for piece in pieces] == [(2, 32), (2, 32), (2, 3)]
    assert [piece.stats["network_calls"].tolist() for piece in pieces] == [[39, 39], [32, 32], [3, 3]]
    assert [piece.stats["steps"].tolist() for piece in pieces] == [[32, 32], [32, 32], [3, 3]]
