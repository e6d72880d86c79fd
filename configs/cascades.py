"""Cascades of images from coarse to fine against raster order.

Hoogeboom et al., "Autoregressive Diffusion Models" (2022), section 3.3 (digits of values), Reed et al., "Parallel
Multiscale Autoregressive Density Estimation" (2017), Menick & Kalchbrenner, "Subscale Pixel Networks" (2019).
Expected: see experiments/cascades.

    arjax --config=configs/cascades.py:row=base16 --workdir=runs/base16
    arjax --config=configs/cascades.py:row=set,data=fashion_mnist --workdir=runs/sets

`raster`, the levels; `base2`, `base4` and `base16`, all first digits of the levels, then all second ones; `site`,
`set` and `whole`, sub-sampled scales site by site, in sets of sites at once, and a scale at once; `haar`, means and
differences of pairs; `averaged`, means of squares and the image, a bound.
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, network_config, parse_arg, part, pick

#: name -> data set, its options, levels of sub-sampled scales, batch size
IMAGES = {
    "digits": ("digits", {}, 1, 64),
    "mnist": ("mnist", {"binarize": "none"}, 2, 32),
    "fashion_mnist": ("fashion_mnist", {}, 2, 32),
}
ROWS = ("raster", "base2", "base4", "base16", "site", "set", "whole", "haar", "averaged")
RASTER = {"num_layers": 3, "hidden_size": 24}
AT_ONCE = {"width": 48, "num_blocks": 2}


def get_config(arg=""):
    """`data`: digits, mnist or fashion_mnist; `row`: see above; `smoke`: a trial."""
    arg = parse_arg(arg, smoke=False, data=pick(IMAGES, "mnist"), row=pick(ROWS, "raster"))
    config = base_config()
    _images(config, arg)
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", warmup_steps=100, weight_decay=0.01)
    config.optimizer.clip_norm = 1.0
    config.train.update(steps=2000, log_every=50, eval_every=1000, steps_per_dispatch=25, ema_decay=0.99)
    config.sample.num = 16
    return apply_smoke(config) if arg.smoke else config


def _images(config, arg):
    """Gated PixelCNNs by site, convolutional networks of independent pixels where pixels are drawn at once."""
    name, options, levels, batch_size = IMAGES[arg.data]
    config.dataset = dataset_config(name, **options)
    config.train.batch_size = batch_size
    sizes = {"num_layers": 2, "hidden_size": 4} if arg.smoke else RASTER
    by_site = part("gated_pixelcnn", **sizes)
    whole = part("independent", {"partition": "whole"}, **AT_ONCE)
    scales, scale_parts = f"subsampled(levels={levels}, apart=True)", [str(k) for k in range(2, 2 + 3 * levels)]
    if arg.row == "raster":
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
