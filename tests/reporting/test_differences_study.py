"""The study of densities: mixed recipes beside the mixture of Gaussians, row by row."""

import functools
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import arjax
from arjax.data import from_arrays


@pytest.fixture
def study(load_script):
    return load_script("experiments/continuous_density/differences.py")


def test_a_model_that_is_the_truth_has_fewer_nats_than_a_fit(study, monkeypatch):
    """Mixed recipes that are N(0, 1), and another density that is worse by a number for each row."""
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    splits = {"train": x[:100], "validation": x[100:200], "test": x[200:]}
    dataset = from_arrays(arjax.EventSpec((2,), kind="real"), **splits)
    exact = SimpleNamespace(log_prob=lambda params, x: -(x**2).sum(-1) / 2 - jnp.log(2 * jnp.pi) - params)
    monkeypatch.setattr(study.arjax, "open_run", lambda run: SimpleNamespace(dataset=dataset))
    # Two numbers of components stand for all that the study tries.
    fit_few = functools.partial(study.fit_gaussian_mixture, components=(1, 2), inits=1)
    monkeypatch.setattr(study, "fit_gaussian_mixture", fit_few)
    found = []
    for worse in (0.0, 1.0):
        monkeypatch.setattr(study, "mixture_of_runs", lambda runs, weights, worse=worse: (exact, worse))
        found.append(study.difference([Path("run")], -4.6).nats_N)
    assert found[0].shape == (100,) and -0.2 < found[0].mean() < 0.02
    np.testing.assert_allclose(found[1] - found[0], 1, atol=1e-5)
    fit = study.fit_gaussian_mixture(splits["train"], splits["validation"], min_log_scale=-4.6)
    nats = -stats.multivariate_normal(np.zeros(2)).logpdf(splits["test"])
    np.testing.assert_allclose(found[0], nats - fit.nats(splits["test"]), atol=1e-5)


def test_a_folder_without_runs_is_refused(study, tmp_path):
    with pytest.raises(arjax.UserError, match="has no finished run"):
        study.main([str(tmp_path)])
