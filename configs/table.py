"""A table of yours with columns of several kinds: words, grades, truth values and measurements, by default with a MADE.

Each column has a conditional of its own: Bernoulli for two values, categorical for words and levels, a Gaussian for
real columns, or with `real=mixture`, which is better from some thousand rows on, 15 Gaussians with a floor of a
hundredth of a standard deviation (see configs/real_table.py, also for tables of nothing but reals). The nats are those
of probabilities times densities, so they depend on the units of the real columns. MADE: Germain et al. (2015).

    arjax --config=configs/table.py:file=my.csv,real=mixture --workdir=runs/table
    arjax --config=configs/table.py:file=train.csv,test=test.csv,network=transformer --workdir=runs/table \
        --config.dataset.missing=level
    arjax --config=configs/table.py:file=my.csv,network=deep_nade --workdir=runs/holes --config.dataset.missing=hole

`deep_nade` learns all orders of the columns, and leaves out cells without a value (Uria, Murray & Larochelle, 2014).
"""

from pathlib import Path

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network and its learning rate
RECIPES = {
    "independent": ({}, 1e-2),
    "made": ({"hidden_sizes": (256, 256), "dropout": 0.2, "activation": "gelu"}, 2e-3),
    "deep_nade": ({"hidden_sizes": (256, 256), "dropout": 0.1, "activation": "gelu"}, 2e-3),
    "transformer": ({"width": 64, "num_layers": 3, "num_heads": 4, "dropout": 0.2}, 1e-3),
}


def get_config(arg=""):
    """`file`: a csv file (without one, 400 made-up plants), `validation` and `test`: those of their splits, where they
    have their own; `network`: a name in `RECIPES`; `real`: `gaussian` or `mixture`, for tables that have real columns
    among others; `delimiter`: between cells, a character, `spaces` or `tab`; `skip`: columns to leave out, such as
    `(id,name)`; `smoke`: seconds.
    """
    files = {"file": "", "validation": "", "test": "", "delimiter": ",", "skip": ()}
    real = pick(("gaussian", "mixture"), "gaussian")
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "made"), real=real, **files)
    options, learning_rate = RECIPES[arg.network]
    config = base_config()
    files = {
        "path": arg.file or str(Path(__file__).with_name("plants.csv")),
        "validation_path": arg.validation,
        "test_path": arg.test,
    }
    config.dataset = dataset_config("table", mixed=True, delimiter=arg.delimiter, skip=arg.skip, **files)
    if arg.real == "mixture":
        config.model.conditional = "columns(real='gaussian_mixture(components=15, min_log_scale=-4.6)')"
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    if arg.network == "deep_nade":
        config.model.orders, config.objective = "uniform", "order_agnostic"
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", end_factor=0.05)
    config.optimizer.update(clip_norm=1.0, weight_decay=0.01)
    config.train.update(steps=3000, batch_size=100, steps_per_dispatch=50, log_every=500, eval_every=100, patience=10)
    config.train.update(checkpoint_every=1000, ema_decay=0.98)
    return apply_smoke(config) if arg.smoke else config
