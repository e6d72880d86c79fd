"""Statically binarized MNIST (Larochelle & Murray, 2011) under every network for images, sized for two CPU cores.

MADE with one hidden layer and one mask: 88.40 nats in table 6 of Germain et al., "MADE" (2015), 88.57 here after half
an hour. The other papers are named in the files of the networks; experiments/binarized_mnist has all the numbers.

    arjax --config=configs/binarized_mnist.py:network=made --workdir=runs/binarized_mnist_made
"""

from arjax.config import (
    apply_smoke,
    base_config,
    dataset_config,
    network_config,
    optimizer_config,
    parse_arg,
    pick,
    small_network_config,
)

#: options of each network, then learning rate, largest norm of gradients (0: any), epochs and batch size
RECIPES = {
    "fvsbn": ({}, 2e-2, 0.0, 20.0, 50),
    "nade": ({"hidden_size": 500}, 4e-3, 0.0, 20.0, 100),
    "made": ({"hidden_sizes": (4000,), "dropout": 0.6}, 1e-3, 0.0, 60.0, 100),
    "deep_nade": ({"hidden_sizes": (500, 500)}, 1e-3, 0.0, 0.5, 16),
    "conv_nade": ({"channels": 16, "num_layers": 4, "steps_per_chunk": 8}, 1e-3, 1.0, 0.1, 16),
    "pixelcnn": ({"hidden_size": 64, "num_layers": 7, "kernel_size": 7}, 5e-3, 1.0, 4.0, 16),
    "gated_pixelcnn": ({"hidden_size": 32, "num_layers": 8, "kernel_size": 5, "out_size": 32}, 5e-3, 1.0, 3.0, 16),
    "pixelcnn_pp": ({"num_filters": 24, "num_resnets": 2, "dropout": 0.0}, 2e-3, 1.0, 1.0, 16),
    "pixelsnail": (
        {"num_filters": 32, "num_blocks": 2, "num_resnets": 2, "value_size": 32, "dropout": 0.0},
        2e-3,
        1.0,
        0.5,
        16,
    ),
    "lmconv": ({"hidden_size": 32, "num_groups": 2}, 2e-3, 1.0, 1.0, 16),
    "row_lstm": ({"hidden_size": 24, "num_layers": 3, "unroll": 3}, 5e-3, 1.0, 5.0, 16),
    "diagonal_bilstm": ({"hidden_size": 24, "num_layers": 3, "unroll": 3}, 5e-3, 1.0, 2.0, 16),
    "multiscale": ({"hidden_size": 24, "num_layers": 3, "unroll": 3}, 2e-3, 1.0, 1.0, 16),
    "transformer": ({"width": 64, "num_layers": 3, "num_heads": 4, "unroll": 3}, 2e-3, 1.0, 0.1, 16),
    "image_transformer": (
        {"width": 64, "num_layers": 3, "num_heads": 4, "unroll": 3, "query_block": 112, "memory": 112},
        2e-3,
        1.0,
        0.5,
        16,
    ),
}
#: the order of networks that do not read pixels in raster order, and the weight decay of those that have one
ORDERING = {"fvsbn": "reversed", "multiscale": "multiscale"}
WEIGHT_DECAY = {"fvsbn": 0.03}
#: networks whose hidden matrices Muon trains, all others Adam
MUON = ("pixelcnn", "gated_pixelcnn", "row_lstm", "diagonal_bilstm")
#: images scored at once: attention to all of 784 pixels takes 10 MB for each image and layer
EVALUATED_TOGETHER = {"transformer": 25}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `smoke`: seconds, not minutes; `ordering`: another order of the pixels;
    `adam`: for the networks in `MUON`, too.
    """
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "made"), ordering="", adam=False)
    options, learning_rate, clip_norm, epochs, batch_size = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("binarized_mnist")
    config.model.update(ordering=arg.ordering or ORDERING.get(arg.network, "raster"), conditional="bernoulli")
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    if arg.network in MUON and not arg.adam:
        config.optimizer = optimizer_config("muon")
    config.optimizer.update(learning_rate=learning_rate, schedule="cosine", clip_norm=clip_norm)
    if arg.network in WEIGHT_DECAY:
        config.optimizer.update(name="adamw", weight_decay=WEIGHT_DECAY[arg.network])
    config.train.update(epochs=epochs, batch_size=batch_size, steps_per_dispatch=50, ema_decay=0.999)
    epoch = 50_000 // batch_size
    config.train.update(log_every=min(500, epoch), eval_every=epoch, checkpoint_every=epoch)
    config.evaluate.batch_size = EVALUATED_TOGETHER.get(arg.network, 250)
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
