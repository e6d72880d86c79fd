"""Digits under every way to write a joint: independent pixels, latents, chains, flows, mixtures, cascades, one network.

Each kind of model is one word, and its numbers say whether they are exact or a bound. The papers are named where the
models are: arjax/models/latent.py, gaussian_chain.py, discrete_chain.py, flow.py, mixture.py, cascade.py. Expected: see
experiments/joints; independent pixels 2.43 bits/dim, an LSTM 1.74 (exact).

    arjax --config=configs/joints.py:flow --workdir=runs/flow
    arjax --config=configs/joints.py:gaussian,steps=100 --workdir=runs/diffusion
    arjax --config=configs/joints.py:absorbing,steps=64 --workdir=runs/absorbing
    arjax --config=configs/joints.py:mixture --workdir=runs/mixture
    arjax --config=configs/joints.py:cascade,stages=haar --workdir=runs/cascade

Of an autoregressive network it is configs/digits.py, of latents configs/latent_variables.py:digits, of all orders
configs/any_order.py:digits. `data`: also binarized_mnist. `stages` of a cascade: subsampled, haar or averaged.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, part, pick
from arjax.networks import NETWORKS

BLOCK = {"width": 64, "num_layers": 2, "num_heads": 4}
DENOISER = {"width": 96, "num_layers": 4, "num_heads": 4}
LEVELS = {"prediction": "levels", "score_steps": 20}
MASKS = {"process": "absorbing", "score_steps": 16}
#: name -> kind of model, its options, its network (of the parts of a mixture), options, learning rate, steps
KINDS = {
    "flow": ("flow", {"num_blocks": 4}, "transformer", BLOCK, 1e-3, 2500),
    "spline_flow": ("flow", {"num_blocks": 4, "conditional": "spline(bins=24)"}, "transformer", BLOCK, 1e-3, 2500),
    "gaussian": ("gaussian_chain", LEVELS, "unet", {"width": 32, "dropout": 0.1}, 2e-3, 5000),
    "absorbing": ("discrete_chain", MASKS, "denoising_transformer", DENOISER | {"use_time": False}, 1e-3, 3500),
    "uniform": ("discrete_chain", MASKS | {"process": "uniform"}, "denoising_transformer", DENOISER, 1e-3, 3500),
    "mixture": ("mixture", {}, "made", {"hidden_sizes": (100,)}, 1e-3, 4000),
    "cascade": ("cascade", {}, "transformer", BLOCK, 1e-3, 2500),
}
#: stages of a cascade -> number of its parts, of images
STAGES = {"subsampled": 2, "haar": 3, "averaged": 2}
#: steps of each example in the bound of a chain on the test split
SAMPLES = {"gaussian_chain": 200, "discrete_chain": 64}


def get_config(arg=""):
    """The config of a kind of model; the arguments are described above."""
    data = pick(("digits", "binarized_mnist"), "digits")
    arg = parse_arg(
        arg, smoke=False, kind=pick(KINDS, "flow"), data=data, steps=0, members=4, stages=pick(STAGES, "subsampled")
    )
    kind, options, network, sizes, rate, steps = KINDS[arg.kind]
    sizes = NETWORKS.get(network).SMALL if arg.smoke else sizes
    config = base_config()
    config.dataset = dataset_config(arg.data)
    if arg.steps or arg.smoke:
        options = options | ({"num_steps": 4 if arg.smoke else arg.steps} if kind.endswith("chain") else {})
    options = options | ({"stages": arg.stages} if kind == "cascade" else {})
    config.model = model_config(kind, **options)
    if kind == "mixture":
        config.parts = {f"member_{k}": part(network, **sizes) for k in range(2 if arg.smoke else arg.members)}
    elif kind == "cascade":
        config.parts = {str(k): part(network, **sizes) for k in range(1, STAGES[arg.stages] + 1)}
    else:
        config.network = network_config(network, **sizes)
    config.objective = "teacher_forcing"
    config.optimizer.update(name="adamw", learning_rate=rate, schedule="cosine", warmup_steps=200, weight_decay=0.01)
    config.train.update(steps=steps, batch_size=64, log_every=200, eval_every=400, ema_decay=0.999)
    config.evaluate.samples = 4 if arg.smoke and kind.endswith("chain") else SAMPLES.get(kind, 0)
    config.sample.num = 36
    return apply_smoke(config) if arg.smoke else config
