"""Autoregressive flows of real values: points of the plane whose density is known, and red wines.

Points: a MADE in each block turns them into noise by rational-quadratic splines (Durkan et al., "Neural Spline Flows",
2019), in alternating orders. `arjax.data.generated.true_nats` is the least possible score: 1.0061 nats of the test
points of two moons, 1.6947 of eight Gaussians. Wines: three affine blocks over a MADE with mixtures of Gaussians (MAF
MoG of Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for Density Estimation", 2017). Columns of the
wines are rounded, so scales have a floor of a tenth of a standard deviation, as in configs/wine_quality.py. The scales
of blocks and base multiply, so their floors do, too: e^-.1 in each of three blocks and e^-2 in the base make e^-2.3.
Expected: experiments/continuous_density, within 0.02 nats of the true densities of points.

    arjax --config=configs/flows.py --workdir=runs/moons
    arjax --config=configs/flows.py:data=eight_gaussians --workdir=runs/eight
    arjax --config=configs/flows.py:data=wine --workdir=runs/wine_flow
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, part, pick

SPLINE = "spline(bins=16)"
#: data set, blocks, their conditional, conditional of the base ("": normal noise), dropout, batch, steps in a hundred
RECIPES = {
    "two_moons": ("two_moons", 3, SPLINE, "", 0.0, 500, 100),
    "eight_gaussians": ("eight_gaussians", 4, SPLINE, "", 0.0, 500, 100),
    "wine": (
        "wine_quality",
        3,
        "gaussian(min_log_scale=-0.1, scale_bound=2.3)",
        "gaussian_mixture(components=5, min_log_scale=-2.0)",
        0.2,
        100,
        20,
    ),
}


def get_config(arg=""):
    """`data`: a name in `RECIPES`; `smoke`: seconds."""
    arg = parse_arg(arg, smoke=False, data=pick(RECIPES, "two_moons"))
    dataset, num_blocks, conditional, base, dropout, batch_size, hundreds = RECIPES[arg.data]
    config = base_config()
    config.dataset = dataset_config(dataset, **({"num_examples": 400} if arg.smoke and not base else {}))
    config.model = model_config("flow", num_blocks=num_blocks, conditional=conditional)
    sizes = (16,) if arg.smoke else (128, 128)
    options = {"hidden_sizes": sizes, "activation": "gelu", "dropout": dropout}
    config.network = network_config("made", **options)
    if base:
        config.parts = {"base": part("made", {"conditional": base}, **options)}
    rate, decay = (2e-3, 0.01) if dropout else (3e-3, 1e-4)
    config.optimizer.update(name="adamw", learning_rate=rate, schedule="cosine", end_factor=0.02)
    config.optimizer.update(clip_norm=1.0, weight_decay=decay)
    config.train.update(steps=100 * hundreds, batch_size=batch_size, steps_per_dispatch=50, log_every=500)
    config.train.update(eval_every=5 * hundreds, checkpoint_every=1000, ema_decay=0.99)
    config.evaluate.batch_size = 500
    return apply_smoke(config) if arg.smoke else config
