"""A noisy pattern, which every estimator can learn: sites are independent, each 1 with the probability .95 or .05.

arjax --config=experiments/as_is/config.py:length=64 --workdir=runs/pattern --config.objective=as_is
"""

import numpy as np

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg
from arjax.core.spec import EventSpec
from arjax.data import DATASETS, Dataset
from arjax.data.base import from_arrays

#: How often a site differs from the pattern.
NOISE = 0.05
SPLITS = {"train": 4000, "validation": 1000, "test": 1000}


@DATASETS.register("noisy_pattern")
def noisy_pattern(*, length: int = 64, seed: int = 0) -> Dataset:
    """A random pattern of bits, one for all sequences, of which each site is flipped with the probability .05."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(0, 2, length)
    splits = {name: (pattern ^ (rng.random((num, length)) < NOISE)).astype(np.uint8) for name, num in SPLITS.items()}
    return from_arrays(EventSpec((length,)), name="noisy_pattern", **splits)


def get_config(arg=""):
    """`length` of the sequences; `smoke`: seconds."""
    arg = parse_arg(arg, length=64, smoke=False)
    config = base_config()
    config.dataset = dataset_config("noisy_pattern", length=8 if arg.smoke else arg.length)
    config.network = network_config("gru", hidden_size=8 if arg.smoke else 32)
    config.optimizer.update(name="adam", learning_rate=5e-3, clip_norm=1.0)
    config.train.update(steps=1000, batch_size=32, steps_per_dispatch=20, log_every=100, eval_every=200)
    config.evaluate.batch_size = 500
    return apply_smoke(config) if arg.smoke else config
