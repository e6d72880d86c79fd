"""The same MADE in raster order, under the eight rasters and under all orders: the in-painting of each.

arjax-sweep --sweep=experiments/inpainting/sweep.py --workdir=runs/inpainting
for name in raster rasters uniform; do arjax --mode=inpaint --workdir=runs/inpainting/$name; done
for name in rasters uniform; do arjax --mode=inpaint --workdir=runs/inpainting/$name --config.inpaint.hidden=top; done
arjax --mode=inpaint --workdir=runs/inpainting/raster --config.inpaint.hidden=top --config.inpaint.visible=nothing
"""

from arjax.sweep import Run

ORDERS = {"raster": ("", "raster"), "rasters": ("rasters", "8 rasters"), "uniform": ("uniform", "all orders")}


def get_sweep() -> list[Run]:
    """Equal steps, seed 0; a model of many orders is scored by the first of them, raster order for the eight."""
    return [
        Run(
            name,
            f"configs/inpainting.py{f':orders={orders}' if orders else ''}",
            model="MADE, 1000 units",
            ordering=text,
        )
        for name, (orders, text) in ORDERS.items()
    ]
