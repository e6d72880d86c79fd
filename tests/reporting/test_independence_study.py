"""The study of the price of independence: its factorizations, its differences, its table and its picture."""

import csv
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest


def fake_run(name, side):
    """A model that pays for each call that it saves, from a score that depends on the order."""
    examples = SimpleNamespace(__getitems__=lambda places: SimpleNamespace(x=np.zeros((len(places), side, side))))

    def log_prob(params, x, factorization):
        order = np.asarray(factorization.order)
        return factorization.num_steps - float(order @ np.arange(order.size) % 97) - jnp.arange(len(x))

    model = SimpleNamespace(event=SimpleNamespace(grid_shape=(side, side)), log_prob=log_prob)
    dataset = SimpleNamespace(name=name, splits={"test": examples})
    return SimpleNamespace(model=model, dataset=dataset, params={})


@pytest.mark.slow
def test_each_curve_begins_with_one_site_at_a_time_and_differences_are_from_there(load_script, monkeypatch, tmp_path):
    study = load_script("experiments/cascades/independence.py")
    monkeypatch.setattr(study, "HERE", tmp_path)
    monkeypatch.setattr(study, "DATA", {"a": ("digits", "a.py", {}, 4), "b": ("pixels", "b.py", {}, 3)})
    monkeypatch.setattr(study, "jax", SimpleNamespace(jit=lambda function: function))
    runs = {"a": fake_run("a", 8), "b": fake_run("b", 28)}
    monkeypatch.setattr(study.arjax, "fit", lambda config, folder, overrides: runs[folder.name])
    assert study.main([str(tmp_path)]) == 0
    rows = list(csv.DictReader((tmp_path / "independence.csv").read_text().splitlines()))
    for words, sites, shift in (("digits", 64, 1.5), ("pixels", 784, 1.0)):
        of_data = [row for row in rows if row["data"] == words]
        assert {row["curve"] for row in of_data} == {"random sets", "scales, set by set", "scales at once"}
        for curve in {row["curve"] for row in of_data}:
            calls = [int(row["calls"]) for row in of_data if row["curve"] == curve]
            assert calls[0] == sites and calls == sorted(calls, reverse=True) and calls[-1] < 10
        for row in of_data:
            calls = int(row["calls"])
            assert (float(row["nats"]) - shift + calls) % 1 == 0  # the mean over the images
            assert float(row["above one site at a time"]) == sites - calls and float(row["standard error"]) == 0
    assert (tmp_path / "independence.png").stat().st_size > 0
