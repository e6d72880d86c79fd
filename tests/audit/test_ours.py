"""Every kind of model and every network of arjax is audited, small and with random parameters."""

from types import SimpleNamespace

import numpy as np
import pytest

import arjax
from arjax.api import auditing
from arjax.api.trained_model import Fitted
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.data import from_arrays
from arjax.models import KINDS
from arjax.testing import models
from arjax.testing.examples import random_context, random_x
from arjax.testing.model import _model

CASES = [(kind, name) for kind in KINDS.names() for name in KINDS.get(kind).EXAMPLES]
TOKENS, BINARY = EventSpec((3, 2), (), "tokens", 3), EventSpec((2, 3))


def fitted(model, params):
    arrays = {"x": random_x(model.event, 20)}
    if model.context_spec:
        arrays["context"] = random_context(model.context_spec, 20)
    return Fitted(model, params, from_arrays(model.event, train=arrays, context=model.context_spec or NO_CONTEXT))


def check_valid(model, params):
    report = arjax.audit(fitted(model, params), budget_s=200, quiet=True)
    drawn = not model.event.is_discrete and model.event.num_dims > 2  # its mass may need too many draws
    assert report.exit_code in ((0, 4) if drawn else (0,)), str(report)
    assert "failed" not in {finding.status for finding in report.findings.values()}, str(report)
    return report


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_kinds_are_valid(kind, name):
    model, params = _model(KINDS.get(kind).EXAMPLES[name])
    if model.score_kind == "none":
        with pytest.raises(arjax.UserError, match="an audit needs a likelihood"):
            arjax.audit(fitted(model, params))
    else:
        check_valid(model, params)


@pytest.mark.slow
@pytest.mark.parametrize("network", models.autoregressive_networks())
def test_networks_are_valid(network):
    made = [models.supported_model(network, event, "reversed", "sites") for event in (TOKENS, BINARY)]
    model = next(each for each in made if not isinstance(each, str))
    report = check_valid(model, models.params_of(model))
    assert {"mass", "conditionals", "leak", "draws", "kind"} <= {
        name for name, finding in report.findings.items() if finding.status == "passed"
    }


@pytest.mark.parametrize(("claim", "seeds"), [("exact", [0, 0]), ("bound", [0, 1])])
def test_scores_that_are_drawn_are_drawn_anew_under_a_context_of_the_data(monkeypatch, claim, seeds):
    model = models.supported_model("made", BINARY, "raster", "sites", context=ContextSpec("label", 3))
    run, scored, drawn = fitted(model, {}), [], []
    (name,) = run.dataset.splits["train"].arrays.context
    run.dataset.splits["train"].arrays.context[name][:] = 2
    monkeypatch.setattr(Fitted, "score_kind", lambda self: claim)
    monkeypatch.setattr(Fitted, "sample", lambda self, num, seed, context: drawn.append(context))

    def evaluator(model, dataset, scoring):
        scored.append(scoring.seed)
        return SimpleNamespace(rows_of=lambda params, examples: {"nll": np.zeros(1)})

    monkeypatch.setattr(auditing, "Evaluator", evaluator)
    subject = run.as_subject()
    for _ in seeds:
        subject.log_prob(np.zeros((1, 2, 3), int))
    assert scored == seeds
    subject.sample(1, 0)
    assert drawn == [{name: 2}]


@pytest.mark.slow
def test_a_broken_network_is_invalid():
    """One audit of ours in the fast tests: the parameters change between the scores and the samples."""
    model = models.supported_model("made", BINARY, "raster", "sites")
    right = fitted(model, models.params_of(model))
    assert arjax.audit(right, budget_s=100, quiet=True).exit_code == 0
    subject = right.as_subject()
    colder = lambda x: np.where(x.sum((1, 2)) > 3, 1.02, 1.0) * subject.log_prob(x)  # noqa: E731
    report = arjax.audit(subject, log_prob=colder, budget_s=100, quiet=True)
    assert report.exit_code == 3 and {"mass", "kind"} <= {
        name for name, finding in report.findings.items() if finding.status == "failed"
    }
