"""Dilated causal convolutions on raw audio: spoken digits at 8 kHz in 256 mu-law levels.

After van den Oord et al., "WaveNet: A Generative Model for Raw Audio" (2016), section 2, without its gates and skips.
The receptive field of 3 cycles of 9 layers of kernel 2 is 1,534 samples, 0.19 s.

    arjax --config=configs/spoken_digits_causal_conv.py --workdir=runs/spoken_digits
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds instead of hours. `context`: none, or label to condition on the digit."""
    arg = parse_arg(arg, smoke=False, context="none")
    config = base_config()
    config.dataset = dataset_config("spoken_digits", length=256 if arg.smoke else 4096, context=arg.context)
    layers = {"num_layers": 3, "dilation_cycle": 3} if arg.smoke else {"num_layers": 27, "dilation_cycle": 9}
    config.network = network_config("causal_conv", hidden_size=16 if arg.smoke else 64, kernel_size=2, **layers)
    config.optimizer.update(name="adam", learning_rate=1e-3, schedule="cosine", warmup_steps=200, clip_norm=1.0)
    config.train.update(steps=20000, batch_size=8, steps_per_dispatch=5, log_every=50, eval_every=1000)
    config.train.update(checkpoint_every=500, ema_decay=0.999, data_on_device=False)
    config.evaluate.batch_size = 8
    config.sample.num = 4
    return apply_smoke(config) if arg.smoke else config
