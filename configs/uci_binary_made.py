"""MADE with one order on the binary UCI sets.

Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation" (2015), table 4.
Expected here: see experiments/uci_density.

    arjax --config=configs/uci_binary_made.py:dna --workdir=runs/uci_dna
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

#: ordering, dropout on hidden units, dropout on inputs, learning rate, epochs, steps between validations;
#: those of connect4, nips and ocr_letters are first guesses that have not been run
RECIPES = {
    "adult": ("random(seed=0)", 0.5, 0.0, 3e-3, 150.0, 100),
    "connect4": ("raster", 0.3, 0.0, 1e-3, 60.0, 320),
    "dna": ("raster", 0.7, 0.3, 3e-3, 600.0, 28),
    "mushrooms": ("random(seed=0)", 0.5, 0.0, 3e-3, 300.0, 40),
    "nips": ("raster", 0.7, 0.3, 1e-3, 600.0, 8),
    "ocr_letters": ("raster", 0.5, 0.0, 1e-3, 60.0, 640),
}


def get_config(arg=""):
    """`adult`, `connect4`, `dna`, `mushrooms`, `nips` or `ocr_letters`; `smoke`; `ordering` ("": the recipe's)."""
    arg = parse_arg(arg, smoke=False, set="dna", ordering="")
    ordering, dropout, input_dropout, learning_rate, epochs, eval_every = RECIPES[arg.set]
    config = base_config()
    config.dataset = dataset_config("uci_binary", set=arg.set)
    config.model.update(ordering=arg.ordering or ordering, conditional="bernoulli")
    units = 16 if arg.smoke else 500
    config.network = network_config("made", hidden_sizes=(units,), dropout=dropout, input_dropout=input_dropout)
    config.optimizer.update(learning_rate=learning_rate, schedule="cosine")
    config.train.update(epochs=epochs, batch_size=100, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=500, eval_every=eval_every, checkpoint_every=2000, patience=40)
    config.evaluate.batch_size = 1000
    return apply_smoke(config) if arg.smoke else config
