"""A small GPT on the characters of tiny Shakespeare, at the size of nanoGPT's recipe for a CPU.

nanoGPT (Karpathy, 2022), readme: 4 layers, 4 heads, 128 wide, 64 characters of context, 2,000 steps of 12 windows,
validation loss 1.88 nats per character. Here every character of the validation split is scored once, see `eval_stride`.

    arjax --config=configs/tiny_shakespeare_transformer.py --workdir=runs/gpt --config.evaluate.split=validation
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: seconds instead of minutes. `eval_stride`: characters scored per window of 64; the rest is context."""
    arg = parse_arg(arg, smoke=False, eval_stride=32)
    config = base_config()
    config.dataset = dataset_config("tiny_shakespeare", length=64, eval_stride=arg.eval_stride)
    config.network = network_config(
        "transformer", width=32 if arg.smoke else 128, num_layers=4, num_heads=4, dropout=0.0, unroll=4
    )
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", warmup_steps=100, end_factor=0.1)
    config.optimizer.update(weight_decay=0.1, clip_norm=1.0, b2=0.99)
    config.train.update(steps=2000, batch_size=12, steps_per_dispatch=50, log_every=100, eval_every=500)
    config.train.update(checkpoint_every=500, ema_decay=0.99)
    config.evaluate.batch_size = 128
    config.sample.update(num=8, temperature=0.8)
    return apply_smoke(config) if arg.smoke else config
