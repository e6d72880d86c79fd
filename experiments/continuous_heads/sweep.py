"""Heads for continuous values: points of the plane as one site of two numbers, against their true densities, wines in
groups of three columns, and MNIST in patches of 4 x 4. Some two hours on one CPU core that nothing else uses.

arjax-sweep --sweep=experiments/continuous_heads/sweep.py --workdir=runs/continuous_heads
python experiments/continuous_heads/measure.py runs/continuous_heads
"""

from arjax.sweep import Run

#: name -> words, conditional
HEADS = {
    "flow_matching": ("flow matching", "flow_matching(steps=16, width=64)"),
    "diffusion": ("diffusion, learned schedule, bound", "diffusion(steps=1000, width=64)"),
    "mixture": ("16 products of Gaussians", "mixture_of_products(components=16, base='gaussian')"),
    "energy": ("energy score", "energy(width=64)"),
    "mar": (
        "diffusion, cosine schedule, simple loss (MAR)",
        "diffusion(steps=1000, schedule='cosine', weighting='simple', width=64)",
    ),
}
#: data -> nats of the test points under their own density (arjax.data.generated.true_nats), train steps
DATA = {"two_moons": (1.00149, 2000), "eight_gaussians": (1.68999, 6000), "checkerboard": (2.07944, 6000)}
SMALL = {"dataset.num_examples": 20_000, "train.batch_size": 250}
#: Patches of MNIST: head -> train steps of some seven minutes; a thousand images are scored, because a score is dear.
PATCHES = {"mixture": 3400, "flow_matching": 1500, "diffusion": 1500}
OF_PATCHES = {"network.width": 64, "network.num_layers": 2, "evaluate.examples": 1000, "evaluate.batch_size": 50}
#: Wines: noise on the rows, whose numbers are rounded; best parameters by validation, as they overfit before the end.
OF_WINES = {"train.steps": 2000, "train.eval_every": 100, "dataset.noise": 0.2}


def get_sweep() -> list[Run]:
    """One run per data set, order and head, seed 0; heads without a likelihood have their sample score."""
    points = [
        Run(
            f"{data}-{head}",
            f"configs/continuous_heads.py:data={data}",
            SMALL | {"train.steps": steps, "train.eval_every": steps // 2, "model.conditional": call},
            data.replace("_", " "),
            words,
            metric="sample_score" if head == "energy" else "nll_nats",
            published=float("nan") if head == "energy" else truth,
            published_mark="" if head == "energy" else "the true density",
        )
        for data, (truth, steps) in DATA.items()
        for head, (words, call) in HEADS.items()
    ]
    wines = [
        Run(
            f"wine-{head}",
            "configs/continuous_heads.py:data=wine",
            OF_WINES | {"model.conditional": call},
            "red wine, groups of 3 columns",
            words,
            metric="sample_score" if head == "energy" else "nll_nats",
        )
        for head, (words, call) in HEADS.items()
        if head != "mar"
    ]
    patches = [
        Run(
            f"patches-{head}" if order == "raster" else f"patches-{order}-{head}",
            f"configs/continuous_heads.py:data=mnist,head={head}" + ("" if order == "raster" else f",order={order}"),
            OF_PATCHES | {"train.steps": steps, "train.eval_every": steps, "model.conditional": HEADS[head][1]},
            "MNIST in patches" + ("" if order == "raster" else f", {order} order"),
            HEADS[head][0],
        )
        for order in ("raster", "any")
        for head, steps in PATCHES.items()
    ]
    return [*points, *wines, *patches]
