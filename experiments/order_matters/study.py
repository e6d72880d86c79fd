"""How much the order matters: the same network, parameters at the start, batches and steps under every order.

arjax-population --study=experiments/order_matters/study.py --workdir=runs/order_matters
"""

from arjax.population import PopulationJob

RANDOM = tuple(f"random(seed={seed})" for seed in range(3))
READ_OFF_DATA = ("chow_liu", "mutual_information", "variance")
OF_A_PLANE = ("raster", "reversed", "column_major", "spiral", "diagonal", "hilbert", "subscale", "multiscale")
OF_A_LINE = ("raster", "reversed", *READ_OFF_DATA, "reversed(of='chow_liu')", *RANDOM)
OF_TEXT = ("raster", "reversed", "shuffled_within(size=5)", "shuffled_within(size=64)")


def get_populations() -> list[PopulationJob]:
    """Each with three seeds; within a population all members take the same number of steps."""
    short = {"train.patience": 0, "train.eval_every": 100, "train.log_every": 100}
    digits = {"train.steps": 1500, "train.eval_every": 250}
    images = {
        "network.hidden_sizes": (200,),
        "network.direct": False,
        "network.dropout": 0.2,
        "train.epochs": 0.0,
        "train.steps": 800,
        "train.eval_every": 400,
    }
    text = {
        "network.hidden_size": 192,
        "network.position": "learned",
        "train.steps": 500,
        "train.batch_size": 16,
        "train.eval_every": 250,
    }
    return [
        PopulationJob(
            "digits",
            "configs/digits.py:network=made",
            (*OF_A_PLANE, *READ_OFF_DATA, *RANDOM),
            overrides=digits,
            model="MADE",
            metric="bits_per_dim",
        ),
        PopulationJob(
            "dna", "configs/uci_binary.py:dna", OF_A_LINE, overrides=short | {"train.steps": 1000}, model="MADE"
        ),
        PopulationJob(
            "mushrooms",
            "configs/uci_binary.py:mushrooms",
            OF_A_LINE,
            overrides=short | {"train.steps": 1500},
            model="MADE",
        ),
        PopulationJob(
            "binarized_mnist",
            "configs/binarized_mnist.py:network=made",
            (*OF_A_PLANE, "mutual_information", *RANDOM[:2]),
            overrides=images,
            model="MADE, 200 units",
        ),
        PopulationJob(
            "tiny_shakespeare",
            "configs/tiny_shakespeare.py:network=gru,eval_stride=64",
            OF_TEXT,
            overrides=text,
            model="GRU",
            metric="nll_nats_per_char",
        ),
    ]
