"""Tokenizers of images in two runs: first encoder, quantizer and decoder, then a prior of the tokens. A bound.

van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (2017), with the quantizers of Mentzer
et al. (2023, `fsq`), Yu et al. (2024, `lfq`) and Tian et al. (2024, `residual`). None of these papers has a likelihood
of MNIST; the ELBO of a variational autoencoder with 20 latents on binarized MNIST is near 98 nats.

    arjax --config=configs/tokens.py --workdir=runs/tokenizer
    arjax --config=configs/tokens.py:tokenizer=runs/tokenizer --workdir=runs/prior
    arjax --config=configs/tokens.py:quantizer=vq,data=digits --workdir=runs/vq
    arjax --config=configs/tokens.py:quantizer=residual --workdir=runs/scales
    arjax --config=configs/tokens.py:quantizer=residual,tokenizer=runs/scales --workdir=runs/next_scale

`tokenizer`: the workdir of the first run, for the second one. `prior`: the prior of the second run, in raster order, or
`any_order`; of `residual` it is one scale after the other. The first run trains a prior of independent tokens, so that
its numbers are a bound, too. Expected of binarized MNIST: see docs/tokens.md.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, parse_arg, part, pick

#: name of the data -> data set, grid of codes, scales of residual ones, steps of a run
DATA = {"mnist": ("binarized_mnist", (7, 7), (1, 2, 4, 7), 20_000), "digits": ("digits", (4, 4), (1, 2, 4), 2000)}
QUANTIZERS = {
    "fsq": "fsq(levels=(8, 6, 5))",
    "vq": "vq(codes=512, dims=16)",
    "lfq": "lfq(bits=8)",
    "residual": "residual(scales={scales}, of='vq(codes=512, dims=16)')",
}
BLOCK = {"width": 128, "num_layers": 4, "num_heads": 4}


def get_config(arg=""):
    """The config of a tokenizer, or of its prior; the arguments are described above."""
    choices = {"quantizer": pick(QUANTIZERS, "fsq"), "prior": pick(("raster", "any_order"), "raster")}
    arg = parse_arg(arg, smoke=False, data=pick(DATA, "mnist"), tokenizer="", hidden=400, **choices)
    name, grid, scales, steps = DATA[arg.data]
    config = base_config()
    config.dataset = dataset_config(name)
    config.model = model_config("tokens", quantizer=QUANTIZERS[arg.quantizer].format(scales=scales), grid=grid)
    sizes = {"hidden_sizes": (8,) if arg.smoke else (arg.hidden, arg.hidden)}
    config.parts = {
        "encoder": part("independent", **sizes),
        "decoder": part("independent", {"partition": "whole"}, **sizes),
        "prior": _prior(arg, scales) if arg.tokenizer else part("independent"),
    }
    config.objective = "tokenizer(rate=1)"
    if arg.tokenizer:
        objective = "order_agnostic" if arg.prior == "any_order" else "teacher_forcing"
        config.objective = f"token_prior(of={objective!r})"
        config.train.init_from = arg.tokenizer
    config.optimizer.update(name="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=200)
    config.train.update(steps=steps, batch_size=64, log_every=200, eval_every=1000, steps_per_dispatch=50)
    config.sample.num = 64
    return apply_smoke(config) if arg.smoke else config


def _prior(arg, scales):
    """The prior of the second run."""
    block = {"width": 8, "num_layers": 1, "num_heads": 2} if arg.smoke else BLOCK
    if arg.prior == "any_order":
        return part("masked_transformer", {"orders": "uniform"}, **block)
    if arg.quantizer == "residual":
        return part("transformer", {"partition": f"sizes(sizes={tuple(s * s for s in scales)})"}, **block)
    return part("transformer", **block)
