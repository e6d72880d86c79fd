"""What a Transformer pays for serving any order, on digits and on text, at equal steps.

arjax-sweep --sweep=experiments/any_order/sweep.py --workdir=runs/any_order
"""

from arjax.sweep import Run

FORMS = {
    "fixed": "fixed order",
    "two_position": "two-position",
    "two_stream": "two-stream",
    "masked": "masked",
}
#: For one order of many, and for the mixture of four of them
METRICS = {"negative_elbo_nats": "mean of 4 orders", "nll_nats": "mixture of 4 orders"}


def get_sweep() -> list[Run]:
    """Nats per example: of the fixed order; of an order of many on average, which bounds their mixture from above."""
    return [
        _run(data, form, metric)
        for data in ("digits", "tiny_shakespeare")
        for form in FORMS
        for metric in _metrics(form)
    ]


def _metrics(form: str) -> list[str]:
    return ["nll_nats"] if form == "fixed" else list(METRICS)


def _run(data: str, form: str, metric: str) -> Run:
    return Run(
        f"{data}-{form}" + ("" if metric == "nll_nats" else "-mean"),
        f"configs/any_order.py:data={data},form={form}",
        {"evaluate.split": "validation"} if data == "tiny_shakespeare" else {},
        model=f"Transformer, {FORMS[form]}",
        ordering="raster" if form == "fixed" else METRICS[metric],
        metric=metric,
    )
