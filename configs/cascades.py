"""Cascades from coarse to fine against one network in raster order: digits of values, sub-sampled scales, Haar; and
digits of 16-bit sound in any order.

Digits of a value: Hoogeboom et al., "Autoregressive Diffusion Models" (2022), section 3.3: 16-bit speech has 7.93 bits
per sample with one head and 6.30 with digits of base 16. Sub-sampled scales: Reed et al., "Parallel Multiscale
Autoregressive Density Estimation" (2017), and Menick & Kalchbrenner, "Subscale Pixel Networks" (2019). Expected: see
experiments/cascades.

    arjax --config=configs/cascades.py:row=raster --workdir=runs/raster
    arjax --config=configs/cascades.py:row=base16 --workdir=runs/base16
    arjax --config=configs/cascades.py:row=set,data=fashion_mnist --workdir=runs/sets
    arjax --config=configs/cascades.py:row=base256,data=speech --workdir=runs/speech

Of images: `raster`, the levels in raster order; `base2`, `base4` and `base16`, digits of the levels, all first ones in
raster order, then all second ones; `site`, `set` and `whole`, sub-sampled scales site by site, in sets of sites that
are drawn at once, and each scale at once; `haar`, means of pairs and differences; `averaged`, means of squares and the
image, a bound. Of speech, in any order: `levels`, one head of 65,536 levels; `mixture`, 10 logistic distributions on
the levels; `base256` and `base16`.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, part, pick

#: name -> data set, its options, levels of sub-sampled scales, batch size
IMAGES = {
    "digits": ("digits", {}, 1, 64),
    "mnist": ("mnist", {"binarize": "none"}, 2, 32),
    "fashion_mnist": ("fashion_mnist", {}, 2, 32),
}
OF_IMAGES = ("raster", "base2", "base4", "base16", "site", "set", "whole", "haar", "averaged")
OF_SPEECH = ("levels", "mixture", "base256", "base16")
RASTER = {"num_layers": 3, "hidden_size": 24}
AT_ONCE = {"width": 48, "num_blocks": 2}
DENOISER = {"width": 64, "num_layers": 2, "num_heads": 4}


def get_config(arg=""):
    """`data`: digits, mnist, fashion_mnist or speech; `row`: see above; `smoke`: a trial."""
    rows = tuple(dict.fromkeys((*OF_IMAGES, *OF_SPEECH)))
    arg = parse_arg(arg, smoke=False, data=pick((*IMAGES, "speech"), "mnist"), row=pick(rows, "raster"))
    config = base_config()
    _speech(config, arg) if arg.data == "speech" else _images(config, arg)
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", warmup_steps=100, weight_decay=0.01)
    config.optimizer.update(clip_norm=1.0)
    config.train.update(steps=2000, log_every=50, eval_every=1000, steps_per_dispatch=25, ema_decay=0.99)
    config.sample.num = 16
    return apply_smoke(config) if arg.smoke else config


def _images(config, arg):
    """Gated PixelCNNs by site, and convolutional networks of independent pixels where a scale is drawn at once."""
    name, options, levels, batch_size = IMAGES[arg.data]
    config.dataset = dataset_config(name, **options)
    config.train.batch_size = batch_size
    sizes = {"num_layers": 2, "hidden_size": 4} if arg.smoke else RASTER
    by_site = part("gated_pixelcnn", **sizes)
    whole = part("independent", {"partition": "whole"}, **({"width": 4, "num_blocks": 1} if arg.smoke else AT_ONCE))
    scales, scale_parts = f"subsampled(levels={levels}, apart=True)", [str(k) for k in range(2, 2 + 3 * levels)]
    if arg.row == "raster":
        config.model = model_config("autoregressive")
        config.network = network_config("gated_pixelcnn", **sizes)
        return
    stages, parts, more = {
        "base2": ("digits(base=2)", {"shared": by_site}, {"train_stages": 1}),
        "base4": ("digits(base=4)", {"shared": by_site}, {"train_stages": 1}),
        "base16": ("digits(base=16)", {"1": by_site, "2": by_site}, {}),
        "site": (scales, {"1": by_site} | dict.fromkeys(scale_parts, by_site), {}),
        "set": (scales, {"1": by_site} | dict.fromkeys(scale_parts, whole), {}),
        "whole": (f"subsampled(levels={levels})", {"1": by_site} | {str(k + 2): whole for k in range(levels)}, {}),
        "haar": ("haar", dict.fromkeys("123", by_site), {}),
        "averaged": ("averaged", dict.fromkeys("12", by_site), {}),
    }[arg.row]
    config.model, config.parts = model_config("cascade", stages=stages, **more), parts


def _speech(config, arg):
    """Windows of 1,024 samples: masked values are predicted from any others, in any order."""
    config.dataset = dataset_config("spoken_digits", bits=16, length=64 if arg.smoke else 1024, whole=True)
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2} if arg.smoke else DENOISER
    chain = {"process": "absorbing", "score_steps": 8, "num_steps": 16 if arg.smoke else 1024}
    if arg.row == "mixture":
        chain["conditional"] = "discretized_logistic_mixture(components=10)"
    if arg.row in ("levels", "mixture"):
        config.model = model_config("discrete_chain", **chain)
        config.network = network_config("transformer", "discrete_chain", use_time=False, **sizes)
    else:
        shared = part("transformer", model_config("discrete_chain", **chain), use_time=False, **sizes)
        config.model = model_config("cascade", stages=f"digits(base={arg.row[4:]})", train_stages=1)
        config.parts = {"shared": shared}
    config.train.batch_size = 2 if arg.row == "levels" else 8
    config.evaluate.batch_size = 4
