"""Llama 2 with 7 billion parameters, planned for 64 TPU chips.

Network: Touvron et al., "Llama 2: Open Foundation and Fine-Tuned Chat Models", 2023, section 2.2 (32 layers, width
4096, 32 heads, SwiGLU of 11,008, a vocabulary of 32,000, texts of 4096 tokens, batches of 4M tokens): 6,738,419,712
parameters, 4096 more than published (the input before the first token). Data: noise of that shape, as planning needs no
more. The slice below has sides of 4: a mesh of 4 x 16 fits it, and none of 8 x 8. Expected by the compiler for TPUs:
12.2 s a step, 50% of the peak, and 77.5 of 95 GiB on each chip.

    arjax --mode=plan --config=configs/llama_7b.py --accelerator=v5p:4x4x4
"""

from llama import LLAMA

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: a tiny network on the devices of this machine."""
    arg = parse_arg(arg, smoke=False)
    config = base_config()
    if arg.smoke:
        config.dataset = dataset_config("noise", grid=(16,), num_levels=32, num_examples=32)
        sizes = {"width": 16, "num_layers": 2, "num_heads": 2, "mlp_size": 43}
    else:
        config.dataset = dataset_config("noise", grid=(4096,), num_levels=32_000)
        sizes = {"width": 4096, "num_layers": 32, "num_heads": 32, "mlp_size": 11_008}
        config.mesh.update(data=4, fsdp=16)
    run = {"remat": True, "unroll": 1, "fused_attention": True}
    config.network = network_config("transformer", **(LLAMA | sizes | run))
    config.dtype = "bfloat16"
    config.optimizer.update(name="adamw", learning_rate=3e-4, schedule="cosine", warmup_steps=2000, end_factor=0.1)
    config.optimizer.update(weight_decay=0.1, clip_norm=1.0, b2=0.95)
    config.train.update(steps=500_000, batch_size=1024, steps_per_dispatch=1, data_on_device=False)
    return apply_smoke(config) if arg.smoke else config
