"""Means and mixtures of the rows of a population: numbers that are those of the runs, whoever trained them."""

import shutil

import jax
import numpy as np
import pytest
from population_rows import SWEEP, alone, results, sweep, write_population
from sweep_cases import rows

from arjax.api import open_run
from arjax.api.comparing import mixture_of_runs
from arjax.core.errors import UserError
from arjax.core.files import read_arrays
from arjax.core.scores import fit_weights, mixed_nats
from arjax.sweep.main import main


@pytest.fixture
def folder(tmp_path, monkeypatch, scope):
    write_population(tmp_path, monkeypatch, scope)
    return tmp_path


MIXED = SWEEP.replace(
    "seed=1)]",
    """seed=1),
        Mean("mean", ["raster-0", "raster-1"]),
        Mixture("equal", ["raster-0", "odd"], published=1.5, published_mark="M"),
        Mixture("fitted", ["raster-0", "odd"], weights="fitted"),
        Mixture("chosen", ["raster-0", "raster-1", "odd"], model="some", weights="chosen"),
    ]""",
)


def check_mixture_of_runs(workdirs, weights):
    """The same mixture as a model."""
    model, params = mixture_of_runs(workdirs)
    np.testing.assert_allclose(np.exp(model.log_weights(params)), weights, atol=1e-5)
    x = np.eye(4, dtype=np.int32)[:2]
    nats = np.stack([-np.asarray(open_run(str(workdir)).log_prob(x)) for workdir in workdirs])
    np.testing.assert_allclose(-np.asarray(jax.jit(model.log_prob)(params, x)), mixed_nats(nats, weights), rtol=1e-5)
    with pytest.raises(UserError, match="weights of a mixture cannot be 'fited', did you mean 'fitted'"):
        mixture_of_runs(workdirs, "fited")
    with pytest.raises(UserError, match="is no finished run"):
        mixture_of_runs([workdirs[0], workdirs[0].parent])
    with pytest.raises(UserError, match="at least one run"):
        mixture_of_runs([])


@pytest.mark.slow
def test_means_and_mixtures_are_rows_whoever_trained_their_runs(folder, capsys):
    """The nats of the examples come from rows.npz; where it is missing, damaged or of other parameters, from these."""
    (folder / "sweep.py").write_text(MIXED)
    assert sweep("--only=mean,equal,fitted,chosen") == 0
    out = folder / "out"
    made = rows()
    assert [row["model"] for row in made] == [
        *["made"] * 3,
        "made, mean of 2 seeds",
        "made, 2 mixed, equal weights",
        "made, 2 mixed, fitted weights",
        "some",
    ]
    values = [results(out / name)["nll_nats"] for name in ("raster-0", "raster-1")]
    mean, equal, fitted, chosen = made[3:]
    assert float(mean["value"]) == pytest.approx(np.mean(values), rel=1e-5)
    assert float(mean["value_stderr"]) == pytest.approx(np.std(values, ddof=1) / np.sqrt(2), rel=1e-2)
    one, two = (read_arrays(out / name / "rows.npz")["test"].astype(float) for name in ("raster-0", "odd"))
    mixed = -np.log((np.exp(-one) + np.exp(-two)) / 2)
    assert float(equal["value"]) == pytest.approx(mixed.mean(), rel=1e-5)
    assert float(equal["value_stderr"]) == pytest.approx(mixed.std(ddof=1) / np.sqrt(20), rel=1e-2)
    weights = fit_weights(
        np.stack([read_arrays(out / name / "rows.npz")["validation"] for name in ("raster-0", "odd")])
    )
    assert abs(weights[0] - 0.5) > 0.02, "fitted weights ought to differ from equal ones"
    assert float(fitted["value"]) == pytest.approx(mixed_nats(np.stack([one, two]), weights).mean(), rel=1e-5)
    assert (equal["stderr_over"], mean["stderr_over"]) == ("examples", "seeds")
    valid = [read_arrays(out / name / "rows.npz")["validation"] for name in ("raster-0", "odd")]
    assert float(fitted["validation"]) == pytest.approx(mixed_nats(np.stack(valid), weights).mean(), rel=1e-5)
    assert float(fitted["validation"]) <= float(equal["validation"]) and float(equal["validation_stderr"]) > 0
    assert (equal["published"], equal["published_mark"], equal["kind"]) == ("1.5", "M", "exact")
    assert (equal["ordering"], equal["seed"], mean["ordering"], mean["seed"]) == ("2 orders", "0, 1", "raster", "0, 1")
    assert int(equal["num_params"]) == 2 * int(mean["num_params"])
    flags = "--sweep=sweep.py --workdir=runs/out --executor=population --only=fitted"
    assert fitted["command"] == f"arjax-sweep {flags}"
    check_mixture_of_runs([out / "raster-0", out / "odd"], weights)

    shutil.rmtree(out / "raster-0")
    alone(out / "raster-0", "raster", 0)  # by itself: no rows
    (out / "odd" / "rows.npz").write_bytes(b"damaged")
    np.savez(out / "raster-1" / "rows.npz", test=np.ones(20, np.float32), validation=np.ones(16, np.float32))
    assert main(["--sweep=sweep.py", "--workdir=out", "--only=equal,fitted,chosen"]) == 0
    for before, after in zip((equal, fitted, chosen), rows()[-3:], strict=True):
        assert float(after["value"]) == pytest.approx(float(before["value"]), rel=1e-5)


@pytest.mark.slow
def test_a_mixture_that_cannot_be_made_fails_alone(folder, capsys):
    text = MIXED.replace('model__ordering="random", seed=1)', 'seed=1, evaluate__split="validation")')
    (folder / "sweep.py").write_text(text.replace('weights="fitted"', "").replace('weights="chosen"', ""))
    assert sweep("--only=mean,equal") == 1
    err = capsys.readouterr().err  # of the rows that were asked for
    told = "arrays and arrays (validation split)"
    assert err == f"arjax-sweep: row 'equal' is made of runs on {told}\n"
    assert rows()[-1]["model"] == "made, mean of 2 seeds"
