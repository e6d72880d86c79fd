"""A table of yours of real values under one of eleven recipes; configs/sweeps/real_table.py trains and compares all.

MADE (Germain et al., 2015) with mixtures of Gaussians in its conditionals (as RNADE, Uria et al., 2013), with splines
(Durkan et al., 2019), a flow of affine blocks over such a MADE (Papamakarios et al., 2017). With fewer parameters or
more regularisation: `strong` dropout, a `small` MADE that is nearly linear, five of them as `members` of a mixture of
whole rows, `few_gaussians`, `gaussians` or `many_gaussians` with full covariances that training takes on from EM, such
Gaussians with a floor of a third of a standard deviation (`smooth_gaussians`), and noise on the rows in training, which
smooths the density, too (`noisy`: Rothfuss et al., 2019). No recipe is the best on all tables: train all and mix.

Scales have a floor, log s >= `floor` in units of a column's standard deviation, e^-4.6 = 0.01 by default. Rounded
columns need it: a density at values that repeat can be made as high as the floor allows, and says nothing then. Give
-2.3 (a tenth) or the log of the rounding over the standard deviation, and compare models at one floor. The blocks and
the base of a flow share it, as their scales multiply. A spline also has slopes, so its peaks may be narrower. Expected:
experiments/continuous_density, section on tables.

    arjax --config=configs/real_table.py:file=my.csv --workdir=runs/mine
    arjax --config=configs/real_table.py:file=my.csv,recipe=strong,floor=-2.3 --workdir=runs/strong
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, part, pick

#: hidden sizes, dropout, weight decay, learning rate, most steps, components of a conditional
RECIPES = {
    "mixture": ((128, 128), 0.1, 0.01, 2e-3, 4000, 15),
    "strong": ((128, 128), 0.4, 0.05, 2e-3, 4000, 15),
    "small": ((8,), 0.0, 0.05, 5e-3, 3000, 3),
    "members": ((8,), 0.0, 0.05, 5e-3, 3000, 1),
    "spline": ((128, 128), 0.1, 0.01, 2e-3, 4000, 0),
    "flow": ((128, 128), 0.1, 0.01, 2e-3, 4000, 10),
    "few_gaussians": ((), 0.0, 0.0, 2e-2, 3000, 3),
    "gaussians": ((), 0.0, 0.0, 2e-2, 3000, 5),
    "smooth_gaussians": ((), 0.0, 0.0, 1e-3, 1000, 3),
    "noisy": ((128, 128), 0.4, 0.05, 2e-3, 4000, 15),
    "many_gaussians": ((), 0.0, 0.0, 1e-2, 3000, 30),
}
#: name -> the least floor of Gaussians with full covariances
GAUSSIANS = {"few_gaussians": -20.0, "gaussians": -20.0, "smooth_gaussians": -1.15, "many_gaussians": -20.0}


def get_config(arg=""):
    """`file`: a csv file (without one, the wines), `validation` and `test`: those of their splits, where they have
    their own; `recipe`: a name in `RECIPES`; `floor`: see above; `delimiter`: between cells, a character, `spaces` or
    `tab`; `skip`: columns to leave out, such as `(id,name)`; `components`: of `gaussians`, see `--components=grow` of
    scripts/gaussian_mixture_baseline.py; `smoke`: seconds.
    """
    files = {"file": "", "validation": "", "test": "", "delimiter": ",", "skip": ()}
    arg = parse_arg(arg, smoke=False, recipe=pick(RECIPES, "mixture"), floor=-4.6, components=0, **files)
    sizes, dropout, decay, learning_rate, steps, components = RECIPES[arg.recipe]
    paths = {"path": arg.file, "validation_path": arg.validation, "test_path": arg.test}
    paths |= {"delimiter": arg.delimiter, "skip": arg.skip}
    config = base_config()
    name, fields = ("table", paths) if arg.file else ("wine_quality", {})
    config.dataset = dataset_config(name, **fields, **({"noise": 0.2} if arg.recipe == "noisy" else {}))
    options = {"hidden_sizes": (16,) if arg.smoke else sizes, "activation": "gelu", "dropout": dropout}
    floor = round(arg.floor + 0.2, 6) if arg.recipe == "flow" else arg.floor  # two blocks have a floor of -.1 each
    mixture = f"gaussian_mixture(components={components}, min_log_scale={floor})"
    if arg.recipe in GAUSSIANS:
        floor = max(arg.floor, GAUSSIANS[arg.recipe])
        components = arg.components if arg.components and arg.recipe == "gaussians" else components
        em = {"em_starts": 2 if components <= 30 else 1, "em_iterations": 300, "em_seed": 0}  # as that of the search
        config.model = model_config("gaussian_mixture", components=components, min_log_scale=floor, **em)
    elif arg.recipe == "members":
        config.model = model_config("mixture")
        one = part("made", {"conditional": f"gaussian(min_log_scale={arg.floor})"}, **options)
        config.parts = {f"member_{k}": one for k in range(5)}
    else:
        config.network = network_config("made", **options)
    if arg.recipe == "flow":
        config.model = model_config("flow", num_blocks=2, conditional="gaussian(min_log_scale=-0.1, scale_bound=2.3)")
        config.parts = {"base": part("made", {"conditional": mixture}, **options)}
    elif arg.recipe == "spline":
        config.model.conditional = f"spline(bins=16, min_log_scale={arg.floor})"
    elif arg.recipe not in ("members", *GAUSSIANS):
        config.model.conditional = mixture
    config.optimizer.update(name="adamw", learning_rate=learning_rate, schedule="cosine", end_factor=0.05)
    config.optimizer.update(clip_norm=1.0, weight_decay=decay)
    config.train.update(steps=steps, batch_size=100, steps_per_dispatch=50, log_every=500, patience=15)
    config.train.update(eval_every=50 if arg.recipe in GAUSSIANS else 100, checkpoint_every=1000, ema_decay=0.98)
    config.evaluate.batch_size = 500
    return apply_smoke(config) if arg.smoke else config
