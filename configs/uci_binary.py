"""The binary UCI sets with one order and one set of weights: independent sites, FVSBN, NADE and MADE.

Larochelle & Murray, "The Neural Autoregressive Distribution Estimator" (2011), table 1; Germain, Gregor, Murray &
Larochelle, "MADE" (2015), table 4; experiments/uci_density has their numbers beside ours.

    arjax --config=configs/uci_binary.py:dna,network=made --workdir=runs/uci_dna
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, small_network_config
from arjax.errors import UserError
from arjax.registry import did_you_mean

#: the order of the bits
SETS = {
    "adult": "random(seed=0)",
    "connect4": "raster",
    "dna": "raster",
    "mushrooms": "random(seed=0)",
    "nips": "raster",
    "ocr_letters": "raster",
}
#: options of each network on each set, then learning rate, steps and batch size
RECIPES = {
    "independent": {name: ({}, 3e-2, 1000, 100) for name in SETS},
    "fvsbn": {
        "adult": ({}, 5e-2, 6000, 100),
        "connect4": ({}, 3e-2, 6000, 100),
        "dna": ({"input_dropout": 0.3}, 5e-3, 2000, 100),
        "mushrooms": ({}, 6e-2, 3000, 100),
        "nips": ({"input_dropout": 0.3}, 1e-3, 1000, 50),
        "ocr_letters": ({}, 1e-2, 6000, 100),
    },
    "nade": {
        "adult": ({"dropout": 0.3}, 3e-3, 3000, 100),
        "connect4": ({"dropout": 0.2}, 3e-3, 4000, 100),
        "dna": ({"dropout": 0.5, "input_dropout": 0.3}, 2e-3, 1500, 100),
        "mushrooms": ({"dropout": 0.3}, 3e-3, 2000, 100),
        "nips": ({"hidden_size": 100, "dropout": 0.5, "input_dropout": 0.3}, 2e-3, 600, 50),
        "ocr_letters": ({"dropout": 0.2}, 2e-3, 6000, 100),
    },
    "made": {
        "adult": ({"dropout": 0.5}, 3e-3, 7500, 100),
        "connect4": ({"dropout": 0.3}, 2e-3, 8000, 100),
        "dna": ({"dropout": 0.7, "input_dropout": 0.3}, 3e-3, 8400, 100),
        "mushrooms": ({"dropout": 0.5}, 3e-3, 6000, 100),
        "nips": ({"dropout": 0.5, "input_dropout": 0.4}, 1e-3, 2000, 50),
        "ocr_letters": ({"hidden_sizes": (1000,), "dropout": 0.4}, 1e-3, 16000, 100),
    },
}


def get_config(arg=""):
    """`set`: one of `SETS`; `network`: one of `RECIPES`; `ordering`: any other order of the bits; `smoke`: seconds."""
    arg = parse_arg(arg, smoke=False, set="dna", network="made", ordering="")
    for value, known in ((arg.network, RECIPES), (arg.set, SETS)):
        if value not in known:
            raise UserError(f"no recipe for {value!r}{did_you_mean(value, known)}")
    options, learning_rate, steps, batch_size = RECIPES[arg.network][arg.set]
    config = base_config()
    config.dataset = dataset_config("uci_binary", set=arg.set)
    config.model.update(ordering=arg.ordering or SETS[arg.set], conditional="bernoulli")
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(learning_rate=learning_rate, schedule="cosine")
    config.train.update(steps=steps, batch_size=batch_size, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=steps // 10, eval_every=steps // 50, checkpoint_every=steps, patience=15)
    config.evaluate.batch_size = 1000
    return apply_smoke(config) if arg.smoke else config
