"""MADE with one hidden layer and one order on statically binarized MNIST.

Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation" (2015), table 6: 88.40 nats
with one hidden layer and one mask. Expected here: 88.57 nats on test after half an hour on two CPU cores.

    arjax --config=configs/binarized_mnist_made.py --workdir=runs/binarized_mnist_made
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds instead of minutes. `ordering`: any other order of the pixels."""
    arg = parse_arg(arg, smoke=False, ordering="raster")
    config = base_config()
    config.dataset = dataset_config("binarized_mnist")
    config.model.update(ordering=arg.ordering, conditional="bernoulli")
    units = 16 if arg.smoke else 4000
    config.network = network_config("made", hidden_sizes=(units,), dropout=0.6)
    config.optimizer.update(learning_rate=1e-3, schedule="cosine")
    config.train.update(epochs=60.0, batch_size=100, steps_per_dispatch=50, ema_decay=0.999)
    config.train.update(log_every=500, eval_every=500, checkpoint_every=500)
    config.evaluate.batch_size = 1000
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
