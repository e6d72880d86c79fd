"""The models of experiments/sampling: small digits of every family, binarized MNIST, and long text.

arjax-sweep --sweep=experiments/sampling/sweep.py --workdir=runs/sampling --jobs=1
"""

from arjax.sweep import Run

DIGITS = ("made", "lstm", "wavenet", "gated_pixelcnn", "transformer", "diagonal_bilstm")
#: networks of all orders
ANY_ORDER = ("two_stream", "masked")
#: network of binarized MNIST -> overrides that shorten its recipe with Adam to a few minutes
IMAGES = {
    "made": {"network.hidden_sizes": (500,), "network.dropout": 0.0, "train.epochs": 20.0},
    "gated_pixelcnn": {
        "network.num_layers": 6,
        "network.kernel_size": 3,
        "optimizer.learning_rate": 2e-3,
        "train.epochs": 0.15,
    },
    "diagonal_bilstm": {"optimizer.learning_rate": 4e-3, "train.epochs": 0.15},
}


def get_sweep():
    """Rows in the order in which they are trained; the last one goes on from the one before."""
    rows = [
        Run(f"digits-{name}", f"configs/digits.py:network={name}", {"train.steps": 600}, model=name) for name in DIGITS
    ]
    rows += [
        Run(f"digits-{form}", f"configs/any_order.py:digits,form={form}", {"train.steps": 600}, model=form)
        for form in ANY_ORDER
    ]
    rows += [
        Run(f"images-{name}", f"configs/binarized_mnist.py:network={name},adam", options, model=name)
        for name, options in IMAGES.items()
    ]
    rows += [
        Run("text-gru", "configs/long_text.py:network=gru", model="gru"),
        Run("text-256", "configs/long_text.py:length=256", model="transformer 6 x 256, windows of 256"),
        Run("text", "configs/long_text.py:start={workdir}/text-256", model="transformer 6 x 256"),
    ]
    return rows
