"""GPT-2 with 124 million parameters, or trained from scratch on the characters of tiny Shakespeare.

Network: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3, in the smallest size
(12 layers, width 768): 124,441,344 parameters, two rows of 768 more than published (the input before the first token,
and a position that is never read). Data: noise of that shape, as planning needs no more. A folder with the published
weights is read by `arjax.interop.load_huggingface`, see docs/huggingface.md.

    arjax --mode=plan --config=configs/gpt2.py
    arjax --config=configs/gpt2.py:shakespeare --workdir=runs/gpt2 --config.evaluate.split=validation
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

#: Options that make a Transformer GPT-2.
GPT2 = {"target_position": False, "tie_embeddings": True, "norm_epsilon": 1e-5, "dropout": 0.1}


def get_config(arg=""):
    """`shakespeare`: 0.8M parameters on characters. `smoke`: that in seconds."""
    arg = parse_arg(arg, smoke=False, shakespeare=False)
    config = base_config()
    if arg.shakespeare or arg.smoke:
        config.dataset = dataset_config("tiny_shakespeare", length=64, eval_stride=32)
        width = 32 if arg.smoke else 128
        config.network = network_config("transformer", **(GPT2 | {"width": width, "dropout": 0.0}))
        config.optimizer.update(learning_rate=2e-3, warmup_steps=100, b2=0.99)
        config.train.update(steps=2000, batch_size=12, steps_per_dispatch=50, eval_every=500, ema_decay=0.99)
        config.sample.update(num=8, temperature=0.8)
    else:
        config.dataset = dataset_config("noise", grid=(1024,), num_levels=50_257)
        sizes = {"width": 768, "num_layers": 12, "num_heads": 12, "remat": True, "unroll": 1}
        config.network = network_config("transformer", **(GPT2 | sizes))
        config.mesh.update(data=8)
        config.dtype = "bfloat16"
        config.optimizer.update(learning_rate=6e-4, warmup_steps=2000, b2=0.95)
        config.train.update(steps=100_000, batch_size=512, steps_per_dispatch=1, data_on_device=False)
    config.optimizer.update(name="adamw", schedule="cosine", end_factor=0.1, weight_decay=0.1, clip_norm=1.0)
    return apply_smoke(config) if arg.smoke else config
