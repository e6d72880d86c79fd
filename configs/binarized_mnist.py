"""Statically binarized MNIST (Larochelle & Murray, 2011) under every network for images, sized for two CPU cores.

MADE with one hidden layer and one mask: 88.40 nats in table 6 of Germain et al., "MADE" (2015), 88.57 here after half
an hour. The other papers are named in the files of the networks; experiments/binarized_mnist has all the numbers.

    arjax --config=configs/binarized_mnist.py:network=made --workdir=runs/binarized_mnist_made
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, small_network_config
from arjax.errors import UserError
from arjax.registry import did_you_mean

#: options of each network, then learning rate, largest norm of gradients (0: any), epochs and batch size
RECIPES = {
    "fvsbn": ({}, 1e-3, 0.0, 40.0, 100),
    "nade": ({"hidden_size": 500}, 1e-3, 0.0, 20.0, 100),
    "made": ({"hidden_sizes": (4000,), "dropout": 0.6}, 1e-3, 0.0, 60.0, 100),
    "transformer": ({"width": 64, "num_layers": 3, "num_heads": 4, "unroll": 3}, 2e-3, 1.0, 1.0, 16),
}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `smoke`: seconds, not minutes; `ordering`: any other order of the pixels."""
    arg = parse_arg(arg, smoke=False, network="made", ordering="raster")
    if arg.network not in RECIPES:
        raise UserError(f"no recipe for the network {arg.network!r}{did_you_mean(arg.network, RECIPES)}")
    options, learning_rate, clip_norm, epochs, batch_size = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("binarized_mnist")
    config.model.update(ordering=arg.ordering, conditional="bernoulli")
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(learning_rate=learning_rate, schedule="cosine", clip_norm=clip_norm)
    config.train.update(epochs=epochs, batch_size=batch_size, steps_per_dispatch=50, ema_decay=0.999)
    epoch = 50_000 // batch_size
    config.train.update(log_every=min(500, epoch), eval_every=epoch, checkpoint_every=epoch)
    config.evaluate.batch_size = 250
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
