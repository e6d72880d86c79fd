"""OCR letters as images of 16 x 8 binary pixels, under networks for images.

The set is one of the binary UCI sets (Germain et al., "MADE", 2015, table 4), which papers model as 128 bits in a row;
experiments/uci_density has their numbers beside ours. Networks: van den Oord et al., "Pixel Recurrent Neural
Networks" (2016).

    arjax --config=configs/ocr_letters.py:network=diagonal_bilstm --workdir=runs/ocr_letters
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network, learning rate, epochs
RECIPES = {
    "pixelcnn": ({"hidden_size": 64, "num_layers": 5, "first_kernel": 5, "dropout": 0.1}, 2e-3, 6.0),
    "row_lstm": ({"hidden_size": 32, "num_layers": 2, "unroll": 2, "dropout": 0.1}, 4e-3, 6.0),
    "diagonal_bilstm": ({"hidden_size": 32, "num_layers": 2, "unroll": 2, "dropout": 0.1}, 4e-3, 6.0),
}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `smoke`: seconds, not minutes."""
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "diagonal_bilstm"))
    options, learning_rate, epochs = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("uci_binary", set="ocr_letters", as_image=True)
    config.model.conditional = "bernoulli"
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(learning_rate=learning_rate, schedule="cosine", clip_norm=1.0)
    config.train.update(epochs=epochs, batch_size=32, steps_per_dispatch=50, ema_decay=0.999)
    config.train.update(log_every=500, eval_every=1000, checkpoint_every=1000)
    config.evaluate.batch_size = 500
    config.sample.num = 32
    return apply_smoke(config) if arg.smoke else config
