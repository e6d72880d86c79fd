"""The audit: right models are valid, wrong ones are named by the right test, and mistakes are one sentence."""

import dataclasses
import json
import pathlib
import time
import types

import numpy as np
import pytest
from numpy_models import EVENT, LENGTH, LEVELS, Chain, Joint
from scipy.stats import multivariate_normal, norm, t

import arjax
from arjax import EventSpec, UserError
from arjax.testing import LawBroken
from arjax.testing.auditing import TESTS, Finding, Subject
from arjax.testing.auditing.findings import verdict_of

CHAIN = Chain()
REAL, PLANE = EventSpec((1,), (), "real"), EventSpec((2,), (), "real")
COLUMNS = EventSpec((2,), kind="columns", columns=(EventSpec((), (), "real"), EventSpec((), (), "tokens", 3)))
CORRELATED = np.array([[1.0, 0.8], [0.8, 1.0]])
EVIDENCE = np.random.default_rng(2).normal(size=(5, 5))
COVARIANCE = EVIDENCE @ EVIDENCE.T + 0.1 * np.eye(5)


def audit(**options):
    return arjax.audit(**{"budget_s": 100, "quiet": True} | options)


def statuses(report):
    return {name: finding.status for name, finding in report.findings.items() if finding.status != "not done"}


def gaussian_sample(covariance):
    return lambda num, seed: np.random.default_rng(seed).multivariate_normal(np.zeros(len(covariance)), covariance, num)


def mixed_log_prob(x):
    return np.log(np.array([0.2, 0.3, 0.5]))[x[:, 1].astype(int)] + norm.logpdf(x[:, 0], 2 * x[:, 1])


def mixed_sample(num, seed):
    rng = np.random.default_rng(seed)
    k = rng.choice(3, size=num, p=[0.2, 0.3, 0.5])
    return np.stack([2 * k + rng.normal(size=num), k], 1)


STRINGS, LONG = Chain(end=0), Chain(length=60)
RIGHT = {
    "scores": {"event": EVENT, "log_prob": CHAIN.log_prob},
    "tables": {"event": EVENT, "conditionals": CHAIN.conditionals},
    "both and samples": {
        **{"event": EVENT, "log_prob": CHAIN.log_prob},
        **{"conditionals": CHAIN.conditionals, "sample": CHAIN.sample},
    },
    "strings": {
        **{"event": EVENT, "log_prob": STRINGS.log_prob, "end": 0},
        **{"conditionals": STRINGS.conditionals, "sample": STRINGS.sample},
    },
    "a long chain": {
        **{"event": LONG.event, "log_prob": LONG.log_prob, "smaller": (EVENT,)},
        **{"conditionals": LONG.conditionals, "sample": LONG.sample},
    },
    "backwards": {
        **{"event": EVENT, "order": np.arange(LENGTH)[::-1]},
        **{
            "conditionals": lambda x, t: CHAIN.conditionals(x[:, ::-1], t),
            "log_prob": lambda x: CHAIN.log_prob(x[:, ::-1]),
        },
    },
    "queries": {"event": Joint.event, "conditional_log_prob": Joint().conditional_log_prob},
    "a density": {"event": REAL, "log_prob": lambda x: norm.logpdf(x[:, 0])},
    "heavy tails": {"event": REAL, "log_prob": lambda x: t.logpdf(x[:, 0], 2)},
    "correlated": {
        **{"event": PLANE, "log_prob": lambda x: multivariate_normal.logpdf(x, [0, 0], CORRELATED)},
        **{"sample": gaussian_sample(CORRELATED)},
    },
    "five reals": {
        **{"event": EventSpec((5,), (), "real"), "sample": gaussian_sample(COVARIANCE)},
        **{"log_prob": lambda x: multivariate_normal.logpdf(x, np.zeros(5), COVARIANCE)},
    },
    "columns": {"event": COLUMNS, "log_prob": mixed_log_prob, "sample": mixed_sample},
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_models_are_valid(name):
    report = audit(**RIGHT[name])
    assert report.exit_code == 0 and set(statuses(report).values()) == {"passed"}, str(report)


NOISE = np.random.default_rng(0)


def noisy(shift):
    """A bound that is drawn, on average `shift` nats above log p."""
    return lambda x: CHAIN.log_prob(x) + shift + 0.3 * NOISE.normal(size=len(x))


def cache(x):
    """Adds a table of the last values to the model, without taking anything away."""
    return np.log(np.exp(CHAIN.log_prob(x)) + 0.01 * (x[:, -1] == x[:, -2]))


def future(x, t):
    """Tables that see the next value."""
    p = CHAIN.conditionals(x, t) + (0.1 * np.eye(LEVELS)[x[:, min(t + 1, LENGTH - 1)]] if t + 1 < LENGTH else 0)
    return p / p.sum(1, keepdims=True)


def label(x, t):
    """Tables that see their own value."""
    p = CHAIN.conditionals(x, t) + np.eye(LEVELS)[x[:, t]]
    return p / p.sum(1, keepdims=True)


def raised_on(x, value):
    """log p with `value` for some rows only."""
    return np.where(x[:, 0] == 1, value, CHAIN.log_prob(x))


def contradictory(x, query, given):
    """p(query | given) whose sites ignore one another once nothing is given."""
    log_p = Joint().conditional_log_prob(x, query, given)
    return np.where(given.any(1) | (query.sum(1) != 1), log_p, -np.log(3))


def pairs_of_later(x, t):
    """Tables that see whether two later values are equal, which a common shift of them does not change."""
    p = CHAIN.conditionals(x, t)
    sharper = p**2 / (p**2).sum(1, keepdims=True)
    return np.where((x[:, -1] == x[:, -2])[:, None] & (t + 2 < LENGTH), sharper, p)


def several(value):
    """p(query | given) of independent sites, times a factor where the query has several sites."""
    return lambda x, query, given: np.where(query.sum(1) > 1, value, 1) * query.sum(1) * -np.log(3)


def test_orders_of_a_model_of_any_order():
    """log p(x) in any order is the same, or the report warns; the order needs no conditionals."""
    joint, numbers = Joint(), []
    exact = audit(
        event=Joint.event,
        log_prob=joint.log_prob,
        in_order=lambda x, number: numbers.append(set(number)) or joint.log_prob(x),
    )
    assert (
        exact.findings["order"].status == "passed"
        and sorted(map(min, numbers))[-1] == 7
        and set(map(len, numbers)) == {1}
    )
    off = audit(event=Joint.event, log_prob=joint.log_prob, in_order=lambda x, number: joint.log_prob(x) + 0.3 * number)
    finding = off.findings["order"]
    assert (finding.status, off.exit_code) == ("warned", 0) and abs(finding.numbers["most"] - 0.7) < 1e-6
    assert np.ptp(finding.witness["in_order"]) > 2 and "(warning: 8 orders" in off.verdict.words


ONE_NAT = float(-CHAIN.log_prob(CHAIN.sample(4000, 0)).mean())
WRONG = {
    "a cache": ("mass", {"event": EVENT, "log_prob": cache}),
    "bits": ("mass", {"event": EVENT, "log_prob": lambda x: CHAIN.log_prob(x) / np.log(2)}),
    "too little": ("mass", {"event": EVENT, "log_prob": lambda x: CHAIN.log_prob(x) - 0.01}),
    "a cache of long strings": (
        "mass",
        {"event": LONG.event, "log_prob": lambda x: np.where(x[:, 0] == x[:, 1], -1.0, LONG.log_prob(x))},
    ),
    "a density": ("mass", {"event": REAL, "log_prob": lambda x: -(x[:, 0] ** 2) / 2}),
    "a density of five reals": (
        "mass",
        RIGHT["five reals"] | {"log_prob": lambda x: RIGHT["five reals"]["log_prob"](x) + 0.4},
    ),
    "a bound that is none": ("mass", {"event": EVENT, "log_prob": noisy(0.2), "claim": "bound"}),
    "a bound as exact": ("reproducibility", {"event": EVENT, "log_prob": noisy(-0.3)}),
    "another device": (
        "reproducibility",
        {"event": EVENT, "log_prob": CHAIN.log_prob, "elsewhere": lambda x: CHAIN.log_prob(x) * 1.01},
    ),
    "batch statistics": (
        "neighbours",
        {"event": EVENT, "log_prob": lambda x: CHAIN.log_prob(x) + x.std() - 1},
    ),
    "temperature": ("conditionals", {"event": EVENT, "conditionals": lambda x, t: CHAIN.conditionals(x, t) ** 0.9}),
    "the future": ("leak", {"event": EVENT, "conditionals": future}),
    "the label": ("leak", {"event": EVENT, "conditionals": label}),
    "a sum in another unit": (
        "kind",
        {"event": LONG.event, "log_prob": lambda x: LONG.log_prob(x) / 60, "conditionals": LONG.conditionals},
    ),
    "a bound above samples": (
        "kind",
        {
            **{"event": EVENT, "claim": "bound", "sample": CHAIN.sample},
            "log_prob": lambda x: np.where(x[:, 0] == 1, -9.0, 0.3) + CHAIN.log_prob(x),
        },
    ),
    "a cold sampler": (
        "draws",
        {"event": Chain(length=3).event, "log_prob": CHAIN.log_prob, "sample": Chain(length=3, temperature=0.8).sample},
    ),
    "a cold sampler of long strings": (
        "draws",
        {"event": LONG.event, "log_prob": LONG.log_prob, "sample": Chain(length=60, temperature=0.6).sample},
    ),
    "orders": ("order", {"event": Joint.event, "conditional_log_prob": contradictory}),
    "pairs of later values": ("leak", {"event": EVENT, "conditionals": pairs_of_later}),
    "several sites": ("order", {"event": Joint.event, "conditional_log_prob": several(0.5)}),
    "impossible sites": ("order", {"event": Joint.event, "conditional_log_prob": several(np.inf)}),
    "tables of zeros": ("conditionals", {"event": EVENT, "conditionals": lambda x, t: 0 * CHAIN.conditionals(x, t)}),
    "better than the truth": (
        "truth",
        {
            **{"event": EVENT, "log_prob": lambda x: CHAIN.log_prob(x) + 0.2},
            **{"data": CHAIN.sample(500, 1), "truth": -CHAIN.log_prob(CHAIN.sample(500, 1))},
        },
    ),
    "below an entropy": (
        "truth",
        {
            **{"event": EVENT, "log_prob": lambda x: CHAIN.log_prob(x) + 0.5},
            **{"data": CHAIN.sample(500, 1), "truth": ONE_NAT},
        },
    ),
    "a published number": (
        "units",
        {
            **{"event": EVENT, "log_prob": CHAIN.log_prob, "data": CHAIN.sample(4000, 0)},
            **{"reported": ONE_NAT, "unit": "bits"},
        },
    ),
    "a file": (
        "file",
        {"event": LONG.event, "log_prob": lambda x: 0.9 * LONG.log_prob(x), "conditionals": LONG.conditionals},
    ),
    "NaN": ("mass", {"event": EVENT, "log_prob": lambda x: raised_on(x, np.nan)}),
    "infinity": ("mass", {"event": EVENT, "log_prob": lambda x: raised_on(x, np.inf)}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "a density of five reals")) for n in WRONG]
)
def test_wrong_models_are_invalid_by_the_right_test(name):
    test, options = WRONG[name]
    report = audit(**options)
    assert report.exit_code == 3 and report.findings[test].status == "failed", str(report)
    assert report.findings[test].witness and report.verdict.witness, "anyone can recompute it"


def test_factors_have_names():
    units = audit(**WRONG["bits"][1]).verdict.words
    assert "times 0.6931 they would be right" in units and "they look like log p in bits" in units
    per_site = audit(**WRONG["a sum in another unit"][1]).findings["kind"].words
    assert "they look like log p in nats per dim" in per_site
    assert "the number is in nats" in audit(**WRONG["a published number"][1]).findings["units"].words
    of_text = {"data": CHAIN.sample(4000, 0), "num_bytes": 2.5, "unit": "bits_per_byte"}
    right = audit(**ONE, **of_text, reported=ONE_NAT / np.log(2) / 2.5).findings["units"]
    assert right.status == "passed" and "bits_per_byte" in right.words
    assert (
        "the number is in bits_per_byte"
        in audit(**ONE, **of_text | {"unit": "bits"}, reported=ONE_NAT / np.log(2) / 2.5).findings["units"].words
    )


def test_a_witness_is_the_smallest_and_recomputed():
    witness = audit(**WRONG["a cache"][1]).verdict.witness
    mass = np.exp(cache(witness["x"]))
    assert mass.sum() > 1 > np.delete(mass, mass.argmin()).sum()
    witness = audit(**WRONG["the future"][1]).verdict.witness
    step, pair = witness["step"], np.stack([witness["x"], witness["other x"]])
    assert (pair[0, : step + 1] == pair[1, : step + 1]).all()
    np.testing.assert_allclose(future(pair, step), [witness["p"], witness["other p"]])


TWO, SPACE = {"sample": gaussian_sample(np.eye(1))}, EventSpec((3,), (), "real")


def test_what_no_test_shows_is_not_decidable():
    for options in (
        {"event": EventSpec((64,)), "log_prob": lambda x: np.full(len(x), -64 * np.log(2))},
        {"event": LONG.event, "log_prob": LONG.log_prob, "budget_s": 0.0},
        {"event": EVENT, "conditionals": lambda x, t: 1 / (t < 2) * CHAIN.conditionals(x, t)},
        {"event": LONG.event, "log_prob": lambda x: LONG.log_prob(x) + (x.shape[1] > LENGTH), "smaller": [EVENT]},
        {"event": REAL, "log_prob": lambda x: np.logaddexp(norm.logpdf(x), norm.logpdf(x, 1000))[:, 0], **TWO},
        {"event": SPACE, "log_prob": lambda x: norm.logpdf(x).sum(1) + 0.06, "sample": gaussian_sample(np.eye(3))},
        {"event": REAL, "log_prob": lambda x: np.where(np.abs(x[:, 0] - 50) < 0.5, 0.0, -np.inf)},
    ):
        report = audit(**{"budget_s": 10.0} | options)
        assert report.exit_code == 4 and report.verdict.words and not report.verdict.witness, str(report)


ONE = {"event": EVENT, "log_prob": CHAIN.log_prob}
MISTAKES = [
    ({"log_prob": CHAIN.log_prob}, "needs event=arjax.EventSpec"),
    ({"event": EVENT}, "needs log_prob, conditionals or conditional_log_prob"),
    ({"event": EVENT, "log_probs": CHAIN.log_prob}, "audit takes no 'log_probs', did you mean 'log_prob'?"),
    ({"event": EVENT, "log_prob": 3}, "log_prob must be a function"),
    ({"event": EVENT, "log_prob": lambda x: 1 / 0}, "`log_prob` raised ZeroDivisionError: division by zero"),
    ({"event": EVENT, "log_prob": lambda x: x[:, :2]}, "`log_prob` returned the shape (4, 2) for 4 examples, not (4,)"),
    ({"event": EVENT, "log_prob": lambda x: "high"}, "`log_prob` returned str, which is no array of numbers"),
    ({"event": EVENT, "conditionals": lambda x, t: x}, "`conditionals` returned the shape (4, 5) for 4 examples"),
    ({"event": EVENT, "log_prob": CHAIN.log_prob, "sample": lambda num, seed: 0}, "`sample` returned the shape ()"),
    (
        {"event": EVENT, "log_prob": CHAIN.log_prob, "claim": "true"},
        "claim must be one of exact, bound, estimate, not 'true'",
    ),
    ({"event": EVENT, "log_prob": CHAIN.log_prob, "order": [0, 1]}, "order must list 0 to 4 once"),
    (
        {"event": EVENT, "log_prob": CHAIN.log_prob, "data": np.zeros((3, 4))},
        "the given examples must have shape (N, 5), not (3, 4)",
    ),
    ({"event": REAL, "log_prob": CHAIN.log_prob, "conditionals": CHAIN.conditionals}, "tables of discrete values"),
    ({"event": REAL, "log_prob": lambda x: x[:, 0], "end": 0}, "end is for sequences of tokens"),
    (ONE | {"batch_size": 0}, "batch_size must be at least 1, not 0"),
    (ONE | {"tolerance": np.nan}, "tolerance must be a finite number, not nan"),
    (ONE | {"tolerance": 1.0}, "tolerance must be at least 0 and at most 0.1, not 1.0"),
    (ONE | {"reported": "1.2"}, "reported must be a finite number or None, not '1.2'"),
    (ONE | {"unit": "bpd"}, "unit cannot be 'bpd', did you mean 'bits_per_dim'?"),
    (ONE | {"unit": "bits_per_byte"}, "bits_per_byte needs num_bytes of an example"),
    (ONE | {"smaller": EVENT}, "smaller must be a list of EventSpecs"),
    (ONE | {"smaller": [REAL]}, "smaller events are discrete"),
    (ONE | {"order": [0.0, 1, 2, 3, 4]}, "order must list 0 to 4 once"),
    (ONE | {"order": [[0, 1, 2, 3, 4]]}, "order must list 0 to 4 once"),
    (ONE | {"end": 4}, "end must be a token from 0 to 3, not 4"),
    (ONE | {"data": ["abc"]}, "the given examples must be real numbers, not <U3"),
    (ONE | {"data": [[1, 2], [3]]}, "the given examples must be one array of numbers"),
    (ONE | {"data": np.full((2, 5), 0.5)}, "the given examples of tokens data must be integers"),
    (ONE | {"data": [[0] * 5, [4] * 5]}, "the given examples of tokens data must be 0 to 3, not 0 to 4"),
    (ONE | {"data": [[0] * 5], "truth": "markov_chain"}, "truth must be real numbers"),
    (ONE | {"data": [[0] * 5], "truth": np.ones(3)}, "truth must be finite nats of the 1 rows of data"),
    (ONE | {"fit": 3, "truth": "markov_chain"}, "fit must be a function"),
    (ONE | {"fit": CHAIN.log_prob, "truth": 3.0}, "with fit, truth is the call string of a data set"),
    ({"subject": 3}, "audit takes a trained model, as from arjax.open_run"),
]


@pytest.mark.parametrize(("options", "sentence"), MISTAKES, ids=[sentence[:30] for _, sentence in MISTAKES])
def test_mistakes_are_one_sentence(options, sentence):
    with pytest.raises(UserError) as caught:
        audit(**options)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_test_without_its_function_is_not_done():
    report = audit(event=EVENT, log_prob=CHAIN.log_prob)
    done = {"reproducibility", "neighbours", "mass"}
    assert set(statuses(report)) == done and list(report.findings) == list(TESTS)
    assert report.findings["draws"] == Finding("not done", "needs sample and log_prob")
    assert (
        verdict_of({name: Finding("not done", "") for name in TESTS}, ("conditionals", "leak")).status
        == "not decidable"
    )


def test_a_function_that_is_refused_later_is_no_stack_trace():
    calls = []

    def moody(x):
        calls.append(len(x))
        if len(calls) > 3:
            raise RuntimeError("the server is gone\nfor good")
        return CHAIN.log_prob(x)

    report = audit(event=EVENT, log_prob=moody)
    assert report.exit_code == 4 and "`log_prob` raised RuntimeError: the server is gone" in report.verdict.words


def test_a_valid_verdict_names_what_was_not_decided():
    report = audit(**ONE, elsewhere=lambda x: CHAIN.log_prob(x) if len(x) < 8 else 1 / 0)
    assert report.verdict.words == "shown by mass (not decidable: reproducibility)"


def test_bounds_beside_samples_are_not_shown_by_tables_of_others():
    event = EventSpec((64,))
    report = audit(
        event=event,
        claim="bound",
        log_prob=lambda x: np.full(len(x), -64 * np.log(2)),
        conditional_log_prob=lambda x, query, given: -np.log(2) * query.sum(1),
        sample=lambda num, seed: event.noise(np.random.default_rng(seed), num),
        budget_s=6.0,
    )
    passed = {name for name, status in statuses(report).items() if status == "passed"}
    assert {"conditionals", "leak", "kind"} <= passed and report.exit_code == 4, str(report)


def test_slow_functions_keep_to_the_time(monkeypatch):
    """By a clock that the functions alone move: .02 s for a row in a batch of any size."""
    now = [0.0]
    for module in ("subject", "report"):
        monkeypatch.setattr(f"arjax.testing.auditing.{module}.time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def slow(function):
        def called(x, *more):
            now[0] += 0.02 * (len(x) if np.ndim(x) else x)
            return function(x, *more)

        return called

    functions = {"log_prob": LONG.log_prob, "conditionals": LONG.conditionals, "sample": LONG.sample}
    for names in (["log_prob"], ["conditionals"], list(functions)):
        begin = now[0]
        report = audit(event=LONG.event, **{name: slow(functions[name]) for name in names}, budget_s=4.0)
        late = now[0] - begin - 4.0
        assert late < 0.02 * 256 and (late < 0.5 or "sample" in names), (names, late)
        assert "there was no time left" in str(report)


def test_scores_of_minus_infinity_are_no_stack_trace():
    for event in (REAL, LONG.event):
        report = audit(event=event, log_prob=lambda x: np.full(len(x), -np.inf))
        assert "give sample, or data" in report.verdict.words


def test_truth_by_a_callback():
    """A bigram count model, trained on a chain whose distribution is known, is worse than the truth."""

    def fit(x):
        counts = np.full((LEVELS, LEVELS), 0.5)
        np.add.at(counts, (x[:, :-1].ravel(), x[:, 1:].ravel()), 1)
        first = np.bincount(x[:, 0], minlength=LEVELS) + 0.5
        rows, first = counts / counts.sum(1, keepdims=True), first / first.sum()
        return lambda x: np.log(first[x[:, 0]]) + np.log(rows[x[:, :-1], x[:, 1:]]).sum(1)

    known = "markov_chain(levels=4,length=6,num_examples=2000)"
    options = {"event": EventSpec((6,), (), "tokens", LEVELS), "log_prob": CHAIN.log_prob, "truth": known}
    assert audit(fit=fit, **options).findings["truth"].status == "passed"
    report = audit(fit=lambda x: lambda y: fit(x)(y) + 0.5, **options)
    assert report.findings["truth"].status == "failed" and report.findings["truth"].witness


def test_a_report_is_text_a_page_and_json(tmp_path):
    report = audit(**WRONG["a cache"][1])
    assert str(report).startswith("the model is invalid: mass: the probabilities of all 1,024 examples")
    assert repr(report) == "Report('the model': invalid)"
    page = report.save(tmp_path / "audit.html").read_text()
    assert "invalid" in page and "<svg" in page and "Witness" in page
    stored = json.loads(report.save(tmp_path / "audit.json").read_text())
    assert stored["verdict"] == "invalid" and stored["findings"]["mass"]["numbers"]["mass"] > 1
    with pytest.raises(UserError, match=r"such as audit\.html"):
        report.save(tmp_path / "audit.pdf")


def test_long_work_is_announced(capsys):
    subject = Subject(EVENT, log_prob=CHAIN.log_prob, _until=time.monotonic() + 1000, _quiet=False)
    subject._pace["log_prob", 4] = np.array([0.04, 4])
    assert subject.rows("log_prob", 2000) == dataclasses.replace(subject, _quiet=True).rows("log_prob", 2000) == 2000
    assert capsys.readouterr().err == "arjax: audit: 2,000 examples by `log_prob`, about 20 s\n"


class Tensor:
    """What the audit asks of a tensor of torch."""

    def __init__(self, values):
        self.detach = self.cpu = lambda: self
        self.double = lambda: values


def test_tensors_are_taken():
    report = audit(event=EVENT, log_prob=lambda x: Tensor(CHAIN.log_prob(x)))
    assert report.exit_code == 0


test_the_form_for_pytest = arjax.testing.audit(event=EVENT, log_prob=CHAIN.log_prob, budget_s=5.0)


def test_the_form_for_pytest_fails_on_a_wrong_model():
    with pytest.raises(LawBroken, match="witness: x = "):
        arjax.testing.audit.check(**WRONG["a cache"][1])
    with pytest.raises(LawBroken, match="not decidable"):
        arjax.testing.audit.check(
            event=EventSpec((64,)), log_prob=lambda x: np.full(len(x), -64 * np.log(2)), budget_s=5.0
        )


def test_the_matrix_of_the_page_is_that_of_the_tests():
    rows = []
    for name, test in TESTS.items():
        needs = " or ".join(" and ".join(f"`{each}`" for each in names) for names in test.needs)
        rows.append(f"| `{name}` | {needs} | {test.finds} |")
    page = pathlib.Path(__file__).parents[2] / "docs" / "audit.md"
    assert "\n".join(rows) in page.read_text(), "copy the rows to the page"
