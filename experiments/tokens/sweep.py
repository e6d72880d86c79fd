r"""Tokens of binarized MNIST against pixels: five to twenty minutes a row on one CPU core.

The rows of 49 and 70 tokens read the run of their tokenizer, which the sweep makes first.

arjax-sweep --sweep=experiments/tokens/sweep.py --workdir=runs/tokens
python scripts/measure_sweep.py --sweep=experiments/tokens/sweep.py --workdir=runs/tokens \
    --entries=rate_nats,distortion_nats,codes_used
"""

from arjax.sweep import Run

TOKENS = "configs/tokens.py:stage=both,tokens"
NATS, BOUND = "nll_nats", "importance_bound_nats"
#: Draws of the importance-weighted bound.
SAMPLES = {"evaluate.samples": 50}
#: Of the rows with tokens of the whole image.
WHOLE = {"train.steps": 15_000, "train.eval_every": 1500, "train.log_every": 500, "train.checkpoint_every": 5000}
SHORT = {"train.steps": 5000}
#: Of the rows with a Gated PixelCNN.
PIXELS = {"train.steps": 1500, "train.batch_size": 32, "train.ema_decay": 0.99, "optimizer.learning_rate": 2e-3}
#: A Gated PixelCNN of the size of the decoder.
ALONE = {"network.num_layers": 3, "network.kernel_size": 3, "network.hidden_size": 24, "network.out_size": 24}
#: Of tokens on a grid or over scales: the tokenizer, then its prior.
FIRST, SECOND = ({"train.steps": steps, "train.eval_every": steps // 5} for steps in (2500, 2000))
#: Of the prior in any order, which takes a pass for each of its tokens: 10,000 examples take 20 minutes of one core.
FEW = {"evaluate.examples": 1000, "train.eval_every": 1000}
#: Of the priors by scale: a step takes four times as long, so they have as many minutes.
SCALES = SECOND | {"train.steps": 500, "train.eval_every": 250, "optimizer.warmup_steps": 50}
GREY, LABELS = "MNIST, 256 levels", "MNIST, binarized once"
#: Runs that make tokens, without rows of their own: name -> config
TOKENIZERS = {
    "tokenizer": "configs/tokens.py",
    "tokenizer_scales": "configs/tokens.py:quantizer=residual",
    "tokenizer_labels": "configs/tokens.py:quantizer=residual,data=labels",
}
PRIOR = "configs/tokens.py:stage=prior,tokenizer={workdir}/tokenizer"
#: name -> words, config, overrides, metric, data
ROWS = {
    "fsq": ("10 tokens, FSQ of 240 codes", f"{TOKENS}=10", WHOLE | SAMPLES, BOUND),
    "vq": (
        "10 tokens, VQ of 512 codes, a third of the steps",
        f"{TOKENS}=10,quantizer=vq",
        WHOLE | SHORT | SAMPLES,
        BOUND,
    ),
    "lfq": (
        "10 tokens, LFQ of 256 codes, a third of the steps",
        f"{TOKENS}=10,quantizer=lfq",
        WHOLE | SHORT | SAMPLES,
        BOUND,
    ),
    "decoder": ("2 tokens, FSQ, Gated PixelCNN as decoder", f"{TOKENS}=2,decoder=gated_pixelcnn", PIXELS, NATS),
    "decoder_6": ("6 tokens, FSQ, Gated PixelCNN as decoder", f"{TOKENS}=6,decoder=gated_pixelcnn", PIXELS, NATS),
    "pixels": (
        "Gated PixelCNN of the same size, no tokens",
        "configs/binarized_mnist.py:network=gated_pixelcnn,adam",
        PIXELS | ALONE | {"train.epochs": 0.0},
        NATS,
    ),
    "raster": ("49 tokens, FSQ, prior in raster order", PRIOR, SECOND, NATS),
    "any_order": ("49 tokens, FSQ, prior in any order", f"{PRIOR},prior=any_order", SECOND | FEW, NATS),
    "scales": (
        "70 tokens of 4 scales, residual VQ, prior by scale",
        f"{PRIOR}_scales,quantizer=residual",
        SCALES,
        NATS,
    ),
    "labels": (
        "70 tokens of 4 scales, residual VQ, prior by scale, given the class",
        f"{PRIOR}_labels,quantizer=residual,data=labels",
        SCALES,
        NATS,
    ),
    "grey": (
        "49 tokens, FSQ, mixtures of logistics as decoder",
        "configs/tokens.py:stage=both,data=grey",
        FIRST,
        NATS,
    ),
}
DATA = {"labels": LABELS, "grey": GREY}


def get_sweep() -> list[Run]:
    """One run per row, seed 0, after the tokenizers that some read."""
    tokenizers = [Run(name, config, FIRST, metric=NATS, listed=False) for name, config in TOKENIZERS.items()]
    rows = [
        Run(name, config, overrides, DATA.get(name, "binarized MNIST"), words, metric=metric)
        for name, (words, config, overrides, metric) in ROWS.items()
    ]
    return [*tokenizers, *rows]
