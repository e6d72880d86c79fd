"""The main job: handwritten 8x8 digits of 17 grey levels, a causal Transformer with categorical conditionals.

Data: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, 1998), which ships with scikit-learn.
Network: pre-norm Transformer (Radford et al., 2019). Expected: at most 1.95 bits/dim on test after two minutes on two CPU
cores; independent pixels need 2.40.

    arjax --config=configs/digits.py --workdir=runs/digits
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds instead of minutes. `ordering`, `context` (none or label): variants."""
    arg = parse_arg(arg, smoke=False, ordering="raster", context="none")
    config = base_config()
    config.dataset = dataset_config("digits", context=arg.context)
    config.model.ordering = arg.ordering
    config.network = network_config(
        "transformer",
        width=16 if arg.smoke else 96,
        num_layers=2 if arg.smoke else 3,
        num_heads=2 if arg.smoke else 4,
        dropout=0.2,
        unroll=2 if arg.smoke else 3,
    )
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", warmup_steps=100, end_factor=0.01)
    config.optimizer.update(weight_decay=0.05, clip_norm=1.0, b2=0.99)
    config.train.update(steps=1000, batch_size=32, steps_per_dispatch=25, ema_decay=0.99)
    config.train.update(log_every=100, eval_every=100, checkpoint_every=500)
    config.evaluate.batch_size = 100
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
