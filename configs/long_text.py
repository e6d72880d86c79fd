"""A Transformer of 6 layers x 256 on windows of 1,024 characters of Shakespeare: the target of experiments/sampling.

Rotary positions and gated layers as in configs/llama.py. Expected: TODO.

    arjax --config=configs/long_text.py --workdir=runs/long_text
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

LLAMA = {
    "position": "none",
    "rotary": True,
    "norm_kind": "rms",
    "norm_epsilon": 1e-5,
    "mlp_kind": "gated",
    "activation": "silu",
    "use_bias": False,
}


def get_config(arg=""):
    """`num_layers`, `width`: the size. `length`: characters of a window. `smoke`: seconds instead of minutes."""
    arg = parse_arg(arg, smoke=False, num_layers=6, width=256, length=1024, steps=1000)
    config = base_config()
    config.dataset = dataset_config("tiny_shakespeare", length=64 if arg.smoke else arg.length)
    sizes = {"width": 32, "mlp_size": 86, "num_heads": 4, "num_layers": 2}
    if not arg.smoke:
        sizes = {"width": arg.width, "mlp_size": arg.width * 8 // 3, "num_heads": arg.width // 32}
        sizes["num_layers"] = sizes["unroll"] = arg.num_layers
    config.network = network_config("transformer", **(LLAMA | sizes))
    config.optimizer.update(name="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=100, b2=0.99)
    config.optimizer.update(end_factor=0.1, weight_decay=0.1, clip_norm=1.0)
    config.train.update(
        steps=arg.steps, batch_size=4096 // arg.length, steps_per_dispatch=10, log_every=20, eval_every=100
    )
    config.train.update(checkpoint_every=100, ema_decay=0.99)
    config.evaluate.batch_size = 4
    config.sample.update(num=1, temperature=0.8)
    return apply_smoke(config) if arg.smoke else config
