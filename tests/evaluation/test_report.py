"""The numbers that a report asks for: the functions that compute them are recorded here, and not run."""

import types

import jax
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.data.base import from_arrays
from arjax.evaluation import report as module
from arjax.evaluation.report import APART, ERROR_EXAMPLES, Measures, open_judge, report, truth_rows
from arjax.evaluation.splits import Scoring
from arjax.parallel.sharding import make_mesh

EVENT = EventSpec((2,))
DATA = from_arrays(EVENT, train=np.zeros((8, 2), int), test=np.zeros((6, 2), int))
ROWS = {"nll": np.array([1.0, 2.0, 9.0]), "sites": np.array([2.0, 2.0, 0.0])}
SEED = 3


def stub(kind="exact", traits=(), **more):
    return types.SimpleNamespace(event=EVENT, score_kind=kind, traits=frozenset(traits), orders=None, **more)


MODEL, JUDGE = stub(), stub("bound")


@pytest.fixture
def calls(monkeypatch):
    """(name=what it returns, ...) -> the arguments of the calls of these functions, by name."""

    def record(**returned):
        found = {}

        def recorder(name, value):
            def call(*args, **options):
                found.setdefault(name, []).append((args, options))
                return value

            return call

        monkeypatch.setattr(module, "sharper", lambda model: model)
        for name, value in returned.items():
            monkeypatch.setattr(module, name, recorder(name, value))
        return found

    return record


def key(*numbers):
    made = jax.random.key(SEED)
    for number in numbers:
        made = jax.random.fold_in(made, number)
    return made


def reported(measures, model=MODEL, data=DATA):
    def open_run(workdir):
        return types.SimpleNamespace(model=JUDGE, params=workdir, step=9, dataset=data)

    return report(model, "params", data, "test", measures, mesh=None, seed=SEED, open_run=open_run, rows=ROWS)


def test_rounds_are_those_of_all_data_and_samples_those_of_the_examples(calls):
    made = calls(k_step_scores={"k_steps": 2}, sampled_scores={"importance_samples": 4})
    found = reported(Measures(7, steps=2, schedule="cosine", choose="order", samples=4, examples=3))
    scoring = Scoring(7, None, SEED, 1)
    asked = {"steps": 2, "schedule": "cosine", "choose": "order", "examples": 3, "scoring": scoring}
    assert made["k_step_scores"] == [((MODEL, "params", DATA, "test"), asked)]
    ((*first, thinned, split, num, how), none) = made["sampled_scores"][0]
    assert (first, split, num, how, none) == ([MODEL, "params"], "test", 4, scoring, {})
    assert len(thinned.splits["test"]) == 3
    given = {"dataset": DATA.name, "split": "test", "kind": "exact", "unit": EVENT.unit, "nll_nats": 1.5}
    assert given | {"k_steps": 2, "importance_samples": 4, "num_examples": 2} == {
        name: found.scores[name] for name in (*given, "k_steps", "importance_samples", "num_examples")
    }
    assert found.nats.tolist() == [1, 2] and not found.curves and "unbiased" not in found.scores


@pytest.mark.parametrize(("traits", "unbiased"), [((), True), (("biased",), False)])
def test_a_bound_says_whether_a_mixture_with_it_is_one(calls, traits, unbiased):
    made = calls(k_step_scores={}, sampled_scores={}, _exposure=({}, {}))
    assert reported(Measures(), stub("bound", traits)).scores["unbiased"] is unbiased
    assert not made, "nothing else is computed"
    scores = reported(Measures(), stub("none")).scores
    assert scores["kind"] == "none" and scores["sample_score"] == 1.5 and not {"unit", "unbiased"} & scores.keys()


@pytest.mark.parametrize("truth", [None, "the truth"])
@pytest.mark.parametrize("judge", ["", "runs/judge"])
@pytest.mark.parametrize("decodes", [False, True])
def test_rollouts_are_measured_against_the_truth_in_decodings_and_by_a_judge(calls, truth, judge, decodes):
    curves = {"excess": np.ones(2)}
    made = calls(
        **{"open_truth": truth, "decodes": decodes, "spread_rows": "rows", "check_judge": None},
        exposure=types.SimpleNamespace(scores={"exposure_excess_percent": 1.0}, curves=curves),
        **{"decoding_errors": {"greedy_error": 0.5}, "judged_examples": {"judge_own_nll_nats": 1.0}},
    )
    found = reported(Measures(5, exposure=4, judge=judge, examples=2))
    expected = {"exposure_rollouts": 4}
    assert made["spread_rows"] == [((DATA, "test", 4, key(APART, 1)), {})]
    if truth:
        options = {"num": 4, "key": key(APART, 0), "batch_size": 5}
        assert made["exposure"] == [((MODEL, "params", truth), options)]
        expected["exposure_excess_percent"] = 1.0
    if decodes:
        assert made["decoding_errors"] == [((MODEL, "params", "rows", 5), {})]
        expected["greedy_error"] = 0.5
    if judge:
        ((model, params, data, rows, opened), options) = made["judged_examples"][0]
        assert (model, params, data, rows, opened.params) == (MODEL, "params", DATA, "rows", judge)
        assert options == {"num": 4, "batch_size": 5, "key": key(APART, 2), "mesh": None}
        assert made["check_judge"] == [((MODEL, JUDGE), {})]
        expected |= {"judge_own_nll_nats": 1.0, "judge_kind": "bound", "judge_step": 9}
    said = {name: value for name, value in found.scores.items() if name.startswith(("exposure", "greedy", "judge"))}
    assert said == expected and dict(found.curves) == (curves if truth else {})
    assert ("exposure" in made, "decoding_errors" in made, "judged_examples" in made) == (
        bool(truth),
        decodes,
        bool(judge),
    )


def test_no_judge_is_opened_without_a_name():
    assert open_judge(MODEL, DATA, Measures(exposure=2), None) is None


def test_an_error_is_the_mean_difference_from_a_sharper_model(monkeypatch):
    asked, finer, rows = [], stub(), Batch(np.zeros((2, 2)), extra={"other": np.zeros(2)})
    nats = {id(MODEL): np.array([1.0, 2.0]), id(finer): np.array([1.5, 2.0])}

    def log_prob(model, params, batch, key):
        asked.append((params, dict(batch.extra), key))
        return nats[id(model)]

    monkeypatch.setattr(module, "sharper", lambda model: finer)
    monkeypatch.setattr(module, "spread_rows", lambda *args: asked.append(args) or rows)
    monkeypatch.setattr(module, "_log_prob", log_prob)
    scores = reported(Measures()).scores
    assert (scores["solver_error_nats"], scores["solver_error_nats_stderr"]) == (0.25, pytest.approx(0.25))
    (_, split, num, of_rows), *both = asked
    assert (split, num, of_rows) == ("test", ERROR_EXAMPLES, key(APART + 1))
    assert both == [("params", {}, jax.random.key(0))] * 2


def test_the_truth_scores_in_its_one_order_on_the_devices(monkeypatch):
    made = []

    class Recorded:
        def __init__(self, *args):
            made.append(args)

        def rows(self, params, split):
            made.append((params, split))
            return ROWS

    devices, truth = make_mesh(devices=jax.devices()[:1]), types.SimpleNamespace(model=JUDGE, params=np.ones(2))
    monkeypatch.setattr(module, "Evaluator", Recorded)
    monkeypatch.setattr(module, "open_truth", lambda dataset: truth)
    for mesh, kind in ((None, np.ndarray), (devices, jax.Array)):
        made.clear()
        assert truth_rows(DATA, "test", Scoring(4, mesh, 1, 8))["truth"] is ROWS["nll"]
        ((model, data, scoring), (params, split)) = made
        assert (model, data, scoring, split) == (JUDGE, DATA, Scoring(4, mesh, 1, 1), "test")
        assert isinstance(params, kind) and params.tolist() == [1, 1]
    monkeypatch.setattr(module, "open_truth", lambda dataset: None)
    assert truth_rows(DATA, "test", Scoring()) == {}
