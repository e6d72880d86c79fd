"""One tiny run of a config and one training on arrays, for all tests of the Python interface."""

import numpy as np
import pytest

import arjax

CONFIG = """
from arjax.config import base_config, dataset_config, network_config

def get_config(arg=""):
    config = base_config()
    config.dataset = dataset_config("table", path=arg)
    config.network = network_config("made", hidden_sizes=(4,))
    config.train.update(steps=4, batch_size=8, steps_per_dispatch=2, log_every=2, eval_every=2, checkpoint_every=2)
    config.evaluate.batch_size = 16
    config.sample.num = 4
    return config
"""


@pytest.fixture(scope="session")
def config(tmp_path_factory) -> str:
    """A config for real data that are standardised: three columns of very different units."""
    folder = tmp_path_factory.mktemp("config")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(60, 3)) * (1, 100, 0.01) + (0, 5, 7)
    np.savetxt(folder / "table.csv", table, delimiter=",", header="a,b,c", comments="")
    (folder / "tiny.py").write_text(CONFIG)
    return f"{folder / 'tiny.py'}:{folder / 'table.csv'}"


@pytest.fixture(scope="session")
def run(config, tmp_path_factory) -> arjax.Run:
    """A finished run; tests must not change its folder."""
    return arjax.fit(config, tmp_path_factory.mktemp("runs") / "python", quiet=True)


def binary_arrays() -> dict[str, np.ndarray]:
    """Splits of five bits, the last of which is the exclusive or of the first two."""
    x = np.random.default_rng(0).integers(0, 2, size=(500, 5))
    x[:, 4] = x[:, 0] ^ x[:, 1]
    return {"train": x[:300], "validation": x[300:400], "test": x[400:]}


OPTIONS = {"steps": 400, "eval_every": 50, "learning_rate": 0.03, "quiet": True}


@pytest.fixture(scope="session")
def model():
    return arjax.make_model(arjax.EventSpec((5,)), "made", hidden_sizes=(16,), direct=False)


@pytest.fixture(scope="session")
def fitted(model) -> arjax.Fitted:
    return arjax.fit_arrays(model, **binary_arrays(), **OPTIONS)
