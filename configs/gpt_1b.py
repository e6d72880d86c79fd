"""A GPT of 1.4 billion parameters on an 8 x 8 mesh: a plan by `--mode=plan` without the 64 devices.

Network: the 1.3B row of table 2.1 in Brown et al., "Language Models are Few-Shot Learners", 2020 (24 layers, width
2048), with 16 heads and a vocabulary of 50,304. Data: noise of that shape, as planning needs no more.
Expected: a table of 1.42B parameters, 1.99 GiB of state per device, in well under a minute; by the compiler for TPUs, a
step takes 1.29 s on 64 chips, 54.5% of their peak.

    arjax --mode=plan --config=configs/gpt_1b.py
    arjax --mode=plan --config=configs/gpt_1b.py --accelerator=v5e:8x8
"""

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg


def get_config(arg=""):
    """`smoke`: a tiny network on the devices of this machine."""
    arg = parse_arg(arg, smoke=False)
    config = base_config()
    if arg.smoke:
        config.dataset = dataset_config("noise", grid=(16,), num_levels=32, num_examples=32)
        config.network = network_config("transformer", width=16, num_layers=2, num_heads=2, remat=True, unroll=1)
    else:
        config.dataset = dataset_config("noise", grid=(2048,), num_levels=50_304)
        run = {"remat": True, "unroll": 1, "fused_attention": True}
        config.network = network_config("transformer", width=2048, num_layers=24, num_heads=16, **run)
        config.mesh.update(data=8, fsdp=8)
    config.dtype = "bfloat16"
    config.optimizer.update(name="adamw", learning_rate=2e-4, schedule="cosine", warmup_steps=2000, end_factor=0.1)
    config.optimizer.update(weight_decay=0.1, clip_norm=1.0, b2=0.95)
    config.train.update(steps=100_000, batch_size=512, steps_per_dispatch=1, data_on_device=False)
    return apply_smoke(config) if arg.smoke else config
