"""Heads for continuous values: points of the plane as one site of two numbers, wines in groups of columns, MNIST in
patches of 4 x 4.

Li et al., "Autoregressive Image Generation without Vector Quantization" (2024; the diffusion head; `mar` is their
schedule and loss), Lipman et al., "Flow Matching for Generative Modeling" (2023), Shao et al., "Continuous
Autoregressive Language Models" (2025; the energy head), beside mixtures. Points: `arjax.data.generated.true_nats`
is the least possible score: 1.0061 nats of the test points of two moons, 1.6947 of eight Gaussians, 2.0794 of the
checkerboard. Expected: experiments/continuous_heads.

    arjax --config=configs/continuous_heads.py --workdir=runs/moons
    arjax --config=configs/continuous_heads.py:data=checkerboard,head=diffusion --workdir=runs/board
    arjax --config=configs/continuous_heads.py:data=wine,head=energy --workdir=runs/wine
    arjax --config=configs/continuous_heads.py:data=mnist,head=flow_matching,order=any --workdir=runs/patches

With `order=any` a Transformer predicts all hidden patches from the others, in any order; `order=mar` hides parts as MAR
does, at least .7 of the patches. Such a model is for draws: the likelihood of late patches was never trained. Both draw
sets of patches that grow as a cosine.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, pick

#: dataset, its options, batch size, steps in a hundred
DATA = {
    "two_moons": ("two_moons", {"as_one_site": True}, 500, 40),
    "eight_gaussians": ("eight_gaussians", {"as_one_site": True}, 500, 40),
    "checkerboard": ("checkerboard", {"as_one_site": True}, 500, 40),
    "wine": ("wine_quality", {"group": 3}, 100, 10),
    "mnist": ("mnist", {"binarize": "none", "patches": 4}, 64, 20),
}
HEADS = {
    "flow_matching": "flow_matching(width={width}, layers={layers}, features=64)",
    "diffusion": "diffusion(steps=1000, width={width}, layers={layers}, features=64)",
    "mar": "diffusion(steps=1000, schedule='cosine', weighting='simple', width={width}, layers={layers}, features=64)",
    "energy": "energy(width={width}, layers={layers}, features=64)",
    "mixture": "mixture_of_products(components=16, base='gaussian')",
    "gaussian": "gaussian",
}
ORDERS = ("raster", "any", "mar")


def get_config(arg=""):
    """`data`: a name in `DATA`; `head`: a name in `HEADS`; `order`: "raster", "any" or "mar" of the patches;
    `smoke`: seconds.
    """
    arg = parse_arg(
        arg, smoke=False, data=pick(DATA, "two_moons"), head=pick(HEADS, "flow_matching"), order=pick(ORDERS, "raster")
    )
    name, options, batch_size, hundreds = DATA[arg.data]
    plane, images = arg.data not in ("wine", "mnist"), arg.data == "mnist"
    sizes = {"width": 16, "layers": 1} if arg.smoke else {"width": 64 if plane else 128, "layers": 3}
    config = base_config()
    config.dataset = dataset_config(name, **options, **({"num_examples": 400} if arg.smoke and plane else {}))
    config.model = model_config("autoregressive", conditional=HEADS[arg.head].format(**sizes))
    if plane:
        config.network = network_config("independent")  # one site: its features are parameters
    elif not images:
        config.network = network_config("made", hidden_sizes=(16,) if arg.smoke else (128, 128), dropout=0.1)
    elif arg.order == "raster":
        config.network = network_config("transformer", width=128, num_layers=4, num_heads=4, dropout=0.1)
    else:
        config.network = network_config("masked_transformer", width=128, num_layers=4, num_heads=4, dropout=0.1)
    if arg.order != "raster":
        config.model.orders = "uniform"
        hidden = "truncated_normal" if arg.order == "mar" else "uniform"
        config.objective = f"order_agnostic(hidden='{hidden}')"
        config.sample.sampler = "parallel(steps=16, schedule='cosine')"
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", end_factor=0.01)
    config.optimizer.update(clip_norm=1.0, weight_decay=1e-4)
    config.train.update(steps=100 * hundreds, batch_size=batch_size, steps_per_dispatch=50, log_every=500)
    config.train.update(eval_every=500, checkpoint_every=1000, ema_decay=0.995)
    config.evaluate.batch_size = 500
    return apply_smoke(config) if arg.smoke else config
