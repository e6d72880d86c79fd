"""Raw audio: spoken digits at 8 kHz in 256 mu-law levels, by WaveNet.

van den Oord et al., "WaveNet: A Generative Model for Raw Audio" (2016), section 2, at a size for a CPU: two stacks of
dilations 1, 2, ..., 256 (the paper: 512, and more channels) read 1,024 samples, 0.13 s. Every sample of a recording is
scored once, with at least 2,048 samples of context where there are as many. See experiments/spoken_digits for the
results, also of count models.

    arjax --config=configs/spoken_digits.py:network=wavenet --workdir=runs/spoken_digits
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

#: options of each network and learning rate
RECIPES = {
    "wavenet": ({"hidden_size": 32, "skip_channels": 64, "num_layers": 18, "dilation_cycle": 9}, 4e-3),
    "causal_conv": ({"hidden_size": 48, "num_layers": 18, "dilation_cycle": 9, "kernel_size": 2}, 3e-3),
}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `context`: none, or label to condition on the digit; `smoke`: a trial."""
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "wavenet"), context="none")
    options, learning_rate = RECIPES[arg.network]
    config = base_config()
    config.dataset = dataset_config("spoken_digits", length=256 if arg.smoke else 4096, context=arg.context)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adam", learning_rate=learning_rate, schedule="cosine", warmup_steps=50)
    config.optimizer.update(end_factor=0.01, clip_norm=1.0)
    config.train.update(steps=2000, batch_size=4, steps_per_dispatch=10, log_every=50, eval_every=500)
    config.train.update(checkpoint_every=500, ema_decay=0.99)
    config.evaluate.batch_size = 8
    config.sample.num = 4
    return apply_smoke(config) if arg.smoke else config
