r"""Tokens of binarized MNIST against pixels: seven to twenty minutes a row on one CPU core.

arjax-sweep --sweep=experiments/tokens/sweep.py --workdir=runs/tokens
python scripts/measure_sweep.py --sweep=experiments/tokens/sweep.py --workdir=runs/tokens \
    --entries=rate_nats,distortion_nats,codes_used
"""

from arjax.sweep import Run

TOKENS = "configs/tokens.py:stage=both,tokens"
#: Draws of the importance-weighted bound.
SAMPLES = {"evaluate.samples": 50}
#: Of the rows with tokens of the whole image.
WHOLE = {"train.steps": 15_000, "train.eval_every": 1500, "train.log_every": 500, "train.checkpoint_every": 5000}
SHORT = {"train.steps": 5000}
#: Of the rows with a Gated PixelCNN.
PIXELS = {"train.steps": 1500, "train.batch_size": 32, "train.ema_decay": 0.99, "optimizer.learning_rate": 2e-3}
#: name -> words, config, overrides, metric
ROWS = {
    "fsq": ("10 tokens, FSQ of 240 codes", f"{TOKENS}=10", WHOLE),
    "vq": ("10 tokens, VQ of 512 codes, a third of the steps", f"{TOKENS}=10,quantizer=vq", WHOLE | SHORT),
    "lfq": ("10 tokens, LFQ of 256 codes, a third of the steps", f"{TOKENS}=10,quantizer=lfq", WHOLE | SHORT),
    "decoder": (
        "2 tokens, FSQ, Gated PixelCNN as decoder",
        f"{TOKENS}=2,decoder=gated_pixelcnn",
        PIXELS,
    ),
    "decoder_6": (
        "6 tokens, FSQ, Gated PixelCNN as decoder",
        f"{TOKENS}=6,decoder=gated_pixelcnn",
        PIXELS,
    ),
    "pixels": (
        "Gated PixelCNN of the same size, no tokens",
        "configs/binarized_mnist.py:network=gated_pixelcnn",
        PIXELS | {"network.num_layers": 3, "network.hidden_size": 24, "network.out_size": 24, "train.epochs": 0.0},
    ),
}


def get_sweep() -> list[Run]:
    """One run per row, seed 0; bounds of tokens are those of 50 draws."""
    return [
        Run(
            name,
            config,
            overrides | ({} if overrides.keys() >= PIXELS.keys() else SAMPLES),
            "binarized MNIST",
            words,
            metric="nll_nats" if overrides.keys() >= PIXELS.keys() else "importance_bound_nats",
        )
        for name, (words, config, overrides) in ROWS.items()
    ]
