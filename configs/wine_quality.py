"""Red wines: the density of eleven measurements and a grade, real values; by default a MADE with Gaussian conditionals.

Data: Wine Quality, red (Cortez et al., 2009), 1279 / 160 / 160 wines. Networks: MADE (Germain et al., 2015) and others
with means and log-scales as outputs; NADE with a mixture is RNADE (Uria et al., 2013). Scales have a floor of a tenth
of a standard deviation: columns are rounded and the grade is a whole number, and a density at values that repeat can be
made arbitrarily high. The nats are those of the density in data units, so they may be below zero. Expected: see
experiments/continuous_density. A table of yours gets mixtures of 15 Gaussians with a floor of a hundredth, the default
of configs/real_table.py, which has more recipes and says which floor to give.

    arjax --config=configs/wine_quality.py --workdir=runs/wine
    arjax --config=configs/wine_quality.py:table=my.csv --workdir=runs/mine
    arjax --config=configs/wine_quality.py:network=nade --workdir=runs/rnade \
        --config.model.conditional="gaussian_mixture(components=5, min_log_scale=-2.3)"
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network, its learning rate, and steps in a hundred
RECIPES = {
    "independent": ({}, 1e-2, 10),
    "separate": ({"hidden_sizes": (32,), "dropout": 0.1}, 3e-3, 15),
    "nade": ({"hidden_size": 100, "activation": "relu", "direct": True, "dropout": 0.1}, 2e-3, 15),
    "made": ({"hidden_sizes": (128, 128), "dropout": 0.2, "activation": "gelu"}, 2e-3, 20),
    "transformer": ({"width": 32, "num_layers": 2, "num_heads": 4, "dropout": 0.1, "unroll": 2}, 3e-3, 10),
}
OF_TABLES = "gaussian_mixture(components=15, min_log_scale=-4.6)"


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `table`: a csv file of yours instead of the wines; `smoke`: seconds."""
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "made"), table="")
    options, learning_rate, hundreds = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("table", path=arg.table) if arg.table else dataset_config("wine_quality")
    config.model.conditional = OF_TABLES if arg.table else "gaussian(min_log_scale=-2.3)"
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", end_factor=0.05)
    config.optimizer.update(clip_norm=1.0, weight_decay=0.01)
    steps = 100 * hundreds * (2 if arg.table else 1)
    config.train.update(steps=steps, batch_size=100, steps_per_dispatch=50, log_every=500, eval_every=50)
    config.train.update(checkpoint_every=1000, ema_decay=0.98, patience=40 if arg.table else 0)
    config.evaluate.batch_size = 160
    return apply_smoke(config) if arg.smoke else config
