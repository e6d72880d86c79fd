"""Statically binarized MNIST, test nats: every network for images, each as long as its recipe says on two CPU cores.

arjax-sweep --sweep=experiments/binarized_mnist/sweep.py --workdir=runs/binarized_mnist
"""

from arjax.sweep import Run

#: name in the config -> name in the table, published test nats and their source
NETWORKS = {
    "fvsbn": ("FVSBN", float("nan"), ""),
    "nade": ("NADE", 88.33, "Uria et al. 2014, table 2"),
    "made": ("MADE, 1 hidden layer, 1 order", 88.40, "Germain et al. 2015, table 6"),
    "pixelcnn": ("PixelCNN", 81.30, "van den Oord et al. 2016, table 4"),
    "gated_pixelcnn": ("Gated PixelCNN", float("nan"), ""),
    "pixelcnn_pp": ("PixelCNN++", float("nan"), ""),
    "pixelsnail": ("PixelSNAIL", float("nan"), ""),
    "lmconv": ("locally masked convolution", float("nan"), ""),
    "row_lstm": ("Row LSTM", 80.54, "van den Oord et al. 2016, table 4"),
    "diagonal_bilstm": ("Diagonal BiLSTM", 79.20, "van den Oord et al. 2016, table 4"),
    "multiscale": ("multi-scale Diagonal BiLSTM", float("nan"), ""),
    "transformer": ("Transformer", float("nan"), ""),
    "image_transformer": ("Image Transformer", float("nan"), ""),
}


def get_sweep() -> list[Run]:
    """One run per network, in its usual order, seed 0."""
    return [
        Run(
            f"binarized_mnist-{name}",
            f"configs/binarized_mnist.py:network={name}",
            model=model,
            published=published,
            published_mark=source,
        )
        for name, (model, published, source) in NETWORKS.items()
    ]
