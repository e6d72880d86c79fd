"""A GPT of 1.3 billion parameters on an 8 x 8 mesh: what `--mode=plan` is for.

The size of "GPT-3 XL" in Brown et al., "Language Models are Few-Shot Learners" (2020), table 2.1: 24 layers, 2048 wide, context of
2048 tokens (16 heads of 128 rather than 24). The tokens are random: put your own data set in its place to train it.

    arjax --config=configs/gpt_1b.py --mode=plan
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: the same code path, seconds on a CPU."""
    arg = parse_arg(arg, smoke=False)
    config = base_config()
    config.dtype = "float32" if arg.smoke else "bfloat16"
    size = {"length": 16, "vocabulary": 64} if arg.smoke else {"length": 2048, "vocabulary": 50304}
    config.dataset = dataset_config("random_tokens", **size)
    shape = {"width": 32, "num_layers": 2, "num_heads": 2} if arg.smoke else {"width": 2048, "num_layers": 24, "num_heads": 16}
    config.network = network_config("transformer", remat=True, **shape)
    config.optimizer.update(name="adamw", learning_rate=2e-4, schedule="cosine", warmup_steps=2000, end_factor=0.1)
    config.optimizer.update(weight_decay=0.1, clip_norm=1.0, b2=0.95)
    config.train.update(steps=100_000, batch_size=512, steps_per_dispatch=1, log_every=10, eval_every=1000)
    config.train.update(checkpoint_every=1000, data_on_device=False)
    config.mesh.update(data=-1 if arg.smoke else 1, fsdp=1 if arg.smoke else 8, tensor=1 if arg.smoke else 8)
    config.sample.num = 1
    return apply_smoke(config) if arg.smoke else config
