"""How much the order matters: the same network, parameters at the start, batches and steps under every order.

arjax-sweep --sweep=experiments/order_matters/sweep.py --workdir=runs/order_matters --executor=population
"""

import re

from arjax.sweep import Mean, Run

SEEDS = (0, 1, 2)
RANDOM = tuple(f"random(seed={seed})" for seed in range(3))
READ_OFF_DATA = ("chow_liu", "mutual_information", "variance")
OF_A_PLANE = ("raster", "reversed", "column_major", "spiral", "diagonal", "hilbert", "subscale", "multiscale")
OF_A_LINE = ("raster", "reversed", *READ_OFF_DATA, "reversed(of='chow_liu')", *RANDOM)
OF_TEXT = ("raster", "reversed", "shuffled_within(size=5)", "shuffled_within(size=64)")


UCI = {"train.patience": 0, "train.eval_every": 100, "train.log_every": 100}
DIGITS = {"train.steps": 1500, "train.eval_every": 250}
#: direct connections: 200 units alone leave most pixels blind to the one before them, which would be the raster's loss
IMAGES = {
    "network.hidden_sizes": (200,),
    "network.dropout": 0.2,
    "train.epochs": 0.0,
    "optimizer.learning_rate": 2e-3,
    "train.steps": 3000,
    "train.eval_every": 500,
}
TEXT = {
    "network.hidden_size": 192,
    "network.position": "learned",
    "train.steps": 500,
    "train.batch_size": 16,
    "train.eval_every": 250,
}


def get_sweep() -> list[Run | Mean]:
    """Each order with three seeds, and their mean; within a data set all runs take the same number of steps."""
    digits, images = (*OF_A_PLANE, *READ_OFF_DATA, *RANDOM), (*OF_A_PLANE, "mutual_information", *RANDOM[:2])
    text = "configs/tiny_shakespeare.py:network=gru,eval_stride=64"
    return [
        *_rows("digits", "configs/digits.py:network=made", digits, DIGITS, metric="bits_per_dim"),
        *_rows("dna", "configs/uci_binary.py:dna", OF_A_LINE, UCI | {"train.steps": 1000}),
        *_rows("mushrooms", "configs/uci_binary.py:mushrooms", OF_A_LINE, UCI | {"train.steps": 1500}),
        *_rows("binarized_mnist", "configs/binarized_mnist.py:network=made", images, IMAGES, model="MADE, 200 units"),
        *_rows("tiny_shakespeare", text, OF_TEXT, TEXT, model="GRU", metric="nll_nats_per_char"),
    ]


def _rows(
    name: str, config: str, orders: tuple[str, ...], overrides: dict, model: str = "MADE", metric: str = "nll_nats"
) -> list[Run | Mean]:
    rows: list[Run | Mean] = []
    for order in orders:
        row = (
            f"{name}-{re.sub(r'[^a-z0-9_]+', '-', order).strip('-')}"  # reversed(of='chow_liu') -> reversed-of-chow_liu
        )
        runs = [
            Run(
                f"{row}/seed-{seed}",
                config,
                overrides | {"model.ordering": order, "seed": seed},
                model=model,
                metric=metric,
                listed=False,
            )
            for seed in SEEDS
        ]
        rows += [*runs, Mean(row, [run.name for run in runs])]
    return rows
