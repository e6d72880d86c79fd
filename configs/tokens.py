"""Tokenizers of images: encoder, quantizer and decoder, and a prior of the tokens, in one run or in two. A bound.

van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (2017), with the quantizers of Mentzer
et al. (2023, `fsq`), Yu et al. (2024, `lfq`) and Tian et al. (2024, `residual`). Expected: see experiments/tokens.

    arjax --config=configs/tokens.py --workdir=runs/tokenizer
    arjax --config=configs/tokens.py:stage=prior,tokenizer=runs/tokenizer --workdir=runs/prior
    arjax --config=configs/tokens.py:stage=both,tokens=10 --workdir=runs/both --config.evaluate.samples=50

`stage=prior` is the second run, which reads the first one, `tokenizer`; `stage=both` trains all parts in one run, with
a Transformer of one layer as the prior; the first run trains independent tokens. `data`: mnist, digits; grey, MNIST
with 256 levels; labels, MNIST binarized once, given the class. `prior`: raster (of residual quantizers scale by scale,
each in one step) or any_order. `tokens=10`: so many of the whole image and hidden layers, no grid and convolutions.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, parse_arg, part, pick

DATA = {"mnist": "binarized_mnist", "grey": "mnist", "labels": "mnist", "digits": "digits"}
OPTIONS = {"grey": {"binarize": "none"}, "labels": {"binarize": "static", "context": "label"}}
QUANTIZERS = {
    "fsq": "fsq(levels=(8, 6, 5))",
    "vq": "vq(codes=512, dims=16)",
    "lfq": "lfq(bits=8)",
    "residual": "residual(scales={scales}, of='vq(codes=512, dims=16)')",
}
BLOCK = {"width": 128, "num_layers": 4, "num_heads": 4}
TOGETHER = {"width": 64, "num_layers": 1, "num_heads": 4}
SMOKE = {"width": 8, "num_layers": 1, "num_heads": 2}
PIXELCNN = {"num_layers": 3, "hidden_size": 24, "out_size": 24}


def get_config(arg=""):
    """The config of a tokenizer, or of its prior; the arguments are described above."""
    arg = parse_arg(
        arg,
        stage=pick(("tokenizer", "prior", "both"), "tokenizer"),
        data=pick(DATA, "mnist"),
        quantizer=pick(QUANTIZERS, "fsq"),
        decoder=pick(("independent", "gated_pixelcnn"), "independent"),
        prior=pick(("raster", "any_order"), "raster"),
        **{"tokenizer": "runs/tokenizer", "tokens": 0, "smoke": False},
    )
    grid, scales, steps = ((4, 4), (1, 2, 4), 2000) if arg.data == "digits" else ((7, 7), (1, 2, 4, 7), 20_000)
    config = base_config()
    config.dataset = dataset_config(DATA[arg.data], **OPTIONS.get(arg.data, {}))
    quantizer = QUANTIZERS[arg.quantizer].format(scales=scales)
    config.model = model_config("tokens", quantizer=quantizer, grid=(arg.tokens,) if arg.tokens else grid)
    config.parts = _parts(arg)
    config.objective = "tokenizer(rate=1)"
    if arg.stage == "prior":
        config.parts["prior"] = _prior(arg, scales)
        config.objective = "token_prior(of='order_agnostic')" if arg.prior == "any_order" else "token_prior"
        config.train.init_from = arg.tokenizer
    config.optimizer.update(name="adamw", learning_rate=1e-3, schedule="cosine", warmup_steps=200, weight_decay=0.05)
    batch_size = 200 if arg.tokens else 64
    config.train.update(steps=steps, batch_size=batch_size, log_every=200, eval_every=1000, steps_per_dispatch=50)
    config.sample.num = 64
    return apply_smoke(config) if arg.smoke else config


def _parts(arg):
    """Encoder and decoder, and the prior of independent tokens."""
    width, hidden = (8, (8,)) if arg.smoke else (32, (500, 500))
    sizes = {"hidden_sizes": hidden} if arg.tokens else {"width": width, "num_blocks": 1}
    encoder = part("independent", {"partition": "whole"}, **sizes)
    few = {"conditional": "discretized_logistic_mixture(components=3)"} if arg.data == "grey" else {}
    decoder = part("independent", {"partition": "whole"} | few, **sizes)
    if arg.decoder != "independent":
        decoder = part(arg.decoder, **({"num_layers": 2, "hidden_size": 4} if arg.smoke else PIXELCNN))
    prior = part("transformer", **(SMOKE if arg.smoke else TOGETHER)) if arg.stage == "both" else part("independent")
    return {"encoder": encoder, "decoder": decoder, "prior": prior}


def _prior(arg, scales):
    """The prior of the second run."""
    network = "masked_transformer" if arg.prior == "any_order" else "transformer"
    model = {"orders": "uniform"} if arg.prior == "any_order" else {}
    if arg.quantizer == "residual" and not model:
        model = {"partition": f"sizes(sizes={tuple(s * s for s in scales)})"}
    return part(network, model, **(SMOKE if arg.smoke else BLOCK))
