"""The main job: handwritten 8x8 digits of 17 grey levels, by default with a causal Transformer.

Data: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, 1998), part of scikit-learn.
Network: pre-norm Transformer (Radford et al., 2019). Expected: at most 1.95 bits/dim on test within two minutes on two
CPU cores, see experiments/digits; independent pixels need 2.40.

    arjax --config=configs/digits.py --workdir=runs/digits
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

#: options of each network, its learning rate, and steps in a hundred
NETWORKS = {
    "transformer": ({"width": 96, "num_layers": 3, "num_heads": 4, "dropout": 0.2, "unroll": 3}, 2e-3, 10),
    "lstm": ({"hidden_size": 192, "num_layers": 1, "dropout": 0.3, "position": "learned"}, 3e-3, 15),
    "causal_conv": ({"hidden_size": 96, "dropout": 0.2, "position": "learned"}, 3e-3, 15),
    "made": ({"hidden_sizes": (500,), "dropout": 0.5, "input_dropout": 0.1}, 1e-3, 40),
}
SMOKE = {
    "transformer": {"width": 16, "num_layers": 2, "num_heads": 2, "unroll": 2},
    "lstm": {"hidden_size": 16},
    "causal_conv": {"hidden_size": 16},
    "made": {"hidden_sizes": (16,)},
}


def get_config(arg=""):
    """`smoke`: seconds instead of minutes. `network`, `ordering`, `context` (none or label): variants."""
    arg = parse_arg(arg, smoke=False, network="transformer", ordering="raster", context="none")
    options, learning_rate, hundreds = NETWORKS[arg.network]
    config = base_config()
    config.dataset = dataset_config("digits", context=arg.context)
    config.model.ordering = arg.ordering
    config.network = network_config(arg.network, **(options | (SMOKE[arg.network] if arg.smoke else {})))
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", end_factor=0.01)
    config.optimizer.update(warmup_steps=100, weight_decay=0.05, clip_norm=1.0, b2=0.99)
    config.train.update(steps=100 * hundreds, batch_size=32, steps_per_dispatch=25, ema_decay=0.99)
    config.train.update(log_every=100, eval_every=100, checkpoint_every=500)
    config.evaluate.batch_size = 100
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
