"""MADE with one order on the binary UCI sets.

Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation" (2015), table 4.
Expected here: see experiments/uci_density.

    arjax --config=configs/uci_binary_made.py:dna --workdir=runs/uci_dna
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

#: hidden units, dropout, weight decay, learning rate, batch size, evaluate every so many steps
RECIPES = {
    "adult": (500, 0.3, 0.0, 1e-3, 100, 50),
    "connect4": (500, 0.3, 0.0, 1e-3, 100, 160),
    "dna": (500, 0.5, 0.3, 1e-3, 100, 14),
    "mushrooms": (500, 0.3, 0.0, 1e-3, 100, 20),
    "nips": (500, 0.5, 0.3, 1e-3, 50, 8),
    "ocr_letters": (2000, 0.3, 0.0, 1e-3, 100, 321),
}


def get_config(arg=""):
    """`adult`, `connect4`, `dna`, `mushrooms`, `nips` or `ocr_letters`; `smoke`; `ordering`."""
    arg = parse_arg(arg, smoke=False, set="dna", ordering="random(seed=0)")
    units, dropout, decay, rate, batch_size, every = RECIPES[arg.set]
    config = base_config()
    config.dataset = dataset_config("uci_binary", set=arg.set)
    config.model.update(ordering=arg.ordering, conditional="bernoulli")
    config.network = network_config("made", hidden_sizes=(16,) if arg.smoke else (units,), dropout=dropout)
    config.optimizer.update(name="adamw", learning_rate=rate, schedule="constant", weight_decay=decay)
    config.train.update(epochs=100.0, batch_size=batch_size, steps_per_dispatch=50, ema_decay=0.99)
    config.train.update(log_every=500, eval_every=every * 2, checkpoint_every=2000, patience=15)
    config.evaluate.batch_size = 1000
    return apply_smoke(config) if arg.smoke else config
