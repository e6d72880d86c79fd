"""Red wines, test nats in data units: four networks under four families of conditionals, and a flow; points of the
plane under flows. About ten minutes on two CPU cores.

arjax-sweep --sweep=experiments/continuous_density/sweep.py --workdir=runs/continuous_density

The mixtures of Gaussians are added to its table by scripts/gaussian_mixture_baseline.py.
"""

from arjax.sweep import Run

NETWORKS = {
    "independent": "independent columns",
    "separate": "one network per column",
    "nade": "RNADE",
    "made": "MADE",
    "transformer": "Transformer",
}
#: All with the same least scale, a tenth of a column's standard deviation.
FAMILIES = {
    "gaussian": ("Gaussian", "gaussian(min_log_scale=-2.3)"),
    "gaussian_mixture": ("5 Gaussians", "gaussian_mixture(components=5, min_log_scale=-2.3)"),
    "logistic_mixture": ("5 logistics", "logistic_mixture(components=5, min_log_scale=-2.3)"),
    "student_t_mixture": ("5 Student t", "student_t_mixture(components=5, min_log_scale=-2.3, dof=4.0)"),
}
TRUE = {"published_mark": "the true density"}
#: data -> words of the flow; of points, the nats of the test split under their own density (data.generated.true_nats)
FLOWS = {
    "wine": ("flow, 3 affine blocks over MADE, 5 Gaussians", {}),
    "two_moons": ("flow, 3 blocks of splines", {"published": 1.00607, **TRUE}),
    "eight_gaussians": ("flow, 4 blocks of splines", {"published": 1.69466, **TRUE}),
}


def get_sweep() -> list[Run]:
    """One run per network and family, seed 0, and one per flow; independent columns under a Gaussian alone."""
    wines = [
        Run(
            f"{network}-{family}",
            f"configs/wine_quality.py:network={network}",
            overrides={"model.conditional": call},
            model=f"{model}, {words}",
        )
        for network, model in NETWORKS.items()
        for family, (words, call) in FAMILIES.items()
        if network != "independent" or family == "gaussian"
    ]
    flows = [
        Run(f"flow-{data}", f"configs/flows.py:data={data}", model=model, **published)
        for data, (model, published) in FLOWS.items()
    ]
    return wines + flows
