"""Llama 3 with 8 billion parameters, or its kind of Transformer trained on the characters of tiny Shakespeare.

Network: Grattafiori et al., "The Llama 3 Herd of Models", 2024, table 3 (32 layers, width 4096, 32 heads that share 8
of keys and values, SwiGLU of 14,336, rotary positions of base 500,000, peak learning rate 3e-4): 8,030,265,344
parameters, 4096 more than published (the input before the first token). Data: noise of that shape, as planning needs
no more. A folder with published weights is read by `arjax.interop.load_huggingface`, see docs/huggingface.md. Expected
on characters: 1.540 nats per character on validation with 808,448 parameters, where configs/tiny_shakespeare.py reaches
1.625.

    arjax --mode=plan --config=configs/llama.py
    arjax --config=configs/llama.py:shakespeare --workdir=runs/llama --config.evaluate.split=validation
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg

#: Options that make a Transformer Llama: Touvron et al., "LLaMA", 2023, section 2.2; grouped queries came with Llama 2.
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
    """`shakespeare`: 0.8M parameters on characters. `smoke`: that in seconds."""
    arg = parse_arg(arg, smoke=False, shakespeare=False)
    config = base_config()
    if arg.shakespeare or arg.smoke:
        config.dataset = dataset_config("tiny_shakespeare", length=64, eval_stride=32)
        sizes = {"width": 32, "mlp_size": 86} if arg.smoke else {"width": 128, "mlp_size": 344}
        config.network = network_config("transformer", **(LLAMA | sizes))
        config.optimizer.update(learning_rate=2e-3, warmup_steps=100, b2=0.99)
        config.train.update(steps=2000, batch_size=12, steps_per_dispatch=50, eval_every=500, ema_decay=0.99)
        config.sample.update(num=8, temperature=0.8)
    else:
        config.dataset = dataset_config("noise", grid=(4096,), num_levels=128_256)
        sizes = {"width": 4096, "num_layers": 32, "num_heads": 32, "num_kv_heads": 8, "mlp_size": 14_336}
        run = {"rotary_base": 500_000.0, "remat": True, "unroll": 1}
        config.network = network_config("transformer", **(LLAMA | sizes | run))
        config.mesh.update(data=8, fsdp=8, tensor=8)
        config.dtype = "bfloat16"
        config.optimizer.update(learning_rate=3e-4, warmup_steps=8000, b2=0.95)
        config.train.update(steps=1_000_000, batch_size=256, steps_per_dispatch=1, data_on_device=False)
    config.optimizer.update(name="adamw", schedule="cosine", end_factor=0.1, weight_decay=0.1, clip_norm=1.0)
    return apply_smoke(config) if arg.smoke else config
