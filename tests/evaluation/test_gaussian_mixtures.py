"""The baseline of densities of real values: scikit-learn's mixtures of Gaussians, chosen on validation."""

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.sweep.results import read_csv

MEANS = np.array([[-2.0, 0.0, 1.0], [2.0, 1.0, -1.0]])


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("scripts/gaussian_mixture_baseline.py")


def clusters(num: int, seed: int = 0) -> np.ndarray:
    """Two narrow clusters, [num, 3]."""
    rng = np.random.default_rng(seed)
    return MEANS[rng.integers(2, size=num)] + 0.5 * rng.normal(size=(num, 3))


def test_one_component_is_the_gaussian_of_the_rows(script):
    x = clusters(200)
    fit = script.fit_gaussian_mixture(x, clusters(50, 1), components=(1,), min_log_scale=-7.0)
    covariance = np.cov(x.T, bias=True) + fit.regularisation * np.eye(3)
    np.testing.assert_allclose(fit.nats(x[:9]), -multivariate_normal(x.mean(0), covariance).logpdf(x[:9]), rtol=1e-5)
    assert fit.num_params == 3 + 6


@pytest.mark.slow
def test_a_fit_is_a_model_of_the_kind_gaussian_mixture(script):
    x = clusters(120)
    fit = script.fit_gaussian_mixture(x, clusters(60, 1), components=(2,))
    model = make_model(EventSpec((3,), kind="real"), kind="gaussian_mixture", data=x, **fit.options)
    params = model.init(jax.random.key(5))  # whose key has no influence
    np.testing.assert_allclose(model.log_prob(params, x), -fit.nats(x), rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_script_adds_its_rows_to_a_table_in_the_units_of_the_data(script, repository, tmp_path, capsys):
    values = clusters(300)
    tables = {}
    for unit in (1, 10):
        rows = "\n".join(",".join(map(repr, row)) for row in (unit * values).tolist())
        (tmp_path / f"mine{unit}.csv").write_text(f"a,b,c\n{rows}\n")
        config = f"--config={repository / 'configs' / 'wine_quality.py'}:table={tmp_path / f'mine{unit}.csv'}"
        tables[unit] = tmp_path / f"results{unit}.csv"
        for components in ("1,3", "1,2"):  # the second table of rows replaces the first
            assert script.main([config, f"--components={components}", f"--out={tables[unit]}"]) == 0
    rows = read_csv(tables[1])
    names = ["Gaussian, full covariance", "mixture of Gaussians, scikit-learn, 2 components"]
    assert [row["model"] for row in rows] == names and rows[1]["num_params"] == "19"
    values = [float(row["value"]) for row in rows]
    assert values[0] > values[1] + 0.3 and 2.3 < values[1] < 3.5 and float(rows[1]["value_stderr"]) > 0
    shifted = [float(row["value"]) - 3 * np.log(10) for row in read_csv(tables[10])]
    np.testing.assert_allclose(shifted, values, atol=1e-3)
    assert names[1] in capsys.readouterr().out
