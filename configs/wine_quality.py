"""Red wines: the density of eleven measurements and a grade, real values, by a MADE with Gaussian conditionals.

Data: Wine Quality, red (Cortez et al., 2009), 1279 / 160 / 160 wines. Network: MADE (Germain et al., 2015) whose
outputs are means and log-scales. Scales have a floor of a tenth of a standard deviation: columns are rounded and the
grade is a whole number, and a density at values that repeat can be made as high as one likes. The nats are those of
the density in data units, so they may be below zero.

    arjax --config=configs/wine_quality.py --workdir=runs/wine
    arjax --config=configs/wine_quality.py --workdir=runs/mix --config.model.conditional="logistic_mixture"
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds."""
    arg = parse_arg(arg, smoke=False)
    config = base_config()
    config.dataset = dataset_config("wine_quality")
    config.model.conditional = "gaussian(min_log_scale=-2.3)"
    hidden_sizes = (16,) if arg.smoke else (128, 128)
    config.network = network_config("made", hidden_sizes=hidden_sizes, dropout=0.2, activation="gelu")
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", end_factor=0.05, clip_norm=1.0)
    config.optimizer.update(weight_decay=0.01)
    config.train.update(steps=3000, batch_size=100, steps_per_dispatch=50, log_every=500, eval_every=100)
    config.train.update(checkpoint_every=1000, ema_decay=0.99)
    config.evaluate.batch_size = 160
    return apply_smoke(config) if arg.smoke else config
