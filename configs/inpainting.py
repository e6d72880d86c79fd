"""Binarized MNIST under MADE, in one order or in many: which half of an image can be filled in from the other?

A network in raster order knows p(bottom | top) and nothing about p(top | bottom). One for the eight rasters (flipped
and transposed: Uria, Murray & Larochelle, "A Deep and Tractable Density Estimator", 2014, train on all orders) knows
both, and those of left and right. experiments/inpainting has the numbers and plots.

    arjax --config=configs/inpainting.py:orders=rasters --workdir=runs/inpainting_rasters
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`orders`: a distribution over orders, or "" for raster order alone; `smoke`: seconds, not minutes."""
    arg = parse_arg(arg, smoke=False, orders="")
    config = base_config()
    config.dataset = dataset_config("binarized_mnist")
    config.model.update(orders=arg.orders, conditional="bernoulli")
    config.objective = "order_agnostic" if arg.orders else "teacher_forcing"
    config.network = network_config("made", hidden_sizes=(16,) if arg.smoke else (1000,), dropout=0.2)
    config.optimizer.update(learning_rate=1e-3, schedule="cosine")
    config.train.update(steps=3000, batch_size=100, steps_per_dispatch=50, ema_decay=0.999)
    config.train.update(log_every=500, eval_every=1000, checkpoint_every=2000)
    config.evaluate.batch_size = 500
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
