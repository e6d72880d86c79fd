"""The study of memory: parameters scored with another memory, and its picture and table."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import arjax
from arjax.data import from_arrays
from arjax.evaluation.splits import Scoring
from arjax.sweep.results import COLUMNS, FILE_NAME, write_csv
from arjax.testing.examples import random_like, random_x

EVENT = arjax.EventSpec((12,), (), "tokens", 4)
SIZES = {"width": 8, "num_layers": 2, "num_heads": 2, "segment": 3}


@pytest.fixture
def measure(load_script):
    return load_script("experiments/memory/measure.py")


@pytest.mark.slow
def test_the_memory_of_a_run_is_replaced_and_its_parameters_stay(measure):
    model = arjax.make_model(EVENT, "transformer_xl", memory=6, **SIZES)
    params = random_like(model.param_shapes)
    x = random_x(EVENT, 5)
    dataset = from_arrays(EVENT, name="own", train={"x": x}, test={"x": x})
    run = SimpleNamespace(model=model, params=params, dataset=dataset, settings=SimpleNamespace(scoring=Scoring(5)))
    for memory in (0, 6):
        nll, sites = measure.scored_with(run, memory)
        other = arjax.make_model(EVENT, "transformer_xl", memory=memory, **SIZES)
        np.testing.assert_allclose(nll, -np.asarray(jax.jit(other.log_prob)(params, x)), rtol=1e-5)
        assert sites.tolist() == [12] * 5
    assert np.abs(measure.scored_with(run, 0)[0] - nll).max() > 1e-3


def test_without_text_the_copies_are_drawn(load_script, measure, tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text("<!-- measured -->\n<!-- end measured -->\n")
    with pytest.raises(arjax.UserError, match=r"has no results\.csv"):
        measure.main([str(tmp_path), f"--out={tmp_path}"])
    known = dict.fromkeys(COLUMNS, "") | {"metric": "nll_nats", "model": "TCN"}
    rows = [known | {"dataset": f"copy memory, {delay}", "value": nats} for delay, nats in ((100, 0.5), (500, 9))]
    write_csv(tmp_path / FILE_NAME, rows)
    assert measure.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    assert (tmp_path / "memory.png").stat().st_size > 1000
    assert load_script("scripts/measured.py").measured_rows(page, measure.COLUMNS) == []


def test_text_has_a_line_for_each_memory(measure, tmp_path):
    numbers = {"nats": 1.25, "stderr": 0.01, "difference": -0.125, "difference_stderr": 0.002}
    rows = [{"trained": 256, "memory": memory} | numbers for memory in (0, 64)]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in measure.table(rows).splitlines()]
    assert cells[2:] == [
        ["256", "0", "1.2500 ± 0.0100", ""],
        ["256", "64", "1.2500 ± 0.0100", "-0.1250 ± 0.0020"],
    ]
    measure.draw(tmp_path / "memory.png", [], rows)
    assert (tmp_path / "memory.png").stat().st_size > 1000
