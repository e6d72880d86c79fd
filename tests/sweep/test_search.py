"""Searches: trials compared on validation, that go on where a killed search was. Jobs are those of the stand-in."""

import csv
import importlib.util
import json
import math
import sys

import fake_optuna
import numpy as np
import pytest
from refusals import refusal
from sweep_cases import REPORT, RUN_CONFIG, STAND_IN, Here, config_text, rows, sweep

from arjax.cli.main import main as arjax
from arjax.config.files import load_config_file, to_json
from arjax.sweep import Search, choice, integers, log_uniform, uniform
from arjax.sweep.search import FAILED, FINISHED, RUNNING, Trials, _report, load_search, propose
from arjax.training.record import Record, versions_of

TRAIN = "steps=4, batch_size=16, log_every=4, eval_every=2, checkpoint_every=4"
CONFIG = config_text(TRAIN, "config.sample.num = 1")
SEARCH = """
from arjax.sweep import Search, choice, log_uniform

def get_search():
    space = {"optimizer.learning_rate": log_uniform(1e-4, 1e-1), "network.hidden_sizes": choice((8,), (16,))}
    return Search("config.py", space, overrides={"train.steps": 3}, trials=6, metric="bits_per_dim", model="MADE")
"""
#: A run whose validation score is the distance of its learning rate from 0.01; the test score says the opposite.
SCORE = """
rate = float(flags["config.optimizer.learning_rate"])
if os.path.exists("fail") and rate < float(open("fail").read()):
    sys.exit(int(open("code").read()))
import math
score = abs(math.log(rate) - math.log(0.01))
results |= dict(bits_per_dim=10 - score, validation_nll_nats=score, validation_bits_per_dim=score)
"""


@pytest.fixture
def planned(folder):
    """Runs a search of the stand-in with so many flags; the exit code."""
    (folder / "config.py").write_text(CONFIG)
    (folder / "base.json").write_text(to_json(load_config_file("config.py")))
    (folder / "sweep.py").write_text(SEARCH)
    (folder / "stand_in.py").write_text(STAND_IN.replace("json.dump(results", f"{SCORE}json.dump(results"))
    return lambda *flags, **more: sweep("--search=optuna", *flags, **more)


@pytest.fixture
def search(planned, monkeypatch):
    """The same, of a search that makes proposals, by a stand-in where optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        for name, module in fake_optuna.modules([]).items():
            monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("arjax.sweep.main.LocalExecutor", Here)
    return planned


def record(folder):
    return json.loads((folder / "out/search.json").read_text())["trials"]


def trials():
    with open("out/trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_trials_are_compared_on_validation_and_the_best_alone_is_told(folder, search, capsys):
    assert search() == 0
    out = capsys.readouterr().out
    table, rates = trials(), [trial["point"]["optimizer.learning_rate"] for trial in record(folder)]
    assert len(set(rates)) == 6 and all(1e-4 <= rate <= 1e-1 for rate in rates)
    scores = [abs(math.log(rate / 0.01)) for rate in rates]
    assert [float(row["validation"]) for row in table] == pytest.approx(sorted(scores), rel=1e-4)
    best = scores.index(min(scores))
    assert table[0]["trial"] == f"trial-{best:03d}" and f"best by validation: trial-{best:03d}" in out
    (row,) = rows()
    assert float(row["value"]) == pytest.approx(10 - min(scores), rel=1e-4)  # the worst on test
    assert row["model"].startswith(f"MADE, learning_rate {rates[best]}, hidden_sizes (")
    command = f"arjax --config=config.py --workdir=runs/trial-{best:03d} --config.train.steps=3"
    assert row["command"].startswith(f"{command} --config.optimizer.learning_rate={rates[best]}")
    assert out.count(row["value"]) == 1 and out.splitlines()[-1] == row["command"] == table[0]["command"]
    told = [f"{10 - score:.6g}" for i, score in enumerate(scores) if i != best]
    assert not any(value in out or value in (folder / "out/trials.csv").read_text() for value in told)


def test_a_search_by_a_metric_of_which_higher_is_better(folder, search, capsys):
    """It makes the trials of the search by the loss that is 1 - accuracy, and the best of them is the same."""
    stand_in, accuracy = folder / "stand_in.py", "results |= dict(accuracy=1 - score, validation_accuracy=1 - score)"
    stand_in.write_text(stand_in.read_text().replace("json.dump(results", f"{accuracy}\njson.dump(results"))
    (folder / "sweep.py").write_text(SEARCH.replace("trials=6", "trials=12"))
    assert search(workdir="loss") == 0
    losses = json.loads((folder / "loss/search.json").read_text())["trials"]
    capsys.readouterr()
    (folder / "sweep.py").write_text(SEARCH.replace("trials=6", "trials=12").replace("bits_per_dim", "accuracy"))
    assert search() == 0
    assert record(folder) == losses
    scores = [float(row["validation"]) for row in trials()]
    assert scores == sorted(scores, reverse=True) and float(rows()[0]["validation"]) == scores[0] > scores[-1]
    assert f"best by validation: {trials()[0]['trial']}" in capsys.readouterr().out


def test_a_search_goes_on_as_if_it_had_not_been_interrupted(folder, search, capsys):
    (folder / "sweep.py").write_text(SEARCH.replace("trials=6", "trials=12"))  # the first ten are random
    assert search("--trials=10") == 0
    (folder / "fail").write_text("1")
    (folder / "code").write_text("1")
    assert search("--trials=11") == 1  # the machine has gone down, say: the trial is done again
    assert "trial-010 FAILED (exit code 1), see out/trial-010/log.txt" in capsys.readouterr().err
    assert [row["state"] for row in trials()] == ["finished"] * 10 + ["running"]
    (folder / "fail").unlink()
    assert search() == 0
    assert "12 trials, 10 of them already ended" in capsys.readouterr().out
    assert (folder / "out/trial-000/starts").read_text() == "x" and len(trials()) == 12
    interrupted = record(folder)
    assert search() == 0 and record(folder) == interrupted and "12 of them already ended" in capsys.readouterr().out
    assert search(workdir="whole") == 0
    assert json.loads((folder / "whole/search.json").read_text())["trials"] == interrupted
    (folder / "sweep.py").write_text(SEARCH.replace("1e-1", "1e-2"))
    assert search() == 2
    err = capsys.readouterr().err
    assert "out holds a search with another space" in err and "choose another --workdir" in err
    for damaged in ("{", '{"search": {}, "trials": [{"point": 1}]}'):
        (folder / "out/search.json").write_text(damaged)
        assert search() == 2 and "out/search.json is damaged" in capsys.readouterr().err


def test_own_code_that_has_changed_since_a_trial_is_told(folder, search, capsys):
    assert search("--trials=2") == 0
    mine = folder / "mine.py"
    mine.write_text("# one\n")
    Record(code=versions_of([str(mine)])).write("out/trial-001")
    assert search("--trials=2") == 0 and "mine.py" not in capsys.readouterr().out
    mine.write_text("# another\n")
    remark = f"    {mine} has changed since the training of trial-001 began: remove the folder of trial-001 to"
    for flags in (["--trials=2"], ["--trials=2", "--dry_run"]):
        assert search(*flags) == 0 and remark in capsys.readouterr().out
    assert (folder / "out/trial-001/starts").read_text() == "x"


def test_a_trial_that_diverges_is_not_tried_again(folder, search, capsys):
    (folder / "fail").write_text("0.01")
    (folder / "code").write_text("3")
    assert search("--jobs=2") == 0
    lost = [trial["diverged"] for trial in record(folder)]
    assert lost == [trial["point"]["optimizer.learning_rate"] < 0.01 for trial in record(folder)] and any(lost)
    assert {row["state"] for row in trials()} == {"finished", "diverged"} and trials()[-1]["validation"] == ""
    (folder / "fail").unlink()
    assert search() == 0 and [trial["diverged"] for trial in record(folder)] == lost
    assert "6 of them already ended" in capsys.readouterr().out


def test_a_dry_run_of_a_search_needs_no_optuna_and_writes_nothing(folder, planned, capsys, monkeypatch):
    search = planned
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert search("--dry_run") == 0 and not (folder / "out").exists()
    out = capsys.readouterr().out
    assert "log_uniform(0.0001, 0.1)" in out and "choice((8,), (16,))" in out
    assert out.splitlines()[-1] == "6 trials by validation bits_per_dim, 0 of them begun; the command is an example"
    assert search() == 2 and not (folder / "out").exists()
    assert capsys.readouterr().err == "arjax-sweep: --search=optuna needs optuna: pip install 'arjax[search]'\n"


def test_trials_so_far_are_a_table(folder, planned, capsys):
    """The best on top, those without a score last; texts on the left of their columns, numbers on the right."""
    (folder / "other.py").write_text(SEARCH)
    known = load_search("other.py")
    points = [{"optimizer.learning_rate": rate, "network.hidden_sizes": "(8,)"} for rate in (0.5, 0.01, 0.02, 0.03)]
    listed = [{"point": point, "diverged": i == 0} for i, point in enumerate(points)]
    (folder / "out").mkdir()
    (folder / "out/search.json").write_text(json.dumps({"search": known.description(), "trials": listed}))
    for i, score in ((1, 3.5), (2, 2.25)):
        (folder / f"out/trial-00{i}").mkdir()
        report = REPORT | {"validation_bits_per_dim": score, "bits_per_dim": 7.0, "train_seconds": 90.0}
        (folder / f"out/trial-00{i}/results.json").write_text(json.dumps(report))
        (folder / f"out/trial-00{i}/config.json").write_text(json.dumps(RUN_CONFIG))
    assert planned("--dry_run") == 0
    assert "4 of them begun" in capsys.readouterr().out
    _report(Trials(known, folder / "out"))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    expected = ((2, "finished", "0.02", "2.25"), (1, "finished", "0.01", "3.5"), (0, "diverged", "0.5", ""))
    for line, (i, state, rate, score) in zip(lines[3:], (*expected, (3, "running", "0.03", "")), strict=False):
        end = f"                {score:>26}           1       1.5" if score else ""
        assert line == f"  trial-00{i}   {state:8}   {rate:<23}   (8,){end}"
    assert lines[9].startswith("best by validation: trial-002, validation 2.25, test 7 bits_per_dim; its row is in ")


@pytest.mark.parametrize(
    ("old", "new", "flags", "sentence"),
    [
        ("", "", ["--trials=0"], "--trials must be at least 1, not 0"),
        ("", "", ["--only=a"], "it takes no --only"),
        ("", "", ["--seeds=mean"], "it takes no --seeds"),
        ("", "", ["--status", "--executor=slurm"], "it takes no --detach and no --status"),
        ("", "", ["--detach", "--executor=slurm"], "it takes no --detach and no --status"),
        (
            "",
            "",
            ["--dry_run=commands"],
            "--search chooses its runs by itself: it goes with --dry_run, not --dry_run=c",
        ),
        ("", "", ["--executor=population"], "--search goes with --executor=local, ray or slurm: its trials differ in"),
        ("learning_rate", "learning_rat", [], "did you mean 'optimizer.learning_rate'"),
        ("choice((8,), (16,))", "choice('a', 'b')", [], "config.network.hidden_sizes must be a tuple"),
        ("log_uniform(1e-4, 1e-1)", "[1, 2]", [], "the space of 'optimizer.learning_rate' must be uniform("),
        ("1e-4", "0", [], "a space needs 0 < low < high, not 0 and 0.1"),
        ("bits_per_dim", "bits", [], "reports no 'bits'"),
        ("bits_per_dim", "nll_nats_per_char", [], "trial-000 has no nll_nats_per_char on validation"),
        ("config.py", "none.py", [], "does not exist: 'none.py'"),
        ("get_search", "get_sweep", [], "does not define get_search()"),
    ],
    ids=lambda _: "",
)
def test_mistakes_are_one_sentence(folder, search, capsys, old, new, flags, sentence):
    (folder / "sweep.py").write_text(SEARCH.replace(old, new))
    assert search(*flags) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert search(*flags) == 2 and capsys.readouterr().err == err
    assert sweep("--trials=3") == 2 and "--trials goes with --search=optuna" in capsys.readouterr().err


def test_spaces():
    assert Search("c.py:{a}", {"a": choice(True, 2, (3, 4))}).run(7, {"a": "true"}).config == "c.py:true"
    assert [space.example for space in (choice("a", "b"), uniform(0.25, 1), integers(2, 3))] == ["a", 0.25, 2]
    assert uniform(0, 1).rounded(0.123441) == 0.1234 and uniform(0, 0.12346).rounded(0.12346) == 0.12346
    assert integers(1, 8).rounded(3.0) == 3 and isinstance(integers(1, 8).rounded(3.0), int)
    assert log_uniform(1, 9).rounded(9.5) == 9.0 and uniform(0.12344, 1).rounded(0.12344) == 0.12344
    spaces = ["uniform(0, 1)", "log_uniform(0.5, 1)", "integers(1, 8, log=True)", "integers(1, 8)", "choice(a, true)"]
    made = [uniform(0, 1), log_uniform(0.5, 1), integers(1, 8, log=True), integers(1, 8), choice("a", True)]
    assert [str(each) for each in made] == spaces
    for make, arguments, sentence in (
        (choice, (), "a choice needs values, each once, not ()"),
        (choice, (1, "1"), "a choice needs values, each once, not ('1', '1')"),
        (integers, (0.5, 2), "a space of integers has no bounds 0.5 and 2"),
        (integers, (1, 2.5), "a space of integers has no bounds 1 and 2.5"),
        (uniform, (2, 1), "a space needs low < high, not 2 and 1"),
        (uniform, (1, 1), "a space needs low < high, not 1 and 1"),
        (log_uniform, (-1, 1), "a space needs 0 < low < high, not -1 and 1"),
        (Search, ("c", {}), "a search needs a space, such as {'optimizer.learning_rate': log_uniform(1e-4, 1e-2)}"),
        (Search, ("c", ["a"]), "a search needs a space, such as {'optimizer.learning_rate': log_uniform(1e-4, 1e-2)}"),
    ):
        assert refusal(make, *arguments) == sentence


def test_a_proposal_is_that_of_a_study_with_all_trials_before(monkeypatch):
    """The study, of a stand-in, has a seed for each number of trials, and the values are rounded."""
    studies = []
    for name, module in fake_optuna.modules(studies).items():
        monkeypatch.setitem(sys.modules, name, module)
    space = {"rate": log_uniform(1e-5, 1.0), "part": uniform(2, 3), "size": integers(1, 9, log=True), "how": choice(1)}
    point = {"rate": 0.5, "part": 2.5, "size": 3, "how": "1"}
    past = [(point, state, 7.5 if state == FINISHED else None) for state in (FINISHED, RUNNING, FAILED)]
    found = [propose(space, trials, seed) for seed, trials in ((0, past), (0, past), (1, past), (0, past[:1]))]
    assert found[0] == found[1] and all(found[0] != other for other in found[2:])
    assert found[0]["rate"] == float(f"{found[0]['rate']:.4g}") and isinstance(found[0]["size"], int)
    trials = [(trial.params, trial.state.name, trial.value) for trial in studies[0].trials]
    assert trials == [(point, "COMPLETE", 7.5), (point, "RUNNING", None), (point, "FAIL", None)]
    of_field = {name: (type(each), each.values, each.log) for name, each in studies[0].trials[0].distributions.items()}
    assert of_field == {
        "rate": (fake_optuna.Distribution, (1e-5, 1.0), True),
        "part": (fake_optuna.Distribution, (2, 3), False),
        "size": (fake_optuna.Whole, (1, 9), True),
        "how": (fake_optuna.Choice, (("1",),), False),
    }
    seeds = [int(np.random.SeedSequence(entropy).generate_state(1)[0]) for entropy in ([0, 3], [0, 3], [1, 3], [0, 1])]
    assert [study.seed for study in studies] == seeds


def test_proposals_depend_on_the_trials_before_and_find_what_is_better():
    pytest.importorskip("optuna")
    space = {"rate": log_uniform(1e-5, 1.0), "size": integers(1, 100), "how": choice("a", "b")}
    past = []
    for i in range(30):
        point = propose(space, past, seed=0)
        assert point == propose(space, past, seed=0) != propose(space, past, seed=1)
        state = (FINISHED, FINISHED, FINISHED, RUNNING, FAILED)[i % 5]
        score = abs(math.log10(point["rate"]) + 3) + (point["how"] == "b")
        past.append((point, state, score if state == FINISHED else None))
    late = [abs(math.log10(point["rate"]) + 3) + (point["how"] == "b") for point, *_ in past[-8:]]
    assert sum(late) / len(late) < 1.0, "random points score about 1.8"


@pytest.mark.slow
def test_a_search_over_real_runs(folder, monkeypatch, capsys):
    pytest.importorskip("optuna")

    class Here:
        def __init__(self, *options, most, more):
            assert most == 2 and not more  # the trials that are left, which may go on at once

        def execute(self, runs, workdir):
            for run in runs:
                yield run, arjax(run.arguments(workdir))

    (folder / "config.py").write_text(CONFIG)
    (folder / "sweep.py").write_text(SEARCH.replace("choice((8,), (16,))", "choice((8,))"))
    monkeypatch.setattr("arjax.sweep.main.LocalExecutor", Here)
    assert sweep("--search=optuna", "--trials=2") == 0
    scores = [json.loads((folder / f"out/trial-00{i}/results.json").read_text()) for i in range(2)]
    best = min(scores, key=lambda results: results["validation_bits_per_dim"])
    (row,) = rows()
    assert float(row["value"]) == pytest.approx(best["bits_per_dim"], rel=1e-5)
    assert float(row["validation"]) == pytest.approx(best["validation_bits_per_dim"], rel=1e-5)
    assert best["seed"] == 0 and {results["step"] for results in scores} == {3}
