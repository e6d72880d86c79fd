"""Statically binarized MNIST, test nats.

arjax-sweep --sweep=experiments/binarized_mnist/sweep.py --workdir=runs/binarized_mnist
"""

from arjax.sweep import Run


def get_sweep() -> list[Run]:
    """MADE with one hidden layer and one order; published: Germain et al. (2015), table 6."""
    made = Run(
        "binarized_mnist-made",
        "configs/binarized_mnist.py:network=made",
        model="MADE, 1 hidden layer, 1 order",
        published=88.40,
        published_mark="M",
    )
    return [made]
