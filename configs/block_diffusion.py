"""Digits and characters from autoregression to masked diffusion, by the size of the blocks.

Arriola et al., "Block Diffusion: Interpolating Between Autoregressive and Diffusion Language Models" (2025): blocks
follow one another, and inside a block sites are revealed in any order. `block=1` is an autoregressive Transformer,
`block=64` masked diffusion of all 64 sites. The network and the steps are the same for all. Expected: see
experiments/block_diffusion.

    arjax --config=configs/block_diffusion.py:block=8 --workdir=runs/block8
    arjax --config=configs/block_diffusion.py:tiny_shakespeare,block=4 --workdir=runs/text4

`block` has to divide 64. `steps`: of the training.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, pick
from arjax.networks import NETWORKS

#: Options of each data set. Windows of text do not overlap: a bound scores whole windows.
DATA = {"digits": {}, "tiny_shakespeare": {"length": 64, "eval_stride": 64}}
#: Steps that a score draws for each block, where the block has more; all of them are visited by draws.
SCORE_STEPS = 8


def get_config(arg=""):
    """The config of a block size; the arguments are described above."""
    arg = parse_arg(arg, smoke=False, data=pick(DATA, "digits"), block=8, steps=1000)
    config = base_config()
    config.dataset = dataset_config(arg.data, **DATA[arg.data])
    partition = f"blocks(size={arg.block})"
    config.model = model_config("block_diffusion", partition=partition, score_steps=SCORE_STEPS)
    sizes = {"width": 64, "num_layers": 3, "num_heads": 4, "unroll": 3}
    sizes = NETWORKS.get("block_transformer").SMALL if arg.smoke else sizes
    config.network = network_config("block_transformer", **sizes)
    config.objective = "teacher_forcing"
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", warmup_steps=100, weight_decay=0.05)
    config.optimizer.update(end_factor=0.01, clip_norm=1.0, b2=0.99)
    config.train.update(steps=arg.steps, batch_size=32, steps_per_dispatch=20, log_every=200, eval_every=500)
    config.train.update(checkpoint_every=500, ema_decay=0.99)
    config.evaluate.batch_size = 100
    config.sample.num = 16
    return apply_smoke(config) if arg.smoke else config
