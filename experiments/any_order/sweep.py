"""The price of any order for a Transformer, on digits and on text, at equal steps.

arjax-sweep --sweep=experiments/any_order/sweep.py --workdir=runs/any_order
"""

from arjax.sweep import Run

FORMS = {
    "fixed": "fixed order",
    "two_position": "two-position",
    "two_stream": "two-stream",
    "masked": "masked",
}


def get_sweep() -> list[Run]:
    """Nats per example: of the fixed order, and of an order of many, on average over four of them."""
    return [_run(data, form) for data in ("digits", "tiny_shakespeare") for form in FORMS]


def _run(data: str, form: str) -> Run:
    fixed = form == "fixed"
    return Run(
        f"{data}-{form}",
        f"configs/any_order.py:data={data},form={form}",
        model=f"Transformer, {FORMS[form]}",
        ordering="raster" if fixed else "mean of 4 random orders",
        metric="nll_nats" if fixed else "negative_elbo_nats",
    )
