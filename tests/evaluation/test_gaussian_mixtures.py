"""The baseline of densities of real values: scikit-learn's mixtures of Gaussians, chosen on validation."""

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
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


def test_a_search_goes_on_up_to_where_validation_stops_gaining(script, monkeypatch):
    """The sizes above those of the list are tried while one of the last two was the best."""
    tried = []

    def fit(train, validation, num, regularisation, inits, seed):
        tried.append((num, regularisation, inits))
        return script.GaussianMixtureFit(num, regularisation, abs(num - best) + 1e3 * abs(regularisation - 1e-3), None)

    monkeypatch.setattr(script, "_fit", fit)
    for best, sizes in ((8, []), (50, [50, 80, 120]), (200, [50, 80, 120, 200, 300])):
        tried.clear()
        found = script.fit_gaussian_mixture(clusters(300), clusters(9), None, -4.6)
        more = {num: [value for size, value, _ in tried if size == num] for num in script.MORE_COMPONENTS}
        assert found.components == best and [num for num, values in more.items() if values] == sizes
        assert all(values == [np.exp(-9.2), 1e-3, 1e-2] for values in more.values() if values)
        assert all(inits == (2 if num <= 30 else 1) for num, _, inits in tried)
    em = {"em_starts": 1, "em_iterations": 300, "em_seed": 0}
    assert found.options == {"components": 200, "min_log_scale": pytest.approx(np.log(1e-3) / 2)} | em


@pytest.mark.parametrize("components", [(), (0, 1), (11,)])
def test_numbers_of_components_that_cannot_be(script, components):
    with pytest.raises(UserError, match=r"^numbers of components must be from 1 to the 10 rows to fit, not"):
        script.fit_gaussian_mixture(clusters(10), clusters(10), components=components)


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


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (EventSpec((3,)), r"^mixtures of Gaussians need real values without a context, not those of 'mine'$"),
        (EventSpec((3,), kind="real"), r"^mixtures of Gaussians need a test split, which 'mine' does not have$"),
    ],
)
def test_script_refuses_data(script, event, sentence):
    x = np.zeros((4, 3), event.dtype)
    with pytest.raises(UserError, match=sentence):
        script.check_dataset(from_arrays(event, name="mine", train=x, validation=x))


def test_script_refuses_flags(script, repository):
    with pytest.raises(UserError, match=r"^--components must be whole numbers separated by commas, not '1,x'$"):
        script.main([f"--config={repository / 'configs' / 'wine_quality.py'}", "--components=1,x"])
