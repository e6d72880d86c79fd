"""The mode `audit`."""

import types

import numpy as np

import arjax
from arjax import EventSpec
from arjax.cli.main import main


def test_the_mode(finished_run, monkeypatch, capsys, last_sentence, tmp_path):
    seen = []
    report = arjax.audit(event=EventSpec((1,)), log_prob=lambda x: np.full(len(x), -np.log(2)), budget_s=5)
    monkeypatch.setattr("arjax.testing.auditing.audit", lambda run, **options: seen.append(options) or report)
    assert main(["--mode=audit", f"--workdir={finished_run}", f"--output={tmp_path / 'a.json'}", "--budget_s=7"]) == 0
    assert seen == [{"budget_s": 7, "name": f"the run in {finished_run}"}]
    out = capsys.readouterr().out
    assert out.startswith("the model is valid: shown by mass") and out.endswith("a.json\n")
    bad = types.SimpleNamespace(save=lambda path: path, exit_code=3)
    monkeypatch.setattr("arjax.testing.auditing.audit", lambda run, **options: bad)
    assert main(["--mode=audit", f"--workdir={finished_run}"]) == 3
    bad_output = last_sentence("--mode=audit", f"--workdir={finished_run}", "--output=a.pdf")
    assert "a report is a file such as audit.html or audit.json, not 'a.pdf'" in bad_output
    assert "holds no run" in last_sentence("--mode=audit", f"--workdir={tmp_path}")
