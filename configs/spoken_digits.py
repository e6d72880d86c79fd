"""Raw audio: spoken digits at 8 kHz in 256 mu-law levels, by WaveNet, or with 16 bits in any order.

van den Oord et al., "WaveNet: A Generative Model for Raw Audio" (2016), section 2, at a size for a CPU: two stacks of
dilations 1, 2, ..., 256 (the paper: 512, and more channels) read 1,024 samples, 0.13 s. Every sample of a recording is
scored once, with at least 2,048 samples of context where there are as many. See experiments/spoken_digits for the
results, also of count models.

    arjax --config=configs/spoken_digits.py:network=wavenet --workdir=runs/spoken_digits
    arjax --config=configs/spoken_digits.py:any_order=base256 --workdir=runs/speech

`any_order` models windows of 1,024 samples by absorbing chains: `levels`, one head of all levels (65,536 with
`bits=16`, 256 mu-law levels with `bits=8`); `mixture`, 10 logistic distributions; `base256`, `base16` and `base4`,
digits of the levels (Hoogeboom et al., "Autoregressive Diffusion Models", 2022, section 3.3: at 16 bits, 7.93 bits per
sample with one head, 6.30 with digits of base 16).
"""

from arjax.config import (
    apply_smoke,
    base_config,
    dataset_config,
    model_config,
    network_config,
    parse_arg,
    part,
    pick,
    small_network_config,
)

#: options of each network and learning rate
RECIPES = {
    "wavenet": ({"hidden_size": 32, "skip_channels": 64, "num_layers": 18, "dilation_cycle": 9}, 4e-3),
    "causal_conv": ({"hidden_size": 48, "num_layers": 18, "dilation_cycle": 9, "kernel_size": 2}, 3e-3),
}
ANY_ORDER = ("none", "levels", "mixture", "base256", "base16", "base4")
DENOISER = {"width": 64, "multipliers": (1,) * 6, "out_kernel": 1}


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `context`: none or label; `any_order`, `bits`: see above; `smoke`: a trial."""
    none = pick(ANY_ORDER, "none")
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "wavenet"), context="none", any_order=none, bits=16)
    if arg.any_order != "none":
        return _any_order(arg)
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


def _any_order(arg):
    """Masked samples are predicted from any others."""
    config = base_config()
    length = 64 if arg.smoke else 1024
    config.dataset = dataset_config("spoken_digits", bits=arg.bits, length=length, whole=True, context=arg.context)
    sizes = {"width": 8, "num_blocks": 1, "groups": 4} if arg.smoke else DENOISER
    chain = {"process": "absorbing", "score_steps": 8, "num_steps": 16 if arg.smoke else 1024}
    if arg.any_order == "mixture":
        chain["conditional"] = "discretized_logistic_mixture(components=10)"
    if arg.any_order in ("levels", "mixture"):
        config.model = model_config("discrete_chain", **chain)
        config.network = network_config("unet", **sizes)
    else:
        shared = part("unet", model_config("discrete_chain", **chain), **sizes)
        config.model = model_config("cascade", stages=f"digits(base={arg.any_order[4:]})", train_stages=1)
        config.parts = {"shared": shared}
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", warmup_steps=100, weight_decay=0.01)
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 2 if arg.any_order == "levels" and arg.bits == 16 else 8
    config.train.update(steps=2000, log_every=50, eval_every=1000, steps_per_dispatch=25, ema_decay=0.99)
    config.evaluate.batch_size = 4
    return apply_smoke(config) if arg.smoke else config
