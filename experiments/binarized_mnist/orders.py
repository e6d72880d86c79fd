"""Eight orders of the plane, one Diagonal BiLSTM each, and their exact mixtures on statically binarized MNIST.

arjax-sweep --sweep=experiments/binarized_mnist/orders.py --workdir=runs/mnist_orders

The network of the raster order is trained from random weights, and each of the others begins with its weights: strokes
look alike in every direction, so one more epoch is enough. Each run resumes after an interruption. The orders and their
sequence are fixed here, before any test image is scored: the mixtures of the first two, four and eight networks show
where more orders stop helping.
"""

from arjax.config import parse_arg
from arjax.sweep import Mixture, Run

#: raster order on the plane flipped along some axes, and transposed
ORDERS = {
    "raster": "raster",
    "rotated": "symmetry(flip=(0, 1))",
    "transposed": "symmetry(axes=(1, 0))",
    "transposed-rotated": "symmetry(axes=(1, 0), flip=(0, 1))",
    "mirrored": "symmetry(flip=(1,))",
    "upside-down": "symmetry(flip=(0,))",
    "transposed-mirrored": "symmetry(axes=(1, 0), flip=(1,))",
    "transposed-upside-down": "symmetry(axes=(1, 0), flip=(0,))",
}
SOURCE = "van den Oord et al. 2016, table 4"


def get_sweep(arg: str = "") -> list[Run | Mixture]:
    """Eight networks, and mixtures with equal weights and with weights fitted on validation.

    `epochs` of the network in raster order, and `more` epochs of each other network.
    """
    arg = parse_arg(arg, epochs=2.0, more=1.0)
    begun = {"train.init_from": "{workdir}/raster", "train.epochs": arg.more, "optimizer.learning_rate": 2.5e-3}
    runs = [
        Run(
            name,
            "configs/binarized_mnist.py:network=diagonal_bilstm",
            {"model.ordering": order, **({"train.epochs": arg.epochs} if name == "raster" else begun)},
            model="Diagonal BiLSTM",
            ordering=name,
            published=79.20,
            published_mark=SOURCE,
        )
        for name, order in ORDERS.items()
    ]
    names = [run.name for run in runs]
    mixtures = [Mixture(f"first-{num}", names[:num], published=79.20, published_mark=SOURCE) for num in (2, 4, 8)]
    fitted = Mixture("fitted", names, weights="fitted", published=79.20, published_mark=SOURCE)
    return [*runs, *mixtures, fitted]
