"""A Transformer of 6 layers x 256 on windows of 1,024 characters of Shakespeare, and a small GRU as its draft.

The target of experiments/sampling: rotary positions and gated layers as in configs/llama.py (Touvron et al., "LLaMA",
2023, section 2.2), 4.75 million parameters. It is trained on windows of 256 first, where attention costs less, and then
goes on with windows of 1,024. Expected on validation: 1.460 nats per character; the GRU 1.635.

    arjax --config=configs/long_text.py:length=256 --workdir=runs/long_text_256
    arjax --config=configs/long_text.py:start=runs/long_text_256 --workdir=runs/long_text
    arjax --config=configs/long_text.py:network=gru --workdir=runs/long_text_gru
"""

from llama import LLAMA

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config

TARGET = LLAMA | {"width": 256, "mlp_size": 682, "num_heads": 8, "num_layers": 6, "unroll": 6}
#: options of each network, learning rate, and steps of 4,096 characters
RECIPES = {"transformer": (TARGET, 1e-3, 800), "gru": ({"hidden_size": 256, "num_layers": 1}, 4e-3, 600)}
#: of a run that goes on from another one
SECOND = (3e-4, 60)


def get_config(arg=""):
    """`network`: a name in `RECIPES`; `length`: characters of a window; `start`: a run to start from; `smoke`."""
    arg = parse_arg(arg, smoke=False, network=pick(RECIPES, "transformer"), length=1024, start="")
    options, learning_rate, steps = RECIPES[arg.network]
    learning_rate, steps = SECOND if arg.start else (learning_rate, steps)
    config = base_config()
    config.dataset = dataset_config("tiny_shakespeare", length=64 if arg.smoke else arg.length)
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", b2=0.99)
    config.optimizer.update(warmup_steps=10 if arg.start else 100, end_factor=0.1, weight_decay=0.1, clip_norm=1.0)
    config.train.update(steps=steps, batch_size=max(1, 4096 // arg.length), steps_per_dispatch=10, log_every=20)
    config.train.update(eval_every=40 if arg.start else 100, checkpoint_every=100, ema_decay=0.99, init_from=arg.start)
    config.evaluate.batch_size = 4
    config.sample.update(num=1, temperature=0.8)
    return apply_smoke(config) if arg.smoke else config
