"""The characters of tiny Shakespeare under every sequence network, at the size of nanoGPT's recipe for a CPU.

nanoGPT (Karpathy, 2022), readme: a Transformer of 4 layers, 4 heads, 128 wide, 64 characters of context, 2,000 steps of
12 windows, validation loss 1.88 nats per character. All networks here have about as many parameters (0.8 million) and
the same steps. Every character of the validation split is scored once, see `eval_stride`.

    arjax --config=configs/tiny_shakespeare.py:network=transformer --workdir=runs/gpt --config.evaluate.split=validation
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

#: options of each network and learning rate
RECIPES = {
    "transformer": ({"width": 128, "num_layers": 4, "num_heads": 4, "unroll": 4}, 2e-3),
    "transformer_xl": ({"width": 128, "num_layers": 4, "num_heads": 4, "segment": 32, "memory": 32}, 2e-3),
    "linear_attention": ({"width": 128, "num_layers": 4, "num_heads": 4}, 2e-3),
    "hybrid": ({"hidden_size": 128, "mlp_ratio": 3, "layers": "gated_convolution, attention, " * 2}, 2e-3),
    "rg_lru": ({"hidden_size": 120, "num_layers": 4}, 2e-3),
    "rnn": ({"hidden_size": 430, "num_layers": 2}, 1e-3),
    "gru": ({"hidden_size": 350, "num_layers": 1}, 4e-3),
    "lstm": ({"hidden_size": 310, "num_layers": 1}, 4e-3),
    "causal_conv": ({"hidden_size": 208, "num_layers": 6, "kernel_size": 2, "dilation_cycle": 6}, 2e-3),
    "wavenet": ({"hidden_size": 116, "skip_channels": 256, "num_layers": 7, "dilation_cycle": 7}, 2e-3),
    "tcn": ({"hidden_size": 180, "num_layers": 4, "kernel_size": 3}, 2e-3),
}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `optimizer`: "adamw" or "muon"; `smoke`: seconds instead of minutes.

    `eval_stride`: characters scored per window of 64, the rest is context.
    """
    default = {"smoke": False, "eval_stride": 32, "optimizer": pick(("adamw", "muon"), "adamw")}
    arg = parse_arg(arg, **default, network=pick(RECIPES, "transformer"))
    options, learning_rate = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("tiny_shakespeare", length=64, eval_stride=arg.eval_stride)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer = optimizer_config(arg.optimizer, learning_rate=learning_rate, schedule="cosine")
    config.optimizer.update(warmup_steps=100, end_factor=0.1, weight_decay=0.1, clip_norm=1.0, b2=0.99)
    config.train.update(steps=2000, batch_size=12, steps_per_dispatch=50, log_every=100, eval_every=500)
    config.train.update(checkpoint_every=500, ema_decay=0.99)
    config.evaluate.batch_size = 128
    config.sample.update(num=8, temperature=0.8)
    return apply_smoke(config) if arg.smoke else config
