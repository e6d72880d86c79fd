"""Variational autoencoders of statically binarized MNIST: some three hours on one CPU core.

arjax-sweep --sweep=experiments/latent_variables/sweep.py --workdir=runs/latent_variables
"""

from arjax.sweep import Run

CONFIG = "configs/latent_variables.py"
BURDA = "Burda et al. (2016), appendix D, 3,280 epochs"
#: Adam's eps is that of the paper (section 5.1): updates of weights with small gradients stay small, which
#: regularises. The best parameters are those of the best L_k on validation, k = `score_samples`.
LONG = {"optimizer.eps": 1e-4, "train.eval_every": 50_000, "train.checkpoint_every": 50_000}
#: name -> words, argument, fields, published test nats with 5,000 samples
ROWS = {
    "vae": ("VAE, 50 latents", "epochs=1000", LONG | {"model.score_samples": 20}, 88.71),
    "iwae5": ("IWAE, k = 5, 50 latents", "samples=5,epochs=500", LONG, 87.63),
    "iwae50": ("IWAE, k = 50, 50 latents", "samples=50,epochs=50", LONG | {"train.eval_every": 10_000}, 87.10),
    "vae_two_layers": ("VAE, two stochastic layers", "layers=2,epochs=400", LONG | {"model.score_samples": 5}, 88.08),
}
KINGMA = "Kingma & Welling (2014), read off figure 2, some 2,000 epochs"
#: dimensions -> published -ELBO, weight decay
LATENTS = {2: (None, 0.0), 5: (118.5, 0.05), 10: (103.0, 0.05), 20: (99.0, 0.0)}


def get_sweep():
    """The autoencoders of Burda et al. by L_5000; those of few latents by the bound and by L_500."""
    rows = [
        Run(
            name,
            f"{CONFIG}:{arg}",
            fields,
            "binarized MNIST",
            words,
            metric="importance_bound_nats",
            published=value,
            published_mark=BURDA,
        )
        for name, (words, arg, fields, value) in ROWS.items()
    ]
    for num, (bound, decay) in LATENTS.items():
        own = f"{CONFIG}:latents={num},recipe=kingma,epochs=80"
        few = {"evaluate.samples": 500, "optimizer.weight_decay": decay}
        about = {"published": bound, "published_mark": KINGMA} if bound else {}
        rows.append(Run(f"latents_{num}", own, few, "binarized MNIST", f"VAE, {num} latents, -ELBO", **about))
    return rows
