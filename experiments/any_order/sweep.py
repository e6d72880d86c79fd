"""The price of any order for a Transformer, on digits and on text, at equal steps.

arjax-sweep --sweep=experiments/any_order/sweep.py --workdir=runs/any_order
arjax-sweep --sweep=experiments/any_order/sweep.py:steps=4000 --workdir=runs/any_order
"""

from arjax.config import parse_arg
from arjax.sweep import Run

FORMS = {
    "fixed": "fixed order",
    "two_position": "two-position",
    "two_stream": "two-stream",
    "half_raster": "two-stream, raster order in half of the examples",
    "masked": "masked",
}


def get_sweep(arg: str = "") -> list[Run]:
    """Nats per example: of the fixed order, and of an order of many, on average over four of them. `steps`: of each
    training.
    """
    arg = parse_arg(arg, steps=1000)
    return [run_of(data, form, arg.steps) for data in ("digits", "tiny_shakespeare") for form in FORMS]


def run_of(data: str, form: str, steps: int = 1000) -> Run:
    """A form after some train steps."""
    fixed, long = form == "fixed", steps != 1000
    return Run(
        f"{data}-{form}" + long * f"-{steps}",
        f"configs/any_order.py:data={data},form={form}" + long * f",steps={steps}",
        model=f"Transformer, {FORMS[form]}",
        ordering="raster" if fixed else "mean of 4 random orders",
        metric="nll_nats" if fixed else "negative_elbo_nats",
    )
