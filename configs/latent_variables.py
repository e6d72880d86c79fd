"""Variational autoencoders of binarized MNIST and of digits, trained by the ELBO or by the bound of k samples.

Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders" (2016): 50 latents, two hidden layers of 200 tanh
units each way, 3,280 epochs of batches of 20; here batches of 50 under a cosine. Static binarization (appendix D), test
nats with 5,000 samples: VAE 88.71, IWAE with k = 5 87.63. Expected: see experiments/latent_variables.

    arjax --config=configs/latent_variables.py --workdir=runs/vae
    arjax --config=configs/latent_variables.py:samples=5 --workdir=runs/iwae
    arjax --config=configs/latent_variables.py:latents=2,recipe=kingma --workdir=runs/plane
    arjax --config=configs/latent_variables.py:digits,likelihood=gated_pixelcnn --workdir=runs/pixelvae

`layers=2`: 100 latents below the others, themselves a latent model, whose log-scales stay near 0: with free
ones most latents told nothing from early on. `prior`: a network over the latents. `likelihood`:
a network of the image that reads the latents, too. `recipe=kingma`: one hidden layer of 500 units and weight
decay (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014, section 5; there Adagrad, which takes more epochs).
"""

from arjax.config import apply_smoke, base_config, dataset_config, model_config, parse_arg, part, pick
from arjax.networks import NETWORKS

#: name of the data -> data set, length in epochs, batch size, samples of the bound
DATA = {"mnist": ("binarized_mnist", 400.0, 50, 5000), "digits": ("digits", 600.0, 100, 1000)}
#: hidden sizes, weight decay: it lowers -ELBO on new data, and raises the bound of many samples
RECIPES = {"burda": ((200, 200), 0.0), "kingma": ((500,), 0.05)}
#: Hidden sizes between two layers of latents.
BETWEEN = (100, 100)
OPTIONS = {
    "made": {"hidden_sizes": (200, 200)},
    "gated_pixelcnn": {"num_layers": 3, "hidden_size": 24},
    "transformer": {"width": 48, "num_layers": 2, "num_heads": 4},
}


def get_config(arg=""):
    """The config of a model with latents; the arguments are described above."""
    parts = {"prior": pick(("constant", *OPTIONS), "constant")}
    parts["likelihood"] = pick(("independent", *OPTIONS), "independent")
    sizes = {"latents": 50, "samples": 1, "layers": 1, "epochs": 0.0}
    arg = parse_arg(arg, smoke=False, data=pick(DATA, "mnist"), recipe=pick(RECIPES, "burda"), **sizes, **parts)
    config = base_config()
    name, epochs, batch_size, samples = DATA[arg.data]
    hidden, decay = RECIPES[arg.recipe]
    config.dataset = dataset_config(name)
    sizes = {"hidden_sizes": (8,) if arg.smoke else hidden}
    inner = {"prior": _network(arg.prior, arg.smoke, "gaussian_mixture(components=5)")}
    whole = part("independent", {"partition": "whole"}, **sizes)
    inner |= {"likelihood": whole, "posterior": whole}
    outer = inner
    if arg.layers == 2:
        outer = inner | {
            "prior": part(model=model_config("latent", latents=(arg.latents,)), parts=_between(inner, arg))
        }
    if arg.likelihood != "independent":
        outer = outer | {"likelihood": _network(arg.likelihood, arg.smoke)}
    latents = 100 if arg.layers == 2 else arg.latents
    config.model = model_config("latent", latents=(latents,), score_samples=arg.samples)
    config.parts = outer
    config.objective = f"iwae(samples={arg.samples})" if arg.samples > 1 else "elbo"
    config.optimizer.update(name="adamw", learning_rate=2e-3, schedule="cosine", weight_decay=decay)
    config.train.update(batch_size=batch_size, epochs=arg.epochs or epochs, steps_per_dispatch=50)
    often = 10_000 if arg.data == "mnist" else 200
    config.train.update(log_every=often // 5, eval_every=often, checkpoint_every=2 * often)
    config.evaluate.update(batch_size=100, samples=2 if arg.smoke else samples)
    config.sample.num = 64
    return apply_smoke(config) if arg.smoke else config


def _between(inner, arg):
    """The parts between two layers of latents."""
    sizes = {"hidden_sizes": (8,) if arg.smoke else BETWEEN}
    below = part("independent", {"partition": "whole", "conditional": "gaussian(scale_bound=0.2)"}, **sizes)
    return inner | {"likelihood": below, "posterior": part("independent", {"partition": "whole"}, **sizes)}


def _network(name, smoke, conditional=""):
    if name == "constant":
        return part(name, {"partition": "whole"})
    return part(name, {"conditional": conditional}, **(NETWORKS.get(name).SMALL if smoke else OPTIONS[name]))
