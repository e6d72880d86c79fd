"""The binary UCI sets with one order and one set of weights: independent sites, FVSBN, NADE and MADE.

Larochelle & Murray, "The Neural Autoregressive Distribution Estimator" (2011), table 1; Germain, Gregor, Murray &
Larochelle, "MADE" (2015), table 4; experiments/uci_density has their numbers beside ours.

    arjax --config=configs/uci_binary.py:dna,network=made --workdir=runs/uci_dna
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

SETS = ("adult", "connect4", "dna", "mushrooms", "nips", "ocr_letters")
#: options of each network on each set, then learning rate, weight decay, steps and batch size
RECIPES = {
    "independent": {name: ({}, 3e-2, 0.0, 1000, 100) for name in SETS},
    "fvsbn": {
        "adult": ({}, 2e-2, 0.003, 4000, 100),
        "connect4": ({}, 3e-2, 0.0, 6000, 100),
        "dna": ({"input_dropout": 0.1}, 2e-2, 0.0, 2500, 100),
        "mushrooms": ({}, 5e-2, 0.003, 4000, 100),
        "nips": ({"input_dropout": 0.5}, 5e-4, 0.0, 2500, 20),
        "ocr_letters": ({}, 1e-2, 0.0, 6500, 100),
    },
    "nade": {
        "adult": ({"hidden_size": 200, "dropout": 0.2}, 1e-2, 0.0, 3000, 100),
        "connect4": ({"hidden_size": 200, "dropout": 0.1}, 1e-2, 0.0, 4000, 100),
        "dna": ({"hidden_size": 200, "dropout": 0.2, "input_dropout": 0.1}, 1e-2, 0.0, 2000, 100),
        "mushrooms": ({"hidden_size": 200, "dropout": 0.1}, 1e-2, 0.0, 3000, 100),
        "nips": ({"hidden_size": 100, "dropout": 0.3, "input_dropout": 0.3}, 5e-3, 0.0, 800, 50),
        "ocr_letters": ({"hidden_size": 500, "dropout": 0.1}, 5e-3, 0.0, 10000, 100),
    },
    "made": {
        "adult": ({"dropout": 0.5}, 3e-3, 0.0, 7500, 100),
        "connect4": ({"dropout": 0.1}, 3e-3, 0.0, 6000, 100),
        "dna": ({"dropout": 0.7, "input_dropout": 0.3}, 3e-3, 0.0, 8400, 100),
        "mushrooms": ({"dropout": 0.5}, 3e-3, 0.0, 6000, 100),
        "nips": ({"dropout": 0.5, "input_dropout": 0.4}, 1e-3, 0.0, 1500, 50),
        "ocr_letters": ({"dropout": 0.1}, 3e-3, 0.0, 20000, 100),
    },
}
#: sets that NADE and MADE read in a random order, all others in raster order
SHUFFLED = ("adult", "mushrooms")


def get_config(arg=""):
    """`set`: one of `SETS`; `network`: one of `RECIPES`; `ordering`: any other order of the bits; `smoke`: seconds."""
    arg = parse_arg(arg, smoke=False, set=pick(SETS, "dna"), network=pick(RECIPES, "made"), ordering="")
    options, learning_rate, weight_decay, steps, batch_size = RECIPES[arg.network][arg.set]
    config = base_config()
    config.dataset = dataset_config("uci_binary", set=arg.set)
    shuffled = arg.network in ("nade", "made") and arg.set in SHUFFLED
    ordering = arg.ordering or ("random(seed=0)" if shuffled else "raster")
    config.model.update(ordering=ordering, conditional="bernoulli")
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", weight_decay=weight_decay)
    config.train.update(steps=steps, batch_size=batch_size, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=steps // 10, eval_every=steps // 50, checkpoint_every=steps, patience=15)
    config.evaluate.batch_size = 1000
    return apply_smoke(config) if arg.smoke else config
