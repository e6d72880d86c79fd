"""The main job: handwritten 8x8 digits of 17 grey levels under every network, by default an LSTM.

Data: the test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak, 1998), part of scikit-learn. The
papers of the networks are named in their files. Expected of the LSTM (Hochreiter & Schmidhuber, 1997), which takes any
order of the pixels: 1.743 bits/dim on test after two minutes on two CPU cores. Others in their own time: a Diagonal
BiLSTM 1.719, WaveNet 1.737, Gated PixelCNN 1.751, a Transformer 1.866, MADE 2.157, independent pixels 2.428. See
experiments/digits for all.

    arjax --config=configs/digits.py --workdir=runs/digits
    arjax --config=configs/digits.py:network=transformer --workdir=runs/digits_transformer
    arjax --config=configs/digits.py:network=wavenet --workdir=runs/digits_wavenet
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

ATTENTION = {"width": 96, "num_layers": 3, "num_heads": 4, "dropout": 0.2, "unroll": 3}
LSTM_2D = {"hidden_size": 32, "num_layers": 2, "readout_size": 96, "dropout": 0.3, "unroll": 2}
#: options of each network, its learning rate, and steps in a hundred
RECIPES = {
    "transformer": (ATTENTION, 2e-3, 10),
    "made": ({"hidden_sizes": (500,), "dropout": 0.5, "input_dropout": 0.1}, 1e-3, 40),
    "lstm": ({"hidden_size": 192, "num_layers": 1, "dropout": 0.3, "position": "learned"}, 3e-3, 15),
    "causal_conv": ({"hidden_size": 96, "dropout": 0.2, "position": "learned"}, 3e-3, 15),
    "independent": ({}, 3e-2, 5),
    "fvsbn": ({"input_dropout": 0.3}, 3e-3, 40),
    "separate": ({"hidden_sizes": (32,), "dropout": 0.3, "input_dropout": 0.1}, 2e-3, 20),
    "structured_made": ({"dropout": 0.6, "input_dropout": 0.1}, 2e-3, 40),
    "nade": ({"hidden_size": 300, "dropout": 0.5, "input_dropout": 0.1}, 1e-3, 40),
    "deep_nade": ({"hidden_sizes": (500, 500), "dropout": 0.1}, 1e-3, 60),
    "conv_nade": ({"channels": 32, "num_layers": 4, "kernel_size": 3, "dropout": 0.1}, 2e-3, 40),
    "rnn": ({"hidden_size": 256, "position": "learned", "dropout": 0.3}, 1e-3, 15),
    "gru": ({"hidden_size": 192, "position": "learned", "dropout": 0.3}, 3e-3, 15),
    "rg_lru": ({"hidden_size": 96, "num_layers": 2, "position": "learned", "dropout": 0.2}, 2e-3, 10),
    "wavenet": (
        {"hidden_size": 64, "num_layers": 6, "dilation_cycle": 6, "position": "learned", "dropout": 0.2},
        3e-3,
        15,
    ),
    "tcn": ({"hidden_size": 64, "num_layers": 4, "position": "learned", "dropout": 0.2}, 3e-3, 15),
    "linear_attention": (ATTENTION | {"chunk_size": 16}, 2e-3, 10),
    "local_transformer": (ATTENTION | {"window": 16}, 2e-3, 10),
    "sparse_transformer": (ATTENTION | {"stride": 8}, 2e-3, 10),
    "image_transformer": (ATTENTION | {"query_block": 16, "memory": 16}, 2e-3, 10),
    "transformer_xl": (ATTENTION | {"segment": 16, "memory": 16, "position": "learned"}, 2e-3, 10),
    "pixelcnn": ({"hidden_size": 64, "num_layers": 4, "first_kernel": 5, "dropout": 0.2}, 3e-3, 15),
    "gated_pixelcnn": ({"num_layers": 4, "first_kernel": 5, "dropout": 0.2}, 3e-3, 15),
    "pixelcnn_pp": ({"num_filters": 32, "num_resnets": 1, "num_scales": 2, "dropout": 0.2}, 2e-3, 10),
    "pixelsnail": ({"num_filters": 32, "num_blocks": 2, "num_resnets": 1, "value_size": 32, "dropout": 0.2}, 2e-3, 10),
    "lmconv": ({"hidden_size": 48, "num_groups": 2, "dropout": 0.2}, 2e-3, 10),
    "row_lstm": (LSTM_2D, 4e-3, 15),
    "diagonal_bilstm": (LSTM_2D, 4e-3, 15),
    "multiscale": (LSTM_2D, 4e-3, 15),
}
#: the edges of the network that keeps to a graph: each pixel reads the earlier ones at most two away, a Markov mesh
GRAPH = {"structured_made": "neighbours(distance=2)"}
#: networks of random orders, as in their papers: trained on all orders at once, scored by a mixture of eight
ORDER_AGNOSTIC = ("deep_nade", "conv_nade")


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `smoke`: seconds instead of minutes.

    `ordering`, `conditional`: others than the usual; `context`: none, or label to condition on the digit.
    """
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "lstm"), ordering="", conditional="", context="none")
    options, learning_rate, hundreds = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("digits", context=arg.context)
    config.model.ordering = arg.ordering or ("multiscale" if arg.network == "multiscale" else "raster")
    config.model.update(conditional=arg.conditional, graph=GRAPH.get(arg.network, ""))
    if arg.network in ORDER_AGNOSTIC:
        config.model.orders, config.objective, config.evaluate.num_orders = "uniform", "order_agnostic", 8
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", end_factor=0.01)
    config.optimizer.update(warmup_steps=100, weight_decay=0.05, clip_norm=1.0, b2=0.99)
    config.train.update(steps=100 * hundreds, batch_size=32, steps_per_dispatch=25, ema_decay=0.99)
    config.train.update(log_every=100, eval_every=100, checkpoint_every=500)
    config.evaluate.batch_size = 100
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
